// Reads of the engine against a model while what was written is on its way into it.
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import type { StoredRecord } from '../../src/core/operation.js';
import { DEFAULT_ENGINE_SETTINGS, Engine } from '../../src/storage/engine.js';
import { keyOf, putPart } from '../../src/storage/engine-rows.js';
import { bytes, noFatal, temporaryDirectory } from './support.js';

const BUCKETS = [0, 1, 65_535];
const KEYS = ['a', 'ab', 'b', 'c', '\xff', 'z'];

const bucket = fc.constantFrom(...BUCKETS);
const key = fc.constantFrom(...KEYS);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), bucket, key }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), bucket, key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const), bucket }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('ingest' as const),
      bucket,
      keys: fc.uniqueArray(key),
      sorted: fc.boolean(),
      first: fc.boolean(),
    }),
  },
  // Neither this nor an ingest is waited for: what comes next finds it under way.
  { weight: 3, arbitrary: fc.record({ do: fc.constant('drain' as const), bucket }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('turns' as const), bucket, turns: fc.nat(12) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('settle' as const), bucket }) },
);

function plain(record: StoredRecord | undefined): string | undefined {
  if (record === undefined) return undefined;
  const { value, version } = record;
  return JSON.stringify([record.key, Buffer.from(value).toString('latin1'), version]);
}

describe('the engine, while drains run', () => {
  // Without room for rows each read goes to what is under way, or to the database.
  for (const rowCacheBytes of [0, 2000, 1024 * 1024]) {
    test(`tells what was written last, with ${rowCacheBytes} bytes for rows`, async () => {
      let underWay = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async (steps) => {
          const directory = await temporaryDirectory();
          const settings = { ...DEFAULT_ENGINE_SETTINGS, rowCacheBytes };
          const engine = await Engine.open(directory, settings, { onFatal: noFatal });
          const model = new Map(BUCKETS.map((id) => [id, new Map<string, StoredRecord>()]));
          const pending: Promise<void>[] = [];
          let draining = 0;
          const begin = (drain: Promise<void>): void => {
            draining += 1;
            pending.push(drain.finally(() => (draining -= 1)));
          };
          const check = (id: number): void => {
            if (draining > 0) underWay += 1;
            for (const name of KEYS) {
              expect(plain(engine.get(id, name))).toBe(plain(model.get(id)?.get(name)));
            }
            expect(engine.counts(id).records).toBe(model.get(id)?.size);
          };
          for (const [version, each] of steps.entries()) {
            const held = model.get(each.bucket)!;
            const made = (name: string): StoredRecord => {
              return { key: name, value: bytes(`value ${version}`), version };
            };
            if (each.do === 'put') {
              engine.put(each.bucket, made(each.key));
              held.set(each.key, made(each.key));
            } else if (each.do === 'remove') {
              engine.remove(each.bucket, each.key);
              held.delete(each.key);
            } else if (each.do === 'clear') {
              engine.clear(each.bucket);
              held.clear();
            } else if (each.do === 'ingest') {
              const names = each.sorted ? each.keys.toSorted() : each.keys;
              begin(engine.ingest(each.bucket, names.map(made), each.first));
              if (each.first) held.clear();
              for (const name of names) held.set(name, made(name));
            } else if (each.do === 'drain') begin(engine.settled());
            else if (each.do === 'settle') await engine.settled();
            else {
              for (let turn = 0; turn < each.turns; turn += 1) {
                await new Promise(setImmediate);
                check(each.bucket);
              }
            }
            check(each.bucket);
          }
          await Promise.all(pending);
          for (const id of BUCKETS) check(id);
          await engine.close();
          const again = await Engine.open(directory, settings, { onFatal: noFatal });
          for (const id of BUCKETS) {
            const found = KEYS.map((name) => plain(again.get(id, name)));
            expect(found).toEqual(KEYS.map((name) => plain(model.get(id)?.get(name))));
            expect(again.counts(id).records).toBe(model.get(id)?.size);
          }
          await again.close();
        }),
        { numRuns: 25 },
      );
      expect(underWay).toBeGreaterThan(0);
    });
  }
});

test('the rows of one bucket are encoded in several turns of the event loop', async () => {
  const made = Array.from({ length: 4000 }, (_, version) => {
    return { key: `key ${version}`, value: bytes('value'), version };
  });
  const written: string[] = [];
  const inTurn = [0];
  const note = (rowKey: Buffer): void => {
    written.push(keyOf(rowKey));
    inTurn[inTurn.length - 1]! += 1;
  };
  let done = false;
  const nextTurn = (): void => {
    inTurn.push(0);
    if (!done) setImmediate(nextTurn);
  };
  setImmediate(nextTurn);
  const part = {
    bucket: 7,
    records: new Map(made.map((record) => [record.key, record])),
    counts: { records: made.length, bytes: 0 },
  };
  await putPart({ put: note, del: note }, part);
  done = true;
  // At the end the counts of the bucket.
  expect(written).toEqual([...made.map(({ key: name }) => name), '']);
  expect(Math.max(...inTurn)).toBeLessThan(1100);
});
