import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { MemberState } from '../core/view.js';
import { Load, quantile } from './load.js';

const SERVERS = 3;
const RECORDS = 10_000;
const VALUE_BYTES = 128;
const HANDS = 16;
const BEFORE_MS = 60_000;
const WITHOUT_MS = 60_000;
const SETTLE_MS = 60_000;

/** What the absence of the view leader costs. Throws when a request fails or a write is lost. */
export async function measureLeaderless(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.waitForStatus('settled servers', SETTLE_MS, (status) => {
    const up = status.members.filter(({ member }) => member?.state === MemberState.Up);
    const holding = up.every(({ buckets }) => buckets > 0);
    return up.length === SERVERS && holding && status.viewChange?.phase === 'idle';
  });
  const client = await connect(cluster.leaderAddress);
  try {
    const { bucketCount } = (await client.view()).parameters;
    const load = new Load(client, bucketCount, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    const p99 = (): number => {
      const latencies = load.samples.map(({ startMs, endMs }) => endMs - startMs);
      load.samples.length = 0;
      return quantile(latencies, 0.99);
    };
    await pause(BEFORE_MS);
    const before = p99();
    await cluster.leader.kill();
    await pause(WITHOUT_MS);
    const writes = load.samples.length;
    const without = p99();
    await load.stop();
    const wrong = await load.verify();
    say(
      `view leader dead for ${WITHOUT_MS / 1000} s: ${writes} writes, ${load.failures.length} ` +
        `failed; p99 ${without.toFixed(1)} ms, ${(without / before).toFixed(2)} x that of the ` +
        `${BEFORE_MS / 1000} s before; ${RECORDS} records read back, ${wrong.length} wrong`,
    );
    if (wrong.length > 0) throw new Error(`acknowledged writes are lost: ${wrong[0]}`);
    if (load.failures.length > 0) throw new Error(`requests failed: ${load.failures[0]}`);
  } finally {
    client.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
