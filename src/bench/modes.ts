import type { LocalCluster } from '../cli/local-cluster.js';
import { type CausalSession, type KvsClient, Mode } from '../client/index.js';
import { quantile } from './load.js';

const SERVERS = 3;
const VALUE = '.'.repeat(128);
const KEYS = 10_000;
/** A shared machine drifts: the modes take turns. */
const TURNS = 5;
const TURN_MS = 4000;
const WARM_MS = 3000;
const AT_ONCE = 64;
const NAMESPACE = 'carts';

/** Writes a key. */
type Write = (key: string) => Promise<unknown>;

/**
 * What a write costs in a causal namespace, beside a strong one on the same cluster: alone, and
 * with 64 writers, each of which waits for its answer; and how large a session's token gets.
 */
export async function measureModes(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect(cluster.leaderAddress);
  try {
    await client.admin.createNamespace(NAMESPACE, Mode.Causal);
    const sessions: CausalSession[] = [];
    for (let at = 0; at < AT_ONCE; at += 1) sessions.push(await client.session(NAMESPACE));
    const strong = Array.from({ length: AT_ONCE }, (): Write => (key) => client.set(key, VALUE));
    const causal = sessions.map(
      (session): Write =>
        (key) =>
          session.set(key, VALUE),
    );
    await turn(strong, WARM_MS);
    await turn(causal, WARM_MS);
    const alone = await taken(strong.slice(0, 1), causal.slice(0, 1));
    for (const [share, name] of [
      [0.5, 'p50'],
      [0.99, 'p99'],
    ] as const) {
      const [slow, quick] = alone.map((turns) => median(turns.map((ms) => quantile(ms, share))));
      say(
        `one writer, ${name}: strong ${slow!.toFixed(2)} ms, causal ${quick!.toFixed(2)} ms, ` +
          `${(quick! / slow!).toFixed(2)} of it`,
      );
    }
    const [before, after] = (await taken(strong, causal)).map((turns) =>
      median(turns.map((ms) => (ms.length / TURN_MS) * 1000)),
    );
    say(
      `${AT_ONCE} writers: strong ${before!.toFixed(0)} writes a second, causal ` +
        `${after!.toFixed(0)}, ${(after! / before!).toFixed(2)} times as many`,
    );
    const session = await client.session(NAMESPACE);
    for (let key = 0; key < KEYS; key += 1) await session.get(`${key}`);
    const bytes = Buffer.from(session.token, 'base64').length;
    say(`a session that touched ${KEYS} keys carries ${bytes} bytes`);
  } finally {
    client.close();
  }
}

/** For both modes: the latencies of each turn, ms. */
async function taken(
  strong: readonly Write[],
  causal: readonly Write[],
): Promise<readonly [number[][], number[][]]> {
  const all: [number[][], number[][]] = [[], []];
  for (let round = 0; round < TURNS; round += 1) {
    all[0].push(await turn(strong, TURN_MS));
    all[1].push(await turn(causal, TURN_MS));
  }
  return all;
}

async function turn(writers: readonly Write[], forMs: number): Promise<number[]> {
  const latencies: number[] = [];
  const untilMs = performance.now() + forMs;
  let next = 0;
  const work = async (write: Write): Promise<void> => {
    while (performance.now() < untilMs) {
      const at = performance.now();
      await write(`${next++ % KEYS}`);
      latencies.push(performance.now() - at);
    }
  };
  await Promise.all(writers.map(work));
  return latencies;
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
