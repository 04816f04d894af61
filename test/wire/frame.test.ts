// The codec by hand against the generated code: the same bytes, the same values, or a refusal.
import { Buffer } from 'node:buffer';

import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { Entry, EntryKind } from '../../src/core/entry.js';
import { type PeerMessage, Prepare } from '../../src/core/message.js';
import { Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { fromBinary, toBinary, WireError } from '../../src/wire/binary.js';
import {
  operationFromWire,
  operationToWire,
  resultFromWire,
  resultToWire,
} from '../../src/wire/convert-operation.js';
import { peerMessageFromWire, peerMessageToWire } from '../../src/wire/convert-peer.js';
import {
  beginRequest,
  readRequest,
  readResponse,
  writeOperation,
  writeResult,
} from '../../src/wire/frame.js';
import { ExchangeRequest, ExchangeResponse } from '../../src/wire/gen/kvs/v1/kv.js';
import { SendRequest } from '../../src/wire/gen/kvs/v1/peer.js';
import { HotWriter } from '../../src/wire/hot-writer.js';
import { readPeerRequest, writePeerMessage } from '../../src/wire/peer-frame.js';
import { answer, fieldOf, fieldsOf, messages, operation, some, varintOf } from './support.js';

const MOST = Number.MAX_SAFE_INTEGER;
const CLIENT = 'a client of 16 b';

/** One writer for all, as on a stream: what one frame leaves in it must not show in the next. */
const out = new HotWriter();

/** A frame's operations or results, each with its id; of a frame of servers its head, too. */
type Read = (bytes: Buffer) => unknown;

/** One kind of frame, by hand and by the generated code. */
interface Kind {
  readonly hot: Read;
  readonly generated: Read;
  /** Frames as the generated code writes them. */
  readonly frames: fc.Arbitrary<Buffer>;
  readonly shape: Shape;
}

/**
 * The messages inside a message, and its numbers of 32 bits. The generated code reads on past the
 * end of a message that is not one, so on frames that are damaged there it says nothing.
 */
interface Shape {
  readonly inside: Readonly<Record<number, Shape>>;
  readonly narrow: readonly number[];
  /** Has messages of other shapes, too. */
  readonly others?: boolean;
}

const leaf: Shape = { inside: {}, narrow: [] };
const seen: Shape = { inside: {}, narrow: [1] };
const context: Shape = { inside: { 3: seen }, narrow: [] };
const write: Shape = { inside: {}, narrow: [4] };
const operationShape: Shape = {
  inside: { 8: write, 16: context },
  narrow: [2, 5, 9, 10, 12, 13, 15],
};
const resultShape: Shape = { inside: { 11: leaf, 14: context }, narrow: [2, 8, 9, 13] };
const body: Shape = { inside: { 3: leaf }, narrow: [1, 2] };
const entry: Shape = { inside: { 11: body }, narrow: [1] };
const prepare: Shape = { inside: { 7: entry }, narrow: [1] };
const acknowledgement: Shape = { inside: {}, narrow: [1] };
const chunk: Shape = { inside: { 6: leaf }, narrow: [1, 4], others: true };
const peer: Shape = {
  inside: { 1: prepare, 2: acknowledgement, 8: chunk },
  narrow: [],
  others: true,
};

function isWhole(bytes: Buffer, { inside, narrow, others = false }: Shape): boolean {
  const fields = fieldsOf(bytes);
  return (
    fields?.every(({ number, wireType, value, content }) => {
      if (narrow.includes(number) && value >= 2 ** 32) return false;
      const shape = inside[number];
      if (wireType !== 2) return true;
      return shape === undefined ? !others : isWhole(content, shape);
    }) ?? false
  );
}

function requestOf(sent: readonly Operation[], client: string, settledBelow: number): Buffer {
  const operations = sent.map((each, index) => operationToWire(each, index));
  const request = { client: fromBinary(client), settledBelow, operations };
  return Buffer.from(ExchangeRequest.encode(request).finish());
}

function responseOf(sent: readonly Result[]): Buffer {
  const results = sent.map((each, index) => resultToWire(each, index));
  return Buffer.from(ExchangeResponse.encode({ results }).finish());
}

const NO_HEAD = { clusterId: '', from: 0, incarnation: 0, to: 0 };

function sendOf(sent: readonly PeerMessage[], head = NO_HEAD): Buffer {
  const request = { ...head, messages: sent.map(peerMessageToWire) };
  return Buffer.from(SendRequest.encode(request).finish());
}

const request: Kind = {
  hot: (bytes) => {
    const list: [Operation, number][] = [];
    readRequest(bytes, (each, id) => list.push([each, id]));
    return list;
  },
  generated: (bytes) => {
    const { client, settledBelow, operations } = ExchangeRequest.decode(bytes);
    return operations.map((each) => [
      operationFromWire(each, toBinary(client), settledBelow),
      each.id,
    ]);
  },
  frames: fc
    .tuple(some(operation), fc.constantFrom('', CLIENT), fc.maxSafeNat())
    .map((fields) => requestOf(...fields)),
  shape: { inside: { 3: operationShape }, narrow: [] },
};

const response: Kind = {
  hot: (bytes) => {
    const list: [Result, number][] = [];
    readResponse(bytes, (each, id) => list.push([each, id]));
    return list;
  },
  generated: (bytes) =>
    ExchangeResponse.decode(bytes).results.map((each) => [resultFromWire(each), each.id]),
  frames: some(answer).map(responseOf),
  shape: { inside: { 1: resultShape }, narrow: [] },
};

const anyMessage = fc.oneof(
  messages.prepare,
  messages.prepareAck,
  messages.snapshotChunk,
  ...Object.values(messages),
);
const head = fc.record({
  clusterId: fc.string({ maxLength: 9 }),
  from: fc.nat(),
  incarnation: fc.maxSafeNat(),
  to: fc.nat(),
});

const send: Kind = {
  hot: (bytes) => {
    const read = readPeerRequest(bytes);
    const { clusterId, from, incarnation, to } = read.head ?? NO_HEAD;
    return { clusterId, from, incarnation, to, messages: read.messages };
  },
  generated: (bytes) => {
    const { messages: list, ...rest } = SendRequest.decode(bytes);
    return { ...rest, messages: list.map(peerMessageFromWire) };
  },
  frames: fc
    .tuple(some(anyMessage), fc.option(head, { nil: NO_HEAD }))
    .map((fields) => sendOf(...fields)),
  shape: { inside: { 4: peer }, narrow: [2, 5] },
};

const kinds = { request, response, send };

/** What was read, or null when it was refused. Nothing but a WireError is a refusal. */
function outcome(read: Read, bytes: Buffer): { readonly value: unknown } | null {
  try {
    return { value: read(bytes) };
  } catch (error) {
    if (error instanceof WireError) return null;
    throw error;
  }
}

/** The same of the generated code, which refuses with all kinds of errors. */
function generatedOutcome(read: Read, bytes: Buffer): { readonly value: unknown } | null {
  try {
    return { value: read(bytes) };
  } catch {
    return null;
  }
}

/** Fields that no message here knows. */
const unknown = fc.oneof(
  fc.maxSafeNat().map((value) => Buffer.concat([varintOf(500 * 8), varintOf(value)])),
  fc.uint8Array({ maxLength: 9 }).map((content) => fieldOf(500, content)),
  fc
    .uint8Array({ minLength: 8, maxLength: 8 })
    .map((content) => Buffer.concat([varintOf(500 * 8 + 1), content])),
  fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((content) => Buffer.concat([varintOf(500 * 8 + 5), content])),
);

/** The message with its fields in another order, and with others between them, at each depth. */
function stirred(
  bytes: Buffer,
  shape: Shape,
  order: () => number,
  others: readonly Buffer[],
): Buffer {
  const fields = (fieldsOf(bytes) ?? []).map(({ number, content, raw }) => {
    const inner = shape.inside[number];
    return inner === undefined ? raw : fieldOf(number, stirred(content, inner, order, others));
  });
  const all = [...fields, ...others].map((raw) => ({ raw, at: order() }));
  return Buffer.concat(all.toSorted((a, b) => a.at - b.at).map(({ raw }) => raw));
}

describe('frames by hand are written as the generated code writes them', () => {
  test('requests', () => {
    fc.assert(
      fc.property(some(operation), fc.maxSafeNat(), (sent, settledBelow) => {
        beginRequest(out, CLIENT, settledBelow);
        for (const [id, each] of sent.entries()) {
          writeOperation(out, each, id, each.bucketEpoch, each.timeoutMs);
        }
        expect(out.take()).toEqual(requestOf(sent, CLIENT, settledBelow));
      }),
    );
  });

  test('an attempt brings its own epoch and time', () => {
    fc.assert(
      fc.property(
        operation,
        fc.maxSafeNat(),
        fc.double({ noNaN: true, min: 0, max: 9e4 }),
        (sent, ...own) => {
          const [bucketEpoch, timeoutMs] = own;
          beginRequest(out, '', 0);
          writeOperation(out, sent, 7, bucketEpoch, timeoutMs);
          const wire = operationToWire(sent, 7);
          const operations = [{ ...wire, bucketEpoch, timeoutMs: Math.ceil(timeoutMs) }];
          const expected = { client: Buffer.alloc(0), settledBelow: 0, operations };
          expect(out.take()).toEqual(Buffer.from(ExchangeRequest.encode(expected).finish()));
        },
      ),
    );
  });

  test('responses', () => {
    fc.assert(
      fc.property(some(answer), (sent) => {
        for (const [id, each] of sent.entries()) writeResult(out, each, id);
        expect(out.take()).toEqual(responseOf(sent));
      }),
    );
  });

  test('messages between servers', () => {
    fc.assert(
      fc.property(some(anyMessage), (sent) => {
        for (const each of sent) writePeerMessage(out, each);
        expect(out.take()).toEqual(sendOf(sent));
      }),
      { numRuns: 300 },
    );
  });

  test('at every size around which a length takes another byte', () => {
    const edges = [0, 1, 32, 33, 0x80, 0x4000, 64 * 1024, 0x200000];
    const sizes = edges.flatMap((edge) => {
      const near = Array.from({ length: 160 }, (_, index) => edge - 140 + index);
      return near.filter((size) => size >= 0 && (edge < 0x4000 || size % 7 === 0));
    });
    for (const size of sizes) {
      const value = Buffer.alloc(size, 5);
      const key = 'k'.repeat(Math.min(size, 1000));
      const { Set } = OperationKind;
      const set = new Operation(Set, key, value, 0, 0, CLIENT, 1, 0, null, 0, 0, 0, 9, 0);
      beginRequest(out, CLIENT, 0);
      writeOperation(out, set, 0, 0, 9);
      expect(out.take().equals(requestOf([set], CLIENT, 0))).toBe(true);
      const got = new Result(Code.Ok, true, value, MOST, MOST, 1, 1, 1, '', [], true, 0);
      writeResult(out, got, 0);
      expect(out.take().equals(responseOf([got]))).toBe(true);
      const list = [1, 2, 3].map((sequence) => {
        const numbers = [sequence, MOST, MOST, MOST, MOST] as const;
        return new Entry(EntryKind.Set, ...numbers, CLIENT, MOST, MOST, key, value, null);
      });
      const writes = [1, 2].map(() => ({ key, value }));
      const participants = Array.from({ length: size % 200 }, () => 2 ** 32 - 1);
      const commit = { coordinatorBucket: 1, participants, writes, commit: true, detail: key };
      const numbers = [4, MOST, MOST, MOST, MOST] as const;
      const { Commit } = EntryKind;
      list.push(new Entry(Commit, ...numbers, CLIENT, MOST, MOST, '', null, commit));
      const made = new Prepare(1, MOST, 0, MOST, MOST, true, list);
      writePeerMessage(out, made);
      expect(out.take().equals(sendOf([made]))).toBe(true);
    }
  });
});

describe('frames by hand are read as the generated code reads them', () => {
  for (const [name, { hot, generated, frames, shape }] of Object.entries(kinds)) {
    test(`${name}: what the generated code wrote`, () => {
      fc.assert(
        fc.property(frames, (bytes) => {
          expect(outcome(hot, bytes)).toEqual({ value: generated(bytes) });
        }),
        { numRuns: 300 },
      );
    });

    test(`${name}: fields in another order, and fields that are unknown`, () => {
      const others = fc.array(unknown, { maxLength: 2 });
      fc.assert(
        fc.property(frames, fc.infiniteStream(fc.nat(1000)), others, (bytes, order, added) => {
          const next = (): number => order.next().value ?? 0;
          const mixed = stirred(bytes, shape, next, added);
          // Entries that changed places are refused by both.
          expect(outcome(hot, mixed)).toEqual(generatedOutcome(generated, mixed));
        }),
        { numRuns: 300 },
      );
    });

    test(`${name}: a frame cut anywhere, or with bytes changed, is the same or refused`, () => {
      let compared = 0;
      const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 });
      fc.assert(
        fc.property(frames, fc.nat(), damage, (bytes, cut, changes) => {
          const hurt = Buffer.from(
            changes.length > 0 ? bytes : bytes.subarray(0, cut % (bytes.length + 1)),
          );
          for (const [at, byte] of changes) if (hurt.length > 0) hurt[at % hurt.length] = byte;
          const got = outcome(hot, hurt);
          if (got === null || !isWhole(hurt, shape)) return;
          compared += 1;
          expect(got).toEqual(generatedOutcome(generated, hurt));
        }),
        { numRuns: 1000 },
      );
      expect(compared).toBeGreaterThan(0);
    });

    test(`${name}: random bytes are read or refused, and nothing else`, () => {
      const tags = fc.constantFrom(8, 10, 16, 18, 26, 34, 58, 114, 122, 130);
      const inner = fc.tuple(tags, fc.uint8Array({ maxLength: 30 }));
      const framed = inner.map(([tag, content]) => {
        const field = Buffer.concat([Buffer.from([tag]), content]);
        return Buffer.concat([1, 3, 4].map((number) => fieldOf(number, field)));
      });
      const any = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
      fc.assert(
        fc.property(fc.oneof(framed, any), (bytes) => {
          const got = outcome(hot, bytes);
          if (got === null || !isWhole(bytes, shape)) return;
          expect(got).toEqual(generatedOutcome(generated, bytes));
        }),
        { numRuns: 2000 },
      );
    });

    test(`${name}: what was read keeps nothing of the frame`, () => {
      fc.assert(
        fc.property(frames, (bytes) => {
          const read = hot(bytes);
          const before = generated(bytes);
          bytes.fill(0xaa);
          expect(read).toEqual(before);
        }),
      );
    });
  }
});

