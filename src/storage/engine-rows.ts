import { Buffer } from 'node:buffer';

import type { BucketId, Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import { DamagedBucket, type RecordCounts } from '../core/outbox.js';
import { checksum } from './checksum.js';
import { damageOf, StorageError } from './storage-error.js';

/**
 * Rows of the state engine. Every value starts with a CRC-32 over the row's key and the rest of the
 * value, so that neither changed nor misplaced bytes are ever served (D7).
 */

/** First byte of a row's key. */
const RECORD = 'd';
const COUNTS = 'c';
const META = 'm';

export const VIEW_KEY = Buffer.from('v');
export const REPLAY_KEY = Buffer.from('p');
/** Present while the engine is open; see `engine-open.ts`. */
export const OPEN_KEY = Buffer.from('o');
/** Sorts after all rows. */
export const LAST_KEY = Buffer.from('z');

const RECORD_KEY_HEADER = 3;
const RECORD_VALUE_HEADER = 12;

function bucketKey(prefix: string, bucket: BucketId, extra = ''): Buffer {
  const key = Buffer.allocUnsafe(RECORD_KEY_HEADER + extra.length);
  key[0] = prefix.charCodeAt(0);
  key.writeUInt16BE(bucket, 1);
  if (extra !== '') key.write(extra, RECORD_KEY_HEADER, 'latin1');
  return key;
}

export function recordKey(bucket: BucketId, key: Key): Buffer {
  return bucketKey(RECORD, bucket, key);
}

export function countsKey(bucket: BucketId): Buffer {
  return bucketKey(COUNTS, bucket);
}

export function metaKey(bucket: BucketId): Buffer {
  return bucketKey(META, bucket);
}

/** The records of a bucket, as a range of row keys. */
export function recordRange(bucket: BucketId): { gte: Buffer; lt: Buffer } {
  const lt = recordKey(bucket, '');
  // The bucket's number, one higher; of the last bucket the carry reaches the prefix.
  for (let at = lt.length - 1; at >= 0; at--) {
    lt[at] = ((lt[at] ?? 0) + 1) % 256;
    if (lt[at] !== 0) break;
  }
  return { gte: recordKey(bucket, ''), lt };
}

/** All rows of a kind, as a range of row keys. */
export const ALL_COUNTS = rangeOf(COUNTS);
export const ALL_METAS = rangeOf(META);
export const ALL_RECORDS = rangeOf(RECORD);

function rangeOf(prefix: string): { gte: Buffer; lt: Buffer } {
  const next = String.fromCharCode(prefix.charCodeAt(0) + 1);
  return { gte: Buffer.from(prefix), lt: Buffer.from(next) };
}

export function bucketOf(rowKey: Buffer): BucketId {
  return rowKey.readUInt16BE(1);
}

export function keyOf(rowKey: Buffer): Key {
  return rowKey.toString('latin1', RECORD_KEY_HEADER);
}

/** Bytes of key and value that a record's row stands for; needs no valid checksum. */
export function recordBytes(rowKey: Buffer, rowValue: Buffer): number {
  return rowKey.length - RECORD_KEY_HEADER + rowValue.length - RECORD_VALUE_HEADER;
}

export function encodeRecord(rowKey: Buffer, record: StoredRecord): Buffer {
  const { value } = record;
  const row = Buffer.allocUnsafe(RECORD_VALUE_HEADER + value.length);
  row.writeDoubleBE(record.version, 4);
  row.set(value, RECORD_VALUE_HEADER);
  return sealed(rowKey, row);
}

/** Throws DamagedBucket. */
export function decodeRecord(rowKey: Buffer, row: Buffer): StoredRecord {
  if (!isIntact(rowKey, row)) throw new DamagedBucket(bucketOf(rowKey), damageOf(describe(rowKey)));
  return {
    key: keyOf(rowKey),
    value: row.subarray(RECORD_VALUE_HEADER),
    version: row.readDoubleBE(4),
  };
}

/** Counts of a bucket as stored; `clearing`: its records are being deleted, none counts. */
export interface CountsRow extends RecordCounts {
  readonly clearing: boolean;
}

export function encodeCounts(rowKey: Buffer, counts: CountsRow): Buffer {
  const row = Buffer.allocUnsafe(21);
  row.writeDoubleBE(counts.records, 4);
  row.writeDoubleBE(counts.bytes, 12);
  row[20] = counts.clearing ? 1 : 0;
  return sealed(rowKey, row);
}

export function decodeCounts(rowKey: Buffer, row: Buffer): CountsRow {
  verify(rowKey, row);
  return { records: row.readDoubleBE(4), bytes: row.readDoubleBE(12), clearing: row[20] !== 0 };
}

export function encodeBytes(rowKey: Buffer, bytes: Uint8Array): Buffer {
  const row = Buffer.allocUnsafe(4 + bytes.length);
  row.set(bytes, 4);
  return sealed(rowKey, row);
}

export function decodeBytes(rowKey: Buffer, row: Buffer): Buffer {
  verify(rowKey, row);
  return row.subarray(4);
}

function sealed(rowKey: Buffer, row: Buffer): Buffer {
  row.writeUInt32BE(rowChecksum(rowKey, row));
  return row;
}

function isIntact(rowKey: Buffer, row: Buffer): boolean {
  return row.length >= 4 && row.readUInt32BE() === rowChecksum(rowKey, row);
}

/** For rows that the server cannot start without. */
function verify(rowKey: Buffer, row: Buffer): void {
  if (isIntact(rowKey, row)) return;
  const hint = 'Empty the data directory and start the server again: it copies from its replicas.';
  throw new StorageError('DAMAGED', `${damageOf(describe(rowKey))}. ${hint}`);
}

function rowChecksum(rowKey: Buffer, row: Buffer): number {
  return checksum(row.subarray(4), checksum(rowKey));
}

function describe(rowKey: Buffer): string {
  if (rowKey[0] !== RECORD.charCodeAt(0)) return `The stored row ${rowKey.toString('hex')}`;
  return `The stored row of key ${JSON.stringify(keyOf(rowKey))} in bucket ${bucketOf(rowKey)}`;
}

/** A batch of the engine. */
interface Batch {
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
}

interface Put {
  readonly type: 'put';
  readonly key: Buffer;
  readonly value: Buffer;
}

/** What a layer has of one bucket, and the counts of the bucket after it. */
export interface Part {
  readonly bucket: BucketId;
  readonly records: ReadonlyMap<Key, StoredRecord | null>;
  readonly counts: RecordCounts;
}

/**
 * Rows of one bucket that are encoded in one turn of the event loop. Not fewer: a snapshot waits
 * for each of its turns.
 */
const ROWS_IN_TURN = 1024;

/**
 * Rows and the exact counts of their bucket in one batch: a crash never parts them. Resolves to
 * their bytes.
 */
export async function putPart(batch: Batch, part: Part): Promise<number> {
  let bytes = 0;
  let rows = 0;
  for (const [key, record] of part.records) {
    const rowKey = recordKey(part.bucket, key);
    if (record === null) batch.del(rowKey);
    else {
      const row = encodeRecord(rowKey, record);
      batch.put(rowKey, row);
      bytes += row.length;
    }
    bytes += rowKey.length;
    if (++rows % ROWS_IN_TURN === 0) await new Promise(setImmediate);
  }
  const counts = countsRow(part.bucket, part.counts, false);
  batch.put(counts.key, counts.value);
  return bytes;
}

export function countsRow(bucket: BucketId, counts: RecordCounts, clearing: boolean): Put {
  const key = countsKey(bucket);
  return { type: 'put', key, value: encodeCounts(key, { ...counts, clearing }) };
}
