// What the tests of the wire share: arbitrary operations, results and messages, and the fields of
// encoded messages.
import { Buffer } from 'node:buffer';

import { expect } from '@jest/globals';
import * as fc from 'fast-check';

import * as causal from '../../src/core/causal-message.js';
import { Entry, EntryKind } from '../../src/core/entry.js';
import * as message from '../../src/core/message.js';
import { Mode } from '../../src/core/namespace.js';
import {
  ConditionKind,
  NO_RECORDS,
  Operation,
  OperationKind,
  Result,
} from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { ChangePhase, MemberState, type View } from '../../src/core/view.js';

export const whole = fc.maxSafeNat();
export const small = fc.nat(2 ** 32 - 1);
const binary = fc
  .uint8Array({ maxLength: 12 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const client = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const bytes = fc.uint8Array({ maxLength: 20 }).map((array): Uint8Array => Buffer.from(array));
const text = fc.string({ maxLength: 10 });
const code = fc.constantFrom(...Object.values(Code));
export const some = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.array(item, { maxLength: 3 });

const body = fc.record({
  coordinatorBucket: small,
  participants: some(small),
  writes: some(fc.record({ key: binary, value: fc.option(bytes) })),
  commit: fc.boolean(),
  detail: text,
});

const entry = fc.constantFrom(...Object.values(EntryKind)).chain((kind) => {
  const single = kind === EntryKind.Set || kind === EntryKind.Delete;
  const value = kind === EntryKind.Set ? bytes : fc.constant(null);
  const transaction =
    single || kind === EntryKind.Forget || kind === EntryKind.Digest ? fc.constant(null) : body;
  return fc
    .tuple(whole, whole, whole, whole, whole, client, whole, whole, binary, value, transaction)
    .map((fields) => new Entry(kind, ...fields));
});

const result = fc.record({
  version: whole,
  previous: whole,
  found: fc.boolean(),
  committed: fc.boolean(),
  participants: small,
});

const meta = fc.record({
  sequence: whole,
  ballot: whole,
  version: whole,
  clockMs: whole,
  life: fc.constant(0),
  dedup: some(
    fc.record({ client, floor: whole, atMs: whole, results: some(fc.tuple(whole, result)) }),
  ),
  intents: some(entry),
  decisions: some(entry),
  // The causal half never travels in a snapshot.
  causal: fc.constant(null),
});

const stored = fc.record({ key: binary, value: bytes, version: whole });
const condition = fc.constantFrom(...Object.values(ConditionKind));
const write = fc.record({
  key: binary,
  value: fc.option(bytes),
  condition,
  ifVersion: whole,
});

const parameters = fc.record({
  bucketCount: fc.constant(2),
  replicaCount: small,
  minInSync: small,
  policy: text,
  shardCount: small,
  shardSpread: text,
  leaseMs: small,
  graceMs: small,
  rebalanceRateBytes: whole,
  rateSteered: fc.boolean(),
  rebalancePaused: fc.boolean(),
});
const row = fc.record({
  epoch: whole,
  replicas: some(small),
  target: some(small),
  floor: small,
  founded: whole,
  before: some(small),
});
const member = fc.record({
  ordinal: small,
  id: text,
  address: text,
  zone: text,
  weight: fc.double({ noNaN: true, min: 0.25, max: 8 }),
  state: fc.constantFrom(...Object.values(MemberState)),
  incarnation: small,
  drained: fc.boolean(),
  shard: small,
  givenUp: whole,
});
const members = some(member).map((list) => new Map(list.map((one) => [one.ordinal, one])));
const change = fc.record({
  number: whole,
  planned: whole,
  phase: fc.constantFrom(...Object.values(ChangePhase)),
  cancelled: fc.boolean(),
  replicasPlanned: small,
  replicasMoved: small,
  replicasLeast: small,
  recordsExpected: whole,
  bytesExpected: whole,
  recordsSent: whole,
  recordsTaken: whole,
  bytesSent: whole,
  beganAtMs: whole,
  endedAtMs: whole,
});
const namespaces = some(
  fc.record({
    number: small,
    name: text,
    mode: fc.constantFrom(...Object.values(Mode)),
    ttlMs: whole,
    replicas: small,
    pool: small,
    deleted: fc.boolean(),
  }),
).map((list) => new Map(list.map((one) => [one.number, one])));
const view: fc.Arbitrary<View> = fc.record({
  clusterId: text,
  epoch: whole,
  parameters,
  members,
  rows: fc.tuple(row, row),
  change,
  namespaces,
  reason: text,
  atMs: whole,
});
const delta = fc.record({
  clusterId: text,
  fromEpoch: whole,
  toEpoch: whole,
  parameters: fc.option(parameters),
  members: fc.uniqueArray(member, { maxLength: 3, selector: ({ ordinal }) => ordinal }),
  rows: some(fc.tuple(small, row)).map((rows) => new Map(rows)),
  change: fc.option(change),
  namespaces: fc.option(namespaces),
  reason: text,
  atMs: whole,
});

// Bytes are equal when they hold the same, whatever class carries them.
expect.addEqualityTesters([
  (a: unknown, b: unknown) =>
    ArrayBuffer.isView(a) && ArrayBuffer.isView(b)
      ? Buffer.from(a as Uint8Array).equals(Buffer.from(b as Uint8Array))
      : undefined,
]);

const vector = some(fc.tuple(small, whole)).map(
  (list): ReadonlyMap<number, number> => new Map(list),
);
const causalRecord = fc.record({
  key: binary,
  value: fc.option(bytes),
  clock: whole,
  writer: small,
  number: whole,
  past: vector,
  epoch: whole,
  expires: whole,
});
const stamp = fc.record({ key: binary, clock: whole, writer: small, number: whole });
const context = fc.record({ clock: whole, epoch: whole, seen: vector });

type Made = message.PeerMessage;

/** One of each kind; a kind that is missing here is a type error. */
export const messages: Record<Made['type'], fc.Arbitrary<Made>> = {
  causalPush: fc
    .tuple(small, whole, whole, fc.boolean(), some(causalRecord), whole)
    .map((fields) => new causal.CausalPush(...fields)),
  causalAck: fc
    .tuple(small, vector, whole, whole, some(small), fc.boolean(), whole)
    .map((fields) => new causal.CausalAck(...fields)),
  causalMark: fc.tuple(whole, whole, vector).map((fields) => new causal.CausalMark(...fields)),
  causalBehind: small.map((bucket) => new causal.CausalBehind(bucket)),
  causalDigest: fc
    .tuple(small, whole, some(whole))
    .map((fields) => new causal.CausalDigest(...fields)),
  causalStamps: fc
    .tuple(small, whole, vector, whole, some(small), some(small), some(stamp))
    .map((fields) => new causal.CausalStamps(...fields)),
  causalPull: fc
    .tuple(
      small,
      whole,
      small,
      some(binary),
      some(causalRecord),
      fc.option(vector),
      whole,
      some(stamp),
    )
    .map((fields) => new causal.CausalPull(...fields)),
  causalRecords: fc
    .tuple(small, whole, small, small, some(causalRecord))
    .map((fields) => new causal.CausalRecords(...fields)),
  digestReport: fc.tuple(small, whole, text).map((fields) => new message.DigestReport(...fields)),
  prepare: fc
    .tuple(small, whole, small, whole, whole, fc.boolean(), some(entry))
    .map(([bucket, ballot, previous, previousBallot, commit, settle, list]) => {
      const entries = list.map((one, index) => {
        return Object.assign(Object.create(Entry.prototype), one, {
          sequence: previous + index + 1,
        }) as Entry;
      });
      return new message.Prepare(bucket, ballot, previous, previousBallot, commit, settle, entries);
    }),
  prepareAck: fc
    .tuple(small, whole, whole, whole)
    .map((fields) => new message.PrepareAck(...fields)),
  prepareRefused: fc
    .tuple(small, whole, whole, whole, fc.constantFrom(...Object.values(message.RefusedBecause)))
    .map((fields) => new message.PrepareRefused(...fields)),
  beacon: fc.tuple(whole, fc.double({ noNaN: true, min: 0, max: 1e12 })).map((fields) => {
    return new message.Beacon(...fields);
  }),
  beaconAnswer: fc.tuple(whole, fc.double({ noNaN: true, min: 0, max: 1e12 })).map((fields) => {
    return new message.BeaconAnswer(...fields);
  }),
  learnProbe: fc.tuple(small, whole).map((fields) => new message.LearnProbe(...fields)),
  learnState: fc
    .tuple(small, whole, whole, whole, whole, whole)
    .map((fields) => new message.LearnState(...fields)),
  snapshotChunk: fc
    .tuple(small, whole, whole, fc.nat(2), fc.boolean(), some(stored), meta, whole)
    .map(([bucket, ballot, transfer, index, last, records, first, total]) => {
      const state = index === 0 ? first : null;
      const head = [bucket, ballot, transfer, index, last] as const;
      return new message.SnapshotChunk(...head, records, state, total);
    }),
  snapshotAck: fc
    .tuple(small, whole, whole, small, whole)
    .map((fields) => new message.SnapshotAck(...fields)),
  voteRequest: fc
    .tuple(client, whole, whole, small, small, some(small), some(write))
    .map((fields) => new message.VoteRequest(...fields)),
  vote: fc
    .tuple(client, whole, small, small, fc.boolean(), whole, code, text)
    .map(([id, number, from, to, yes, version, why, detail]) => {
      return new message.Vote(id, number, from, to, yes, version, yes ? Code.Ok : why, detail);
    }),
  decide: fc
    .tuple(client, whole, small, small, fc.boolean(), whole)
    .map((fields) => new message.Decide(...fields)),
  decideAck: fc
    .tuple(client, whole, small, small)
    .map((fields) => new message.DecideAck(...fields)),
  decisionQuery: fc
    .tuple(client, whole, small, small, some(small))
    .map((fields) => new message.DecisionQuery(...fields)),
  viewUpdate: fc.oneof(
    view.map((made) => new message.ViewUpdate(made, null)),
    delta.map((made) => new message.ViewUpdate(null, made)),
  ),
};

/** Operations with one key, and scans. */
const single = fc
  .constantFrom(...Object.values(OperationKind))
  .filter((kind) => kind !== OperationKind.SetR && kind !== OperationKind.GetR)
  .chain((kind) =>
    fc
      .tuple(
        binary,
        kind === OperationKind.Set ? bytes : fc.constant(null),
        condition,
        whole,
        client,
        whole,
        whole,
        fc.constant(null),
        small,
        small,
        whole,
        fc.integer({ min: 1, max: 60_000 }),
        fc.nat(4),
        fc.constant(null),
        fc.option(context),
        whole,
      )
      .map((fields) => new Operation(kind, ...fields)),
  );
const several = fc
  .tuple(client, whole, whole, fc.array(write, { minLength: 1, maxLength: 3 }))
  .map(([id, number, settled, writes]) => {
    const { SetR } = OperationKind;
    const key = writes[0]?.key ?? '';
    return new Operation(SetR, key, null, 0, 0, id, number, settled, writes, 0, 0, 0, 5, 0);
  });
const reads = fc.tuple(fc.array(binary, { minLength: 1 }), small).map(([keys, holdMs]) => {
  const key = keys[0] ?? '';
  const { GetR } = OperationKind;
  const set = { keys, holdMs };
  return new Operation(GetR, key, null, 0, 0, '', 0, 0, null, 0, 0, 0, 5, 0, set);
});

/** Of any kind. */
export const operation = fc.oneof(single, several, reads);

/** Results without records, and with. */
export const answer = fc
  .tuple(
    fc.tuple(code, fc.option(bytes), whole, whole, whole, small, small),
    fc.oneof(fc.constant(''), text),
    some(stored),
    fc.boolean(),
    small,
    fc.option(context),
  )
  .map(([[how, value, ...numbers], detail, records, more, participants, said]) => {
    const list = records.length === 0 ? NO_RECORDS : records;
    const found = value !== null;
    return new Result(how, found, value, ...numbers, detail, list, more, participants, said);
  });

/** A field of an encoded message. */
export interface Field {
  readonly number: number;
  /** 0: a number, 2: bytes, 1 and 5: eight and four bytes. */
  readonly wireType: number;
  /** Of a number; of anything else 0. */
  readonly value: number;
  /** Of bytes. */
  readonly content: Buffer;
  /** As it stands in the message, with its tag. */
  readonly raw: Buffer;
}

/** The fields of a message in order; null when it is not protobuf from end to end. */
export function fieldsOf(packed: Buffer): Field[] | null {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = packed[at++];
      if (byte === undefined) return Number.NaN;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  while (at < packed.length) {
    const start = at;
    const tag = varint();
    if (!(tag >= 8 && tag < 2 ** 32)) return null;
    const wireType = tag % 8;
    const number = Math.floor(tag / 8);
    if (![0, 1, 2, 5].includes(wireType)) return null;
    const said = wireType === 0 || wireType === 2 ? varint() : 0;
    const size = wireType === 2 ? said : wireType === 1 ? 8 : wireType === 5 ? 4 : 0;
    if (Number.isNaN(said) || at + size > packed.length) return null;
    const content = packed.subarray(at, at + size);
    at += size;
    const value = wireType === 0 ? said : 0;
    fields.push({ number, wireType, value, content, raw: packed.subarray(start, at) });
  }
  return fields;
}

/** A field of bytes. */
export function fieldOf(number: number, content: Uint8Array): Buffer {
  return Buffer.concat([varintOf(number * 8 + 2), varintOf(content.length), content]);
}

/** Of a number from 0 to 2⁶⁴ - 1. */
export function varintOf(value: number | bigint): Buffer {
  const list: number[] = [];
  let rest = BigInt(value);
  for (; rest > 0x7fn; rest >>= 7n) list.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...list, Number(rest)]);
}
