import { Buffer } from 'node:buffer';

import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import * as causal from '../../src/core/causal-message.js';
import { Entry, EntryKind } from '../../src/core/entry.js';
import * as message from '../../src/core/message.js';
import { Mode } from '../../src/core/namespace.js';
import { ConditionKind, Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { ChangePhase, MemberState, type View } from '../../src/core/view.js';
import { WireError } from '../../src/wire/binary.js';
import { leaderMessageFromWire, leaderMessageToWire } from '../../src/wire/convert-leader.js';
import {
  operationFromWire,
  operationToWire,
  resultFromWire,
  resultToWire,
} from '../../src/wire/convert-operation.js';
import { peerMessageFromWire, peerMessageToWire } from '../../src/wire/convert-peer.js';
import * as kv from '../../src/wire/gen/kvs/v1/kv.js';
import { HeartbeatRequest } from '../../src/wire/gen/kvs/v1/leader.js';
import { PeerMessage } from '../../src/wire/gen/kvs/v1/peer.js';

const whole = fc.maxSafeNat();
const small = fc.nat(2 ** 32 - 1);
const binary = fc
  .uint8Array({ maxLength: 12 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const client = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const bytes = fc.uint8Array({ maxLength: 20 }).map((array): Uint8Array => Buffer.from(array));
const text = fc.string({ maxLength: 10 });
const code = fc.constantFrom(...Object.values(Code));
const some = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 3 });

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
const messages: Record<Made['type'], fc.Arbitrary<Made>> = {
  causalPush: fc
    .tuple(small, whole, whole, fc.boolean(), some(causalRecord))
    .map((fields) => new causal.CausalPush(...fields)),
  causalAck: fc
    .tuple(small, vector, whole, whole, some(small), fc.boolean())
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

describe('between servers', () => {
  for (const [kind, arbitrary] of Object.entries(messages)) {
    test(`${kind} arrives as it was sent`, () => {
      fc.assert(
        fc.property(arbitrary, (sent) => {
          const packed = PeerMessage.encode(peerMessageToWire(sent)).finish();
          expect(peerMessageFromWire(PeerMessage.decode(packed))).toEqual(sent);
        }),
      );
    });
  }

  test('what this server does not know is refused, not guessed', () => {
    expect(() => peerMessageFromWire({ message: undefined })).toThrow(WireError);
    const odd = peerMessageToWire(new message.PrepareRefused(1, 1, 1, 1, 1));
    if (odd.message?.$case === 'prepareRefused') odd.message.value.reason = 9 as never;
    expect(() => peerMessageFromWire(odd)).toThrow(WireError);
    const beacon = peerMessageToWire(new message.Beacon(1, Number.NaN));
    expect(() => peerMessageFromWire(beacon)).toThrow(WireError);
  });
});

describe('to the view leader', () => {
  test('heartbeats and proposals arrive as they were sent', () => {
    const transfer = fc.record({
      to: small,
      recordsPlanned: whole,
      recordsSent: whole,
      bytesPlanned: whole,
      bytesSent: whole,
    });
    const difference = fc.record({ bucket: small, sequence: whole, server: small });
    const sent = fc.oneof(
      fc
        .tuple(
          small,
          small,
          whole,
          whole,
          whole,
          whole,
          some(transfer),
          fc.boolean(),
          some(small),
          some(small),
          some(difference),
          some(fc.record({ bucket: small, records: whole, bytes: whole })),
        )
        .map((fields): message.LeaderMessage => new message.Heartbeat(...fields)),
      fc
        .tuple(small, whole, small, whole, whole, whole)
        .map((fields): message.LeaderMessage => new message.Reconfigure(...fields)),
    );
    fc.assert(
      fc.property(sent, (one) => {
        const packed = HeartbeatRequest.encode(leaderMessageToWire(one)).finish();
        expect(leaderMessageFromWire(HeartbeatRequest.decode(packed))).toEqual(one);
      }),
    );
  });
});

describe('between clients and servers', () => {
  test('operations arrive as they were sent', () => {
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
    fc.assert(
      fc.property(fc.oneof(single, several, reads), small, (sent, id) => {
        const wire = kv.Operation.decode(kv.Operation.encode(operationToWire(sent, id)).finish());
        expect(wire.id).toBe(id);
        expect(operationFromWire(wire, sent.client, sent.settledBelow)).toEqual(sent);
      }),
    );
  });

  test('results arrive as they were sent; no value is no value', () => {
    const value = fc.option(bytes);
    const fields = fc.tuple(code, value, whole, whole, whole, small, small, text, some(stored));
    fc.assert(
      fc.property(fields, fc.boolean(), small, ([how, what, ...rest], more, participants) => {
        const [version, previous, epoch, bucket, server, detail, records] = rest;
        const sent = new Result(
          how,
          what !== null,
          what,
          version,
          previous,
          epoch,
          bucket,
          server,
          detail,
          records,
          more,
          participants,
        );
        const packed = kv.OperationResult.encode(resultToWire(sent, 7)).finish();
        expect(resultFromWire(kv.OperationResult.decode(packed))).toEqual(sent);
      }),
    );
  });

  test('unknown kinds and codes, and client ids of another length, are refused', () => {
    const { Get } = OperationKind;
    const get = new Operation(Get, 'k', null, 0, 0, '', 0, 0, null, 0, 0, 0, 5, 0);
    const wire = operationToWire(get, 1);
    expect(() => operationFromWire({ ...wire, kind: 99 as never }, '', 0)).toThrow(WireError);
    expect(() => operationFromWire(wire, 'short', 0)).toThrow(WireError);
    const { Ok } = Code;
    const answer = new Result(Ok, false, null, 0, 0, 0, 0, 0, '', [], false, 0);
    expect(() => resultFromWire({ ...resultToWire(answer, 1), code: 99 as never })).toThrow(
      WireError,
    );
  });
});
