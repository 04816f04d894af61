import type { ClientId } from '../core/ids.js';
import {
  ConditionKind,
  type ConditionalWrite,
  NO_RECORDS,
  Operation,
  OperationKind,
  Result,
  type StoredRecord,
} from '../core/operation.js';
import { Code, LIMITS } from '../core/refusal.js';
import { asBuffer, fromBinary, toBinary, WireError } from './binary.js';
import { contextFromWire, contextToWire } from './convert-causal.js';
import type * as wire from './gen/kvs/v1/kv.js';

const KINDS = new Set<number>(Object.values(OperationKind));
const CONDITIONS = new Set<number>(Object.values(ConditionKind));
const RESULT_CODES = new Set<number>(Object.values(Code));
const CLIENT_ID_BYTES = 16;

export function conditionFromWire(kind: number): ConditionKind {
  if (!CONDITIONS.has(kind)) throw new WireError(`unknown condition ${kind}`);
  return kind as ConditionKind;
}

export function codeFromWire(code: number): Code {
  if (!RESULT_CODES.has(code)) throw new WireError(`unknown result code ${code}`);
  return code as Code;
}

export function writeToWire(write: ConditionalWrite): wire.Write {
  return {
    key: fromBinary(write.key),
    value: asBuffer(write.value),
    delete: write.value === null,
    condition: write.condition as number,
    ifVersion: write.ifVersion,
  };
}

export function writeFromWire(write: wire.Write): ConditionalWrite {
  return {
    key: toBinary(write.key),
    value: write.delete ? null : write.value,
    condition: conditionFromWire(write.condition),
    ifVersion: write.ifVersion,
  };
}

export function recordToWire(record: StoredRecord): wire.Record {
  const { key, value, version } = record;
  return { key: fromBinary(key), value: asBuffer(value), version };
}

export function recordFromWire({ key, value, version }: wire.Record): StoredRecord {
  return { key: toBinary(key), value, version };
}

export function operationToWire(operation: Operation, id: number): wire.Operation {
  return {
    id,
    kind: operation.kind as number,
    key: fromBinary(operation.key),
    value: asBuffer(operation.value),
    condition: operation.condition as number,
    ifVersion: operation.ifVersion,
    clientSequence: operation.clientSequence,
    writes: operation.writes === null ? [] : operation.writes.map(writeToWire),
    bucket: operation.bucket,
    limit: operation.limit,
    bucketEpoch: operation.bucketEpoch,
    timeoutMs: Math.ceil(operation.timeoutMs),
    hops: operation.hops,
    keys: operation.reads?.keys.map(fromBinary) ?? [],
    holdMs: operation.reads?.holdMs ?? 0,
    ttlMs: operation.ttlMs,
    ...(operation.context === null ? {} : { context: contextToWire(operation.context) }),
  };
}

/** `client` is '' for an operation that is not protected against being sent twice. */
export function operationFromWire(
  operation: wire.Operation,
  client: ClientId,
  settledBelow: number,
): Operation {
  if (!KINDS.has(operation.kind)) throw new WireError(`unknown operation kind ${operation.kind}`);
  if (client !== '' && client.length !== CLIENT_ID_BYTES) {
    throw new WireError(`a client id has ${CLIENT_ID_BYTES} bytes, not ${client.length}`);
  }
  const writes = operation.writes.length === 0 ? null : operation.writes.map(writeFromWire);
  const keys = operation.keys.map(toBinary);
  const isGetr = operation.kind === (OperationKind.GetR as number);
  // These are routed by their first key.
  const isSetr = operation.kind === (OperationKind.SetR as number);
  const key = isSetr ? writes?.[0]?.key : isGetr ? keys[0] : undefined;
  return new Operation(
    operation.kind as unknown as OperationKind,
    key ?? toBinary(operation.key),
    operation.kind === (OperationKind.Set as number) ? operation.value : null,
    conditionFromWire(operation.condition),
    operation.ifVersion,
    client,
    operation.clientSequence,
    settledBelow,
    writes,
    operation.bucket,
    operation.limit,
    operation.bucketEpoch,
    Math.min(operation.timeoutMs, LIMITS.timeoutMs),
    operation.hops,
    isGetr ? { keys, holdMs: operation.holdMs } : null,
    operation.context === undefined ? null : contextFromWire(operation.context),
    operation.ttlMs,
  );
}

export function resultToWire(result: Result, id: number): wire.OperationResult {
  return {
    id,
    code: result.code as number,
    found: result.found,
    value: asBuffer(result.value),
    version: result.version,
    previous: result.previous,
    epoch: result.epoch,
    bucket: result.bucket,
    server: result.server,
    detail: result.detail,
    records: result.records.map(recordToWire),
    more: result.more,
    participants: result.participants,
    ...(result.context === null ? {} : { context: contextToWire(result.context) }),
  };
}

/** A value that was empty and one that was not there are told apart by `found` alone. */
export function resultFromWire(result: wire.OperationResult): Result {
  return new Result(
    codeFromWire(result.code),
    result.found,
    result.found ? result.value : null,
    result.version,
    result.previous,
    result.epoch,
    result.bucket,
    result.server,
    result.detail,
    result.records.length === 0 ? NO_RECORDS : result.records.map(recordFromWire),
    result.more,
    result.participants,
    result.context === undefined ? null : contextFromWire(result.context),
  );
}
