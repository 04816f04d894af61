import { describe, expect, test } from '@jest/globals';

import { tellFailure } from '../../src/sim/report.js';
import { run } from '../../src/sim/run.js';
import { SABOTAGES } from '../../src/sim/sabotage/all.js';

describe('a simulated cluster', () => {
  test('does the same again from the same seed', () => {
    for (const seed of [1, 2, 3]) {
      const first = run(seed);
      const second = run(seed);
      expect(second.hash).toBe(first.hash);
      expect(second.events).toBe(first.events);
      expect(second.history.calls.map((call) => call.describe())).toEqual(
        first.history.calls.map((call) => call.describe()),
      );
    }
    expect(run(1).hash).not.toBe(run(2).hash);
  });

  test('keeps every promise through twenty seeds of faults', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const outcome = run(seed);
      expect(outcome.violations.length === 0 ? '' : tellFailure(outcome, '')).toBe('');
      expect(outcome.history.calls.length).toBeGreaterThan(10);
    }
  });

  test('that is sabotaged is caught, and the report tells how to see it again', () => {
    const sabotage = SABOTAGES.find(({ name }) => name === 'skip-secondary-ack')!;
    for (let seed = 1; seed <= 200; seed++) {
      const outcome = run(seed, sabotage);
      if (outcome.violations.length === 0) continue;
      const told = tellFailure(outcome, sabotage.name);
      expect(told).toContain(`--seed ${seed} --sabotage skip-secondary-ack`);
      expect(told).toContain('settings:');
      // The break is gone again.
      expect(run(seed).violations).toEqual([]);
      return;
    }
    throw new Error('the sabotage was missed');
  });
});
