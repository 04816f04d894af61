import { expect, test } from '@jest/globals';

import { tellFailure } from '../../src/sim/report.js';
import { run } from '../../src/sim/run.js';
import { HONEST } from '../../src/sim/sabotage/sabotage.js';

/**
 * Seeds that failed once, and why. A seed means another run whenever the simulator draws
 * differently; it then is one seed more, and a test of the core holds the case itself.
 */
const CASES: readonly (readonly [seed: number, cause: string])[] = [
  [13, 'a delete that found nothing was logged with no version of its own'],
  [1169, 'a late copy of a delete that had found nothing deleted a later value'],
  [1305, 'the same, after a fail-over'],
  [400089, 'digests of an entry that was logged before the replica was in sync were compared'],
  [411, 'a cancelled rebalance forgot the plan that was to bring lost replicas back'],
  [504976, 'a restarted replica digested a state that already had effects of later entries'],
  [505737, 'the same, many faults later'],
  [902141, 'cancelling before the cluster was founded kept it from being founded'],
  [902571, 'writes waited for a learner that counted while the rebalance was paused'],
  [909258, 'draining left buckets with fewer replicas than their writes need'],
  [889, 'cancelling went back to a table with fewer replicas'],
  [60865, 'a snapshot was acknowledged for another one under the same number'],
  [50, 'a restarted primary waited for ever for a learner that already held everything'],
];

/** The same, with causal clients. */
const CAUSAL_CASES: typeof CASES = [
  [849, 'a digest claimed a write that was not durable yet, and not among its records'],
  [101, 'what a server that left and came back had said before still counted'],
  [26, 'a server remembered none of its writes that it had dropped, and said that it did'],
  [11811, 'a write that was forwarded and not answered was taken again by another replica'],
  [2, 'the clock of a bucket went on from entries that had been cut'],
  [63409, 'a replica that had left and come back took its old checkpoint for the new one'],
  [30109, 'a session read what depended on a newer view, under an older one'],
  [30012, 'a server that had dropped a bucket and restarted twice numbered its writes anew'],
  [1201729, 'a server that was killed between a view and what it made of it forgot who had left'],
  [1257, 'a new replica gave a write an earlier clock than a deletion that all had seen'],
];

test.each(CASES)('seed %d: %s', (seed) => {
  const outcome = run(seed, HONEST, { early: true });
  expect(outcome.violations.length === 0 ? '' : tellFailure(outcome, '')).toBe('');
});

/** Of those in which disks are lost, too. */
const LOSSES: typeof CASES = [
  [72553, 'who left a bucket took what only it knew of others along'],
  [203174, 'a comparison left with one that had been away what all had deleted'],
  [900456, 'a restart brought an entry back that had been cut off'],
  [201899, 'a tombstone waited for what had gone with a disk'],
];

test.each(LOSSES)('seed %d with causal clients and lost disks: %s', (seed) => {
  const outcome = run(seed, HONEST, { causal: 3 });
  expect(outcome.violations.length === 0 ? '' : tellFailure(outcome, '')).toBe('');
});

test.each(CAUSAL_CASES)('seed %d with causal clients: %s', (seed) => {
  const outcome = run(seed, HONEST, { causal: 3, early: true });
  expect(outcome.violations.length === 0 ? '' : tellFailure(outcome, '')).toBe('');
});
