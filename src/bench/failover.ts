import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import type { View } from '../core/view.js';
import { Load, quantile, type Sample } from './load.js';

const SERVERS = 4;
const RECORDS = 100_000;
const VALUE_BYTES = 128;
const HANDS = 128;
/** Watched before each kill, and after it. */
const BEFORE_MS = 1000;
const AFTER_MS = 4000;

/** What one kill did to the writes. Milliseconds. */
interface Round {
  readonly victim: string;
  /** From the kill until every affected write was answered. */
  readonly outageMs: number;
  /** The slowest write of a bucket that had no replica on the victim. */
  readonly othersMs: number;
  /** Writes of such buckets answered while affected ones waited. */
  readonly othersDone: number;
}

/**
 * Kills one server after the other with SIGKILL during a stream of writes, and starts it again.
 * Throws when an acknowledged write is not read back.
 */
export async function measureFailover(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  rounds: number,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect(cluster.leaderAddress);
  try {
    const { bucketCount } = (await client.view()).parameters;
    const load = new Load(client, bucketCount, RECORDS, VALUE_BYTES);
    say(`${SERVERS} servers; writing ${RECORDS} records of ${VALUE_BYTES} bytes`);
    await load.fill();
    const done: Round[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const result = await kill(cluster, client, load, round % SERVERS);
      done.push(result);
      say(
        `kill -9 ${result.victim}: affected buckets answered again after ` +
          `${result.outageMs.toFixed(0)} ms; of the others ${result.othersDone} writes were ` +
          `answered meanwhile, the slowest in ${result.othersMs.toFixed(0)} ms`,
      );
    }
    const wrong = await load.verify();
    const outages = done.map(({ outageMs }) => outageMs);
    say(
      `${rounds} kills: p50 ${quantile(outages, 0.5).toFixed(0)} ms, worst ` +
        `${Math.max(...outages).toFixed(0)} ms; ${load.samples.length} writes under way, ` +
        `${load.failures.length} failed; ${RECORDS} records read back, ${wrong.length} wrong`,
    );
    if (wrong.length > 0) throw new Error(`acknowledged writes are lost: ${wrong[0]}`);
  } finally {
    client.close();
  }
}

async function kill(
  cluster: LocalCluster,
  client: KvsClient,
  load: Load,
  index: number,
): Promise<Round> {
  const victim = cluster.servers[index];
  if (victim === undefined) throw new Error(`there is no server ${index + 1}`);
  const view = await client.view();
  const affected = bucketsOn(view, victim.ports?.id ?? '');
  load.samples.length = 0;
  load.start(HANDS);
  await pause(BEFORE_MS);
  const killedMs = performance.now();
  await victim.kill();
  await pause(AFTER_MS);
  await load.stop();
  const after = load.samples.filter(({ endMs }) => endMs >= killedMs);
  const worst = slowest(after.filter(({ bucket }) => affected.has(bucket)));
  const others = after.filter(({ bucket }) => !affected.has(bucket));
  const slowestOther = slowest(others);
  const recoveredMs = worst?.endMs ?? killedMs;
  victim.spawn();
  await victim.ready();
  await cluster.settled(SERVERS);
  return {
    victim: victim.name,
    outageMs: recoveredMs - killedMs,
    othersMs: slowestOther === null ? 0 : slowestOther.endMs - slowestOther.startMs,
    othersDone: others.filter(({ endMs }) => endMs < recoveredMs).length,
  };
}

function slowest(samples: readonly Sample[]): Sample | null {
  return samples.toSorted((a, b) => lastedMs(b) - lastedMs(a))[0] ?? null;
}

function lastedMs({ startMs, endMs }: Sample): number {
  return endMs - startMs;
}

/** Buckets that had a replica there: a write needs every one. */
function bucketsOn(view: View, id: string): Set<number> {
  const member = Array.from(view.members.values()).find((one) => one.id === id);
  const held = view.rows.flatMap(({ replicas }, bucket) =>
    member !== undefined && replicas.includes(member.ordinal) ? [bucket] : [],
  );
  return new Set(held);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
