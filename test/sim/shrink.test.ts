import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { tellShrunk } from '../../src/sim/report.js';
import { run } from '../../src/sim/run.js';
import { SABOTAGES } from '../../src/sim/sabotage/all.js';
import { fewest, shrink } from '../../src/sim/shrink.js';

describe('shrinking', () => {
  test('finds the few that it takes, whatever they are', () => {
    const numbers = Array.from({ length: 40 }, (_, at) => at);
    fc.assert(
      fc.property(fc.subarray(numbers, { maxLength: 4 }), (needed) => {
        const fails = (some: readonly number[]): boolean =>
          needed.every((one) => some.includes(one));
        expect(fewest(numbers, fails)).toEqual(needed);
      }),
    );
  });

  test('makes a failed run smaller, and says how to see it', () => {
    const sabotage = SABOTAGES.find(({ name }) => name === 'skip-secondary-ack')!;
    let seed = 1;
    let failed = run(seed, sabotage);
    while (failed.violations.length === 0 || failed.faults.length < 4) {
      seed += 1;
      failed = run(seed, sabotage);
    }
    const smallest = shrink(failed, sabotage);
    // A run may break several promises; one of them is enough.
    const broken = failed.violations.map(({ promise }) => promise);
    expect(broken).toContain(smallest.violations[0]?.promise);
    expect(smallest.faults.length).toBeLessThan(failed.faults.length);
    const again = run(seed, sabotage, smallest.limits);
    expect(again.hash).toBe(smallest.hash);
    const told = tellShrunk(failed, smallest, sabotage.name);
    expect(told).toContain(`--seed ${seed} --sabotage skip-secondary-ack --faults`);
  });
});
