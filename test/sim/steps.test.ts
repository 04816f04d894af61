// V4: a process dies at every step of a view change; enumerated, not sampled.
import { expect, test } from '@jest/globals';

import { SABOTAGES } from '../../src/sim/sabotage/all.js';
import { crashAtEveryStep, type StepOutcome } from '../../src/sim/steps.js';

function told({ step, victim, awayMs, violations }: StepOutcome): string[] {
  const when = `step ${step.number} (${step.kind} ${step.from} → ${step.to})`;
  return violations.map(({ promise, what }) => {
    return `${when}, ${victim} away for ${awayMs} ms: ${promise}: ${what}`;
  });
}

// `make sim-steps` does the same in the other placement policies.
test('a crash at any step changes nothing', () => {
  const outcomes = Array.from(crashAtEveryStep('ring'));
  expect(outcomes.flatMap(told)).toEqual([]);
  expect(outcomes.length).toBeGreaterThan(300);
  const kinds = new Set(outcomes.map(({ step }) => step.kind));
  for (const kind of ['heartbeat', 'viewUpdate', 'snapshotChunk', 'snapshotAck', 'reconfigure']) {
    expect(kinds).toContain(kind);
  }
});

test.each(['plan-forgotten', 'donor-deletes-early', 'handover-without-tail'])(
  'the sabotage %s is caught at some step',
  (name) => {
    const sabotage = SABOTAGES.find((known) => known.name === name);
    for (const { violations } of crashAtEveryStep('ring', sabotage)) {
      if (violations.length > 0) return;
    }
    throw new Error('the sabotage was missed');
  },
);
