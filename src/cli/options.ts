import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

import { Command, type CommanderError, InvalidArgumentError, Option } from 'commander';

import { CommandError, type Failure } from './exit-code.js';

const MILLISECONDS = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);
const BYTES = new Map([
  ['', 1],
  ['B', 1],
  ['KiB', 2 ** 10],
  ['MiB', 2 ** 20],
  ['GiB', 2 ** 30],
]);
const OFF: ReadonlySet<string | undefined> = new Set(['', '0', 'false', 'no']);

/** `250ms`, `5s`, `1.5m`, `1h` as milliseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  const ms = Number(match?.[1]) * (MILLISECONDS.get(match?.[2] ?? '') ?? Number.NaN);
  if (Number.isSafeInteger(Math.round(ms)) && ms > 0) return Math.round(ms);
  throw new InvalidArgumentError('Write a duration as 250ms, 5s or 1h.');
}

/** `512`, `64KiB`, `16MiB` as bytes; 0 is allowed. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(|B|KiB|MiB|GiB)$/.exec(text);
  const bytes = Number(match?.[1]) * (BYTES.get(match?.[2] ?? '') ?? Number.NaN);
  if (Number.isSafeInteger(Math.round(bytes))) return Math.round(bytes);
  throw new InvalidArgumentError('Write a size as 64KiB, 16MiB or 1GiB.');
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    throw new InvalidArgumentError(`Write a whole number from ${least} to ${most}.`);
  };
}

/** A version as `get` and `set` print it; 0 means absent. */
export function parseVersion(text: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new InvalidArgumentError('Write a version as get and set print it; 0 means absent.');
}

/** An option that the environment can set too: `--down-after` is also `KVS_DOWN_AFTER`. */
export function setting(flags: string, description: string): Option {
  const option = new Option(flags, description);
  const name = option.name().replaceAll('-', '_').toUpperCase();
  const takesValue = option.required || option.optional;
  // Commander takes the mere presence of a variable as "yes".
  if (takesValue || !OFF.has(process.env[`KVS_${name}`])) option.env(`KVS_${name}`);
  return option;
}

/** A program whose errors are thrown instead of printed, so that they get our form and codes. */
export function makeProgram(name: string, description: string): Command {
  const program = new Command(name)
    .description(description)
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });
  return program.configureOutput({ outputError: () => undefined });
}

/** Commander's error as one of ours; null when it only ended after `--help` or `--version`. */
export function usageFailure(error: CommanderError, program: string): Failure | null {
  if (error.exitCode === 0) return null;
  const [first = '', ...rest] = error.message.replace(/^error: |\.$/g, '').split('\n');
  const hint = [...rest, `see ${program} --help`].join(' ');
  // Without any argument Commander has printed the help; the line says why.
  return CommandError.usage(first === '(outputHelp)' ? 'a command is missing' : first, hint);
}

/** Set what neither a flag nor the environment has set from a YAML file (names as the flags'). */
export async function applyConfig(command: Command, file: string): Promise<void> {
  const { parse } = await import('yaml');
  const text = await readFile(file, 'utf8');
  let settings: unknown;
  try {
    settings = parse(text);
  } catch (error) {
    throw CommandError.usage(`${file} is not YAML: ${(error as Error).message}`, 'correct it');
  }
  if (settings === null) return;
  if (typeof settings !== 'object' || Array.isArray(settings)) {
    throw CommandError.usage(
      `${file} does not hold settings`,
      'write lines such as "leader: HOST"',
    );
  }
  for (const [name, value] of Object.entries(settings)) applySetting(command, file, name, value);
}

function applySetting(command: Command, file: string, name: string, value: unknown): void {
  const option = command.options.find(({ long }) => long === `--${name}`);
  if (option === undefined || ['config', 'version', 'help'].includes(name)) {
    throw CommandError.usage(`${file}: there is no setting "${name}"`, 'names are those of flags');
  }
  const attribute = option.attributeName();
  const source = command.getOptionValueSource(attribute);
  if (source !== undefined && source !== 'default') return;
  const takesValue = option.required || option.optional;
  if (takesValue === (typeof value === 'boolean') || typeof value === 'object') {
    const wanted = takesValue ? 'one value' : 'true or false';
    throw CommandError.usage(`${file}: "${name}" takes ${wanted}`, 'correct it');
  }
  command.setOptionValueWithSource(attribute, parsed(option, file, value), 'config');
}

function parsed(option: Option, file: string, value: unknown): unknown {
  if (typeof value === 'boolean' || option.parseArg === undefined) {
    return typeof value === 'boolean' ? value : String(value);
  }
  try {
    return option.parseArg(String(value), undefined);
  } catch (error) {
    const { message } = error as Error;
    throw CommandError.usage(`${file}: "${option.name()}": ${message}`, 'correct it');
  }
}

function packageVersion(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
