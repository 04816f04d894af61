import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { LogRecord } from '../../src/core/outbox.js';
import { realFiles } from '../../src/storage/files.js';
import type { LogFile, LogFiles } from '../../src/storage/files.js';
import { decodeHeader } from '../../src/storage/log-segment.js';
import { Log } from '../../src/storage/log.js';
import type { StorageError } from '../../src/storage/storage-error.js';
import { Child, entry, logged, meta, noFatal, temporaryDirectory, view } from './support.js';

const SETTINGS = { segmentBytes: 16 * 1024, retainBytes: 0 };

function open(directory: string, settings = SETTINGS): Promise<Log> {
  return Log.open(directory, settings, { onFatal: noFatal });
}

function durable(log: Log): Promise<void> {
  return new Promise((resolve) => log.whenDurable(resolve));
}

async function append(log: Log, ...records: LogRecord[]): Promise<void> {
  for (const record of records) log.append(record);
  await durable(log);
}

async function allRecords(log: Log): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  await log.visit(log.start, (_, record) => {
    records.push(record);
    return undefined;
  });
  return records;
}

async function sequences(log: Log, bucket: number, from: number): Promise<number[] | null> {
  const entries = await log.readEntries(bucket, from, 1e9);
  return entries === null ? null : entries.map(({ sequence }) => sequence);
}

async function segmentFiles(directory: string): Promise<string[]> {
  return (await readdir(directory)).toSorted().map((name) => join(directory, name));
}

async function onlySegment(directory: string): Promise<string> {
  const [path, ...others] = await segmentFiles(directory);
  expect(others).toEqual([]);
  return path ?? '';
}

/** Positions of the segments' first frames. */
async function frameStarts(directory: string): Promise<number[]> {
  const paths = await segmentFiles(directory);
  const files = await Promise.all(paths.map((path) => readFile(path)));
  return files.map((bytes, at) => decodeHeader(bytes, paths[at] ?? '').base);
}

/** Opens, appends, closes. */
async function writeLog(directory: string, groups: readonly LogRecord[][]): Promise<void> {
  const log = await open(directory);
  for (const group of groups) await append(log, ...group);
  await log.close();
}

function endOf(bytes: Buffer): number {
  return bytes.findLastIndex((byte) => byte !== 0) + 1;
}

/** Real files whose flushes and writes are counted, and fail when asked to. */
class CountingFiles implements LogFiles {
  flushes = 0;
  failFlush = false;
  makeDirectory = realFiles.makeDirectory;
  list = realFiles.list;
  rename = realFiles.rename;
  remove = realFiles.remove;
  syncDirectory = realFiles.syncDirectory;

  async open(path: string, flags: 'r+' | 'wx+'): Promise<LogFile> {
    const file = await realFiles.open(path, flags);
    const { writevNow } = file;
    const writev = file.writev.bind(file);
    const count = (): void => {
      this.flushes++;
      if (this.failFlush) throw new Error('EIO: i/o error, writev');
    };
    file.writev = async (buffers, offset) => {
      // Zeros ahead of the records are not counted.
      const bytes = buffers as unknown as readonly Buffer[];
      if (bytes.some((buffer) => buffer.some((byte) => byte !== 0))) count();
      return writev(buffers, offset);
    };
    file.writevNow = (buffers, offset) => {
      count();
      return writevNow(buffers, offset);
    };
    return file;
  }
}

describe('appending', () => {
  test('gathers everything of one turn, and of one flush, into one group', async () => {
    const files = new CountingFiles();
    const directory = await temporaryDirectory();
    const log = await Log.open(directory, SETTINGS, { onFatal: noFatal, files });
    files.flushes = 0;
    for (let sequence = 1; sequence <= 100; sequence++) log.append(logged(1, sequence));
    await durable(log);
    expect(files.flushes).toBe(1);
    await log.close();
  });

  test('calls back in order, at once when nothing is pending', async () => {
    const log = await open(await temporaryDirectory());
    const order: string[] = [];
    log.whenDurable(() => order.push('at once'));
    expect(order).toEqual(['at once']);
    log.append(logged(1, 1));
    log.whenDurable(() => {
      order.push('first');
      log.whenDurable(() => order.push('nested'));
    });
    log.append(logged(1, 2));
    log.whenDurable(() => order.push('second'));
    expect(order).toEqual(['at once']);
    await durable(log);
    expect(order.slice(1, 3)).toEqual(['first', 'second']);
    await log.close();
    expect(order).toEqual(['at once', 'first', 'second', 'nested']);
  });

  test('a failed flush is fatal, once, and nothing is durable after it', async () => {
    const files = new CountingFiles();
    const errors: StorageError[] = [];
    const onFatal = (error: StorageError): unknown => errors.push(error);
    const log = await Log.open(await temporaryDirectory(), SETTINGS, { onFatal, files });
    files.flushes = 0;
    await append(log, logged(1, 1));
    let reported = 0;
    files.failFlush = true;
    log.append(logged(1, 2));
    log.whenDurable(() => reported++);
    await log.close();
    files.failFlush = false;
    log.append(logged(1, 3));
    log.whenDurable(() => reported++);
    await new Promise(setImmediate);
    expect(reported).toBe(0);
    expect(errors.map(({ code }) => code)).toEqual(['FAILED']);
    expect(errors[0]?.message).toMatch(/EIO.*kept.*start the server again/);
    expect(files.flushes).toBe(2);
  });
});

