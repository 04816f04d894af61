// Rows of cleared buckets, while they go.
import { Buffer } from 'node:buffer';

import { describe, expect, test } from '@jest/globals';
import { ClassicLevel } from 'classic-level';

import { waitFor } from '../../src/cli/local-cluster.js';
import type { Database } from '../../src/storage/engine-open.js';
import { countsKey, decodeCounts, recordKey, recordRange } from '../../src/storage/engine-rows.js';
import { VoidRows } from '../../src/storage/void-rows.js';
import { temporaryDirectory } from './support.js';

async function withRows(use: (database: Database) => Promise<void>): Promise<void> {
  const database: Database = new ClassicLevel(await temporaryDirectory(), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  });
  await database.open();
  for (const bucket of [1, 2, 3]) {
    const batch = database.batch();
    for (let row = 0; row < 600; row++)
      batch.put(recordKey(bucket, `key-${row}`), Buffer.from('x'));
    await batch.write();
  }
  try {
    await use(database);
  } finally {
    await database.close();
  }
}

function unexpected(error: unknown): void {
  throw error;
}

async function left(database: Database, bucket: number): Promise<number> {
  const { gte, lt } = recordRange(bucket);
  return (await database.keys({ gte, lt }).all()).length;
}

function marked(database: Database, bucket: number): boolean | undefined {
  const key = countsKey(bucket);
  const row = database.getSync(key);
  return row === undefined ? undefined : decodeCounts(key, row).clearing;
}

describe('void rows', () => {
  test('go by themselves, and those of other buckets stay', async () => {
    await withRows(async (database) => {
      const rows = new VoidRows(database, unexpected);
      rows.add(1);
      rows.add(2);
      expect(rows.has(1)).toBe(true);
      await waitFor('both buckets to be empty', 20_000, () => !rows.has(1) && !rows.has(2));
      expect(await left(database, 1)).toBe(0);
      expect(await left(database, 2)).toBe(0);
      expect(await left(database, 3)).toBe(600);
      expect(marked(database, 1)).toBe(false);
      expect(marked(database, 3)).toBeUndefined();
      await rows.stop();
    });
  });

  test('are gone when somebody waited for it, and nothing that follows is taken for one', async () => {
    await withRows(async (database) => {
      const rows = new VoidRows(database, unexpected);
      for (const bucket of [1, 2, 3]) rows.add(bucket);
      await rows.empty(3);
      expect(rows.has(3)).toBe(false);
      expect(await left(database, 3)).toBe(0);
      await database.put(recordKey(3, 'key-1'), Buffer.from('new'));
      await rows.empty(3);
      await waitFor('the others to be empty', 20_000, () => !rows.has(1) && !rows.has(2));
      expect(await left(database, 3)).toBe(1);
      await rows.stop();
    });
  });

  test('stay when it stops, and so does their mark', async () => {
    await withRows(async (database) => {
      const rows = new VoidRows(database, unexpected);
      rows.add(1);
      await rows.stop();
      expect(rows.has(1)).toBe(true);
      expect(await left(database, 1)).toBe(600);
      expect(marked(database, 1)).toBeUndefined();
    });
  });

  test('a failure is told', async () => {
    await withRows(async (database) => {
      const failures: unknown[] = [];
      const rows = new VoidRows(database, (error) => failures.push(error));
      rows.add(1);
      await database.close();
      await waitFor('the failure', 20_000, () => failures.length > 0);
      await rows.stop();
    });
  });
});
