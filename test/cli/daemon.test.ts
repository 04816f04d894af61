import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const here = fileURLToPath(new URL('.', import.meta.url));
let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kvs-daemon-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Process {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly ended: Promise<unknown[]>;
}

function start(script: string, ...argv: string[]): Process {
  const child = spawn(process.execPath, [join(here, script), ...argv]);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  return { child, stdout: () => stdout, stderr: () => stderr, ended: once(child, 'close') };
}

async function started(...argv: string[]): Promise<Process> {
  const daemon = start('fake-daemon.js', ...argv);
  await once(daemon.child.stdout ?? daemon.child, 'data');
  return daemon;
}

async function finished(script: string, ...argv: string[]) {
  const daemon = start(script, ...argv);
  const [code] = await daemon.ended;
  return { code, stdout: daemon.stdout(), stderr: daemon.stderr() };
}

describe('a daemon', () => {
  test('says that it is ready, writes its ports, and stops with exit code 0', async () => {
    const portsFile = join(directory, 'ports.json');
    const daemon = await started('well', '--ports-file', portsFile);
    expect(daemon.stdout()).toBe('ready listen=127.0.0.1:1 http=127.0.0.1:2 id=fake\n');
    expect(JSON.parse(readFileSync(portsFile, 'utf8'))).toEqual({
      listen: '127.0.0.1:1',
      http: '127.0.0.1:2',
      id: 'fake',
      pid: daemon.child.pid,
    });
    expect(readdirSync(directory)).toEqual(['ports.json']);
    daemon.child.kill('SIGTERM');
    expect(await daemon.ended).toEqual([0, null]);
  });

  test('says it in JSON', async () => {
    const daemon = await started('well', '--log-format', 'json');
    const ready = { event: 'ready', listen: '127.0.0.1:1', http: '127.0.0.1:2', id: 'fake' };
    expect(JSON.parse(daemon.stdout())).toEqual(ready);
    daemon.child.kill('SIGINT');
    expect(await daemon.ended).toEqual([0, null]);
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('a second %s stops it at once', async (signal, code) => {
    const daemon = await started('stuck');
    daemon.child.kill(signal);
    // Signals of one kind that come together are one; repeat until it ends.
    const again = setInterval(() => daemon.child.kill(signal), 20);
    expect(await daemon.ended).toEqual([code, null]);
    clearInterval(again);
  });

  test('that cannot go on says why and ends with exit code 1', async () => {
    const { code, stderr } = await finished('fake-daemon.js', 'failing');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^fake-daemon: INTERNAL: the disk is gone; .*\n$/);
  });

  test('that cannot start says why in one line', async () => {
    const { code, stdout, stderr } = await finished('fake-daemon.js', 'refused');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe('fake-daemon: ADDRESS_IN_USE: it is taken; free it\n');
  });
});

describe('the real daemons check their settings', () => {
  const server = '../../bin/kvs-server.js';
  const leader = '../../bin/kvs-viewleader.js';

  test('and print them', async () => {
    const config = join(directory, 'leader.yaml');
    writeFileSync(config, 'down-after: 2s\nreplicas: 1\n');
    const argv = ['--check-config', '--config', config, '--rebalance-rate', '1MiB'];
    const { code, stdout } = await finished(leader, ...argv);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      listen: '127.0.0.1:7400',
      http: '127.0.0.1:7480',
      dataDir: './kvs-leader',
      buckets: 256,
      replicas: 1,
      policy: 'ring',
      shards: 0,
      shardSpread: 'even',
      minInSync: 1,
      heartbeatIntervalMs: 250,
      downAfterMs: 2000,
      recover: false,
      recoverWithout: [],
      replaceAfterMs: 30_000,
      leaseMs: 700,
      maxDriftPercent: 15,
      rebalanceRateBytes: 1_048_576,
    });
    const other = await finished(server, '--leader', 'a,b', '--zone', 'z', '--check-config');
    expect(JSON.parse(other.stdout)).toEqual({
      leader: 'a,b',
      listen: '127.0.0.1:0',
      http: '127.0.0.1:0',
      dataDir: './kvs-server',
      zone: 'z',
      weight: 1,
      scrubIntervalMs: 10_000,
      cacheBytes: 4 * 2 ** 30,
    });
  });

  test.each([
    [server, [], 'the view leader is not named'],
    [server, ['--leader', 'a', '--weight', '0'], '--weight'],
    [server, ['--leader', 'a', '--cache-size', '1MiB'], '--cache-size'],
    [server, ['--leader', 'a', 'b'], 'too many arguments'],
    [server, ['--leader', 'a:b'], '"a:b" is not an address'],
    [server, ['--leader', 'a', '--advertise', 'b'], '"b" is not an address'],
    [leader, ['--policy', 'chance'], '--policy'],
    [leader, ['--policy', 'shards'], '--shards'],
    [leader, ['--shards', '3'], '--policy shards'],
    [leader, ['--replicas', '2', '--min-in-sync', '3'], '--min-in-sync'],
    [leader, ['--down-after', '300ms'], '--heartbeat-interval'],
    [leader, ['--replace-after', '10ms'], '--replace-after'],
  ])('%s %p: exit code 2', async (script, argv, problem) => {
    const { code, stderr } = await finished(script, '--check-config', ...argv);
    expect(code).toBe(2);
    expect(stderr).toContain(problem);
    expect(stderr.split('\n')).toHaveLength(2);
  });
});
