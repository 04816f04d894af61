import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import process from 'node:process';

import { size } from '../../cli/output.js';

/** Where a run took place. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memory: string;
  readonly system: string;
  /** That of the data of all systems. */
  readonly fileSystem: string;
  /** Processes that wanted a core before the run began, the mean of a minute. */
  readonly load: string;
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext2/3/4',
  0x01021994: 'tmpfs, which cannot flush to a disk',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x794c7630: 'overlayfs',
};

export async function machineHere(): Promise<Machine> {
  const { type } = await statfs(tmpdir());
  const [{ model } = { model: 'unknown' }] = cpus();
  return {
    processor: model,
    cores: cpus().length,
    memory: size(totalmem()),
    system: `${distribution()}, Linux ${release()}`,
    fileSystem: FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`,
    load: readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '',
  };
}

/** The version that `command` tells. */
export function versionOf(command: string, ...args: readonly string[]): string {
  try {
    const text = execFileSync(command, args, { encoding: 'utf8' });
    return /\d+\.\d+(?:\.\d+)?/.exec(text)?.[0] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Commit of the checkout, with a mark when files differ from it. */
export function commitHere(): string {
  try {
    const changed = git('status', '--porcelain', '--', 'src', 'bin', 'package.json') !== '';
    return git('rev-parse', '--short', 'HEAD') + (changed ? ', with changes' : '');
  } catch {
    return 'no checkout';
  }
}

/** With `make` around it, as people would call it. */
export function commandLine(): string {
  const args = process.argv.slice(2).join(' ');
  return args === '' ? 'make bench-peers' : `make bench-peers PEERS='${args}'`;
}

function git(...args: string[]): string {
  return execFileSync('git', args, { encoding: 'utf8' }).trim();
}

function distribution(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? 'Linux';
  } catch {
    return process.platform;
  }
}
