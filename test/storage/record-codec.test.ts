import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { Entry, EntryKind } from '../../src/core/entry.js';
import type { BucketMeta } from '../../src/core/message.js';
import { Mode } from '../../src/core/namespace.js';
import type { LogRecord } from '../../src/core/outbox.js';
import { ChangePhase, MemberState } from '../../src/core/view.js';
import type { View, ViewDelta } from '../../src/core/view.js';
import { ByteWriter } from '../../src/storage/bytes.js';
import {
  decodeMeta,
  encodeMeta,
  headOf,
  readHead,
  readRecord,
  writeRecord,
} from '../../src/storage/record-codec.js';
import { logged } from './support.js';

const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const small = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const bucket = fc.integer({ min: 0, max: 65_535 });
const value = fc.option(
  fc.uint8Array({ maxLength: 300 }).map((array) => Uint8Array.from(array)),
  { nil: null },
);
const binary = fc
  .uint8Array({ maxLength: 40 })
  .map((array) => Buffer.from(array).toString('latin1'));
const text = fc.string({ unit: 'grapheme', maxLength: 20 });

const transaction = fc.record({
  coordinatorBucket: bucket,
  participants: fc.array(bucket, { maxLength: 4 }),
  writes: fc.array(fc.record({ key: binary, value }), { maxLength: 4 }),
  commit: fc.boolean(),
  detail: text,
});

const entry = fc
  .tuple(
    fc.constantFrom(...Object.values(EntryKind)),
    fc.tuple(count, count, count, count, count),
    binary,
    fc.tuple(count, count),
    binary,
    value,
    fc.option(transaction, { nil: null }),
  )
  .map(
    ([kind, [sequence, ballot, version, previous, atMs], client, [number, settled], ...rest]) =>
      new Entry(kind, sequence, ballot, version, previous, atMs, client, number, settled, ...rest),
  );

const result = fc.record({
  version: count,
  previous: count,
  found: fc.boolean(),
  committed: fc.boolean(),
  participants: small,
});

const vector = fc
  .uniqueArray(fc.tuple(small, count), { selector: ([server]) => server, maxLength: 3 })
  .map((list): ReadonlyMap<number, number> => new Map(list));
const causalRecord = fc.record({
  key: binary,
  value,
  clock: count,
  writer: small,
  number: count,
  past: vector,
  epoch: count,
  expires: count,
});
const causalChange = fc.record({
  records: fc.array(causalRecord, { maxLength: 3 }),
  gone: fc.array(fc.record({ key: binary, clock: count, writer: small, number: count }), {
    maxLength: 3,
  }),
  known: vector,
  clock: count,
  former: fc.option(fc.array(small, { maxLength: 3 })),
  dropped: fc.boolean(),
});

const meta: fc.Arbitrary<BucketMeta> = fc.record({
  sequence: count,
  ballot: count,
  version: count,
  clockMs: count,
  life: count,
  dedup: fc.array(
    fc.record({
      client: binary,
      floor: count,
      atMs: count,
      results: fc.array(fc.tuple(count, result), { maxLength: 3 }),
    }),
    { maxLength: 3 },
  ),
  intents: fc.array(entry, { maxLength: 2 }),
  decisions: fc.array(entry, { maxLength: 2 }),
  causal: fc.option(
    fc.record({
      known: fc.array(fc.tuple(small, count), { maxLength: 3 }),
      former: fc.array(small, { maxLength: 3 }),
      unsafe: fc.array(causalRecord, { maxLength: 3 }),
      number: count,
      clock: count,
    }),
  ),
});

const ordinals = fc.array(small, { maxLength: 4 });
const member = fc.record({
  ordinal: small,
  id: text,
  address: text,
  zone: text,
  weight: fc.double({ min: 0, max: 100, noNaN: true }),
  state: fc.constantFrom(...Object.values(MemberState)),
  incarnation: small,
  drained: fc.boolean(),
  shard: small,
  givenUp: count,
});
const parameters = fc.record({
  bucketCount: small,
  replicaCount: small,
  minInSync: small,
  policy: text,
  shardCount: small,
  shardSpread: text,
  leaseMs: count,
  graceMs: count,
  rebalanceRateBytes: count,
  rateSteered: fc.boolean(),
  rebalancePaused: fc.boolean(),
});
const row = fc.record({
  epoch: count,
  replicas: ordinals,
  target: ordinals,
  floor: small,
  founded: count,
  before: ordinals,
});
const change = fc.record({
  number: count,
  planned: count,
  phase: fc.constantFrom(...Object.values(ChangePhase)),
  cancelled: fc.boolean(),
  replicasPlanned: small,
  replicasMoved: small,
  replicasLeast: small,
  recordsExpected: count,
  bytesExpected: count,
  recordsSent: count,
  recordsTaken: count,
  bytesSent: count,
  beganAtMs: count,
  endedAtMs: count,
});
const namespaces = fc
  .uniqueArray(
    fc.record({
      number: small,
      name: text,
      mode: fc.constantFrom(...Object.values(Mode)),
      ttlMs: count,
      replicas: small,
      pool: small,
      deleted: fc.boolean(),
    }),
    { selector: ({ number }) => number, maxLength: 3 },
  )
  .map((list) => new Map(list.map((one) => [one.number, one])));
