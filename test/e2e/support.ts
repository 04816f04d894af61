import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, expect } from '@jest/globals';

import { type Daemon, LocalCluster, waitFor } from '../../src/cli/local-cluster.js';
import { connect, type KvsClient } from '../../src/client/index.js';

const undo: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

/** A directory that is gone after the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-e2e-'));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A cluster that ends with the test. */
export function newCluster(
  directory = temporaryDirectory(),
  leaderOptions: readonly string[] = [],
  serverOptions: readonly string[] = [],
): LocalCluster {
  const cluster = new LocalCluster({
    directory,
    leaderOptions: ['--buckets', '64', ...leaderOptions],
    serverOptions,
    clientEnvironment: { KVS_TIMEOUT: '20s' },
  });
  undo.push(() => cluster.killAll());
  return cluster;
}

/** A cluster whose servers are in sync. */
export async function startCluster(servers: number): Promise<LocalCluster> {
  const cluster = newCluster();
  await cluster.start(servers);
  await cluster.settled(servers);
  return cluster;
}

/** A client of the library that is closed after the test. */
export async function clientOf(cluster: LocalCluster, timeoutMs = 30_000): Promise<KvsClient> {
  const client = await connect({ leader: cluster.leaderAddress, timeoutMs });
  undo.push(() => client.close());
  return client;
}

/** It ends by itself when it is started, and says this at last. */
export async function isRefused(server: Daemon | undefined, pattern: RegExp): Promise<void> {
  server?.spawn();
  await waitFor('the server to end', 30_000, () => server?.alive === false);
  const said = readFileSync(join(server?.directory ?? '', 'log'), 'utf8').trimEnd();
  expect(said.split('\n').at(-1)).toMatch(pattern);
}
