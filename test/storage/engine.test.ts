import { cp, readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import { ClassicLevel } from 'classic-level';
import * as fc from 'fast-check';

import type { StoredRecord } from '../../src/core/operation.js';
import { DamagedBucket } from '../../src/core/outbox.js';
import {
  OPEN_KEY,
  countsKey,
  encodeCounts,
  recordKey,
  recordRange,
} from '../../src/storage/engine-rows.js';
import { DEFAULT_ENGINE_SETTINGS, Engine } from '../../src/storage/engine.js';

import { Child, bytes, meta, noFatal, temporaryDirectory, view } from './support.js';

function open(directory: string): Promise<Engine> {
  return Engine.open(directory, DEFAULT_ENGINE_SETTINGS, { onFatal: noFatal });
}

/** The rows themselves, while no engine has them open. */
async function raw<T>(
  directory: string,
  use: (rows: ClassicLevel<Buffer, Buffer>) => Promise<T>,
): Promise<T> {
  const rows = new ClassicLevel<Buffer, Buffer>(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  });
  await rows.open();
  try {
    return await use(rows);
  } finally {
    await rows.close();
  }
}

function record(key: string, text: string, version = 1): StoredRecord {
  return { key, value: bytes(text), version };
}

/** As plain values, whatever kind of byte array the engine uses. */
function plain({ key, value, version }: StoredRecord): string {
  return JSON.stringify([key, Buffer.from(value).toString('latin1'), version]);
}

async function everything(engine: Engine, bucket: number, page = 1e6): Promise<StoredRecord[]> {
  const all: StoredRecord[] = [];
  for (let after = ''; ; after = all.at(-1)?.key ?? '') {
    const { records, more } = await engine.scan(bucket, after, page, 1e9);
    all.push(...records);
    if (!more) return all;
  }
}

async function expectExactCounts(engine: Engine, buckets: readonly number[]): Promise<number> {
  let sum = 0;
  for (const bucket of buckets) {
    const records = await everything(engine, bucket);
    const size = records.reduce((total, { key, value }) => total + key.length + value.length, 0);
    expect(engine.counts(bucket)).toEqual({ records: records.length, bytes: size });
    sum += records.length;
  }
  return sum;
}

const BUCKETS = [0, 1, 65_535];
const KEYS = ['a', 'ab', '\0', '\xff', '\xff\xff', 'b\0c'];

type Step =
  | { readonly do: 'put'; readonly bucket: number; readonly key: string; readonly text: string }
  | { readonly do: 'remove'; readonly bucket: number; readonly key: string }
  | { readonly do: 'clear' | 'settle' | 'turn' | 'reopen'; readonly bucket: number }
  | {
      readonly do: 'ingest';
      readonly bucket: number;
      readonly keys: string[];
      readonly first: boolean;
    }
  | {
      readonly do: 'scan';
      readonly bucket: number;
      readonly after: string;
      readonly limit: number;
    };

const bucket = fc.constantFrom(...BUCKETS);
const key = fc.constantFrom(...KEYS);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('put' as const), bucket, key, text: fc.string() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), bucket, key }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('clear' as const, 'settle' as const, 'turn' as const, 'reopen' as const),
      bucket,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('ingest' as const),
      bucket,
      keys: fc.uniqueArray(key),
      first: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('scan' as const),
      bucket,
      after: fc.constantFrom('', ...KEYS),
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
);

class Model {
  readonly buckets = new Map(BUCKETS.map((id) => [id, new Map<string, StoredRecord>()]));

  of(id: number): Map<string, StoredRecord> {
    return this.buckets.get(id) ?? new Map();
  }

  after(id: number, start: string): string[] {
    const found = [...this.of(id).values()].filter((each) => each.key > start);
    return found.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(plain);
  }
}

async function take(engine: Engine, model: Model, each: Step, version: number): Promise<void> {
  const held = model.of(each.bucket);
  switch (each.do) {
    case 'put': {
      const made = { key: each.key, value: bytes(each.text), version };
      engine.put(each.bucket, made);
      held.set(each.key, made);
      break;
    }
    case 'remove':
      engine.remove(each.bucket, each.key);
      held.delete(each.key);
      break;
    case 'clear':
      engine.clear(each.bucket);
      held.clear();
      break;
    case 'ingest': {
      const made = each.keys.map((name) => record(name, `ingested ${version}`, version));
      await engine.ingest(each.bucket, made, each.first);
      if (each.first) held.clear();
      for (const one of made) held.set(one.key, one);
      break;
    }
    case 'scan': {
      const expected = model.after(each.bucket, each.after);
      const page = engine.scan(each.bucket, each.after, each.limit, 1e9);
      // The page is as of the call, whatever is written next.
      const later = record('ab', 'later', version);
      engine.put(each.bucket, later);
      held.set('ab', later);
      const { records, more } = await page;
      expect(records.map(plain)).toEqual(expected.slice(0, each.limit));
      expect(more).toBe(expected.length > each.limit);
      break;
    }
    case 'turn':
      await new Promise(setImmediate);
      break;
    case 'settle':
      await engine.settled();
      break;
    case 'reopen':
      break;
  }
}

