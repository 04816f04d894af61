// A handful of server machines in one thread with a network that a test steers. For scenarios of
// one rule; whole clusters under random faults are the simulator's.
import { DEFAULT_SERVER_SETTINGS } from '../../src/core/host.js';
import type { BucketId, Key, Ordinal } from '../../src/core/ids.js';
import { type LeaderMessage, type PeerMessage, ViewUpdate } from '../../src/core/message.js';
import {
  ConditionKind,
  type ConditionalWrite,
  Operation,
  OperationKind,
  type ReadSet,
  type Result,
  type StoredRecord,
} from '../../src/core/operation.js';
import type {
  Alarm,
  Completion,
  LogRecord,
  Outbox,
  RecordCounts,
  SelfMessage,
  StateStore,
} from '../../src/core/outbox.js';
import { DamagedBucket } from '../../src/core/outbox.js';
import { Recovery } from '../../src/core/recovery.js';
import { StorageServer } from '../../src/core/server.js';
import { NO_CHANGE, type BucketRow, MemberState, type View } from '../../src/core/view.js';

export class MapStore implements StateStore {
  readonly buckets = new Map<BucketId, Map<Key, StoredRecord>>();

  /** Keys whose record fails its checksum. */
  readonly damaged = new Set<Key>();

  get(bucket: BucketId, key: Key): StoredRecord | undefined {
    if (this.damaged.has(key)) throw new DamagedBucket(bucket, `${key} is damaged`);
    return this.buckets.get(bucket)?.get(key);
  }

  put(bucket: BucketId, record: StoredRecord): void {
    const rows = this.buckets.get(bucket) ?? new Map<Key, StoredRecord>();
    this.buckets.set(bucket, rows.set(record.key, record));
  }

  remove(bucket: BucketId, key: Key): void {
    this.buckets.get(bucket)?.delete(key);
  }

  clear(bucket: BucketId): void {
    this.buckets.delete(bucket);
  }

  counts(bucket: BucketId): RecordCounts {
    return { records: this.buckets.get(bucket)?.size ?? 0, bytes: 0 };
  }

  page(bucket: BucketId, after: Key, limit: number): { records: StoredRecord[]; more: boolean } {
    const rows = Array.from(this.buckets.get(bucket)?.values() ?? [])
      .filter(({ key }) => key > after)
      .toSorted((a, b) => (a.key < b.key ? -1 : 1));
    return { records: rows.slice(0, limit), more: rows.length > limit };
  }
}

interface Packet {
  readonly from: Ordinal;
  readonly to: Ordinal;
  readonly message: PeerMessage;
}

/** One server with its log and store; both survive `Cluster.restart`. */
export class Node implements Outbox {
  store = new MapStore();
  log: LogRecord[] = [];
  machine: StorageServer;
  readonly toLeaderMessages: LeaderMessage[] = [];
  readonly alarms: Alarm[] = [];
  /** The disk does nothing any more. */
  stuck = false;
  /** Work that ends when the test lets it: flushed, scanned, ingested. */
  private work: (() => void)[] = [];

  constructor(
    private readonly cluster: Cluster,
    readonly ordinal: Ordinal,
    incarnation: number,
    former: Node | null = null,
  ) {
    if (former !== null) this.log = former.log;
    const recovery = new Recovery(new Map(), null, this.store, ordinal);
    for (const [position, record] of this.log.entries()) recovery.scan(position, record);
    for (const [position, record] of this.log.entries()) recovery.replay(position, record);
    const { now } = cluster;
    const identity = { ordinal, incarnation };
    const recovered = recovery.finish();
    const settings = DEFAULT_SERVER_SETTINGS;
    this.machine = new StorageServer(identity, settings, this.store, recovered, now, 0);
    this.machine.start(now, this);
  }

  get busy(): boolean {
    return this.work.length > 0 && !this.stuck;
  }

  finishWork(): void {
    if (this.stuck) return;
    const { work } = this;
    this.work = [];
    for (const done of work) done();
  }

  send(to: Ordinal, message: PeerMessage): void {
    this.cluster.packets.push({ from: this.ordinal, to, message });
  }

  persist(record: LogRecord): void {
    this.log.push(record);
  }

