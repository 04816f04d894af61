import type { BucketId, Epoch, Key, Ordinal } from './ids.js';
import type { StoredRecord } from './operation.js';
import { NOTHING_SEEN, type Vector } from './vector.js';

/** Steps of the clock in a millisecond. */
export const STEPS = 1024;

/** Identity and order of one causal write. */
export interface Stamp {
  /**
   * Lamport's (1978): greater than that of everything its writer had seen. It follows the wall
   * clock where that is ahead (a hybrid logical clock: Kulkarni et al. 2014), in 1/1024 ms: what
   * has been seen to expire has expired for all who depend on it, however their clocks go.
   */
  readonly clock: number;
  /** The server that took it. */
  readonly writer: Ordinal;
  /** Among the causal writes of that server, from 1 on. */
  readonly number: number;
}

/** What a key of a causal namespace holds: the write with the highest stamp. */
export interface CausalRecord extends Stamp {
  readonly key: Key;
  /** Null: it was deleted. */
  readonly value: Uint8Array | null;
  /** What its session had seen: who sees this write must see that too. */
  readonly past: Vector;
  /** Newest view of whatever its session had seen, and of its writer: see `Context`. */
  readonly epoch: Epoch;
  /** Clock from which on it counts as deleted; 0: never. */
  readonly expires: number;
}

type LiveRecord = CausalRecord & { readonly value: Uint8Array };

/** Something is there to be read, for one whose clock is `clock`. */
export function isLive(record: CausalRecord | null, clock: number): record is LiveRecord {
  if (record === null || record.value === null) return false;
  return record.expires === 0 || clock < record.expires;
}

/**
 * What a session has seen: carried by it from operation to operation, and from server to server.
 * One number for each server, whatever the number of keys.
 */
export interface Context {
  readonly clock: number;
  /** Newest view of any server that answered: one with an older view cannot tell who holds what. */
  readonly epoch: Epoch;
  readonly seen: Vector;
}

export const NO_CONTEXT: Context = { clock: 0, epoch: 0, seen: NOTHING_SEEN };

/** Last writer wins: by clock, then by server; a server numbers what has one clock. */
export function isAfter(left: Stamp, right: Stamp): boolean {
  if (left.clock !== right.clock) return left.clock > right.clock;
  if (left.writer !== right.writer) return left.writer > right.writer;
  return left.number > right.number;
}

/** The causal records of a bucket are kept beside the strong ones, under a bucket of their own. */
export function causalHalf(bucket: BucketId): BucketId {
  return bucket + HALF;
}

const HALF = 2 ** 15;
/** Buckets there may be, so that both halves have room. */
export const MOST_BUCKETS = HALF;

const HEADER_BYTES = 39;
const SEEN_BYTES = 12;

/**
 * As the state store keeps it. Layout of the value: deleted (1 byte), clock (8), writer (4),
 * number (8), expires (8), epoch (8), servers in `past` (2), for each its ordinal (4) and number
 * (8), then the value.
 */
export function toStored(record: CausalRecord): StoredRecord {
  const { key, value, clock, writer, number, past, epoch, expires } = record;
  const start = HEADER_BYTES + past.size * SEEN_BYTES;
  const bytes = new Uint8Array(start + (value?.length ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, value === null ? 1 : 0);
  view.setFloat64(1, clock);
  view.setUint32(9, writer);
  view.setFloat64(13, number);
  view.setFloat64(21, expires);
  view.setFloat64(29, epoch);
  view.setUint16(37, past.size);
  let at = HEADER_BYTES;
  for (const [server, seen] of past) {
    view.setUint32(at, server);
    view.setFloat64(at + 4, seen);
    at += SEEN_BYTES;
  }
  if (value !== null) bytes.set(value, start);
  return { key, value: bytes, version: clock };
}

export function fromStored({ key, value: bytes }: StoredRecord): CausalRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const past = new Map<Ordinal, number>();
  const start = HEADER_BYTES + view.getUint16(37) * SEEN_BYTES;
  for (let at = HEADER_BYTES; at < start; at += SEEN_BYTES) {
    past.set(view.getUint32(at), view.getFloat64(at + 4));
  }
  return {
    key,
    value: view.getUint8(0) === 1 ? null : bytes.subarray(start),
    clock: view.getFloat64(1),
    writer: view.getUint32(9),
    number: view.getFloat64(13),
    expires: view.getFloat64(21),
    epoch: view.getFloat64(29),
    past,
  };
}

/** Bytes of a record on the wire, roughly. */
export function bytesOf({ key, value, past }: CausalRecord): number {
  return HEADER_BYTES + key.length + (value?.length ?? 0) + past.size * SEEN_BYTES;
}
