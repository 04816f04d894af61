import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { FlushPace } from '../../src/storage/flush-pace.js';

const SMALL = 3000;
const LARGE = 256 * 1024 + 1;

/** A disk that is slow, but not stuck, as far as is known. */
function slow(): FlushPace {
  const pace = new FlushPace();
  for (let flush = 0; flush < 50; flush += 1) pace.took(10, true);
  return pace;
}

/** How many of so many groups block; each takes `ms`, however it is written. */
function blocking(pace: FlushPace, groups: number, ms: number): number {
  let count = 0;
  for (let group = 0; group < groups; group += 1) {
    const blocks = pace.mayBlock(SMALL);
    if (blocks) count += 1;
    pace.took(ms, blocks);
  }
  return count;
}

describe('flushes', () => {
  test('block while they are quick, except for large groups', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, min: 0, max: 1.9 })), (times) => {
        const pace = new FlushPace();
        for (const ms of times) {
          expect(pace.mayBlock(SMALL)).toBe(true);
          expect(pace.mayBlock(LARGE)).toBe(false);
          pace.took(ms, true);
        }
      }),
    );
  });

  test('one that is slow does not decide, many do', () => {
    const pace = new FlushPace();
    pace.took(15, true);
    expect(pace.mayBlock(SMALL)).toBe(true);
    expect(slow().mayBlock(SMALL)).toBe(false);
  });

  test('through the pool say nothing about the disk, unless they are very long', () => {
    const pace = new FlushPace();
    for (let flush = 0; flush < 100; flush += 1) pace.took(19, false);
    expect(pace.mayBlock(SMALL)).toBe(true);
    pace.took(21, false);
    expect(pace.mayBlock(SMALL)).toBe(false);
  });

  test('of a slow disk block once in 64, and always again when it is quick again', () => {
    const pace = slow();
    expect(blocking(pace, 640, 10)).toBe(10);
    expect(blocking(pace, 64 * 64, 0.1)).toBeGreaterThan(64);
    expect(blocking(pace, 100, 0.1)).toBe(100);
  });

  test('never block to find out while the last one was a stall', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.double({ noNaN: true, min: 0, max: 60 }), fc.boolean())),
        fc.integer({ min: 1, max: 300 }),
        (times, groups) => {
          const pace = new FlushPace();
          for (const [ms, blocked] of times) pace.took(ms, blocked);
          pace.took(21, true);
          expect(blocking(pace, groups, 21)).toBe(0);
        },
      ),
    );
    const pace = slow();
    expect(blocking(pace, 1000, 500)).toBeLessThanOrEqual(1);
    expect(blocking(pace, 1000, 500)).toBe(0);
    // In the pool it is quick again: worth a look.
    expect(blocking(pace, 65, 5)).toBeGreaterThan(0);
  });
});
