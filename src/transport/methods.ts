import type { Buffer } from 'node:buffer';

import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  MethodDefinition,
} from '@grpc/grpc-js';

import { type KeyValueServiceServer, KeyValueServiceService } from '../wire/gen/kvs/v1/kv.js';
import { PeerServiceService, type SendResponse } from '../wire/gen/kvs/v1/peer.js';

const raw = (bytes: Buffer): Buffer => bytes;

/** `Exchange` with frames as bytes: `wire/frame.ts` writes and reads them. */
export const EXCHANGE: MethodDefinition<Buffer, Buffer> = {
  ...KeyValueServiceService.exchange,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
};

/** `Send` with frames as bytes: `wire/peer-frame.ts` writes and reads them. */
export const SEND: MethodDefinition<Buffer, SendResponse> = {
  ...PeerServiceService.send,
  requestSerialize: raw,
  requestDeserialize: raw,
};

export const KEY_VALUE_METHODS = { ...KeyValueServiceService, exchange: EXCHANGE };
export const PEER_METHODS = { ...PeerServiceService, send: SEND };

/** What serves `KEY_VALUE_METHODS`. */
export type KeyValueHandlers = {
  [
    Method in Exclude<keyof typeof KeyValueServiceService, 'exchange'>
  ]: KeyValueServiceServer[Method];
} & {
  exchange: handleBidiStreamingCall<Buffer, Buffer>;
};

/** What serves `PEER_METHODS`. */
export type PeerHandlers = {
  send: handleClientStreamingCall<Buffer, SendResponse>;
};
