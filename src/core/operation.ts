import type { Context } from './causal-record.js';
import type { BucketId, ClientId, Epoch, Key, Ordinal, Version } from './ids.js';
import { Code, CODES } from './refusal.js';

/** The numbers are those of `OperationKind` on the wire. */
export const OperationKind = {
  Get: 1,
  Set: 2,
  Delete: 3,
  SetR: 4,
  Scan: 5,
  ConfirmedGet: 6,
  GetR: 7,
  Count: 8,
} as const;
export type OperationKind = (typeof OperationKind)[keyof typeof OperationKind];

/** The numbers are those of `ConditionKind` on the wire. */
export const ConditionKind = { None: 0, IfAbsent: 1, IfVersion: 2 } as const;
export type ConditionKind = (typeof ConditionKind)[keyof typeof ConditionKind];

/** One key of a `setr`; `value` null deletes. */
export interface ConditionalWrite {
  readonly key: Key;
  readonly value: Uint8Array | null;
  readonly condition: ConditionKind;
  readonly ifVersion: Version;
}

/** What a `getr` reads. */
export interface ReadSet {
  readonly keys: readonly Key[];
  /** Writes of these keys wait for so long: the read was disturbed by them before. 0: not. */
  readonly holdMs: number;
}

/** What a client asks. One class with a fixed shape for every kind. */
export class Operation {
  constructor(
    readonly kind: OperationKind,
    /** Of a setr and a getr: the first key. Of a scan: read after it. Of a count: the prefix. */
    readonly key: Key,
    readonly value: Uint8Array | null,
    readonly condition: ConditionKind,
    readonly ifVersion: Version,
    readonly client: ClientId,
    /** 0 for reads. */
    readonly clientSequence: number,
    readonly settledBelow: number,
    readonly writes: readonly ConditionalWrite[] | null,
    /** Of a scan and a count; otherwise derived from the key by the server. */
    readonly bucket: BucketId,
    /** Of a scan: the most records to return. */
    readonly limit: number,
    /** Newest bucket epoch the sender knows; 0 when none. */
    readonly bucketEpoch: Epoch,
    /** How long the sender will still wait, in ms. */
    readonly timeoutMs: number,
    readonly hops: number,
    readonly reads: ReadSet | null = null,
    /** In a namespace. In a strong one it only says what view the client has. */
    readonly context: Context | null = null,
    /** Of a set in a namespace: how long the value lives; 0: as the namespace says. */
    readonly ttlMs = 0,
  ) {}
}

/** The same operation with another address: what an attempt or a forward changes. */
export function readdressed(
  operation: Operation,
  bucketEpoch: Epoch,
  timeoutMs: number,
  hops: number,
): Operation {
  return new Operation(
    operation.kind,
    operation.key,
    operation.value,
    operation.condition,
    operation.ifVersion,
    operation.client,
    operation.clientSequence,
    operation.settledBelow,
    operation.writes,
    operation.bucket,
    operation.limit,
    bucketEpoch,
    timeoutMs,
    hops,
    operation.reads,
    operation.context,
    operation.ttlMs,
  );
}

export function isRead(kind: OperationKind): boolean {
  const { Set, Delete, SetR } = OperationKind;
  return kind !== Set && kind !== Delete && kind !== SetR;
}

/** Whether it changes anything: its outcome may then be unknown. */
export function isWrite(operation: Operation): boolean {
  return !isRead(operation.kind);
}

/** Keys that the operation names. */
export function keysOf({ key, writes, reads }: Operation): readonly Key[] {
  if (writes === null && reads === null) return [key];
  return [key, ...(writes ?? []).map((write) => write.key), ...(reads?.keys ?? [])];
}

export interface StoredRecord {
  readonly key: Key;
  readonly value: Uint8Array;
  readonly version: Version;
}

/** Bytes of keys and values. */
export function sizeOf(
  records: readonly { readonly key: Key; readonly value: Uint8Array | null }[],
): number {
  return records.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
}

export const NO_RECORDS: readonly StoredRecord[] = [];

/** The answer to one operation. One class with a fixed shape. */
export class Result {
  constructor(
    readonly code: Code,
    /** Of a read: the key exists. Of a delete: it existed. */
    readonly found: boolean,
    readonly value: Uint8Array | null,
    /** Of the record; of a count: how many; of a part of a getr: see `multi-read.ts`. */
    readonly version: Version,
    /** Version that a write replaced; 0 when there was none. */
    readonly previous: Version,
    /** Epoch of the answering server's view. */
    readonly epoch: Epoch,
    readonly bucket: BucketId,
    /** The server that holds the key, or the one believed to when the code is a refusal. */
    readonly server: Ordinal,
    readonly detail: string,
    readonly records: readonly StoredRecord[],
    readonly more: boolean,
    /** Of a setr and a getr: how many buckets took part. */
    readonly participants: number,
    /** In a causal namespace: what the session has seen now. */
    readonly context: Context | null = null,
  ) {}
}

/**
 * Whether the refusal is an abort that the coordinator recorded under the request's number before
 * it said so: it speaks for every attempt (D3).
 */
export function isRecordedAbort(operation: Operation, code: Code): boolean {
  const aborted = code === Code.Conflict || code === Code.ConditionNotMet;
  return aborted && operation.kind === OperationKind.SetR;
}

/**
 * What may be told of an operation of which an earlier attempt may have taken effect, or may still:
 * a refusal proves "no effect" for its own attempt only (D4).
 */
export function afterDoubt(operation: Operation, result: Result): Result {
  if (!isWrite(operation) || !CODES[result.code].noEffect) return result;
  if (isRecordedAbort(operation, result.code)) return result;
  const { epoch, bucket, server } = result;
  const detail = `an earlier attempt may have taken effect; the last one said: ${result.detail}`;
  const code = Code.OutcomeUnknown;
  return new Result(code, false, null, 0, 0, epoch, bucket, server, detail, NO_RECORDS, false, 0);
}
