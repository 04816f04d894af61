import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';

import type { ClassicLevel } from 'classic-level';

import type { BucketId } from '../core/ids.js';
import type { RecordCounts } from '../core/outbox.js';
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
  recordRange,
} from './engine-rows.js';
import { StorageError, toError } from './storage-error.js';

export type Database = ClassicLevel<Buffer, Buffer>;

/**
 * Opens the engine and returns the counts of its buckets, equal to their contents. While the
 * engine is open a row names the boot of the machine. The death of a process loses nothing that
 * it wrote; but if the row is there and of another boot, the machine went down, and batches that
 * were not flushed may be lost in any combination: then the records are counted anew.
 */
export async function markOpen(
  database: Database,
  directory: string,
): Promise<Map<BucketId, RecordCounts>> {
  await openDatabase(database, directory);
  try {
    const boot = await bootId();
    const lastBoot = database.getSync(OPEN_KEY);
    await finishClears(database);
    if (lastBoot !== undefined && (boot.length === 0 || !lastBoot.equals(boot))) {
      await recount(database);
    }
    await database.put(OPEN_KEY, boot, { sync: true });
    return await loadCounts(database);
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

/** A crash in the middle of a clear left its mark: nothing of the bucket counts. */
async function finishClears(database: Database): Promise<void> {
  let cleared = false;
  for await (const [key, row] of database.iterator(ALL_COUNTS)) {
    if (!decodeCounts(key, row).clearing) continue;
    await database.clear(recordRange(bucketOf(key)));
    await database.put(key, encodeCounts(key, { records: 0, bytes: 0, clearing: false }));
    cleared = true;
  }
  if (cleared) await flushRows(database);
}

/**
 * For what was written without a flush. Compacting a range that holds nothing writes all rows in
 * memory into table files, durably. It reports no error itself; the next write does.
 */
export async function flushRows(database: Database): Promise<void> {
  await database.compactRange(LAST_KEY, LAST_KEY);
}

async function recount(database: Database): Promise<void> {
  const counts = new Map<BucketId, { records: number; bytes: number }>();
  for (const bucket of (await loadCounts(database)).keys()) {
    counts.set(bucket, { records: 0, bytes: 0 });
  }
  for await (const [key, row] of database.iterator(ALL_RECORDS)) {
    const bucket = bucketOf(key);
    const sum = counts.get(bucket) ?? { records: 0, bytes: 0 };
    sum.records++;
    sum.bytes += recordBytes(key, row);
    counts.set(bucket, sum);
  }
  const rows = Array.from(counts, ([bucket, sum]) => {
    const key = countsKey(bucket);
    return { type: 'put', key, value: encodeCounts(key, { ...sum, clearing: false }) } as const;
  });
  await database.batch(rows, { sync: true });
}

async function loadCounts(database: Database): Promise<Map<BucketId, RecordCounts>> {
  const counts = new Map<BucketId, RecordCounts>();
  for await (const [key, row] of database.iterator(ALL_COUNTS)) {
    const { records, bytes } = decodeCounts(key, row);
    counts.set(bucketOf(key), { records, bytes });
  }
  return counts;
}