describe('the engine', () => {
  test('is a map of records for each bucket', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const directory = await temporaryDirectory();
        let engine = await open(directory);
        const model = new Model();
        for (const [version, each] of steps.entries()) {
          await take(engine, model, each, version);
          if (each.do === 'reopen') {
            await engine.close();
            engine = await open(directory);
          }
          for (const name of KEYS) {
            const got = engine.get(each.bucket, name);
            const want = model.of(each.bucket).get(name);
            expect(got && plain(got)).toEqual(want && plain(want));
          }
          expect(engine.counts(each.bucket).records).toBe(model.of(each.bucket).size);
        }
        await expectExactCounts(engine, BUCKETS);
        await engine.close();
      }),
      { numRuns: 60 },
    );
  });

  test('kill -9: the counts equal the contents', async () => {
    const directory = await temporaryDirectory();
    for (let round = 1; round <= 4; round++) {
      const child = new Child('engine', directory, String(round));
      await child.printed(200 * round);
      await child.kill();
      const engine = await open(directory);
      expect(await expectExactCounts(engine, [0, 1, 2, 3])).toBeGreaterThan(0);
      await engine.close();
    }
  });

  test('what waits goes in as several batches, each with its counts', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    const buckets = [0, 1, 2, 3, 4];
    for (const each of buckets) {
      for (const name of ['a', 'b', 'c']) engine.put(each, record(name, 'x'.repeat(1.5e6)));
    }
    const { overlayBytes } = engine;
    expect(overlayBytes).toBeGreaterThan(20e6);
    await engine.settled();
    expect(engine.overlayBytes).toBe(0);
    expect(await expectExactCounts(engine, buckets)).toBe(15);
    await engine.close();
    const again = await open(directory);
    expect(await expectExactCounts(again, buckets)).toBe(15);
    await again.close();
  });

  test('clears buckets of many rows, and nothing beside them', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    const many = Array.from({ length: 1300 }, (_, index) => record(`key-${index}`, 'value'));
    for (const each of [0, 1, 2]) await engine.ingest(each, many, true);
    engine.clear(1);
    engine.put(1, record('later', 'kept'));
    await engine.settled();
    await engine.close();
    await raw(directory, async (rows) => {
      const { gte, lt } = recordRange(1);
      expect(await rows.keys({ gte, lt }).all()).toEqual([recordKey(1, 'later')]);
    });
    const again = await open(directory);
    expect(again.counts(0).records).toBe(1300);
    expect(again.counts(1)).toEqual({ records: 1, bytes: 9 });
    expect(again.counts(2).records).toBe(1300);
    expect(again.get(2, 'key-1299')?.value).toEqual(Buffer.from('value'));
    await again.close();
  });

  test('rows of cleared buckets are void at once, and after every start until they are gone', async () => {
    const directory = await temporaryDirectory();
    const many = Array.from({ length: 1300 }, (_, index) => record(`key-${index}`, 'value'));
    const engine = await open(directory);
    for (const each of [0, 1, 2]) await engine.ingest(each, many, true);
    engine.clear(0);
    engine.clear(1);
    await engine.settled();
    const check = async (of: Engine): Promise<void> => {
      expect(of.counts(1)).toEqual({ records: 0, bytes: 0 });
      expect(of.get(1, 'key-7')).toBeUndefined();
      expect(await everything(of, 1)).toEqual([]);
      expect(of.counts(2).records).toBe(1300);
    };
    await check(engine);
    // As after a crash: an engine that was stopped leaves the rest for later.
    const copy = await temporaryDirectory();
    await cp(directory, copy, { recursive: true });
    await engine.close();
    for (const place of [directory, copy]) {
      const again = await open(place);
      await check(again);
      await again.ingest(1, [record('new', 'one')], false);
      expect((await everything(again, 1)).map((each) => each.key)).toEqual(['new']);
      expect(again.counts(1)).toEqual({ records: 1, bytes: 6 });
      await again.close();
    }
  });

  test('what is void does not count when the machine went down', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    await engine.ingest(1, [record('a', 'one'), record('b', 'two')], true);
    await engine.close();
    await raw(directory, async (rows) => {
      await rows.put(OPEN_KEY, Buffer.from('another boot'));
      const mark = encodeCounts(countsKey(1), { records: 0, bytes: 0, clearing: true });
      await rows.put(countsKey(1), mark);
    });
    const again = await open(directory);
    expect(again.counts(1)).toEqual({ records: 0, bytes: 0 });
    expect(again.get(1, 'b')).toBeUndefined();
    await again.close();
  });

  test('counts anew when the machine went down while it was open', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    await engine.ingest(1, [record('a', 'one'), record('b', 'two')], true);
    await engine.close();
    await raw(directory, async (rows) => {
      await rows.put(OPEN_KEY, Buffer.from('another boot'));
      await rows.del(recordKey(1, 'a'));
    });
    const again = await open(directory);
    expect(again.counts(1)).toEqual({ records: 1, bytes: 4 });
    await again.close();
  });

  test('pages end at the limit of bytes, with one record at least', async () => {
    const engine = await open(await temporaryDirectory());
    for (const name of ['a', 'b', 'c', 'd']) engine.put(1, record(name, 'x'.repeat(99)));
    const two = await engine.scan(1, 'a', 100, 150);
    expect(two.records.map((each) => each.key)).toEqual(['b', 'c']);
    expect(two.more).toBe(true);
    expect((await engine.scan(1, 'b', 100, 1)).records).toHaveLength(1);
    expect(await engine.scan(1, 'd', 100, 1)).toEqual({ records: [], more: false });
    await engine.close();
  });

  test('reports damaged rows and never serves them', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    await engine.ingest(1, [record('good', 'value'), record('hurt', 'value')], true);
    await engine.close();
    await raw(directory, async (rows) => {
      const hurt = (await rows.get(recordKey(1, 'hurt'))) ?? Buffer.alloc(0);
      hurt[hurt.length - 1] = (hurt.at(-1) ?? 0) ^ 1;
      await rows.put(recordKey(1, 'hurt'), hurt);
      // A whole row under another key is damage too.
      await rows.put(recordKey(1, 'lost'), (await rows.get(recordKey(1, 'good'))) ?? hurt);
    });
    const again = await open(directory);
    expect(plain(again.get(1, 'good') ?? record('', ''))).toBe(plain(record('good', 'value')));
    expect(() => again.get(1, 'hurt')).toThrow(DamagedBucket);
    expect(() => again.get(1, 'lost')).toThrow(DamagedBucket);
    await expect(again.digest(1)).rejects.toThrow(DamagedBucket);
    await expect(again.scan(1, '', 10, 1e6)).rejects.toThrow(/"hurt" in bucket 1.*not served/s);
    await again.close();
  });

  test('digests tell equal records from others, and miss none', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    const records = Array.from({ length: 1000 }, (_, at) => record(`key${at}`, `value${at}`, at));
    await engine.ingest(1, records, true);
    for (const one of records.toReversed()) engine.put(2, one);
    expect(await engine.digest(2)).toBe(await engine.digest(1));
    const before = engine.digest(2);
    engine.put(2, record('key7', 'other', 7));
    expect(await before).toBe(await engine.digest(1));
    expect(await engine.digest(2)).not.toBe(await engine.digest(1));
    engine.put(2, record('key7', 'value7', 8));
    expect(await engine.digest(2)).not.toBe(await engine.digest(1));
    await engine.close();
    await raw(directory, (rows) => rows.del(recordKey(1, 'key500')));
    const again = await open(directory);
    await expect(again.digest(1)).rejects.toThrow(/999 records where 1000/);
    await again.close();
  });

  test('a checkpoint is durable without the write-ahead file', async () => {
    const directory = await temporaryDirectory();
    const engine = await open(directory);
    for (let at = 0; at < 1000; at++) engine.put(2, record(`key${at}`, 'value'));
    await engine.checkpoint(
      new Map([
        [2, meta(1000)],
        [3, null],
      ]),
      view(4),
      12_345,
    );
    const copy = join(await temporaryDirectory(), 'copy');
    await cp(directory, copy, { recursive: true });
    await engine.close();

    const again = await open(copy);
    expect(await again.loadMetas()).toEqual(new Map([[2, meta(1000)]]));
    expect(again.loadView()).toEqual(view(4));
    expect(again.loadReplayFrom()).toBe(12_345);
    await again.close();

    // The rows stand in table files: they need no flush of the write-ahead file at all.
    await cp(directory, copy, { recursive: true, force: true });
    for (const name of await readdir(copy)) {
      if (name.endsWith('.log')) await truncate(join(copy, name));
    }
    const rowsOnly = await open(copy);
    expect(await everything(rowsOnly, 2, 300)).toHaveLength(1000);
    await rowsOnly.close();
  });

  test('what waits in memory is known, and gone when it is written', async () => {
    const engine = await open(await temporaryDirectory());
    for (let at = 0; at < 10; at++) engine.put(1, record(`key${at}`, 'x'.repeat(1000)));
    expect(engine.overlayBytes).toBeGreaterThan(10_000);
    await engine.settled();
    expect(engine.overlayBytes).toBe(0);
    await engine.close();
  });
});
