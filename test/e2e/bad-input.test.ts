// What goes wrong at the hands of a newcomer: one clear line, the right exit code, nothing lost (U1).
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { type Daemon, type LocalCluster, waitFor } from '../../src/cli/local-cluster.js';
import { newCluster, startCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const BIN = fileURLToPath(new URL('../../bin/', import.meta.url));
const ANY = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0'];
const running: ChildProcess[] = [];

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

/** A daemon under the eyes of the test. */
class Watched {
  text = '';
  readonly ended: Promise<unknown>;
  private readonly child: ChildProcess;

  constructor(program: 'kvs-server' | 'kvs-viewleader', ...args: string[]) {
    this.child = spawn(process.execPath, [join(BIN, `${program}.js`), ...args]);
    running.push(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (data: Buffer) => (this.text += data.toString()));
    }
    this.ended = once(this.child, 'close');
  }

  stop(): void {
    this.child.kill('SIGTERM');
  }

  async says(pattern: RegExp): Promise<void> {
    await waitFor(`"${pattern.source}" in: ${this.text}`, 20_000, () => pattern.test(this.text));
  }

  /** Ends by itself with exit code 1 and this as its last line. */
  async refuses(pattern: RegExp): Promise<void> {
    await this.ended;
    expect(this.text.trimEnd().split('\n').at(-1)).toMatch(pattern);
    expect(this.child.exitCode).toBe(1);
  }
}

function dataOf(daemon: Daemon | undefined): string {
  return join(daemon?.directory ?? '', 'data');
}

describe('clients', () => {
  let cluster: LocalCluster;

  /** The exit code, after checking that there is one line and that it says this. */
  async function refused(
    args: readonly string[],
    says: RegExp,
    input = '',
  ): Promise<number | null> {
    const { code, stderr } = await cluster.client(args, input);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(says);
    return code;
  }

  test('keys and values out of bounds, unknown keys, wrong addresses', async () => {
    cluster = await startCluster(2);
    expect((await cluster.client(['set', 'k', 'kept'])).code).toBe(0);
    expect(await refused(['get', 'nothing'], /NOT_FOUND.*"nothing"/)).toBe(3);
    expect(await refused(['get', ''], /INVALID.*empty/)).toBe(2);
    expect(await refused(['set', '', 'v'], /INVALID.*empty/)).toBe(2);
    expect(await refused(['set', 'k'.repeat(4097), 'v'], /TOO_LARGE.*4097.*4 KiB/)).toBe(1);
    const large = 'v'.repeat(1024 * 1024 + 1);
    expect(await refused(['set', 'k', '-'], /TOO_LARGE.*1048577.*1 MiB/, large)).toBe(1);
    expect(await refused(['set', 'k'], /USAGE.*missing/)).toBe(2);
    expect(await refused(['frob'], /USAGE.*unknown command/)).toBe(2);
    const nobody = ['--leader', '127.0.0.1:1', '--timeout', '1s', 'get', 'k'];
    expect(await refused(nobody, /UNAVAILABLE.*127\.0\.0\.1:1.*ECONNREFUSED/)).toBe(5);
    expect(await refused(['--leader', 'a b', 'get', 'k'], /INVALID.*"a b"/)).toBe(2);
    expect((await cluster.client(['get', 'k'])).stdout.toString()).toBe('kept');
    // The bounds themselves are fine.
    expect((await cluster.client(['set', 'k'.repeat(4096), '-'], large.slice(1))).code).toBe(0);
  });
});

describe('daemons', () => {
  test('a server waits for its view leader and says so; Ctrl-C ends it', async () => {
    const data = ['--data-dir', temporaryDirectory()];
    const server = new Watched('kvs-server', '--leader', '127.0.0.1:1', ...ANY, ...data);
    await server.says(/waiting for the view leader at 127\.0\.0\.1:1: connect ECONNREFUSED/);
    expect(server.text).not.toMatch(/^ready/m);
    server.stop();
    await server.ended;
  });

  test('ports and directories in use', async () => {
    const cluster = await startCluster(2);
    const [first] = cluster.servers;
    const elsewhere = ['--data-dir', temporaryDirectory()];
    const leader = ['--leader', cluster.leaderAddress];
    const taken = ['--listen', first?.listen ?? '', '--http', '127.0.0.1:0'];
    await new Watched('kvs-server', ...leader, ...taken, ...elsewhere).refuses(/ADDRESS_IN_USE/);
    await new Watched('kvs-viewleader', ...taken, ...elsewhere).refuses(
      /ADDRESS_IN_USE|NOT_A_DATA/,
    );
    const held = ['--data-dir', dataOf(first)];
    await new Watched('kvs-server', ...leader, ...ANY, ...held).refuses(
      /IN_USE.*Nothing was changed/,
    );
    const view = ['--data-dir', dataOf(cluster.leader)];
    await new Watched('kvs-viewleader', ...ANY, ...view).refuses(/IN_USE/);
    await cluster.settled(2);
  });

  test('a server of another cluster is refused and keeps its data', async () => {
    const cluster = await startCluster(2);
    await cluster.client(['set', 'k', 'kept']);
    const other = newCluster();
    await other.start(0);
    const [first] = cluster.servers;
    await first?.kill();
    const data = ['--data-dir', dataOf(first)];
    const lost = new Watched('kvs-server', '--leader', other.leaderAddress, ...ANY, ...data);
    await lost.refuses(/FOREIGN_CLUSTER.*its data is kept/);
    first?.spawn();
    await first?.ready();
    await cluster.settled(2);
    expect((await cluster.client(['get', 'k'])).stdout.toString()).toBe('kept');
  });

  test('a damaged data directory is refused, and not changed (D7)', async () => {
    const cluster = await startCluster(2);
    await cluster.client(['set', 'k', 'kept']);
    const [first] = cluster.servers;
    await first?.kill();
    const log = join(dataOf(first), 'log');
    const file = join(log, readdirSync(log).toSorted()[0] ?? '');
    const content = readFileSync(file);
    content.fill(0xff, 40, 48);
    writeFileSync(file, content);
    const args = ['--leader', cluster.leaderAddress, ...ANY, '--data-dir', dataOf(first)];
    await new Watched('kvs-server', ...args).refuses(/DAMAGED.*copies from its replicas/);
    expect(readFileSync(file).equals(content)).toBe(true);
  });
});
