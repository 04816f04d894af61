import { readFileSync } from 'node:fs';

import type { ClientDuplexStream } from '@grpc/grpc-js';

import type { LocalCluster } from '../cli/local-cluster.js';
import { Heartbeat, Reconfigure } from '../core/message.js';
import { place } from '../core/policies.js';
import {
  applyDelta,
  ChangePhase,
  learnersOf,
  type Member,
  MemberState,
  NO_CHANGE,
  type View,
  type ViewDelta,
  type ViewParameters,
} from '../core/view.js';
import { insecure, leaderChannelOptions } from '../transport/channel.js';
import { leaderMessageToWire } from '../wire/convert-leader.js';
import {
  viewFromWire,
  viewToWire,
  viewUpdateFromWire,
  viewUpdateToWire,
} from '../wire/convert-view.js';
import {
  type HeartbeatRequest,
  HeartbeatResponse,
  LeaderServiceClient,
  LeaderServiceService,
  type RegisterResponse,
} from '../wire/gen/kvs/v1/leader.js';
import { View as WireView, ViewUpdate as WireUpdate } from '../wire/gen/kvs/v1/view.js';

const PARAMETERS: ViewParameters = {
  bucketCount: 16_384,
  replicaCount: 3,
  minInSync: 2,
  policy: 'ring',
  shardCount: 0,
  shardSpread: 'even',
  leaseMs: 700,
  graceMs: 805,
  rebalanceRateBytes: 0,
  rateSteered: false,
  rebalancePaused: false,
};
const HEARTBEAT_MS = 250;
const QUIET_MS = 20_000;
const DONE_MS = 300_000;
/** Streams that share a connection. */
const SHARING = 100;
/** Clock ticks of /proc in a second (USER_HZ). */
const TICKS = 100;

type Say = (line: string) => void;

/** Placement and view changes of a large cluster, computed and published. */
export async function measureScale(
  cluster: LocalCluster,
  servers: number,
  say: Say,
): Promise<void> {
  const { bucketCount, replicaCount } = PARAMETERS;
  say(`${servers} servers, ${bucketCount} buckets, ${replicaCount} replicas`);
  tellPlacing(servers, say);
  await tellLeader(cluster, servers, say);
}

function tellPlacing(servers: number, say: Say): void {
  const members = Array.from({ length: servers }, (_, at) => memberOf(at + 1));
  const timed = <T>(what: string, action: () => T): T => {
    globalThis.gc?.();
    const heap = process.memoryUsage().heapUsed;
    const beganMs = performance.now();
    const result = action();
    const ms = performance.now() - beganMs;
    const grown = (process.memoryUsage().heapUsed - heap) / 2 ** 20;
    say(`${what}: ${ms.toFixed(0)} ms, ${grown.toFixed(1)} MiB of heap`);
    return result;
  };
  const first = timed('first table', () => place(members, PARAMETERS, null));
  const view = viewOf(members, first);
  const bytes = WireView.encode(viewToWire(view)).finish().length;
  say(`  the view: ${bytes} bytes, ${(bytes / PARAMETERS.bucketCount).toFixed(1)} a bucket`);
  const changes: [string, Member[]][] = [
    ['one server joins', [...members, memberOf(servers + 1)]],
    ['one server leaves', members.slice(1)],
    [
      'ten servers join',
      [...members, ...Array.from({ length: 10 }, (_, at) => memberOf(servers + 1 + at))],
    ],
    [
      'one server gets twice the weight',
      members.map((one) => (one.ordinal === 1 ? { ...one, weight: 2 } : one)),
    ],
  ];
  for (const [what, then] of changes) {
    const table = timed(what, () => place(then, PARAMETERS, first));
    const rows = new Map(
      Array.from(table.entries())
        .filter(([bucket, target]) => String(target) !== String(first[bucket]))
        .map(([bucket, target]) => {
          const row = view.rows[bucket]!;
          return [bucket, { ...row, target, before: row.target }] as const;
        }),
    );
    const moved = table.flatMap((set, at) => set.filter((one) => !first[at]?.includes(one))).length;
    const delta: ViewDelta = {
      clusterId: view.clusterId,
      fromEpoch: 1,
      toEpoch: 2,
      parameters: null,
      members: [],
      rows,
      change: view.change,
      namespaces: null,
      reason: 'placement planned',
      atMs: 0,
    };
    const size = WireUpdate.encode(
      viewUpdateToWire({ type: 'viewUpdate', view: null, delta }),
    ).finish();
    const least = leastOf(first, table);
    say(`  moves ${moved} replicas, least ${least}; the delta: ${size.length} bytes`);
  }
}

