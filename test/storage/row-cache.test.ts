import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import type { StoredRecord } from '../../src/core/operation.js';
import { RowCache } from '../../src/storage/row-cache.js';

const LIMIT_BYTES = 8000;
const ROW_BYTES = 200;
const LARGEST = 600;
const BUCKETS = [0, 1, 65_535];
const KEYS = Array.from({ length: 30 }, (_, index) => `key${index}`);

type Step =
  | { readonly do: 'set'; readonly bucket: number; readonly key: string; readonly bytes: number }
  | { readonly do: 'absent' | 'find' | 'forget' | 'clear'; readonly bucket: number; key: string };

const bucket = fc.constantFrom(...BUCKETS);
const key = fc.constantFrom(...KEYS);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('set' as const), bucket, key, bytes: fc.nat(LARGEST) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('absent' as const, 'find' as const), bucket, key }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('forget' as const, 'clear' as const), bucket, key }),
  },
);

function record(name: string, bytes: number, version = 1): StoredRecord {
  return { key: name, value: new Uint8Array(bytes), version };
}

/** Bytes of all rows that are found now. */
function held(cache: RowCache, keys: readonly string[], buckets = BUCKETS): number {
  let bytes = 0;
  for (const id of buckets) {
    for (const name of keys) {
      const found = cache.find(id, name);
      if (found !== undefined) bytes += ROW_BYTES + name.length + (found?.value.length ?? 0);
    }
  }
  return bytes;
}

describe('the cache of rows', () => {
  test('tells what was set last, or nothing, and keeps to its limit', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
        const cache = new RowCache(LIMIT_BYTES);
        const newest = new Map<string, StoredRecord | null>();
        for (const [version, each] of steps.entries()) {
          const place = `${each.bucket} ${each.key}`;
          if (each.do === 'set') {
            const made = record(each.key, each.bytes, version);
            cache.set(each.bucket, each.key, made);
            newest.set(place, made);
            // What was just set is there.
            expect(cache.find(each.bucket, each.key)).toBe(made);
          } else if (each.do === 'absent') {
            cache.set(each.bucket, each.key, null);
            newest.set(place, null);
          } else if (each.do === 'forget') {
            cache.forget(each.key);
            for (const id of BUCKETS) newest.delete(`${id} ${each.key}`);
          } else if (each.do === 'clear') {
            cache.clear(each.bucket);
            for (const name of KEYS) newest.delete(`${each.bucket} ${name}`);
          } else {
            const found = cache.find(each.bucket, each.key);
            if (found !== undefined) expect(found).toBe(newest.get(place));
          }
        }
        for (const id of BUCKETS) {
          for (const name of KEYS) {
            const found = cache.find(id, name);
            if (found !== undefined) expect(found).toBe(newest.get(`${id} ${name}`));
          }
        }
        const most = LIMIT_BYTES + 2 * (ROW_BYTES + 5 + LARGEST);
        expect(held(cache, KEYS)).toBeLessThanOrEqual(most);
      }),
      { numRuns: 300 },
    );
  });

  test('keeps to its limit when small rows are replaced by large ones', () => {
    const cache = new RowCache(LIMIT_BYTES);
    const keys = KEYS.slice(0, 15);
    for (const name of keys) cache.set(1, name, record(name, 0));
    for (const name of keys) cache.set(1, name, record(name, 5000));
    expect(held(cache, keys, [1])).toBeLessThanOrEqual(LIMIT_BYTES + 2 * (ROW_BYTES + 5005));
  });

  test('keeps what is used', () => {
    const cache = new RowCache(LIMIT_BYTES);
    const used = record('used', 10);
    cache.set(1, 'used', used);
    for (let index = 0; index < 1000; index += 1) {
      cache.set(1, `other${index}`, null);
      expect(cache.find(1, 'used')).toBe(used);
    }
    expect(cache.find(1, 'other0')).toBeUndefined();
  });
});
