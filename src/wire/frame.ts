import type { Buffer } from 'node:buffer';

import type { ClientId, Epoch } from '../core/ids.js';
import {
  ConditionKind,
  NO_RECORDS,
  Operation,
  OperationKind,
  readdressed,
  Result,
} from '../core/operation.js';
import { LIMITS } from '../core/refusal.js';
import {
  codeFromWire,
  conditionFromWire,
  operationFromWire,
  operationToWire,
  resultFromWire,
  resultToWire,
} from './convert-operation.js';
import { decoded, fromBinary, WireError } from './binary.js';
import * as wire from './gen/kvs/v1/kv.js';
import { HotReader } from './hot-reader.js';
import type { HotWriter } from './hot-writer.js';

/**
 * `ExchangeRequest` and `ExchangeResponse` straight between bytes and core types, as declared in
 * `proto/kvs/v1/kv.proto`. Gets, sets and deletes are written and read here; whatever has more to
 * it (other kinds, records, contexts, refusals) is left to the generated code.
 */

/** Tags: field number times eight, plus the wire type (0 a number, 2 bytes). */
const Tag = { client: 10, settledBelow: 16, operations: 26, results: 10 } as const;
const CLIENT_ID_BYTES = 16;
/** Most that the fields other than key and value take, of an operation and of a result. */
const OVERHEAD_BYTES = 128;
const EMPTY_VALUE = new Uint8Array(0);

/** The head of a request; `writeOperation` adds to it. */
export function beginRequest(out: HotWriter, client: ClientId, settledBelow: number): void {
  out.reserve(OVERHEAD_BYTES);
  out.bytes(Tag.client, fromBinary(client));
  out.number(Tag.settledBelow, settledBelow);
}

/** `bucketEpoch` and `timeoutMs` are those of this attempt. */
export function writeOperation(
  out: HotWriter,
  operation: Operation,
  id: number,
  bucketEpoch: Epoch,
  timeoutMs: number,
): void {
  const { key, kind } = operation;
  if (operation.writes !== null || operation.reads !== null || operation.context !== null) {
    const { hops } = operation;
    const addressed = readdressed(operation, bucketEpoch, timeoutMs, hops);
    const bytes = wire.Operation.encode(operationToWire(addressed, id)).finish();
    out.reserve(bytes.length + OVERHEAD_BYTES);
    out.message(Tag.operations, bytes);
    return;
  }
  const value = operation.value ?? EMPTY_VALUE;
  const payload = key.length + value.length;
  const guess = payload + 24;
  out.reserve(payload + OVERHEAD_BYTES);
  const start = out.begin(Tag.operations, guess);
  out.number(8, id);
  out.number(16, kind);
  out.binary(26, key);
  out.bytes(34, value);
  out.number(40, operation.condition);
  out.number(48, operation.ifVersion);
  out.number(56, operation.clientSequence);
  out.number(72, operation.bucket);
  out.number(80, operation.limit);
  out.number(88, bucketEpoch);
  out.number(96, Math.ceil(timeoutMs));
  out.number(104, operation.hops);
  if (operation.ttlMs !== 0) out.farNumber(17, operation.ttlMs);
  out.end(start, guess);
}

/** What a frame of operations holds. `take` is called for each, in order. Throws WireError. */
export function readRequest(bytes: Buffer, take: (operation: Operation, id: number) => void): void {
  const input = new HotReader(bytes);
  let client = '';
  let settledBelow = 0;
  // The head may come last: first everything is found, then it is read.
  const bounds: number[] = [];
  while (input.at < bytes.length) {
    const tag = input.varint();
    if (tag === Tag.operations) {
      const end = input.lengthEnd();
      bounds.push(input.at, end);
      input.at = end;
    } else if (tag === Tag.client) client = input.client();
    else if (tag === Tag.settledBelow) settledBelow = input.varint();
    else input.skip(tag);
  }
  if (client !== '' && client.length !== CLIENT_ID_BYTES) {
    throw new WireError(`a client id has ${CLIENT_ID_BYTES} bytes, not ${client.length}`);
  }
  for (let index = 0; index < bounds.length; index += 2) {
    input.at = bounds[index] ?? 0;
    input.end = bounds[index + 1] ?? 0;
    readOperation(input, client, settledBelow, take);
  }
}