describe('opening again', () => {
  test('gives back every record in order, over several segments', async () => {
    const directory = await temporaryDirectory();
    const records: LogRecord[] = [{ type: 'view', view: view(3) }];
    for (let sequence = 1; sequence <= 300; sequence++) {
      records.push(logged(sequence % 3, Math.ceil(sequence / 3), 'v'.repeat(sequence)));
    }
    records.push({ type: 'installed', bucket: 4, meta: meta(9) }, { type: 'dropped', bucket: 1 });
    records.push({
      type: 'entry',
      bucket: 5,
      entry: entry(1, 'big', 'x'.repeat(40_000)),
      commitPoint: 0,
    });
    await writeLog(
      directory,
      records.map((record) => [record]),
    );
    expect((await segmentFiles(directory)).length).toBeGreaterThan(3);
    const log = await open(directory);
    expect(await allRecords(log)).toEqual(records);
    expect(await sequences(log, 0, 90)).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100]);
    expect(await log.readEntries(5, 1, 10)).toHaveLength(1);
    await log.close();
  });

  test('cuts a tail that is torn at any byte, and goes on from there', async () => {
    const directory = await temporaryDirectory();
    await writeLog(directory, [[logged(1, 1)], [logged(1, 2)]]);
    const path = await onlySegment(directory);
    const before = endOf(await readFile(path));
    const log = await open(directory);
    await append(log, logged(1, 3, 'torn value'), logged(1, 4, 'torn with it'));
    await log.close();
    const whole = await readFile(path);
    for (let cut = before; cut < endOf(whole); cut += 1) {
      const torn = Buffer.from(whole);
      torn.fill(0, cut);
      await writeFile(path, torn);
      const kept = await open(directory);
      const found = await sequences(kept, 1, 1);
      expect([
        [1, 2],
        [1, 2, 3],
      ]).toContainEqual(found);
      const next = (found?.length ?? 0) + 1;
      await append(kept, logged(1, next, 'next'));
      await kept.close();
      const again = await open(directory);
      expect(await sequences(again, 1, 1)).toEqual([...(found ?? []), next]);
      await again.close();
    }
  });

  test('cuts a group whose later bytes reached the disk and earlier ones did not', async () => {
    const directory = await temporaryDirectory();
    await writeLog(directory, [[logged(1, 1)]]);
    const path = await onlySegment(directory);
    const before = endOf(await readFile(path));
    await writeLog(directory, [[logged(1, 2), logged(1, 3)]]);
    const bytes = await readFile(path);
    bytes.fill(0, before, before + 30);
    await writeFile(path, bytes);
    const log = await open(directory);
    expect(await sequences(log, 1, 1)).toEqual([1]);
    await log.close();
    // Nothing of the torn group is left that a shorter record could bring back.
    expect(endOf(await readFile(path))).toBe(before);
  });

  test('refuses damage before a later group, and changes nothing', async () => {
    const directory = await temporaryDirectory();
    await writeLog(directory, [[logged(1, 1)], [logged(1, 2, 'find me')], [logged(1, 3)]]);
    const path = await onlySegment(directory);
    const bytes = await readFile(path);
    const at = bytes.indexOf('find me');
    bytes[at] = 0;
    await writeFile(path, bytes);
    await expect(open(directory)).rejects.toMatchObject({
      code: 'DAMAGED',
      message: expect.stringContaining(path) as unknown,
    });
    expect(await readFile(path)).toEqual(bytes);
  });

  test('a value that looks like a later record is not taken for damage', async () => {
    const directory = await temporaryDirectory();
    await writeLog(directory, [[logged(1, 1)], [logged(1, 2)]]);
    const path = await onlySegment(directory);
    const frames = (await readFile(path)).subarray(32).toString('latin1', 0, 400);
    await writeLog(directory, [[logged(1, 3, frames)]]);
    const bytes = await readFile(path);
    bytes.fill(0, endOf(bytes) - 1);
    await writeFile(path, bytes);
    const log = await open(directory);
    expect(await sequences(log, 1, 1)).toEqual([1, 2]);
    await log.close();
  });

  test('refuses missing, damaged and foreign segments', async () => {
    const directory = await temporaryDirectory();
    const records = Array.from({ length: 200 }, (_, at) => [logged(1, at + 1, 'v'.repeat(300))]);
    await writeLog(directory, records);
    const paths = await segmentFiles(directory);
    expect(paths.length).toBeGreaterThan(3);
    const [, second = '', third = ''] = paths;
    const attempt = async (spoil: (copy: string) => Promise<void>): Promise<unknown> => {
      const copy = join(await temporaryDirectory(), 'log');
      await cp(directory, copy, { recursive: true });
      await spoil(copy);
      return await open(copy).catch((error: unknown) => (error as StorageError).code);
    };
    const inCopy = (copy: string, path: string): string => path.replace(directory, copy);
    expect(await attempt((copy) => rm(inCopy(copy, second)))).toBe('DAMAGED');
    expect(await attempt((copy) => cp(second, inCopy(copy, third)))).toBe('DAMAGED');
    expect(await attempt((copy) => writeFile(inCopy(copy, second), ''))).toBe('DAMAGED');
    const lastFrameLost = async (copy: string): Promise<void> => {
      const bytes = await readFile(second);
      bytes.fill(0, endOf(bytes) - 20);
      await writeFile(inCopy(copy, second), bytes);
    };
    expect(await attempt(lastFrameLost)).toBe('DAMAGED');
  });

  test('an unfinished segment is removed', async () => {
    const directory = await temporaryDirectory();
    await writeLog(directory, [[logged(1, 1)]]);
    await writeFile(join(directory, '00000002.log.new'), 'half');
    const log = await open(directory);
    expect(await sequences(log, 1, 1)).toEqual([1]);
    expect(await segmentFiles(directory)).toHaveLength(1);
    await log.close();
  });

  test('kill -9: everything acknowledged is there', async () => {
    const directory = await temporaryDirectory();
    for (let round = 0; round < 3; round++) {
      const path = join(directory, String(round));
      const child = new Child('log', path);
      await child.printed(50 + round * 77);
      const acknowledged = Number((await child.kill()).at(-1));
      const log = await open(path);
      const found = await log.readEntries(3, 1, 1e9);
      expect(found?.length).toBeGreaterThanOrEqual(acknowledged);
      found?.forEach((each, at) => {
        expect(each.sequence).toBe(at + 1);
        expect(each.value).toHaveLength((at + 1) % 500);
      });
      await log.close();
    }
  });
});

