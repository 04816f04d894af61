import type { LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { MemberState } from '../core/view.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';
import { measureBare } from './bare.js';
import { quantile } from './load.js';

const SERVERS = 3;
const VALUE_BYTES = 128;
const LOADERS = 512;
/** The steady load: so many operations begin in a second, half of them reads. */
const RATE = 1000;
const BEFORE_MS = 60_000;
const SETTLE_MS = 900_000;
const LOOK_EVERY_MS = 2000;
const REST_MS = 20_000;
const MOST_OVER_LEAST = 1.05;

/** One key: what was acknowledged last, and what may be written at this moment. */
interface Known {
  acknowledged: number;
  writing: number;
}

interface Sample {
  readonly startMs: number;
  readonly ms: number;
}

/** Reads and writes at a fixed rate; every read is checked against what it may see (D1). */
class SteadyLoad {
  readonly samples: Sample[] = [];
  readonly failures: string[] = [];
  readonly stale: string[] = [];
  private readonly known: Known[];
  private stopping = false;
  private open = 0;
  private done: Promise<void> = Promise.resolve();
  private writes = 0;

  constructor(
    private readonly client: KvsClient,
    private readonly records: number,
  ) {
    this.known = Array.from({ length: records }, () => ({ acknowledged: 0, writing: 0 }));
  }

  async fill(): Promise<void> {
    let next = 0;
    const loader = async (): Promise<void> => {
      while (next < this.records) await this.write(next++);
    };
    await Promise.all(Array.from({ length: LOADERS }, loader));
  }

  start(): void {
    this.done = this.run();
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.done;
  }

  /** Open loop: an operation begins when its time has come, whatever became of those before. */
  private async run(): Promise<void> {
    const beganMs = performance.now();
    let begun = 0;
    while (!this.stopping || this.open > 0) {
      const due = Math.floor(((performance.now() - beganMs) * RATE) / 1000);
      while (!this.stopping && begun < due) {
        const intendedMs = beganMs + (begun * 1000) / RATE;
        begun += 1;
        this.begin(begun, intendedMs);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  private begin(number: number, intendedMs: number): void {
    // Steps through all records in an order without a pattern.
    const record = (number * 7919) % this.records;
    const work = number % 2 === 0 ? this.write(record) : this.read(record);
    this.open += 1;
    void work
      .catch((error: unknown) => this.failures.push(String(error)))
      .finally(() => {
        this.open -= 1;
        // From when it was to begin: a load generator that falls behind hides nothing.
        this.samples.push({ startMs: intendedMs, ms: performance.now() - intendedMs });
      });
  }

  private async write(record: number): Promise<void> {
    const known = this.known[record]!;
    if (known.writing > 0) return;
    this.writes += 1;
    known.writing = this.writes;
    await this.client.set(keyOf(record), `${known.writing}/`.padEnd(VALUE_BYTES, '.'));
    known.acknowledged = known.writing;
    known.writing = 0;
  }

  private async read(record: number): Promise<void> {
    const known = this.known[record]!;
    const least = known.acknowledged;
    const found = await this.client.get(keyOf(record));
    const seen = found === null ? 0 : Number.parseInt(Buffer.from(found.value).toString(), 10);
    const most = Math.max(known.acknowledged, known.writing);
    if (seen < least || seen > most) {
      this.stale.push(`${keyOf(record)}: ${seen}, not from ${least} to ${most}`);
    }
  }
}

function keyOf(record: number): string {
  return `record/${String(record).padStart(9, '0')}`;
}

/**
 * A fourth server joins a cluster of many records, under a steady load, at the default rate; then,
 * when it was drained and stopped, a new one without a limit. `unlimitedOnly`: the first one joins
 * without a limit. Throws when a promise is broken.
 */
export async function measureMove(
  cluster: LocalCluster,
  connect: (leader: string) => Promise<KvsClient>,
  { records, unlimitedOnly }: { readonly records: number; readonly unlimitedOnly: boolean },
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await settled(cluster, SERVERS);
  const client = await connect(cluster.leaderAddress);
  try {
    const load = new SteadyLoad(client, records);
    say(`${SERVERS} servers; writing ${records} records of ${VALUE_BYTES} bytes`);
    const fillMs = performance.now();
    await load.fill();
    say(`written in ${((performance.now() - fillMs) / 1000).toFixed(0)} s`);
    if (!unlimitedOnly) await moveUnderLoad(cluster, client, load, say);
    await moveUnlimited(cluster, client, records, say);
  } finally {
    client.close();
  }
}

async function moveUnderLoad(
  cluster: LocalCluster,
  client: KvsClient,
  load: SteadyLoad,
  say: (line: string) => void,
): Promise<void> {
  load.start();
  await pause(BEFORE_MS);
  const before = p99(load.samples, performance.now() - BEFORE_MS + 2000, performance.now());
  say(`steady load: ${RATE} operations a second, half reads; p99 ${before.toFixed(1)} ms`);
  const preview = await client.admin.previewPlacement(1);
  const beganMs = performance.now();
  const fourth = await cluster.addServer();
  const joined = await settled(cluster, SERVERS + 1);
  tell('join at the default rate', joined, preview, say);
  const during = p99(load.samples, beganMs, performance.now());
  say(`  p99 during the move ${during.toFixed(1)} ms, ${(during / before).toFixed(2)} x before`);
  await load.stop();
  say(
    `${load.samples.length} operations, ${load.failures.length} failed, ${load.stale.length} ` +
      'reads out of order',
  );
  if (load.failures.length > 0) throw new Error(`requests failed: ${load.failures[0]}`);
  if (load.stale.length > 0) throw new Error(`stale: ${load.stale[0]}`);
  const { replicasMoved = 0, replicasLeast = 0 } = joined.viewChange ?? {};
  if (replicasMoved > replicasLeast * MOST_OVER_LEAST) throw new Error('too much was moved');
  await client.admin.steerRebalance({ rateBytes: 0 });
  await client.admin.drainServer(fourth.ports?.id ?? '');
  await settled(cluster, SERVERS);
  await fourth.stop();
}

async function moveUnlimited(
  cluster: LocalCluster,
  client: KvsClient,
  records: number,
  say: (line: string) => void,
): Promise<void> {
  // What was written before is being merged.
  await pause(REST_MS);
  await client.admin.steerRebalance({ rateBytes: 0 });
  const preview = await client.admin.previewPlacement(1);
  await cluster.addServer();
  const unlimited = await settled(cluster, SERVERS + 1);
  tell('join without a limit, without load', unlimited, preview, say);
  await cluster.killAll();
  const bare = await measureBare(Math.round(records * 0.75), VALUE_BYTES);
  const { bytesMoved = 0, elapsedMs = 1 } = unlimited.viewChange ?? {};
  const share = (bytesMoved / elapsedMs) * 1000;
  say(
    `  a bare stream of as many bytes into the same engine: ${(bare / 2 ** 20).toFixed(1)} ` +
      `MiB/s; the transfer reaches ${(share / bare).toFixed(2)} of it`,
  );
}

function tell(
  what: string,
  { viewChange }: GetStatusResponse,
  preview: Awaited<ReturnType<KvsClient['admin']['previewPlacement']>>,
  say: (line: string) => void,
): void {
  if (viewChange === undefined) return;
  const { replicasMoved, replicasLeast, recordsMoved, bytesMoved, elapsedMs } = viewChange;
  const sum = (of: (move: (typeof preview.moves)[number]) => number): number =>
    preview.moves.reduce((all, move) => all + of(move), 0);
  const [records, bytes] = [sum((move) => move.records), sum((move) => move.bytes)];
  const seconds = elapsedMs / 1000;
  const speed = (bytesMoved / 2 ** 20 / seconds).toFixed(1);
  say(`${what}: ${replicasMoved} bucket copies, least possible ${replicasLeast}`);
  say(
    `  ${recordsMoved} records, ${(bytesMoved / 2 ** 20).toFixed(1)} MiB in ` +
      `${seconds.toFixed(1)} s: ${speed} MiB/s, ${(recordsMoved / seconds).toFixed(0)} records/s`,
  );
  if (records === 0) return;
  // Without a limit nobody can tell how long it will take.
  const time =
    preview.seconds === 0
      ? ''
      : `, ${preview.seconds.toFixed(1)} s (${over(seconds, preview.seconds)} %)`;
  say(
    `  preview: ${records} records (fact ${over(recordsMoved, records)} %), ${bytes} bytes ` +
      `(${over(bytesMoved, bytes)} %)${time}`,
  );
}

/** How far a fact is over what was told, in percent. */
function over(fact: number, told: number): string {
  return ((fact / told - 1) * 100).toFixed(2);
}

function p99(samples: readonly Sample[], fromMs: number, toMs: number): number {
  const within = samples.filter(({ startMs }) => startMs >= fromMs && startMs < toMs);
  return quantile(
    within.map(({ ms }) => ms),
    0.99,
  );
}

/** Asks seldom: a status of a thousand buckets costs the view leader and this process some time. */
async function settled(cluster: LocalCluster, servers: number): Promise<GetStatusResponse> {
  const endMs = performance.now() + SETTLE_MS;
  while (performance.now() < endMs) {
    const status = await cluster.status();
    const up = status.members.filter(({ member }) => member?.state === MemberState.Up);
    const holding = up.filter(({ buckets }) => buckets > 0);
    const idle = status.viewChange?.phase === 'idle' && status.underReplicated === 0;
    if (holding.length === servers && idle) return status;
    await pause(LOOK_EVERY_MS);
  }
  throw new Error(`${servers} servers did not settle`);
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
