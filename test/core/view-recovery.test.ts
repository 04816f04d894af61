import { describe, expect, test } from '@jest/globals';

import { applyDelta, MemberState, type View } from '../../src/core/view.js';
import { asDelta, EPOCHS_SKIPPED, ViewRecovery } from '../../src/core/view-recovery.js';
import { rowOf, viewOf } from './cluster.js';

const nobody = new Set<string>();

function offer(
  recovery: ViewRecovery,
  server: number,
  view: View | null,
  clusterId = 'test',
): string {
  return recovery.offer({ id: `id-${server}`, clusterId, view });
}

describe('recovering a lost view', () => {
  const older = viewOf(4, rowOf(4, [1, 2, 3]), [1, 2, 3, 4]);
  const newer = viewOf(6, rowOf(6, [2, 3], [2, 3, 1]), [1, 2, 3, 4]);

  test('waits for everyone who holds a bucket, or should, in the newest copy', () => {
    const recovery = new ViewRecovery(nobody);
    expect(recovery.missing()).toBeNull();
    offer(recovery, 1, older);
    expect(recovery.missing()).toEqual(['id-2', 'id-3']);
    offer(recovery, 2, newer);
    expect(recovery.result(0)).toBeNull();
    expect(recovery.missing()).toEqual(['id-3']);
    offer(recovery, 3, older);
    const result = recovery.result(7);
    expect(result).toMatchObject({ clusterId: 'test', rows: newer.rows, atMs: 7 });
    expect(result?.epoch).toBe(6 + EPOCHS_SKIPPED);
  });

  test('goes on without those that are named, and counts them as down', () => {
    const recovery = new ViewRecovery(new Set(['id-3']));
    offer(recovery, 1, older);
    offer(recovery, 2, newer);
    const members = recovery.result(0)?.members;
    expect(members?.get(3)?.state).toBe(MemberState.Down);
    expect(members?.get(1)?.state).toBe(MemberState.Up);
  });

  test('takes no part from servers of another cluster, new ones, and those without a view', () => {
    const recovery = new ViewRecovery(nobody);
    expect(offer(recovery, 1, null)).toMatch(/no view/);
    expect(offer(recovery, 9, null, '')).toMatch(/new server/);
    expect(offer(recovery, 1, older)).toBe('');
    const foreign = { ...newer, clusterId: 'other' };
    expect(offer(recovery, 2, foreign, 'other')).toMatch(/belongs to cluster other/);
    expect(recovery.missing()).toEqual(['id-2', 'id-3']);
  });

  test('the whole view is a delta from nothing', () => {
    const nothing = { ...newer, epoch: 0, members: new Map(), rows: [], reason: '', atMs: 0 };
    expect(applyDelta(nothing, asDelta(newer))).toEqual(newer);
  });
});