describe('reading entries back', () => {
  test('an entry replaces the tail from its sequence on; a cut truncates', async () => {
    const directory = await temporaryDirectory();
    let log = await open(directory);
    await append(log, ...[1, 2, 3, 4, 5].map((sequence) => logged(1, sequence, 'old')));
    await append(log, logged(1, 3, 'new'), logged(1, 4, 'new'), logged(2, 8));
    await append(
      log,
      { type: 'cut', bucket: 1, sequence: 3 },
      { type: 'cut', bucket: 2, sequence: 9 },
    );
    for (let time = 0; time < 2; time++) {
      expect(await log.readEntries(1, 2, 1e9)).toEqual([
        entry(2, 'key2', 'old'),
        entry(3, 'key3', 'new'),
      ]);
      expect(await sequences(log, 1, 4)).toEqual([]);
      expect(await sequences(log, 2, 8)).toEqual([8]);
      expect(await sequences(log, 2, 7)).toBeNull();
      expect(await sequences(log, 3, 1)).toBeNull();
      await log.close();
      log = await open(directory);
    }
    await log.close();
  });

  test('a bucket that was installed or dropped starts anew', async () => {
    const log = await open(await temporaryDirectory());
    await append(log, logged(1, 1), logged(2, 1), { type: 'dropped', bucket: 2 });
    await append(log, { type: 'installed', bucket: 1, meta: meta(5) });
    expect(await sequences(log, 1, 1)).toBeNull();
    expect(await sequences(log, 1, 6)).toEqual([]);
    expect(await sequences(log, 2, 1)).toBeNull();
    await append(log, logged(1, 6), logged(2, 4));
    expect(await sequences(log, 1, 6)).toEqual([6]);
    expect(await sequences(log, 2, 4)).toEqual([4]);
    await log.close();
  });

  test('gives only what is durable, and stops at the limit', async () => {
    const log = await open(await temporaryDirectory());
    await append(log, ...[1, 2, 3].map((sequence) => logged(1, sequence, 'v'.repeat(1000))));
    log.append(logged(1, 4));
    expect(await sequences(log, 1, 3)).toEqual([3]);
    expect(await log.readEntries(1, 1, 1500)).toHaveLength(2);
    expect(await log.readEntries(1, 1, 1)).toHaveLength(1);
    await log.close();
  });

  test('says so when the entries were truncated away; keeps what is to be retained', async () => {
    const directory = await temporaryDirectory();
    const log = await open(directory, { segmentBytes: 4096, retainBytes: 6000 });
    for (let sequence = 1; sequence <= 100; sequence++) {
      await append(log, logged(1, sequence, 'v'.repeat(200)));
    }
    await log.truncateBefore(0);
    expect(await sequences(log, 1, 100)).toEqual([100]);
    expect(log.start).toBe(0);
    await log.truncateBefore(log.end);
    expect(log.end - log.start).toBeGreaterThanOrEqual(6000);
    expect(log.end - log.start).toBeLessThan(6000 + 2 * 4096);
    expect(await sequences(log, 1, 1)).toBeNull();
    const kept = await sequences(log, 1, 90);
    expect(kept).toHaveLength(11);
    await log.close();
    const again = await open(directory);
    expect(await sequences(again, 1, 90)).toEqual(kept);
    expect(again.end).toBe(log.end);
    await again.close();
  });

  test('reports damage that came after opening', async () => {
    const directory = await temporaryDirectory();
    const log = await open(directory);
    await append(log, logged(1, 1, 'find me'));
    const path = await onlySegment(directory);
    const bytes = await readFile(path);
    bytes[bytes.indexOf('find me')] = 0;
    await writeFile(path, bytes);
    await expect(log.readEntries(1, 1, 100)).rejects.toMatchObject({ code: 'DAMAGED' });
    await log.close();
  });

  test('reads what stands before the start only when it is asked for', async () => {
    const directory = await temporaryDirectory();
    const log = await open(directory, { segmentBytes: 4096, retainBytes: 0 });
    const positions: number[] = [];
    for (let sequence = 1; sequence <= 60; sequence++) {
      positions.push(log.end);
      await append(log, logged(1, sequence, 'v'.repeat(200)));
    }
    const { end } = log;
    await log.close();
    for (const from of [positions[0], positions[29], positions[59], end]) {
      const again = await Log.open(directory, SETTINGS, { onFatal: noFatal }, from);
      expect(again.end).toBe(end);
      expect(again.index.positionsFrom(1, 1) === null).toBe(from !== positions[0]);
      await append(again);
      expect(await sequences(again, 1, 10)).toHaveLength(51);
      expect(await sequences(again, 1, 60)).toEqual([60]);
      await again.close();
    }
  });

  test('damage that only others could meet is told, and passed over', async () => {
    const directory = await temporaryDirectory();
    const log = await open(directory, { segmentBytes: 4096, retainBytes: 0 });
    for (let sequence = 1; sequence <= 60; sequence++) {
      await append(log, logged(1, sequence, `${'v'.repeat(200)}/${sequence}`));
    }
    const last = log.end - 1;
    await log.close();
    const [first = ''] = await segmentFiles(directory);
    const bytes = await readFile(first);
    bytes[bytes.indexOf('v/2')] = 0;
    await writeFile(first, bytes);
    await expect(open(directory)).rejects.toMatchObject({ code: 'DAMAGED' });
    const told: string[] = [];
    const onDamage = ({ code }: StorageError): number => told.push(code);
    const ports = { onFatal: noFatal, onDamage };
    const from = (await frameStarts(directory)).findLast((position) => position <= last);
    const again = await Log.open(directory, SETTINGS, ports, from);
    expect(await sequences(again, 1, 1)).toBeNull();
    expect(told).toEqual(['DAMAGED']);
    expect(await sequences(again, 1, 40)).toHaveLength(21);
    await again.close();
  });
});
