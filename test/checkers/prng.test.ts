import { describe, expect, test } from '@jest/globals';

import { Prng } from '../../src/checkers/prng.js';

function draw(random: Prng, count: number): number[] {
  return Array.from({ length: count }, () => random.next());
}

describe('random numbers', () => {
  test('depend on the seed alone', () => {
    expect(draw(new Prng(7), 100)).toEqual(draw(new Prng(7), 100));
    expect(draw(new Prng(7), 4)).not.toEqual(draw(new Prng(8), 4));
    expect(draw(new Prng(1), 4)).not.toEqual(draw(new Prng(1 + 2 ** 32), 4));
  });

  test('of a fork do not depend on what the parent drew later', () => {
    const one = new Prng(3);
    const other = new Prng(3);
    const fork = other.fork('disk');
    draw(other, 10);
    expect(draw(one.fork('disk'), 10)).toEqual(draw(fork, 10));
    expect(draw(one.fork('disk'), 4)).not.toEqual(draw(one.fork('network'), 4));
  });

  test('cover their range evenly', () => {
    const random = new Prng(5);
    const counts = [0, 0, 0, 0, 0];
    for (let round = 0; round < 10_000; round++) counts[random.whole(1, 5) - 1]! += 1;
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200);
    expect(random.chance(0)).toBe(false);
    expect(random.chance(1)).toBe(true);
  });
});
