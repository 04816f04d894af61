import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { Load, quantile } from './load.js';

const SETTLE_MS = 120_000;
const SERVERS = 3;
const RECORDS = 100_000;
const VALUE_BYTES = 128;
const HANDS = 64;
const BEFORE_MS = 5000;
/** A plan may move this much more than the least possible. */
const MOST_OVER_LEAST = 1.1;

/** A fourth server joins under a stream of writes. Throws if a request fails or too much moves. */
export async function measureJoin(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS, SETTLE_MS);
  const client = await connect(cluster.leaderAddress);
  try {
    const { bucketCount } = (await client.view()).parameters;
    const load = new Load(client, bucketCount, RECORDS, VALUE_BYTES);
    say(`${SERVERS} servers; writing ${RECORDS} records of ${VALUE_BYTES} bytes`);
    await load.fill();
    load.start(HANDS);
    await new Promise((resolve) => setTimeout(resolve, BEFORE_MS));
    const beganMs = performance.now();
    await cluster.addServer();
    const { viewChange } = await cluster.settled(SERVERS + 1, SETTLE_MS);
    const endedMs = performance.now();
    await load.stop();
    const wrong = await load.verify();
    const { replicasMoved = 0, replicasLeast = 0, recordsMoved = 0 } = viewChange ?? {};
    const rate = (from: number, to: number): number =>
      load.samples.filter(({ endMs }) => endMs >= from && endMs < to).length / ((to - from) / 1000);
    const before = rate(beganMs - BEFORE_MS, beganMs);
    const during = rate(beganMs, endedMs);
    const latencies = load.samples
      .filter(({ endMs }) => endMs >= beganMs && endMs < endedMs)
      .map(({ startMs, endMs }) => endMs - startMs);
    say(
      `join: ${replicasMoved} bucket copies moved, least possible ${replicasLeast}; ` +
        `${recordsMoved} records in ${((endedMs - beganMs) / 1000).toFixed(1)} s`,
    );
    say(
      `writes meanwhile: ${(during / before).toFixed(2)} x the rate before, p99 ` +
        `${quantile(latencies, 0.99).toFixed(0)} ms, worst ${Math.max(...latencies).toFixed(0)} ms`,
    );
    say(
      `${load.samples.length} writes, ${load.failures.length} failed; ${RECORDS} records read ` +
        `back, ${wrong.length} wrong`,
    );
    if (wrong.length > 0) throw new Error(`acknowledged writes are lost: ${wrong[0]}`);
    if (load.failures.length > 0) throw new Error(`requests failed: ${load.failures[0]}`);
    if (replicasMoved > replicasLeast * MOST_OVER_LEAST) throw new Error('too much was moved');
  } finally {
    client.close();
  }
}
