// Real processes, real sockets, real disks.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { LocalCluster } from '../../src/cli/local-cluster.js';
import { connect } from '../../src/client/index.js';

let directory: string;
let cluster: LocalCluster;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kvs-e2e-'));
  cluster = new LocalCluster({ directory, leaderOptions: ['--buckets', '64'] });
  await cluster.start(3);
  await cluster.waitForStatus('three servers in sync', 20_000, (status) => {
    const placed = status.members.filter(({ buckets }) => buckets === 64);
    return placed.length === 3 && status.underReplicated === 0;
  });
});

afterEach(async () => {
  await cluster.killAll();
  rmSync(directory, { recursive: true, force: true });
});

test('acknowledged writes survive kill -9 of every process at once (D2)', async () => {
  const client = await connect({ leader: cluster.leaderAddress, timeoutMs: 20_000 });
  const acknowledged = new Set<string>();
  const writers = Array.from({ length: 32 }, async (_, writer) => {
    for (let index = 0; ; index += 1) {
      const key = `${writer}-${index}`;
      try {
        await client.set(key, `value of ${key}`);
      } catch {
        return;
      }
      acknowledged.add(key);
    }
  });
  while (acknowledged.size < 2000) await new Promise((resolve) => setImmediate(resolve));
  await cluster.killAll();
  client.close();
  await Promise.all(writers);
  // The same directories, new addresses (V7).
  const again = new LocalCluster({ directory, leaderOptions: ['--buckets', '64'] });
  await again.start(3);
  try {
    const reader = await connect({ leader: again.leaderAddress, timeoutMs: 30_000 });
    for (const key of acknowledged) {
      const read = await reader.get(key);
      expect(Buffer.from(read?.value ?? []).toString()).toBe(`value of ${key}`);
    }
    reader.close();
  } finally {
    await again.killAll();
  }
}, 120_000);

test('with the view leader dead, a server is the door for reads and writes (V3)', async () => {
  const server = cluster.servers[0]?.listen ?? '';
  await cluster.leader.kill();
  const set = await cluster.client(['--server', server, '--leader', server, 'set', 'k', 'v']);
  expect(set.stderr).toBe('');
  expect(set.code).toBe(0);
  const get = await cluster.client(['--server', server, '--leader', server, 'get', 'k']);
  expect(get.stdout.toString()).toBe('v');
  expect(get.code).toBe(0);
}, 120_000);

test('bad input: one clear line, the right exit code, nothing lost (U1)', async () => {
  const missing = await cluster.client(['get', 'nothing']);
  expect(missing.code).toBe(3);
  const empty = await cluster.client(['set', '', 'v']);
  expect(empty.code).toBe(2);
  const long = await cluster.client(['set', 'k'.repeat(4097), 'v']);
  expect(long.code).toBe(1);
  expect(long.stderr).toMatch(/4 KiB/);
  const wrong = await cluster.client(['--leader', '127.0.0.1:1', '--timeout', '1s', 'get', 'k']);
  expect(wrong.code).toBe(5);
  for (const { stderr } of [missing, empty, long, wrong]) {
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  }
}, 120_000);
