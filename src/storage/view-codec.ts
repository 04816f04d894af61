import type { Mode, Namespace } from '../core/namespace.js';
import type {
  BucketRow,
  ChangePhase,
  Member,
  MemberState,
  View,
  ViewChange,
  ViewDelta,
  ViewParameters,
} from '../core/view.js';
import type { ByteReader, ByteWriter } from './bytes.js';

/** Layout of a view inside a record; the record's format number covers it. */
export function writeView(out: ByteWriter, view: View): void {
  out.text(view.clusterId);
  out.number(view.epoch);
  writeParameters(out, view.parameters);
  out.list([...view.members.values()], (member) => writeMember(out, member));
  out.list(view.rows, (row) => writeRow(out, row));
  writeChange(out, view.change);
  out.list([...view.namespaces.values()], (namespace) => writeNamespace(out, namespace));
  out.text(view.reason);
  out.number(view.atMs);
}

export function readView(input: ByteReader): View {
  return {
    clusterId: input.text(),
    epoch: input.number(),
    parameters: readParameters(input),
    members: new Map(input.list(() => readMember(input)).map((member) => [member.ordinal, member])),
    rows: input.list(() => readRow(input)),
    change: readChange(input),
    namespaces: byNumber(input.list(() => readNamespace(input))),
    reason: input.text(),
    atMs: input.number(),
  };
}

/** The same parts as in a view; what did not change is left out. */
export function writeViewDelta(out: ByteWriter, delta: ViewDelta): void {
  out.text(delta.clusterId);
  out.number(delta.fromEpoch);
  out.number(delta.toEpoch);
  out.list(delta.parameters === null ? [] : [delta.parameters], (one) => writeParameters(out, one));
  out.list(delta.members, (member) => writeMember(out, member));
  out.list([...delta.rows], ([bucket, row]) => {
    out.u32(bucket);
    writeRow(out, row);
  });
  out.list(delta.change === null ? [] : [delta.change], (change) => writeChange(out, change));
  out.list(delta.namespaces === null ? [] : [delta.namespaces], (namespaces) => {
    out.list([...namespaces.values()], (namespace) => writeNamespace(out, namespace));
  });
  out.text(delta.reason);
  out.number(delta.atMs);
}

export function readViewDelta(input: ByteReader): ViewDelta {
  return {
    clusterId: input.text(),
    fromEpoch: input.number(),
    toEpoch: input.number(),
    parameters: input.list(() => readParameters(input))[0] ?? null,
    members: input.list(() => readMember(input)),
    rows: new Map(input.list(() => [input.u32(), readRow(input)] as const)),
    change: input.list(() => readChange(input))[0] ?? null,
    namespaces: input.list(() => byNumber(input.list(() => readNamespace(input))))[0] ?? null,
    reason: input.text(),
    atMs: input.number(),
  };
}

function writeNamespace(out: ByteWriter, { number, name, mode, ...more }: Namespace): void {
  out.u32(number);
  out.text(name);
  out.u8(mode);
  out.number(more.ttlMs);
  out.u32(more.replicas);
  out.u32(more.pool);
  out.boolean(more.deleted);
}

function readNamespace(input: ByteReader): Namespace {
  const [number, name] = [input.u32(), input.text()];
  const [mode, ttlMs] = [input.u8() as Mode, input.number()];
  const [replicas, pool, deleted] = [input.u32(), input.u32(), input.boolean()];
  return { number, name, mode, ttlMs, replicas, pool, deleted };
}

function byNumber(namespaces: readonly Namespace[]): Map<number, Namespace> {
  return new Map(namespaces.map((namespace) => [namespace.number, namespace]));
}

function writeParameters(out: ByteWriter, parameters: ViewParameters): void {
  out.u32(parameters.bucketCount);
  out.u32(parameters.replicaCount);
  out.u32(parameters.minInSync);
  out.text(parameters.policy);
  out.u32(parameters.shardCount);
  out.text(parameters.shardSpread);
  out.number(parameters.leaseMs);
  out.number(parameters.graceMs);
  out.number(parameters.rebalanceRateBytes);
  out.u8(parameters.rateSteered ? 1 : 0);
  out.u8(parameters.rebalancePaused ? 1 : 0);
}

function readParameters(input: ByteReader): ViewParameters {
  return {
    bucketCount: input.u32(),
    replicaCount: input.u32(),
    minInSync: input.u32(),
    policy: input.text(),
    shardCount: input.u32(),
    shardSpread: input.text(),
    leaseMs: input.number(),
    graceMs: input.number(),
    rebalanceRateBytes: input.number(),
    rateSteered: input.u8() !== 0,
    rebalancePaused: input.u8() !== 0,
  };
}

function writeChange(out: ByteWriter, change: ViewChange): void {
  out.number(change.number);
  out.number(change.planned);
  out.u8(change.phase);
  out.u8(change.cancelled ? 1 : 0);
  out.u32(change.replicasPlanned);
  out.u32(change.replicasMoved);
  out.u32(change.replicasLeast);
  out.number(change.recordsExpected);
  out.number(change.bytesExpected);
  out.number(change.recordsSent);
  out.number(change.recordsTaken);
  out.number(change.bytesSent);
  out.number(change.beganAtMs);
  out.number(change.endedAtMs);
}

function readChange(input: ByteReader): ViewChange {
  return {
    number: input.number(),
    planned: input.number(),
    phase: input.u8() as ChangePhase,
    cancelled: input.u8() !== 0,
    replicasPlanned: input.u32(),
    replicasMoved: input.u32(),
    replicasLeast: input.u32(),
    recordsExpected: input.number(),
    bytesExpected: input.number(),
    recordsSent: input.number(),
    recordsTaken: input.number(),
    bytesSent: input.number(),
    beganAtMs: input.number(),
    endedAtMs: input.number(),
  };
}

function writeMember(out: ByteWriter, member: Member): void {
  out.u32(member.ordinal);
  out.text(member.id);
  out.text(member.address);
  out.text(member.zone);
  out.number(member.weight);
  out.u8(member.state);
  out.u32(member.incarnation);
  out.u8(member.drained ? 1 : 0);
  out.u32(member.shard);
  out.number(member.givenUp);
}

function readMember(input: ByteReader): Member {
  return {
    ordinal: input.u32(),
    id: input.text(),
    address: input.text(),
    zone: input.text(),
    weight: input.number(),
    state: input.u8() as MemberState,
    incarnation: input.u32(),
    drained: input.u8() !== 0,
    shard: input.u32(),
    givenUp: input.number(),
  };
}

function writeRow(out: ByteWriter, row: BucketRow): void {
  out.number(row.epoch);
  out.list(row.replicas, (ordinal) => out.u32(ordinal));
  out.list(row.target, (ordinal) => out.u32(ordinal));
  out.u32(row.floor);
  out.number(row.founded);
  out.list(row.before, (ordinal) => out.u32(ordinal));
}

function readRow(input: ByteReader): BucketRow {
  return {
    epoch: input.number(),
    replicas: input.list(() => input.u32()),
    target: input.list(() => input.u32()),
    floor: input.u32(),
    founded: input.number(),
    before: input.list(() => input.u32()),
  };
}