  sendAfter(to: Ordinal, message: PeerMessage | SelfMessage): void {
    this.work.push(() => {
      if (to === this.ordinal) this.machine.durable(message, this.cluster.now, this);
      else this.send(to, message as PeerMessage);
    });
  }

  toLeader(message: LeaderMessage): void {
    this.toLeaderMessages.push(message);
  }

  answer(request: number, result: Result): void {
    const origin = this.cluster.forwards.get(request);
    if (origin === undefined) this.cluster.results.set(request, result);
    else origin.node.machine.onForwarded(origin.request, result, this.cluster.now, origin.node);
  }

  forward(to: Ordinal, request: number, operation: Operation): void {
    const { nodes, forwards, now } = this.cluster;
    const target = nodes.get(to);
    const forwarded = this.cluster.newRequest();
    forwards.set(forwarded, { node: this, request });
    target?.machine.submit(forwarded, operation, now, target);
  }

  scan(token: number, bucket: BucketId, after: Key, limit: number): void {
    this.completes(() => ({ type: 'scanned', token, ...this.store.page(bucket, after, limit) }));
  }

  ingest(token: number, bucket: BucketId, records: readonly StoredRecord[], first: boolean): void {
    this.completes(() => {
      if (first) this.store.clear(bucket);
      for (const record of records) this.store.put(bucket, record);
      return { type: 'ingested', token };
    });
  }

  readLog(token: number): void {
    this.completes(() => ({ type: 'logRead', token, entries: null }));
  }

  digest(token: number, bucket: BucketId): void {
    const digest = this.store
      .page(bucket, '', Infinity)
      .records.map(({ key, version, value }) => `${key}@${version}=${value.join()}`);
    this.completes(() => ({ type: 'digested', token, digest: digest.join(';') }));
  }

  /** Every input here ends a batch. */
  flushIn(): void {}

  alarm(alarm: Alarm): void {
    this.alarms.push(alarm);
  }

  private completes(make: () => Completion): void {
    this.work.push(() => this.machine.complete(make(), this.cluster.now, this));
  }
}

const PARAMETERS = {
  bucketCount: 1,
  replicaCount: 3,
  minInSync: 2,
  policy: 'ring',
  shardCount: 0,
  shardSpread: 'even',
  leaseMs: 700,
  graceMs: 800,
  rebalanceRateBytes: 0,
  rateSteered: false,
  rebalancePaused: false,
};

/** A view with one bucket. */
export function viewOf(epoch: number, row: BucketRow, members: readonly Ordinal[]): View {
  return {
    clusterId: 'test',
    epoch,
    parameters: PARAMETERS,
    namespaces: new Map(),
    members: new Map(
      members.map((ordinal) => [
        ordinal,
        {
          ordinal,
          id: `id-${ordinal}`,
          address: `host:${ordinal}`,
          zone: '',
          weight: 1,
          state: MemberState.Up,
          incarnation: 1,
          drained: false,
          shard: 0,
          givenUp: 0,
        },
      ]),
    ),
    rows: [row],
    change: NO_CHANGE,
    reason: '',
    atMs: 0,
  };
}

export function rowOf(
  epoch: number,
  replicas: readonly Ordinal[],
  target: readonly Ordinal[] = replicas,
  floor = Math.min(2, replicas.length),
): BucketRow {
  return { epoch, replicas, target, floor, founded: 0, before: [] };
}

const TICK_MS = 20;

export class Cluster {
  now = 10_000;
  packets: Packet[] = [];
  readonly nodes = new Map<Ordinal, Node>();
  readonly results = new Map<number, Result>();
  /** Requests that a server handed to another one. */
  readonly forwards = new Map<number, { readonly node: Node; readonly request: number }>();
  /** Packets that the network loses. */
  lost: (packet: Packet) => boolean = () => false;
  private nextRequest = 1;
  private nextWrite = 1;

  constructor(ordinals: readonly Ordinal[]) {
    for (const ordinal of ordinals) this.nodes.set(ordinal, new Node(this, ordinal, 1));
  }

  node(ordinal: Ordinal): Node {
    const node = this.nodes.get(ordinal);
    if (node === undefined) throw new Error(`no server ${ordinal}`);
    return node;
  }

  /** SIGKILL and start: only what was logged survives. */
  restart(ordinal: Ordinal, incarnation: number): void {
    this.nodes.set(ordinal, new Node(this, ordinal, incarnation, this.node(ordinal)));
  }