describe('numbers', () => {
  /** Of each kind of frame one field that is read by hand and one that is read by generated code. */
  const places: Record<string, [Kind, (value: Buffer) => Buffer]> = {
    settledBelow: [request, (value) => Buffer.concat([varintOf(16), value])],
    'the id of an operation': [request, (value) => numbered(3, 8, value, [16, 1])],
    'the version of a scan': [request, (value) => numbered(3, 48, value, [16, 5])],
    'the version of a result': [response, (value) => numbered(1, 40, value, [16, 1])],
    'the version of a refusal': [response, (value) => numbered(1, 40, value, [16, 2, 82, 1, 65])],
    'the ballot of an acknowledgement': [send, (value) => numbered(4, 16, value, [], 2)],
    'the ballot of a probe': [send, (value) => numbered(4, 16, value, [], 6)],
    'the incarnation of a server': [send, (value) => Buffer.concat([varintOf(24), value])],
  };

  function numbered(
    field: number,
    tag: number,
    value: Buffer,
    rest: readonly number[],
    inside?: number,
  ): Buffer {
    const fields = Buffer.concat([Buffer.from([tag]), value, Buffer.from(rest)]);
    return fieldOf(field, inside === undefined ? fields : fieldOf(inside, fields));
  }

  for (const [name, [{ hot, generated }, frame]] of Object.entries(places)) {
    test(`${name}: up to 2^53 - 1, and no more`, () => {
      expect(hot(frame(varintOf(MOST)))).toEqual(generated(frame(varintOf(MOST))));
      for (const above of [2n ** 53n, 2n ** 53n + 1n, 2n ** 60n, 2n ** 64n - 1n]) {
        expect(() => hot(frame(varintOf(above)))).toThrow(WireError);
      }
      // A number that does not end.
      expect(() => hot(frame(Buffer.alloc(12, 0xff)))).toThrow(WireError);
    });
  }
});