function readOperation(
  input: HotReader,
  client: ClientId,
  settledBelow: number,
  take: (operation: Operation, id: number) => void,
): void {
  const start = input.at;
  let id = 0;
  let kind = 0;
  let key = '';
  let value: Uint8Array = EMPTY_VALUE;
  let condition = 0;
  let ifVersion = 0;
  let clientSequence = 0;
  let bucket = 0;
  let limit = 0;
  let bucketEpoch = 0;
  let timeoutMs = 0;
  let hops = 0;
  let ttlMs = 0;
  while (input.at < input.end) {
    const tag = input.varint();
    switch (tag) {
      case 8:
        id = input.varint();
        break;
      case 16:
        kind = input.varint();
        break;
      case 26:
        key = input.binary();
        break;
      case 34:
        value = input.bytes();
        break;
      case 40:
        condition = input.varint();
        break;
      case 48:
        ifVersion = input.varint();
        break;
      case 56:
        clientSequence = input.varint();
        break;
      case 72:
        bucket = input.varint();
        break;
      case 80:
        limit = input.varint();
        break;
      case 88:
        bucketEpoch = input.varint();
        break;
      case 96:
        timeoutMs = input.varint();
        break;
      case 104:
        hops = input.varint();
        break;
      case 136:
        ttlMs = input.varint();
        break;
      default: {
        const all = decoded(wire.Operation, input.buffer.subarray(start, input.end));
        take(operationFromWire(all, client, settledBelow), all.id);
        return;
      }
    }
  }
  if (!isPlain(kind)) {
    const all = decoded(wire.Operation, input.buffer.subarray(start, input.end));
    take(operationFromWire(all, client, settledBelow), all.id);
    return;
  }
  const operation = new Operation(
    kind,
    key,
    kind === OperationKind.Set ? value : null,
    condition === ConditionKind.None ? ConditionKind.None : conditionFromWire(condition),
    ifVersion,
    client,
    clientSequence,
    settledBelow,
    null,
    bucket,
    limit,
    bucketEpoch,
    Math.min(timeoutMs, LIMITS.timeoutMs),
    hops,
    null,
    null,
    ttlMs,
  );
  take(operation, id);
}

function isPlain(kind: number): kind is OperationKind {
  return kind === OperationKind.Get || kind === OperationKind.Set || kind === OperationKind.Delete;
}

/** Adds a result to a response. */
export function writeResult(out: HotWriter, result: Result, id: number): void {
  if (result.detail !== '' || result.records.length > 0 || result.context !== null) {
    const bytes = wire.OperationResult.encode(resultToWire(result, id)).finish();
    out.reserve(bytes.length + OVERHEAD_BYTES);
    out.message(Tag.results, bytes);
    return;
  }
  const value = result.value ?? EMPTY_VALUE;
  const guess = value.length + 24;
  out.reserve(value.length + OVERHEAD_BYTES);
  const start = out.begin(Tag.results, guess);
  out.number(8, id);
  out.number(16, result.code);
  out.boolean(24, result.found);
  out.bytes(34, value);
  out.number(40, result.version);
  out.number(48, result.previous);
  out.number(56, result.epoch);
  out.number(64, result.bucket);
  out.number(72, result.server);
  out.boolean(96, result.more);
  out.number(104, result.participants);
  out.end(start, guess);
}

/** `take` is called for each result, in order. Throws WireError. */
export function readResponse(bytes: Buffer, take: (result: Result, id: number) => void): void {
  const input = new HotReader(bytes);
  while (input.at < bytes.length) {
    const tag = input.varint();
    if (tag === Tag.results) {
      input.end = input.lengthEnd();
      readResult(input, take);
      input.end = bytes.length;
    } else input.skip(tag);
  }
}

function readResult(input: HotReader, take: (result: Result, id: number) => void): void {
  const start = input.at;
  let id = 0;
  let code = 0;
  let found = false;
  let value: Uint8Array = EMPTY_VALUE;
  let version = 0;
  let previous = 0;
  let epoch = 0;
  let bucket = 0;
  let server = 0;
  let more = false;
  let participants = 0;
  while (input.at < input.end) {
    const tag = input.varint();
    switch (tag) {
      case 8:
        id = input.varint();
        break;
      case 16:
        code = input.varint();
        break;
      case 24:
        found = input.varint() !== 0;
        break;
      case 34:
        value = input.bytes();
        break;
      case 40:
        version = input.varint();
        break;
      case 48:
        previous = input.varint();
        break;
      case 56:
        epoch = input.varint();
        break;
      case 64:
        bucket = input.varint();
        break;
      case 72:
        server = input.varint();
        break;
      case 96:
        more = input.varint() !== 0;
        break;
      case 104:
        participants = input.varint();
        break;
      default: {
        const all = decoded(wire.OperationResult, input.buffer.subarray(start, input.end));
        input.at = input.end;
        take(resultFromWire(all), all.id);
        return;
      }
    }
  }
  const result = new Result(
    codeFromWire(code),
    found,
    found ? value : null,
    version,
    previous,
    epoch,
    bucket,
    server,
    '',
    NO_RECORDS,
    more,
    participants,
  );
  take(result, id);
}
