import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { Load, quantile } from './load.js';

const SERVERS = 3;
const RECORDS = 10_000;
const VALUE_BYTES = 128;
const HANDS = 16;
const WITHOUT_MS = 60_000;
/** Latency drifts on a shared machine: windows with and without the view leader alternate. */
const ROUNDS = 4;
const WINDOW_MS = 15_000;
/** After a change, before a window. */
const CALM_MS = 1500;

/** What the absence of the view leader costs. Throws when a request fails or a write is lost. */
export async function measureLeaderless(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect(cluster.leaderAddress);
  try {
    const { bucketCount } = (await client.view()).parameters;
    const load = new Load(client, bucketCount, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    const { leader } = cluster;
    const { listen } = leader;
    const windows: Record<'with' | 'without', number[]> = { with: [], without: [] };
    const watch = async (which: 'with' | 'without'): Promise<void> => {
      await pause(CALM_MS);
      load.samples.length = 0;
      await pause(WINDOW_MS);
      const latencies = load.samples.map(({ startMs, endMs }) => endMs - startMs);
      windows[which].push(quantile(latencies, 0.99));
    };
    for (let round = 0; round < ROUNDS; round += 1) {
      await watch('with');
      await leader.kill();
      await watch('without');
      leader.spawn(['--listen', listen]);
      await leader.ready();
    }
    await leader.kill();
    load.samples.length = 0;
    await pause(WITHOUT_MS);
    const writes = load.samples.length;
    await load.stop();
    const wrong = await load.verify();
    const [alive, dead] = [mean(windows.with), mean(windows.without)];
    say(
      `view leader dead for ${WITHOUT_MS / 1000} s: ${writes} writes, ${load.failures.length} ` +
        `failed in all; p99 ${dead.toFixed(1)} ms without it, ${alive.toFixed(1)} ms with it ` +
        `(${(dead / alive).toFixed(2)} x; ${ROUNDS} windows of ${WINDOW_MS / 1000} s each, in ` +
        `turn); ${RECORDS} records read back, ${wrong.length} wrong`,
    );
    if (wrong.length > 0) throw new Error(`acknowledged writes are lost: ${wrong[0]}`);
    if (load.failures.length > 0) throw new Error(`requests failed: ${load.failures[0]}`);
  } finally {
    client.close();
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