/** The fewest replicas that any way from one table to the loads of the other moves. */
function leastOf(first: readonly number[][], then: readonly number[][]): number {
  const lacking = new Map<number, number>();
  for (const server of then.flat()) lacking.set(server, (lacking.get(server) ?? 0) + 1);
  for (const server of first.flat()) lacking.set(server, (lacking.get(server) ?? 0) - 1);
  return Array.from(lacking.values()).reduce((sum, lack) => sum + Math.max(0, lack), 0);
}

function memberOf(ordinal: number): Member {
  const id = `00000000-0000-4000-8000-${String(ordinal).padStart(12, '0')}`;
  const address = `10.0.${ordinal >> 8}.${ordinal & 255}:7000`;
  const state = MemberState.Up;
  return {
    ordinal,
    id,
    address,
    zone: '',
    weight: 1,
    state,
    incarnation: 1,
    drained: false,
    shard: 0,
    givenUp: 0,
  };
}

function viewOf(members: readonly Member[], table: readonly number[][]): View {
  return {
    clusterId: '00000000-0000-4000-8000-000000000000',
    epoch: 1,
    parameters: PARAMETERS,
    members: new Map(members.map((member) => [member.ordinal, member])),
    rows: table.map((target) => {
      return { epoch: 1, replicas: target, target, floor: 2, founded: 0, before: [] };
    }),
    change: NO_CHANGE,
    namespaces: new Map(),
    reason: 'founded',
    atMs: 0,
  };
}

/** Registered servers without data, as the view leader sees them. */
class Fleet {
  view: View | null = null;
  epochs = 0;
  bytes = 0;
  private readonly clients: LeaderServiceClient[] = [];
  private readonly streams = new Map<number, ClientDuplexStream<HeartbeatRequest, Buffer>>();
  private readonly said = new Map<number, number>();
  private beating: NodeJS.Timeout | null = null;

  constructor(private readonly leader: string) {}

  async join(ordinals: readonly number[]): Promise<void> {
    const left = [...ordinals];
    const registrar = async (): Promise<void> => {
      for (let one = left.shift(); one !== undefined; one = left.shift()) await this.register(one);
    };
    await Promise.all(Array.from({ length: SHARING }, registrar));
    this.beating ??= setInterval(() => this.beatSome(), HEARTBEAT_MS / 10);
  }

  private async register(ordinal: number): Promise<void> {
    const { id, address } = memberOf(ordinal);
    const client = this.clientFor(this.streams.size);
    const response = await new Promise<RegisterResponse>((resolve, reject) => {
      const request = {
        id,
        address,
        zone: '',
        weight: 1,
        incarnation: 1,
        clusterId: '',
        epoch: 0,
      };
      client.register({ ...request, view: undefined }, (error, answer) =>
        error === null ? resolve(answer) : reject(error),
      );
    });
    if (response.view !== undefined && (this.view?.epoch ?? -1) < response.view.epoch) {
      this.view = viewFromWire(response.view);
    }
    this.open(client, response.ordinal);
  }

  close(): void {
    if (this.beating !== null) clearInterval(this.beating);
    for (const stream of this.streams.values()) stream.cancel();
    for (const client of this.clients) client.close();
  }

  private clientFor(index: number): LeaderServiceClient {
    const at = Math.floor(index / SHARING);
    this.clients[at] ??= new LeaderServiceClient(this.leader, insecure(), leaderChannelOptions());
    return this.clients[at];
  }

  /** Only the first stream's updates are read: all get the same. */
  private open(client: LeaderServiceClient, ordinal: number): void {
    const { path, requestSerialize } = LeaderServiceService.heartbeat;
    const stream = client.makeBidiStreamRequest<HeartbeatRequest, Buffer>(
      path,
      requestSerialize,
      (bytes) => bytes,
    );
    const reads = this.streams.size === 0;
    stream.on('data', (bytes: Buffer) => {
      this.bytes += bytes.length;
      if (reads) this.take(HeartbeatResponse.decode(bytes));
    });
    stream.on('error', () => undefined);
    this.streams.set(ordinal, stream);
    this.beat(ordinal);
  }

