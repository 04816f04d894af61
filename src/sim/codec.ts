import type { LeaderMessage, PeerMessage } from '../core/message.js';
import type { Operation, Result } from '../core/operation.js';
import { required } from '../wire/binary.js';
import { leaderMessageFromWire, leaderMessageToWire } from '../wire/convert-leader.js';
import {
  beginRequest,
  readRequest,
  readResponse,
  writeOperation,
  writeResult,
} from '../wire/frame.js';
import { HeartbeatRequest } from '../wire/gen/kvs/v1/leader.js';
import { HotWriter } from '../wire/hot-writer.js';
import { readPeerRequest, writePeerMessage } from '../wire/peer-frame.js';

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

const out = new HotWriter();

/** A frame of one message each. */
const BYTES: Codec = {
  peer: (message) => {
    writePeerMessage(out, message);
    return required(readPeerRequest(out.take()).messages[0], 'peer message');
  },
  leader: (message) => {
    const bytes = HeartbeatRequest.encode(leaderMessageToWire(message)).finish();
    return leaderMessageFromWire(HeartbeatRequest.decode(bytes));
  },
  operation: (operation) => {
    const { client, settledBelow, bucketEpoch, timeoutMs } = operation;
    beginRequest(out, client, settledBelow);
    writeOperation(out, operation, 1, bucketEpoch, timeoutMs);
    const read: Operation[] = [];
    readRequest(out.take(), (each) => read.push(each));
    return required(read[0], 'operation');
  },
  result: (result) => {
    writeResult(out, result, 1);
    const read: Result[] = [];
    readResponse(out.take(), (each) => read.push(each));
    return required(read[0], 'result');
  },
};

export function codecOf(settings: { readonly wireBytes: boolean }): Codec {
  return settings.wireBytes ? BYTES : SAME;
}
