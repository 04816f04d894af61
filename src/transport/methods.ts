import { Buffer } from 'node:buffer';

import { BinaryWriter } from '@bufbuild/protobuf/wire';

import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  MethodDefinition,
} from '@grpc/grpc-js';

import {
  DeleteResponse,
  GetResponse,
  type KeyValueServiceServer,
  KeyValueServiceService,
  SetResponse,
} from '../wire/gen/kvs/v1/kv.js';
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

/** Of a generated message. */
interface Encoding<T> {
  encode(message: T, writer: BinaryWriter): BinaryWriter;
}

/** Used again: a writer of its own takes longer to make than a small message to encode. */
let writer = new BinaryWriter();

function serializes<T>(encoding: Encoding<T>): (message: T) => Buffer {
  return (message) => {
    try {
      const { buffer, byteOffset, length } = encoding.encode(message, writer).finish();
      return Buffer.from(buffer, byteOffset, length);
    } catch (error) {
      // What it wrote before it failed must not show in the next message.
      writer = new BinaryWriter();
      throw error;
    }
  };
}

const { get, set, delete: remove } = KeyValueServiceService;

/** Unary calls of other clients, as declared; the answers to the most frequent ones are cheap. */
export const KEY_VALUE_METHODS = {
  ...KeyValueServiceService,
  get: { ...get, responseSerialize: serializes(GetResponse) },
  set: { ...set, responseSerialize: serializes(SetResponse) },
  delete: { ...remove, responseSerialize: serializes(DeleteResponse) },
  exchange: EXCHANGE,
};
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
