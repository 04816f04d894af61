import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import type { BucketId, Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import { DamagedBucket } from '../core/outbox.js';
import { decodeRecord, keyOf } from './engine-rows.js';

/** A page of a bucket's records; `more`: there are others after the last one. */
export interface ScanPage {
  readonly records: readonly StoredRecord[];
  readonly more: boolean;
}

/** The rows of the engine and newer writes (null removes), both in key order. */
export interface Merging {
  readonly rows: Rows | null;
  readonly newer: readonly (readonly [Key, StoredRecord | null])[];
}

/** What a scan needs of an iterator of the engine. */
export interface Rows {
  nextv(size: number): Promise<[Buffer, Buffer][]>;
  close(): Promise<void>;
}

const ROWS_AT_ONCE = 256;

/** Merges rows of the engine with newer writes (null removes), both in key order. */
export async function scanMerged(
  rows: Rows | null,
  newer: readonly (readonly [Key, StoredRecord | null])[],
  limitRecords: number,
  limitBytes: number,
): Promise<ScanPage> {
  const records: StoredRecord[] = [];
  let bytes = 0;
  try {
    for await (const page of merged(rows, newer)) {
      for (const record of page) {
        if (records.length >= limitRecords || (records.length > 0 && bytes >= limitBytes)) {
          return { records, more: true };
        }
        records.push(record);
        bytes += record.key.length + record.value.length;
      }
    }
    return { records, more: false };
  } finally {
    await rows?.close();
  }
}

/** Bytes of records that a digest reads in a second, at most. */
const DIGEST_RATE_BYTES = 16 * 1024 * 1024;
const DIGEST_STEP_BYTES = 256 * 1024;

/** SHA-256 over keys, versions and values; `expected` records must be there. */
export async function digestMerged(
  bucket: BucketId,
  rows: Rows | null,
  newer: Merging['newer'],
  expected: number,
): Promise<string> {
  const hash = createHash('sha256');
  const head = Buffer.alloc(16);
  let found = 0;
  let bytes = 0;
  try {
    for await (const page of merged(rows, newer)) {
      for (const { key, value, version } of page) {
        head.writeUInt32BE(key.length);
        head.writeUInt32BE(value.length, 4);
        head.writeDoubleBE(version, 8);
        hash.update(head).update(key, 'latin1').update(value);
        found += 1;
        bytes += key.length + value.length;
        if (bytes < DIGEST_STEP_BYTES) continue;
        await pause((bytes / DIGEST_RATE_BYTES) * 1000);
        bytes = 0;
      }
    }
  } finally {
    await rows?.close();
  }
  if (found === expected) return hash.digest('hex');
  const what = `bucket ${bucket} holds ${found} records where ${expected} were written`;
  throw new DamagedBucket(bucket, what);
}

/** In pages, each of which is merged as it is read: a promise for every record costs more. */
async function* merged(
  rows: Rows | null,
  newer: Merging['newer'],
): AsyncGenerator<Iterable<StoredRecord>> {
  const rest = new Newer(newer);
  for (;;) {
    const page = (await rows?.nextv(ROWS_AT_ONCE)) ?? [];
    if (page.length === 0) break;
    yield rest.mergedWith(page);
  }
  yield rest.left();
}

/** Newer writes, taken in order as the rows beside them come. */
class Newer {
  private at = 0;

  constructor(private readonly writes: Merging['newer']) {}

  *mergedWith(page: readonly [Buffer, Buffer][]): Generator<StoredRecord> {
    for (const [rowKey, row] of page) {
      const key = keyOf(rowKey);
      let replaced = false;
      for (let next = this.next; next !== undefined && next[0] <= key; next = this.next) {
        this.at += 1;
        if (next[1] !== null) yield next[1];
        if (next[0] === key) replaced = true;
      }
      if (!replaced) yield decodeRecord(rowKey, row);
    }
  }

  *left(): Generator<StoredRecord> {
    for (; this.next !== undefined; this.at += 1) if (this.next[1] !== null) yield this.next[1];
  }

  private get next(): readonly [Key, StoredRecord | null] | undefined {
    return this.writes[this.at];
  }
}
