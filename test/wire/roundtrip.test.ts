import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import * as message from '../../src/core/message.js';
import { Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
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
import { answer, messages, operation, small, some, whole } from './support.js';

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
    fc.assert(
      fc.property(operation, small, (sent, id) => {
        const wire = kv.Operation.decode(kv.Operation.encode(operationToWire(sent, id)).finish());
        expect(wire.id).toBe(id);
        expect(operationFromWire(wire, sent.client, sent.settledBelow)).toEqual(sent);
      }),
    );
  });

  test('results arrive as they were sent; no value is no value', () => {
    fc.assert(
      fc.property(answer, (sent) => {
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
    const plain = new Result(Ok, false, null, 0, 0, 0, 0, 0, '', [], false, 0);
    expect(() => resultFromWire({ ...resultToWire(plain, 1), code: 99 as never })).toThrow(
      WireError,
    );
  });
});
