import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';

import type { ClassicLevel } from 'classic-level';

import type { BucketId } from '../core/ids.js';
import {
  ALL_COUNTS,
  ALL_RECORDS,
  LAST_KEY,
  OPEN_KEY,
  bucketOf,
  countsKey,
  decodeCounts,
  encodeCounts,
  recordBytes,
} from './engine-rows.js';
import type { CountsRow } from './engine-rows.js';
import { StorageError, toError } from './storage-error.js';

export type Database = ClassicLevel<Buffer, Buffer>;

/** What the engine holds of a bucket; `clearing`: rows, which are void and to be deleted. */
export type StoredCounts = ReadonlyMap<BucketId, CountsRow>;

/**
 * Opens the engine and returns the counts of its buckets, equal to their contents. While the
 * engine is open a row names the boot of the machine. The death of a process loses nothing that
 * it wrote; but if the row is there and of another boot, the machine went down, and batches that
 * were not flushed may be lost in any combination: then the records are counted anew.
 */
export async function markOpen(database: Database, directory: string): Promise<StoredCounts> {
  await openDatabase(database, directory);
  try {
    const boot = await bootId();
    const lastBoot = database.getSync(OPEN_KEY);
    const counts = await loadCounts(database);
    const mayLack = lastBoot !== undefined && (boot.length === 0 || !lastBoot.equals(boot));
    const right = mayLack ? await recount(database, counts) : counts;
    await database.put(OPEN_KEY, boot, { sync: true });
    return right;
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** To be called when all rows are durable. */
export async function markClosed(database: Database): Promise<void> {
  await database.del(OPEN_KEY, { sync: true });
}

async function openDatabase(database: Database, directory: string): Promise<void> {
  try {
    await database.open();
  } catch (error) {
    const cause = toError(toError(error).cause ?? error);
    if ('code' in cause && cause.code === 'LEVEL_LOCKED') {
      const message =
        `${directory} is in use by another process. Nothing was changed. ` +
        'Stop that process first.';
      throw new StorageError('IN_USE', message, { cause });
    }
    const message =
      `The state engine in ${directory} cannot be opened: ${cause.message}. Nothing was changed. ` +
      'Move this data directory away and start the server with an empty one: ' +
      'it copies from its replicas.';
    throw new StorageError('DAMAGED', message, { cause });
  }
}

async function bootId(): Promise<Buffer> {
  try {
    return await readFile('/proc/sys/kernel/random/boot_id');
  } catch {
    // Not known on this system: every unclean end counts as a boot.
    return Buffer.alloc(0);
  }
}

/**
 * Compacting a range that holds nothing writes all rows in memory into table files, durably, so
 * that the next start has no write-ahead file to replay. It reports no error itself; the next
 * write does.
 */
export async function flushRows(database: Database): Promise<void> {
  await database.compactRange(LAST_KEY, LAST_KEY);
}

/** Rows that are void do not count, however many of them there are. */
async function recount(database: Database, before: StoredCounts): Promise<StoredCounts> {
  const counts = new Map<BucketId, { records: number; bytes: number; clearing: boolean }>();
  for (const [bucket, { clearing }] of before) {
    counts.set(bucket, { records: 0, bytes: 0, clearing });
  }
  for await (const [key, row] of database.iterator(ALL_RECORDS)) {
    const bucket = bucketOf(key);
    const sum = counts.get(bucket) ?? { records: 0, bytes: 0, clearing: false };
    counts.set(bucket, sum);
    if (sum.clearing) continue;
    sum.records++;
    sum.bytes += recordBytes(key, row);
  }
  const rows = Array.from(counts, ([bucket, sum]) => {
    const key = countsKey(bucket);
    return { type: 'put', key, value: encodeCounts(key, sum) } as const;
  });
  await database.batch(rows, { sync: true });
  return counts;
}

async function loadCounts(database: Database): Promise<StoredCounts> {
  const counts = new Map<BucketId, CountsRow>();
  for await (const [key, row] of database.iterator(ALL_COUNTS)) {
    counts.set(bucketOf(key), decodeCounts(key, row));
  }
  return counts;
}
