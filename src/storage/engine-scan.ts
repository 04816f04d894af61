import type { Buffer } from 'node:buffer';

import type { Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import { decodeRecord, keyOf } from './engine-rows.js';

/** A page of a bucket's records; `more`: there are others after the last one. */
export interface ScanPage {
  readonly records: readonly StoredRecord[];
  readonly more: boolean;
}

/** What a scan needs of an iterator of the engine. */
interface Rows {
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
    for await (const record of merged(rows, newer)) {
      if (records.length >= limitRecords || (records.length > 0 && bytes >= limitBytes)) {
        return { records, more: true };
      }
      records.push(record);
      bytes += record.key.length + record.value.length;
    }
    return { records, more: false };
  } finally {
    await rows?.close();
  }
}

async function* merged(
  rows: Rows | null,
  newer: readonly (readonly [Key, StoredRecord | null])[],
): AsyncGenerator<StoredRecord> {
  let at = 0;
  let page = (await rows?.nextv(ROWS_AT_ONCE)) ?? [];
  while (page.length > 0) {
    for (const [rowKey, row] of page) {
      const key = keyOf(rowKey);
      let replaced = false;
      for (let next = newer[at]; next !== undefined && next[0] <= key; next = newer[++at]) {
        if (next[1] !== null) yield next[1];
        if (next[0] === key) replaced = true;
      }
      if (!replaced) yield decodeRecord(rowKey, row);
    }
    page = (await rows?.nextv(ROWS_AT_ONCE)) ?? [];
  }
  for (; at < newer.length; at++) {
    const record = newer[at]?.[1];
    if (record !== undefined && record !== null) yield record;
  }
}
