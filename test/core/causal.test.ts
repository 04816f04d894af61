import { describe, expect, test } from '@jest/globals';

import { CausalBucket, type CausalChange } from '../../src/core/causal-bucket.js';
import { CausalGraves } from '../../src/core/causal-graves.js';
import type { CausalRecord } from '../../src/core/causal-record.js';
import { keyIn } from '../../src/core/namespace.js';
import { covers, joined, NOTHING_SEEN, type Vector } from '../../src/core/vector.js';
import { MapStore, rowOf, viewOf } from './cluster.js';

const KEY = keyIn(1, 'k');

function changeOf(change: Partial<CausalChange>): CausalChange {
  const known: Vector = NOTHING_SEEN;
  return { records: [], gone: [], known, clock: 0, former: null, dropped: false, ...change };
}

describe('a tombstone', () => {
  test('stays until what it has to beat has come (D5)', () => {
    const store = new MapStore();
    const bucket = new CausalBucket(5, 1);
    const others: { known: Vector }[] = [{ known: new Map([[2, 69]]) }];
    const host = {
      view: viewOf(1, rowOf(1, [1, 2]), [1, 2]),
      store,
      outbox: null as never,
      expect: () => 0,
    };
    const graves = new CausalGraves(host, new Map([[5, bucket]]), {
      time: () => 1,
      change: (_, change) => bucket.apply(changeOf(change), store, false),
      allKnow: (_, vector) => others.every(({ known }) => covers(known, vector)),
      knownByOthers: () => others.reduce((all, { known }) => joined(all, known), NOTHING_SEEN),
    });
    const tombstone: CausalRecord = {
      key: KEY,
      value: null,
      clock: 90,
      writer: 1,
      number: 77,
      past: NOTHING_SEEN,
      epoch: 1,
      expires: 0,
    };
    const held = (): boolean => bucket.get(KEY, store) !== null;
    const known = new Map([
      [1, 77],
      [2, 67],
    ]);
    bucket.apply(changeOf({ records: [tombstone], known }), store, false);
    graves.onRecords(bucket, [tombstone]);
    graves.tick();
    expect(held()).toBe(true);
    // The other one has seen it by now; what it took before is still on its way.
    others[0]!.known = new Map([
      [1, 77],
      [2, 69],
    ]);
    graves.tick();
    expect(held()).toBe(true);
    const late = { ...tombstone, value: new Uint8Array(1), clock: 80, writer: 2, number: 69 };
    bucket.apply(changeOf({ records: [late], known: new Map([[2, 69]]) }), store, false);
    expect(bucket.get(KEY, store)?.value).toBeNull();
    graves.tick();
    expect(held()).toBe(false);
  });
});
