import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { asDelta } from '../../src/core/view-recovery.js';
import type { LogRecord } from '../../src/core/outbox.js';
import { DEFAULT_ENGINE_SETTINGS } from '../../src/storage/engine.js';
import { openStorage } from '../../src/storage/storage.js';
import type { Storage } from '../../src/storage/storage.js';
import { bytes, logged, meta, noFatal, temporaryDirectory, view } from './support.js';

const SETTINGS = {
  log: { segmentBytes: 4096, retainBytes: 0 },
  engine: DEFAULT_ENGINE_SETTINGS,
};

function open(path: string): Promise<Storage> {
  return openStorage(path, SETTINGS, { onFatal: noFatal });
}

async function append(storage: Storage, ...records: LogRecord[]): Promise<void> {
  for (const record of records) storage.append(record);
  await new Promise<void>((resolve) => storage.whenDurable(resolve));
}

async function replayed(storage: Storage): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  let last = -1;
  await storage.replay((position, record) => {
    expect(position).toBeGreaterThan(last);
    last = position;
    records.push(record);
  });
  return records;
}

async function reopened(storage: Storage, path: string): Promise<Storage> {
  await storage.close();
  return open(path);
}

describe('storage', () => {
  test('a new one is empty; identity and state come back', async () => {
    const path = await temporaryDirectory();
    let storage = await open(path);
    expect(storage.metas.size).toBe(0);
    expect(storage.view).toBeNull();
    expect(await replayed(storage)).toEqual([]);
    await storage.join('cluster', 4);
    storage.store.put(1, { key: 'a', value: bytes('value'), version: 1 });
    await append(storage, logged(1, 1));
    storage = await reopened(storage, path);
    expect(storage.identity).toMatchObject({ clusterId: 'cluster', ordinal: 4, incarnation: 2 });
    expect(await replayed(storage)).toEqual([logged(1, 1)]);
    expect(await replayed(storage)).toEqual([logged(1, 1)]);
    expect(storage.store.get(1, 'a')?.version).toBe(1);
    await storage.close();
  });

  test('a checkpoint replays from the first entry that some bucket has not applied', async () => {
    const path = await temporaryDirectory();
    let storage = await open(path);
    await append(storage, logged(1, 1), logged(2, 1), logged(1, 2), logged(2, 2), logged(1, 3));
    expect(storage.bytesSinceCheckpoint).toBeGreaterThan(0);
    await storage.checkpoint(
      new Map([
        [1, meta(3)],
        [2, meta(1)],
      ]),
      view(1),
    );
    expect(storage.bytesSinceCheckpoint).toBe(0);
    storage = await reopened(storage, path);
    expect(storage.metas).toEqual(
      new Map([
        [1, meta(3)],
        [2, meta(1)],
      ]),
    );
    expect(storage.view).toEqual(view(1));
    expect(await replayed(storage)).toEqual([logged(2, 2), logged(1, 3)]);

    // Only bucket 1 changed; that bucket 2 lacks its second entry is still known.
    await append(storage, logged(1, 4));
    await storage.checkpoint(new Map([[1, meta(4)]]), view(1));
    storage = await reopened(storage, path);
    expect((await replayed(storage)).at(0)).toEqual(logged(2, 2));
    await storage.checkpoint(new Map([[2, meta(2)]]), view(1));
    storage = await reopened(storage, path);
    expect(await replayed(storage)).toEqual([]);
    await storage.close();
  });

  test('a bucket that no checkpoint knows, a snapshot, a drop and a view hold it back', async () => {
    const holds: LogRecord[] = [
      logged(5, 1),
      { type: 'installed', bucket: 5, meta: meta(9) },
      { type: 'dropped', bucket: 5 },
      { type: 'view', view: view(7) },
      { type: 'viewDelta', delta: asDelta(view(7)) },
    ];
    for (const record of holds) {
      const path = await temporaryDirectory();
      let storage = await open(path);
      await append(storage, logged(1, 1), record, logged(1, 2));
      await storage.checkpoint(new Map([[1, meta(2)]]), view(6));
      storage = await reopened(storage, path);
      expect(await replayed(storage)).toEqual([record, logged(1, 2)]);
      const known = record.type === 'dropped' ? null : meta(9);
      await storage.checkpoint(new Map([[5, known]]), view(7));
      storage = await reopened(storage, path);
      expect(await replayed(storage)).toEqual([]);
      await storage.close();
    }
  });

  test('of deltas all are kept that follow the view of the checkpoint', async () => {
    const path = await temporaryDirectory();
    let storage = await open(path);
    const deltas = [7, 8, 9].map((epoch): LogRecord => {
      const delta = { ...asDelta(view(epoch)), fromEpoch: epoch - 1 };
      return { type: 'viewDelta', delta };
    });
    await append(storage, ...deltas);
    await storage.checkpoint(new Map(), view(7));
    storage = await reopened(storage, path);
    expect(await replayed(storage)).toEqual(deltas.slice(1));
    await storage.close();
  });

  test('a restart reads the log from the checkpoint on, and still has the rest for others', async () => {
    const path = await temporaryDirectory();
    const settings = { ...SETTINGS, log: { segmentBytes: 4096, retainBytes: 1e6 } };
    let storage = await openStorage(path, settings, { onFatal: noFatal });
    for (let sequence = 1; sequence <= 60; sequence++) {
      await append(storage, logged(1, sequence, 'v'.repeat(200)));
    }
    await storage.checkpoint(new Map([[1, meta(50)]]), view(1));
    await append(storage, { type: 'dropped', bucket: 2 });
    await storage.close();
    storage = await openStorage(path, settings, { onFatal: noFatal });
    expect(await replayed(storage)).toHaveLength(11);
    const replaced = Array.from(storage.replacements(), ([bucket]) => bucket);
    expect(replaced).toEqual([2]);
    expect(await storage.readEntries(1, 1, 1e9)).toHaveLength(60);
    await storage.close();
  });

  test('a checkpoint is due after some log and rows, and later when it is itself large', async () => {
    const storage = await open(await temporaryDirectory());
    const value = 'v'.repeat(1e6);
    let sequence = 0;
    const writesUntilDue = async (keyOf: (sequence: number) => string): Promise<number> => {
      const first = sequence;
      while (!storage.checkpointDue) {
        sequence += 1;
        storage.store.put(1, { key: keyOf(sequence), value: bytes(value), version: sequence });
        await append(storage, logged(1, sequence, value));
      }
      return sequence - first;
    };
    const save = (client: string): Promise<void> => {
      const dedup = [{ client, floor: 0, atMs: 0, results: [] }];
      return storage.checkpoint(new Map([[1, { ...meta(sequence), dedup }]]), view(1));
    };
    // Each its own row, then one row again and again.
    expect(await writesUntilDue(String)).toBe(7);
    await save('c');
    expect(await writesUntilDue(() => 'hot')).toBe(12);
    await save('c'.repeat(3e6));
    expect(await writesUntilDue(String)).toBe(12);
    await storage.close();
  });

  test('a checkpoint while entries come in replays them all', async () => {
    const path = await temporaryDirectory();
    let storage = await open(path);
    await append(storage, logged(1, 1));
    const checkpoint = storage.checkpoint(new Map([[1, meta(1)]]), view(1));
    await append(storage, logged(1, 2));
    await checkpoint;
    storage = await reopened(storage, path);
    expect(await replayed(storage)).toEqual([logged(1, 2)]);
    await storage.close();
  });

  test('frees the log, and refuses to start when needed parts of it are missing', async () => {
    const path = await temporaryDirectory();
    const storage = await open(path);
    for (let sequence = 1; sequence <= 100; sequence++) {
      await append(storage, logged(1, sequence, 'v'.repeat(200)));
    }
    const before = await readdir(join(path, 'log'));
    await storage.checkpoint(new Map([[1, meta(60)]]), view(1));
    const after = await readdir(join(path, 'log'));
    expect(after.length).toBeLessThan(before.length);
    expect(await storage.readEntries(1, 1, 1e9)).toBeNull();
    expect(await storage.readEntries(1, 61, 1e9)).toHaveLength(40);
    await storage.close();
    await rm(join(path, 'log', after.toSorted()[0] ?? ''));
    await expect(open(path)).rejects.toMatchObject({ code: 'DAMAGED' });
    await rm(join(path, 'log'), { recursive: true });
    await expect(open(path)).rejects.toMatchObject({ code: 'DAMAGED' });
    // The refusals released what they had opened.
    await rm(path, { recursive: true });
    await (await open(path)).close();
  });
});