  private take({ message }: HeartbeatResponse): void {
    if (message?.$case !== 'update') return;
    const { view, delta } = viewUpdateFromWire(message.value);
    const next = view ?? (this.view && delta ? applyDelta(this.view, delta) : null);
    if (next === null || next.epoch <= (this.view?.epoch ?? -1)) return;
    this.view = next;
    this.epochs += 1;
    if (next.change.phase === ChangePhase.Prime)
      for (const one of this.streams.keys()) this.beat(one);
    if (next.change.phase === ChangePhase.Move) this.handOver(next);
  }

  /** Every learner has caught up at once. */
  private handOver(view: View): void {
    for (const [bucket, row] of view.rows.entries()) {
      const [learner] = learnersOf(row);
      if (learner === undefined || this.said.get(bucket) === row.epoch) continue;
      this.said.set(bucket, row.epoch);
      const request = new Reconfigure(bucket, row.epoch, learner, 100, 100, 10_000);
      this.streams.get(row.replicas[0] ?? 0)?.write(leaderMessageToWire(request));
    }
  }

  private next = 0;

  private beatSome(): void {
    const ordinals = Array.from(this.streams.keys());
    for (let sent = 0; sent < ordinals.length / 10; sent += 1) {
      this.next = (this.next + 1) % ordinals.length;
      this.beat(ordinals[this.next] ?? 1);
    }
  }

  private beat(ordinal: number): void {
    const epoch = this.view?.epoch ?? 0;
    const nothing = [] as const;
    const counts = [{ to: 1, recordsPlanned: 0, recordsSent: 0, bytesPlanned: 0, bytesSent: 0 }];
    const beat = new Heartbeat(
      ordinal,
      1,
      epoch,
      100,
      10_000,
      33,
      counts,
      false,
      nothing,
      nothing,
      nothing,
      nothing,
    );
    this.streams.get(ordinal)?.write(leaderMessageToWire(beat));
  }
}

async function tellLeader(cluster: LocalCluster, servers: number, say: Say): Promise<void> {
  await cluster.start(0);
  const { leader } = cluster;
  const fleet = new Fleet(cluster.leaderAddress);
  try {
    const ordinals = Array.from({ length: servers }, (_, at) => at + 1);
    await costing(leader.pid, 'register all, found the cluster', say, async () => {
      await fleet.join(ordinals);
      await until(() => fleet.view?.change.phase !== ChangePhase.Prime && settled(fleet, servers));
    });
    await costing(leader.pid, `${servers} heartbeat streams, at rest`, say, () => pause(QUIET_MS));
    const before = { epochs: fleet.epochs, bytes: fleet.bytes };
    await costing(leader.pid, 'one more server joins, to the end of the change', say, async () => {
      await fleet.join([servers + 1]);
      await until(
        () => settled(fleet, servers + 1) && fleet.view?.change.phase === ChangePhase.Done,
      );
    });
    const mebibytes = (fleet.bytes - before.bytes) / 2 ** 20;
    say(`  ${fleet.epochs - before.epochs} epochs, ${mebibytes.toFixed(1)} MiB to all servers`);
  } finally {
    fleet.close();
  }
}

/** The cluster is founded, everyone holds something and nothing is left to move. */
function settled({ view }: Fleet, servers: number): boolean {
  if (view === null || view.rows.length === 0 || view.members.size < servers) return false;
  const holders = new Set(view.rows.flatMap(({ replicas }) => replicas));
  return holders.size >= servers && view.rows.every((row) => learnersOf(row).length === 0);
}

async function costing(
  pid: number,
  what: string,
  say: Say,
  action: () => Promise<unknown>,
): Promise<void> {
  const before = cpuSeconds(pid);
  const beganMs = performance.now();
  await action();
  const seconds = (performance.now() - beganMs) / 1000;
  const cpu = cpuSeconds(pid) - before;
  say(
    `${what}: ${seconds.toFixed(1)} s, view leader ${cpu.toFixed(2)} s of CPU ` +
      `(${((100 * cpu) / seconds).toFixed(1)} %), ${residentMebibytes(pid)} MiB resident`,
  );
}

/** User and system time of a process (proc(5), stat). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function residentMebibytes(pid: number): string {
  const kibibytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kibibytes) / 1024).toFixed(0);
}

async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + DONE_MS;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error('the view leader does not get on');
    await pause(50);
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