const view: fc.Arbitrary<View> = fc.record({
  clusterId: text,
  epoch: count,
  parameters,
  members: fc
    .uniqueArray(member, { selector: ({ ordinal }) => ordinal, maxLength: 3 })
    .map((members) => new Map(members.map((each) => [each.ordinal, each]))),
  rows: fc.array(row, { maxLength: 4 }),
  change,
  namespaces,
  reason: text,
  atMs: count,
});
const delta: fc.Arbitrary<ViewDelta> = fc.record({
  clusterId: text,
  fromEpoch: count,
  toEpoch: count,
  parameters: fc.option(parameters),
  members: fc.array(member, { maxLength: 3 }),
  rows: fc.array(fc.tuple(small, row), { maxLength: 4 }).map((rows) => new Map(rows)),
  change: fc.option(change),
  namespaces: fc.option(namespaces),
  reason: text,
  atMs: count,
});

const record: fc.Arbitrary<LogRecord> = fc.oneof(
  fc.record({ type: fc.constant('entry' as const), bucket, entry, commitPoint: count }),
  fc.record({ type: fc.constant('cut' as const), bucket, sequence: count }),
  fc.record({ type: fc.constant('installed' as const), bucket, meta }),
  fc.record({ type: fc.constant('dropped' as const), bucket }),
  fc.record({ type: fc.constant('causal' as const), bucket, change: causalChange }),
  fc.record({ type: fc.constant('view' as const), view }),
  fc.record({ type: fc.constant('viewDelta' as const), delta }),
);

function encode(each: LogRecord): Buffer {
  const out = new ByteWriter(16);
  writeRecord(out, each);
  return out.written();
}

function refused(part: Buffer): unknown {
  try {
    return readRecord(part);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('the record codec', () => {
  test('gives back every record, and its head', () => {
    fc.assert(
      fc.property(record, (each) => {
        const payload = encode(each);
        expect(readRecord(payload)).toEqual(each);
        const { type, bucket: id, sequence } = headOf(each);
        expect(readHead(payload)).toEqual({ type, bucket: id, sequence });
      }),
      { numRuns: 300 },
    );
  });

  test('gives back every meta', () => {
    fc.assert(
      fc.property(meta, (each) => {
        expect(decodeMeta(encodeMeta(each))).toEqual(each);
      }),
    );
  });

  test('copies values, so that they do not pin what they were read from', () => {
    const payload = encode(logged(1, 1, 'value'));
    const first = readRecord(payload);
    payload.fill(0);
    expect(first).toEqual(logged(1, 1, 'value'));
  });

  test('refuses what is too short, too long, or of another format or type', () => {
    const payload = encode(logged(1, 1));
    for (let length = 0; length < payload.length; length++) {
      expect(refused(payload.subarray(0, length))).toBe('DAMAGED');
    }
    expect(refused(Buffer.concat([payload, Buffer.from([0])]))).toBe('DAMAGED');
    expect(refused(Buffer.concat([Buffer.from([9]), payload.subarray(1)]))).toBe('UNKNOWN_FORMAT');
    expect(refused(Buffer.from([1, 77]))).toBe('UNKNOWN_FORMAT');
  });

  test('reads what the first format wrote; an entry of a kind to come is refused', () => {
    const first = encode(logged(1, 1));
    first[0] = 1;
    expect(readRecord(first)).toEqual(logged(1, 1));
    const strange = new Entry(99 as EntryKind, 1, 1, 1, 0, 0, '', 0, 0, 'k', null, null);
    const later = encode({ type: 'entry', bucket: 1, entry: strange, commitPoint: 0 });
    expect(refused(later)).toBe('UNKNOWN_FORMAT');
  });
});
