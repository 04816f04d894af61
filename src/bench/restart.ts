import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import type { Daemon, LocalCluster } from '../cli/local-cluster.js';
import { connect, type KvsClient } from '../client/index.js';
import { quantile } from './load.js';
import { Records } from './records.js';

type Say = (line: string) => void;

const SETTLE_MS = 120_000;
const VALUE_BYTES = 128;
const TIMEOUT_MS = 30_000;
const READY_MS = 60_000;
/** Written before each round, so that there is something to replay. */
const WRITES = 70_000;

/** One way to restart: name → ms of each round. */
type Times = Map<string, number[]>;

/**
 * How long servers with many records take from their start until they serve: one of the cluster,
 * killed and stopped, and all of it, killed at once.
 */
export async function measureRestart(
  cluster: LocalCluster,
  asked: { readonly servers: number; readonly records: number; readonly rounds: number },
  say: Say,
): Promise<void> {
  const { servers, records: count, rounds } = asked;
  await cluster.start(servers);
  await cluster.settled(servers, SETTLE_MS);
  let client = await open(cluster);
  const records = new Records(() => client, VALUE_BYTES);
  say(`${servers} server(s), as many replicas; writing ${count} records of 16 + 128 bytes`);
  const rate = await records.fill(0, count);
  say(`  ${rate.toFixed(0)} a second`);
  const ways = new Map<string, Times>();
  const note = (way: string, what: string, ms: number): void => {
    const times = ways.get(way) ?? new Map<string, number[]>();
    ways.set(way, times);
    times.set(what, [...(times.get(what) ?? []), ms]);
  };
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const way of ['kill -9', 'stopped', ...(servers > 1 ? ['all, kill -9'] : [])]) {
        await records.fill(0, Math.min(count, WRITES));
        const again = way.startsWith('all') ? cluster.servers : [cluster.servers[round % servers]!];
        await Promise.all(
          again.map((server) => (way === 'stopped' ? server.stop() : server.kill())),
        );
        const beganMs = performance.now();
        const since = (): number => performance.now() - beganMs;
        for (const server of again) server.spawn();
        await Promise.all(again.map((server) => appeared(server)));
        note(way, 'ready', since());
        client.close();
        // Through the server that was started, also for what another one holds.
        client = await connect({ server: again[0]?.listen ?? '', timeoutMs: TIMEOUT_MS });
        await records.check(round);
        note(way, 'read', since());
        await records.write(round);
        note(way, 'write', since());
        records.expectNoTrouble();
        client.close();
        await cluster.settled(servers, SETTLE_MS);
        note(way, 'all in sync', since());
        const last = [...(ways.get(way) ?? [])].map(
          ([what, ms]) => `${what} ${seconds(ms.at(-1)!)}`,
        );
        say(`  ${way}: ${last.join(', ')}`);
        client = await open(cluster);
      }
    }
    for (const [way, times] of ways) {
      const all = [...times].map(
        ([what, ms]) => `${what} ${seconds(quantile(ms, 0.5))} (worst ${seconds(Math.max(...ms))})`,
      );
      say(`${way}, from the start of the process: ${all.join(', ')}`);
    }
    await records.verify(count);
    records.expectNoTrouble();
    say(`${rounds} rounds; all ${count} records read back and compared`);
  } finally {
    client.close();
  }
}

function open(cluster: LocalCluster): Promise<KvsClient> {
  return connect({ leader: cluster.leaderAddress, timeoutMs: TIMEOUT_MS });
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Looks often: `ready` of a cluster pauses for longer and longer. */
async function appeared(server: Daemon): Promise<void> {
  const endMs = performance.now() + READY_MS;
  const file = join(server.directory, 'ports.json');
  while (!existsSync(file) && server.alive && performance.now() < endMs) await pause(5);
  await server.ready();
}
