import type { Daemon, LocalCluster } from '../cli/local-cluster.js';
import { connect, type KvsClient } from '../client/index.js';

const SERVERS = 3;
const REPLICAS = 3;
const RECORDS = 20_000;
const HANDS = 8;
const AT_ONCE = 256;
const TIMEOUT_MS = 30_000;
const SETTLE_MS = 60_000;
/** The victim dies at some time after the first replica has moved. */
const WITHIN_MS = 800;
const ROLES = ['donor', 'receiver', 'view leader'] as const;

type Role = (typeof ROLES)[number];

/** Slow enough that something is left to move when the victim dies. */
export const MOVE_OPTIONS = ['--rebalance-rate', '256KiB'];

/**
 * Let a server join, kill one that takes part in the move, again and again, under writes. Throws
 * when the move does not complete, a write fails, or the records and their replicas do not count.
 */
export async function killMovers(
  cluster: LocalCluster,
  times: number,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const client = await connect({ leader: cluster.leaderAddress, timeoutMs: TIMEOUT_MS });
  try {
    const records = new Records(client);
    await records.fill();
    for (const role of ROLES) {
      let worstMs = 0;
      const writtenBefore = records.written;
      for (let time = 1; time <= times; time += 1) {
        worstMs = Math.max(worstMs, await round(cluster, client, records, role));
      }
      say(
        `${role} killed ${times} times in the middle of a move: completed each time, ` +
          `${(worstMs / 1000).toFixed(1)} s after the kill at worst; ` +
          `${records.written - writtenBefore} writes ` +
          `meanwhile, none failed; ${RECORDS} records and ${RECORDS * REPLICAS} replicas counted`,
      );
    }
  } finally {
    client.close();
  }
}

/** From the kill until the move was complete, ms. */
async function round(
  cluster: LocalCluster,
  client: KvsClient,
  records: Records,
  role: Role,
): Promise<number> {
  records.start();
  const receiver = await cluster.addServer();
  await cluster.waitForStatus('the move', SETTLE_MS, ({ viewChange }) => {
    return viewChange?.phase === 'moving' && viewChange.replicasMoved > 0;
  });
  await new Promise((resolve) => setTimeout(resolve, Math.random() * WITHIN_MS));
  const victim = victimOf(cluster, receiver, role);
  const listen = ['--listen', victim.listen];
  await victim.kill();
  const startMs = performance.now();
  victim.spawn(listen);
  await victim.ready();
  await cluster.settled(SERVERS + 1);
  const tookMs = performance.now() - startMs;
  await records.stop();
  await cluster.waitForStatus('all replicas', SETTLE_MS, (status) => {
    const replicas = status.members.reduce((sum, member) => sum + member.records, 0);
    return status.records === RECORDS && replicas === RECORDS * REPLICAS;
  });
  await records.verify();
  await takeOut(cluster, client, receiver);
  return tookMs;
}

function victimOf(cluster: LocalCluster, receiver: Daemon, role: Role): Daemon {
  if (role === 'receiver') return receiver;
  if (role === 'view leader') return cluster.leader;
  const donors = cluster.servers.filter((server) => server.alive && server !== receiver);
  const donor = donors[Math.floor(Math.random() * donors.length)];
  if (donor === undefined) throw new Error('there is no donor');
  return donor;
}

async function takeOut(cluster: LocalCluster, client: KvsClient, server: Daemon): Promise<void> {
  const id = server.ports?.id ?? '';
  await client.admin.drainServer(id);
  await cluster.waitForStatus('an empty server', SETTLE_MS, ({ members }) => {
    return members.find(({ member }) => member?.id === id)?.buckets === 0;
  });
  await server.stop();
  await client.admin.removeServer(id);
  await cluster.settled(SERVERS);
}

/** Records that are overwritten all the time, and what each should be. */
class Records {
  written = 0;
  private readonly values = new Map<string, string>();
  private stopping = true;
  private hands: Promise<unknown> = Promise.resolve();

  constructor(private readonly client: KvsClient) {}

  async fill(): Promise<void> {
    for (let from = 0; from < RECORDS; from += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, RECORDS - from) }, (_, at) => from + at);
      await Promise.all(some.map((index) => this.write(index)));
    }
  }

  start(): void {
    this.stopping = false;
    // Each hand has keys of its own, so that the last value is known.
    const work = async (hand: number): Promise<void> => {
      while (!this.stopping) {
        await this.write(hand + HANDS * Math.floor(Math.random() * (RECORDS / HANDS)));
        this.written += 1;
      }
    };
    this.hands = Promise.all(Array.from({ length: HANDS }, (_, hand) => work(hand)));
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.hands;
  }

  /** Throws when a record is not what was written last. */
  async verify(): Promise<void> {
    const left = new Map(this.values);
    for await (const { key, value } of this.client.export('record ')) {
      const name = Buffer.from(key).toString();
      const wanted = left.get(name);
      if (wanted !== Buffer.from(value).toString()) throw new Error(`D2: ${name} is not ${wanted}`);
      left.delete(name);
    }
    if (left.size > 0) throw new Error(`D2: ${left.size} records are lost`);
  }

  private async write(index: number): Promise<void> {
    const key = `record ${index}`;
    const value = `${index} ${Math.random()} `.padEnd(128, '.');
    await this.client.set(key, value);
    this.values.set(key, value);
  }
}
