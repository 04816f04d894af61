// How the log writes: blocking and through the pool, beside zeros that are written ahead.
import { createHash } from 'node:crypto';

import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import type { LogRecord } from '../../src/core/outbox.js';
import { Log } from '../../src/storage/log.js';
import type { StorageError } from '../../src/storage/storage-error.js';
import { type Fault, MemoryFiles } from './memory-files.js';
import { entry, logged, noFatal } from './support.js';

const KIB = 1024;
/** Above this a group goes through the pool. */
const POOL_BYTES = 300 * KIB;

function open(
  files: MemoryFiles,
  segmentBytes: number,
  onFatal: (error: StorageError) => void = noFatal,
): Promise<Log> {
  return Log.open('log', { segmentBytes, retainBytes: 0 }, { onFatal, files });
}

function durable(log: Log): Promise<void> {
  return new Promise((resolve) => log.whenDurable(resolve));
}

/** A record in a few characters: values are long. */
function brief(record: LogRecord): string {
  if (record.type !== 'entry') return record.type;
  const { sequence, key, value } = record.entry;
  const digest = createHash('sha1')
    .update(value ?? '')
    .digest('hex');
  return `${sequence} ${key} ${value?.length} ${digest}`;
}

async function allRecords(files: MemoryFiles): Promise<string[]> {
  const log = await open(files, 64 * KIB);
  const records: string[] = [];
  await log.visit(log.start, (_, record) => {
    records.push(brief(record));
    return undefined;
  });
  await log.close();
  return records;
}

/** Appends small groups until one is written blocking; how many there were. */
async function untilBlocking(log: Log, files: MemoryFiles): Promise<number> {
  let sequence = 0;
  while (files.blocked === 0) {
    log.append(logged(1, (sequence += 1)));
    await durable(log);
  }
  return sequence;
}

describe('a write that fails', () => {
  const modes = {
    blocking: { fail: 'failBlocking', bytes: 10 },
    'in the pool': { fail: 'failPooled', bytes: POOL_BYTES },
  } as const;

  for (const [name, { fail, bytes }] of Object.entries(modes)) {
    test(`${name} is fatal, once, and nothing is durable or written after it`, async () => {
      const files = new MemoryFiles();
      const errors: StorageError[] = [];
      const log = await open(files, 4096 * KIB, (error) => errors.push(error));
      const kept = await untilBlocking(log, files);
      files[fail] = true;
      let told = 0;
      log.append(logged(1, kept + 1, 'x'.repeat(bytes)));
      log.whenDurable(() => (told += 1));
      while (errors.length === 0) await new Promise(setImmediate);
      files[fail] = false;
      const { blocked, pooled } = files;
      log.append(logged(1, kept + 2));
      log.whenDurable(() => (told += 1));
      await log.close();
      expect(errors.map(({ code }) => code)).toEqual(['FAILED']);
      expect(errors[0]?.message).toMatch(/EIO.*kept.*start the server again/);
      expect({ told, blocked: files.blocked, pooled: files.pooled }).toEqual({
        told: 0,
        blocked,
        pooled,
      });
      expect(await allRecords(files)).toHaveLength(kept);
    });
  }

  test('of zeros loses nothing', async () => {
    const files = new MemoryFiles();
    files.failZeros = true;
    const log = await open(files, 64 * KIB);
    const records = Array.from({ length: 300 }, (_, at) => logged(1, at + 1, 'v'.repeat(at)));
    for (const record of records) {
      log.append(record);
      await durable(log);
    }
    await log.close();
    expect(files.zeros).toBeGreaterThan(0);
    expect(files.blocked).toBe(0);
    expect(await allRecords(files)).toEqual(records.map(brief));
  });
});

describe('zeros ahead', () => {
  const fault: fc.Arbitrary<Fault> = fc.record({
    turns: fc.nat(6),
    most: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1000, max: 200_000 })),
  });
  const size = fc.oneof(
    { weight: 6, arbitrary: fc.nat(3000) },
    { weight: 2, arbitrary: fc.nat(100 * KIB) },
    { weight: 1, arbitrary: fc.integer({ min: POOL_BYTES, max: 1500 * KIB }) },
  );
  const group = fc.record({
    sizes: fc.array(size, { minLength: 1, maxLength: 4 }),
    /** Turns until the next group; null: until this one is durable. */
    turns: fc.option(fc.nat(4)),
  });

  test('never overwrite records, whatever comes when', async () => {
    const seen = { blocked: 0, pooled: 0, zeros: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(group, { maxLength: 20, size: 'max' }),
        fc.infiniteStream(fault),
        fc.constantFrom(16 * KIB, 200 * KIB, 3000 * KIB, 9000 * KIB),
        async (groups, faults, segmentBytes) => {
          const next = (): Fault => faults.next().value ?? { turns: 0, most: Infinity };
          const files = new MemoryFiles(next);
          const log = await open(files, segmentBytes);
          const records: string[] = [];
          let acknowledged = 0;
          for (const { sizes, turns } of groups) {
            for (const bytes of sizes) {
              const sequence = records.length + 1;
              const made = entry(sequence, 'key', String(sequence % 10).repeat(bytes));
              const record: LogRecord = { type: 'entry', bucket: 1, entry: made, commitPoint: 0 };
              records.push(brief(record));
              log.append(record);
            }
            const count = records.length;
            log.whenDurable(() => (acknowledged = count));
            if (turns === null) await durable(log);
            else for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
          }
          const crashed = files.copy();
          const least = acknowledged;
          await log.close();
          expect(acknowledged).toBe(records.length);
          expect(files.overwritten).toBe(0);
          expect(await allRecords(files)).toEqual(records);
          const kept = await allRecords(crashed);
          expect(kept.length).toBeGreaterThanOrEqual(least);
          expect(kept).toEqual(records.slice(0, kept.length));
          seen.blocked += files.blocked;
          seen.pooled += files.pooled;
          seen.zeros += files.zeros;
        },
      ),
      { numRuns: 30 },
    );
    // Both ways were gone, beside zeros.
    expect(Math.min(seen.blocked, seen.pooled, seen.zeros)).toBeGreaterThan(0);
  });
});
