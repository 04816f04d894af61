import { describe, expect, test } from '@jest/globals';
import { array, assert, constantFrom, integer, nat, property, record } from 'fast-check';

import { LogIndex } from '../../src/storage/log-index.js';
import type { RecordHead } from '../../src/storage/record-codec.js';

const BUCKETS = 3;

/** What may happen to a bucket; `back`: how far from its end. */
const step = record({
  bucket: integer({ min: 0, max: BUCKETS - 1 }),
  type: constantFrom('entry', 'entry', 'entry', 'entry', 'cut', 'installed', 'dropped'),
  back: constantFrom(0, 0, 0, 1, 2, 5),
});

/** A log as servers write it: entries follow each other, but for cuts and replacements. */
function headsOf(steps: readonly { bucket: number; type: string; back: number }[]): RecordHead[] {
  const ends = new Map<number, number>();
  return steps.map(({ bucket, type, back }): RecordHead => {
    const end = ends.get(bucket) ?? 0;
    const sequence = {
      entry: Math.max(1, end + 1 - back),
      cut: Math.max(0, end - back),
      installed: end + back,
    }[type];
    ends.set(bucket, sequence ?? 0);
    return { type: type as RecordHead['type'], bucket, sequence: sequence ?? 0 };
  });
}

function indexOf(heads: readonly RecordHead[], from: number, to: number): LogIndex {
  const index = new LogIndex();
  for (let position = from; position < to; position++) index.note(heads[position]!, position);
  return index;
}

function contents(index: LogIndex): unknown {
  return Array.from({ length: BUCKETS }, (_, bucket) =>
    Array.from({ length: 40 }, (__, from) => index.positionsFrom(bucket, from)),
  );
}

describe('the index of a log that is read in two parts', () => {
  test('is that of the whole, wherever the parts meet', () => {
    assert(
      property(array(step, { maxLength: 40 }), nat(40), (steps, cut) => {
        const heads = headsOf(steps);
        const middle = Math.min(cut, heads.length);
        const index = indexOf(heads, middle, heads.length);
        index.adopt(indexOf(heads, 0, middle));
        expect(contents(index)).toEqual(contents(indexOf(heads, 0, heads.length)));
      }),
      { numRuns: 2000 },
    );
  });

  test('takes in nothing that has gone meanwhile', () => {
    const heads = headsOf(
      Array.from({ length: 10 }, () => ({ bucket: 0, type: 'entry', back: 0 })),
    );
    const index = indexOf(heads, 5, 10);
    index.forgetBefore(7);
    const older = indexOf(heads, 0, 5);
    older.forgetBefore(7);
    index.adopt(older);
    expect(index.positionsFrom(0, 7)).toBeNull();
    expect(index.positionsFrom(0, 8)).toEqual([7, 8, 9]);
  });
});
