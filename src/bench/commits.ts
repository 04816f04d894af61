import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { bucketInPool } from '../core/hash.js';
import { quantile } from './load.js';

const SERVERS = 3;
const VALUE = '.'.repeat(128);
const TURNS = 3;
const FRESH_KEYS = 5000;

/** How many commits of two keys are under way at a time, and over how many keys. */
interface Crowd {
  readonly atOnce: number;
  readonly keys: number;
  /** All keys are in one bucket: the commit needs no votes. */
  readonly together?: boolean;
}

const CROWDS: readonly Crowd[] = [
  { atOnce: 1, keys: FRESH_KEYS },
  { atOnce: 1, keys: FRESH_KEYS, together: true },
  { atOnce: 1, keys: 2 },
  { atOnce: 16, keys: 1000 },
  { atOnce: 16, keys: 1000, together: true },
  { atOnce: 16, keys: 20 },
  { atOnce: 64, keys: 4 },
  { atOnce: 64, keys: 4, together: true },
];

/**
 * `setr` of two keys that want the same keys seldom, often, and always: what waits, and what is
 * tried again. Throws when one fails.
 */
export async function measureCommits(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  seconds: number,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect(cluster.leaderAddress);
  try {
    const { parameters } = await client.view();
    const names = CROWDS.map((crowd) => namesOf(crowd, parameters));
    // The first turn warms up.
    for (let turn = 0; turn <= TURNS; turn += 1) {
      if (turn > 0) say(`turn ${turn} of ${TURNS}, ${seconds} s each`);
      for (const [index, crowd] of CROWDS.entries()) {
        const beganMs = performance.now();
        const latencies = await commitsOf(client, crowd, names[index]!, seconds * 1000);
        if (turn > 0) say(`  ${described(crowd, latencies, performance.now() - beganMs)}`);
      }
    }
  } finally {
    client.close();
  }
}

function namesOf(
  { keys, together = false }: Crowd,
  pool: Parameters<typeof bucketInPool>[1],
): string[] {
  const names: string[] = [];
  for (let number = 0; names.length < keys; number += 1) {
    const name = `${keys}/${number}`;
    if (!together || bucketInPool(name, pool) === 0) names.push(name);
  }
  return names;
}

async function commitsOf(
  client: KvsClient,
  { atOnce, keys }: Crowd,
  names: readonly string[],
  forMs: number,
): Promise<number[]> {
  const latencies: number[] = [];
  const untilMs = performance.now() + forMs;
  let next = 0;
  const work = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      const beganMs = performance.now();
      const first = atOnce === 1 ? next : Math.floor(Math.random() * keys);
      const second = atOnce === 1 ? next + 1 : first + 1 + Math.floor(Math.random() * (keys - 1));
      next += 2;
      await client.setr([first, second].map((key) => ({ key: names[key % keys]!, value: VALUE })));
      latencies.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return latencies;
}

function described(
  { atOnce, keys, together }: Crowd,
  latencies: readonly number[],
  tookMs: number,
): string {
  const [p50, p99] = [0.5, 0.99].map((share) => quantile(latencies, share).toFixed(1));
  const rate = ((latencies.length / tookMs) * 1000).toFixed(0);
  const where = together === true ? ' of one bucket' : '';
  const who = `${atOnce} at once over ${keys} keys${where}`;
  return `${who}: ${rate} a second, p50 ${p50} ms, p99 ${p99} ms`;
}