  /** Hand a view to some servers, all of them by default. */
  adopt(view: View, to: Iterable<Ordinal> = this.nodes.keys()): void {
    for (const ordinal of to) {
      const node = this.node(ordinal);
      node.machine.peer(0, new ViewUpdate(view, null), this.now, node);
    }
    this.settle();
  }

  /** Hand a view to one server, and let nothing follow from it yet. */
  deliver(view: View, to: Ordinal): void {
    const node = this.node(to);
    node.machine.peer(0, new ViewUpdate(view, null), this.now, node);
    // Adopted when it is durable.
    node.finishWork();
  }

  /** End the batch of inputs on every server. */
  endBatch(): void {
    for (const node of this.nodes.values()) node.machine.flush(this.now, node);
  }

  /** Deliver and flush until nothing is under way. */
  settle(): void {
    for (let round = 0; round < 10_000; round += 1) {
      const packets = this.packets.filter((packet) => !this.lost(packet));
      this.packets = [];
      for (const { from, to, message } of packets) {
        const node = this.nodes.get(to);
        node?.machine.peer(from, message, this.now, node);
      }
      for (const node of this.nodes.values()) {
        node.machine.flush(this.now, node);
        node.finishWork();
      }
      const busy = Array.from(this.nodes.values()).some((node) => node.busy);
      if (this.packets.length === 0 && !busy) return;
    }
    throw new Error('the cluster does not come to rest');
  }

  /** Let time pass. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      this.now += TICK_MS;
      for (const node of this.nodes.values()) node.machine.tick(this.now, node);
      this.settle();
    }
  }

  /** Submit without waiting; the result appears in `results`. */
  submit(at: Ordinal, operation: Operation): number {
    const request = this.newRequest();
    const node = this.node(at);
    node.machine.submit(request, operation, this.now, node);
    return request;
  }

  /** Submit and let the network and the disks work; undefined when not answered at once. */
  run(at: Ordinal, operation: Operation): Result | undefined {
    const request = this.submit(at, operation);
    this.settle();
    return this.results.get(request);
  }

  newRequest(): number {
    return this.nextRequest++;
  }

  get(key: string): Operation {
    return operationOf(OperationKind.Get, key, null, 0);
  }

  confirmedGet(key: string): Operation {
    return operationOf(OperationKind.ConfirmedGet, key, null, 0);
  }

  getr(keys: readonly string[]): Operation {
    const reads = { keys, holdMs: 0 };
    return operationOf(OperationKind.GetR, keys[0] ?? '', null, 0, 0, 0, null, reads);
  }

  set(key: string, value: string, number = this.nextWrite++): Operation {
    return operationOf(OperationKind.Set, key, value, number);
  }

  delete(key: string, number = this.nextWrite++): Operation {
    return operationOf(OperationKind.Delete, key, null, number);
  }

  setIf(key: string, value: string, version: number): Operation {
    const condition = ConditionKind.IfVersion;
    return operationOf(OperationKind.Set, key, value, this.nextWrite++, condition, version);
  }

  /** Of the keys that begin with `prefix`. */
  scan(bucket: BucketId, prefix = ''): Operation {
    return operationOf(OperationKind.Scan, prefix, null, 0, 0, 0, null, null, bucket, 100);
  }

  setr(writes: readonly ConditionalWrite[]): Operation {
    const key = writes[0]?.key ?? '';
    return operationOf(OperationKind.SetR, key, null, this.nextWrite++, 0, 0, writes);
  }
}

function operationOf(
  kind: OperationKind,
  key: string,
  value: string | null,
  number: number,
  condition: ConditionKind = ConditionKind.None,
  ifVersion = 0,
  writes: readonly ConditionalWrite[] | null = null,
  reads: ReadSet | null = null,
  bucket: BucketId = 0,
  limit = 0,
): Operation {
  const bytes = value === null ? null : new TextEncoder().encode(value);
  const client = 'test-client-0001';
  return new Operation(
    kind,
    key,
    bytes,
    condition,
    ifVersion,
    client,
    number,
    0,
    writes,
    bucket,
    limit,
    0,
    5000,
    0,
    reads,
  );
}

export function text(result: Result | undefined): string | null {
  if (result?.found !== true || result.value === null) return null;
  return new TextDecoder().decode(result.value);
}
