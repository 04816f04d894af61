import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { type LocalCluster, waitFor } from '../cli/local-cluster.js';
import { connect, type KvsClient, KvsError } from '../client/index.js';

export const SERVERS = 4;
const HANDS = 8;
const KEYS = 4;
const TIMEOUT_MS = 10_000;
/** Every setr must have ended by then. */
const ENDED_WITHIN_MS = 5000;
const POINTS = ['before-decision', 'after-decision'] as const;

/** Options of Node.js that put the fail points into a server. */
export function failPoints(directory: string): string[] {
  const module = pathToFileURL(fileURLToPath(new URL('./fail-point.js', import.meta.url)));
  module.searchParams.set('directory', directory);
  return ['--import', module.href];
}

/** How one setr ended, for its client. */
interface Ending {
  readonly committed: boolean;
  readonly tookMs: number;
}

/**
 * Kill the coordinator of a setr between the last vote and the decision, and between the decision
 * and the commit at the participants, again and again, while other commits are under way. Throws
 * when one does not end in time, or not alike on all its keys (D3).
 */
export async function killCoordinators(
  cluster: LocalCluster,
  directory: string,
  times: number,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect({ leader: cluster.leaderAddress, timeoutMs: TIMEOUT_MS });
  try {
    for (const point of POINTS) {
      const endings: Ending[] = [];
      for (let time = 1; time <= times; time += 1) {
        endings.push(...(await round(cluster, client, join(directory, point), time)));
      }
      const committed = endings.filter((ending) => ending.committed).length;
      const worstMs = Math.max(...endings.map(({ tookMs }) => tookMs));
      say(
        `coordinator killed ${times} times ${point.replace('-', ' its ')}: ${endings.length} ` +
          `commits under way, ${committed} committed, ${endings.length - committed} aborted, ` +
          `each alike on its ${KEYS} keys, the slowest in ${worstMs.toFixed(0)} ms`,
      );
      if (worstMs > ENDED_WITHIN_MS) throw new Error(`a setr took ${worstMs.toFixed(0)} ms`);
    }
  } finally {
    client.close();
  }
}

async function round(
  cluster: LocalCluster,
  client: KvsClient,
  armed: string,
  time: number,
): Promise<Ending[]> {
  writeFileSync(armed, '');
  const hands = Array.from({ length: HANDS }, (_, hand) => commit(client, `${time}-${hand}`));
  const endings = await Promise.all(hands);
  if (existsSync(armed)) throw new Error('no coordinator was killed');
  const dead = cluster.servers.filter(({ alive }) => !alive);
  for (const server of dead) {
    server.spawn();
    await server.ready();
  }
  await waitFor('the dead server', TIMEOUT_MS, () => cluster.servers.every(({ alive }) => alive));
  await cluster.settled(SERVERS);
  return endings;
}

/** One setr of keys that nobody else writes; what it came to, told and seen. */
async function commit(client: KvsClient, value: string): Promise<Ending> {
  const [, hand = ''] = value.split('-');
  const keys = Array.from({ length: KEYS }, (_, at) => `hand ${hand} key ${at}`);
  const startMs = performance.now();
  let told: boolean | null;
  try {
    await client.setr(keys.map((key) => ({ key, value })));
    told = true;
  } catch (error) {
    if (!(error instanceof KvsError)) throw error;
    told = error.outcome === 'unknown' ? null : false;
  }
  const tookMs = performance.now() - startMs;
  const records = await client.getr(keys);
  const written = records.filter((record) => Buffer.from(record?.value ?? '').toString() === value);
  const committed = written.length === KEYS;
  if (!committed && written.length > 0) {
    throw new Error(`D3: ${written.length} of ${KEYS} keys have the value ${value}`);
  }
  if (told !== null && told !== committed) {
    throw new Error(`D3: the client was told ${told ? 'committed' : 'aborted'}, and it was not so`);
  }
  return { committed, tookMs: told === null ? Infinity : tookMs };
}
