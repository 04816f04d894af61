import type { LeaderMessage, PeerMessage } from '../core/message.js';
import type { Operation, Result } from '../core/operation.js';
import { leaderMessageFromWire, leaderMessageToWire } from '../wire/convert-leader.js';
import {
  operationFromWire,
  operationToWire,
  resultFromWire,
  resultToWire,
} from '../wire/convert-operation.js';
import { peerMessageFromWire, peerMessageToWire } from '../wire/convert-peer.js';
import {
  Operation as WireOperation,
  OperationResult as WireResult,
} from '../wire/gen/kvs/v1/kv.js';
import { HeartbeatRequest } from '../wire/gen/kvs/v1/leader.js';
import { PeerMessage as WirePeerMessage } from '../wire/gen/kvs/v1/peer.js';

/** What a message is when it arrives. Some runs use the bytes of the real wire, most do not. */
export interface Codec {
  peer(message: PeerMessage): PeerMessage;
  leader(message: LeaderMessage): LeaderMessage;
  operation(operation: Operation): Operation;
  result(result: Result): Result;
}

const SAME: Codec = {
  peer: (message) => message,
  leader: (message) => message,
  operation: (operation) => operation,
  result: (result) => result,
};

const BYTES: Codec = {
  peer: (message) => {
    const bytes = WirePeerMessage.encode(peerMessageToWire(message)).finish();
    return peerMessageFromWire(WirePeerMessage.decode(bytes));
  },
  leader: (message) => {
    const bytes = HeartbeatRequest.encode(leaderMessageToWire(message)).finish();
    return leaderMessageFromWire(HeartbeatRequest.decode(bytes));
  },
  operation: (operation) => {
    const bytes = WireOperation.encode(operationToWire(operation, 1)).finish();
    const { client, settledBelow } = operation;
    return operationFromWire(WireOperation.decode(bytes), client, settledBelow);
  },
  result: (result) => {
    const bytes = WireResult.encode(resultToWire(result, 1)).finish();
    return resultFromWire(WireResult.decode(bytes));
  },
};

export function codecOf(settings: { readonly wireBytes: boolean }): Codec {
  return settings.wireBytes ? BYTES : SAME;
}
