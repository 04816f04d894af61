import { describe, expect, test } from '@jest/globals';

import { Reconfigure } from '../../src/core/message.js';
import { learnersOf, MemberState } from '../../src/core/view.js';
import { founded, Office } from './office.js';

describe('registration', () => {
  test('servers that join together found the cluster in one epoch', () => {
    const office = founded(3);
    expect(office.view.rows).toHaveLength(32);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
    expect(office.published.filter(({ rows }) => rows.length > 0)).toHaveLength(1);
  });

  test('a server of another cluster is refused and told what to do', () => {
    const answer = founded(2).register(9, { clusterId: 'other' });
    expect(answer).toMatchObject({ ok: false, code: 'FOREIGN_CLUSTER' });
    expect(answer.ok ? '' : answer.message).toMatch(/data is kept/);
  });

  test('a server that knows a newer epoch is refused (V1)', () => {
    const answer = founded(2).register(1, { epoch: 99, incarnation: 2 });
    expect(answer).toMatchObject({ ok: false, code: 'LEADER_IS_BEHIND' });
  });

  test('a copied data directory with an older start is refused (V7)', () => {
    const office = founded(2);
    office.register(1, { incarnation: 5 });
    expect(office.register(1, { incarnation: 4 })).toMatchObject({ code: 'STALE_INCARNATION' });
  });

  test('a new address keeps the ordinal and moves nothing (V7)', () => {
    const office = founded(3);
    const { rows } = office.view;
    const answer = office.register(2, { address: 'elsewhere:1', incarnation: 2 });
    office.pass(1000);
    expect(answer).toMatchObject({ ok: true, ordinal: 2 });
    expect(office.view.members.get(2)?.address).toBe('elsewhere:1');
    expect(office.view.rows).toEqual(rows);
  });

  test('a heartbeat of an unknown start is told to register again', () => {
    const office = founded(2);
    office.beat(1, 7);
    expect(office.sent.at(-1)?.message).toMatchObject({ code: 'REGISTER_AGAIN' });
  });
});

describe('epochs', () => {
  test('only grow, also after a restart from the stored view (V1)', () => {
    const office = founded(3);
    const again = new Office(office.view);
    expect(again.view.epoch).toBe(office.view.epoch);
    again.register(4, { clusterId: 'cluster' });
    again.pass(1000);
    const epochs = [...office.published, ...again.published].map(({ epoch }) => epoch);
    expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
    expect(new Set(epochs).size).toBe(epochs.length);
  });

  test('a restart alone makes no epoch and takes nobody out', () => {
    const office = founded(3);
    const again = new Office(office.view);
    again.pass(5000);
    expect(again.published).toEqual([]);
  });

  test('hand-overs within the window share one (V6)', () => {
    const office = founded(3);
    office.register(4);
    office.pass(1000);
    const { epoch } = office.view;
    expect(office.view.rows.some((row) => learnersOf(row).length > 0)).toBe(true);
    office.admitAll();
    expect(office.view.epoch).toBe(epoch);
    office.pass(300);
    expect(office.view.epoch).toBe(epoch + 1);
    expect(office.view.rows.every((row) => learnersOf(row).length === 0)).toBe(true);
  });

  test('a proposal under an old bucket epoch changes nothing (V1)', () => {
    const office = founded(3);
    office.register(4);
    office.pass(1000);
    const before = office.view;
    for (const [bucket, row] of before.rows.entries()) {
      const learner = learnersOf(row)[0];
      if (learner === undefined) continue;
      const { leader, now } = office;
      leader.step(
        row.replicas[0]!,
        new Reconfigure(bucket, row.epoch - 1, learner, 0, 0, 0),
        now,
        office,
      );
      leader.step(
        row.replicas[1]!,
        new Reconfigure(bucket, row.epoch, learner, 0, 0, 0),
        now,
        office,
      );
    }
    office.pass(300);
    expect(office.view.rows).toEqual(before.rows);
  });
});

describe('failure', () => {
  test('a silent server leaves every replica set at once, its target stays (V5)', () => {
    const office = founded(4);
    const targets = office.view.rows.map(({ target }) => target);
    office.alive.delete(2);
    office.pass(1200);
    expect(office.state(2)).toBe(MemberState.Down);
    expect(office.view.rows.some(({ replicas }) => replicas.includes(2))).toBe(false);
    expect(office.view.rows.map(({ target }) => target)).toEqual(targets);
  });

  test('it is replaced only after the time for that, and then only its share moves', () => {
    const office = founded(4);
    office.alive.delete(2);
    office.pass(29_000);
    expect(office.state(2)).toBe(MemberState.Down);
    const kept = office.view.rows.map(({ target }) => target.filter((one) => one !== 2));
    office.pass(3000);
    expect(office.state(2)).toBe(MemberState.Replaced);
    for (const [bucket, { target }] of office.view.rows.entries()) {
      expect(target).not.toContain(2);
      expect(target).toEqual(expect.arrayContaining(kept[bucket] ?? []));
    }
  });

  test('it is only waited for while all others hold its buckets anyhow', () => {
    const office = founded(3);
    office.alive.delete(2);
    office.pass(60_000);
    expect(office.state(2)).toBe(MemberState.Down);
    expect(office.view.rows.every(({ target }) => target.includes(2))).toBe(true);
    office.register(4);
    office.pass(1000);
    expect(office.state(2)).toBe(MemberState.Replaced);
    expect(office.view.rows.every(({ target }) => target.includes(4))).toBe(true);
  });

  test('the last copies are never given up (D6)', () => {
    const office = founded(4);
    for (const server of [4, 3, 2]) {
      office.alive.delete(server);
      office.pass(8000);
    }
    const down = (server: number): boolean => office.state(server) !== MemberState.Up;
    expect(down(2) || down(3)).toBe(true);
    expect(office.view.rows.every(({ replicas }) => replicas.length > 0)).toBe(true);
  });

  test('when more than half vanish at once nothing changes and the status says why (V6)', () => {
    const office = founded(5);
    const before = office.view;
    for (const server of [1, 2, 3]) office.alive.delete(server);
    office.pass(40_000);
    expect(office.view).toBe(before);
    expect(office.leader.status(office.now).brake).toMatch(/3 of 5 servers vanished/);
  });

  test('a flapping server makes two epochs a turn and moves nothing (V6)', () => {
    const office = founded(4);
    const { epoch } = office.view;
    const targets = office.view.rows.map(({ target }) => target);
    office.alive.delete(2);
    office.pass(1200);
    office.alive.set(2, 1);
    office.pass(100);
    office.admitAll();
    office.pass(300);
    expect(office.view.epoch).toBeLessThanOrEqual(epoch + 3);
    expect(office.view.rows.map(({ target }) => target)).toEqual(targets);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
  });

  test('a server that says it leaves is out at once', () => {
    const office = founded(4);
    office.beat(3, 1, true);
    office.alive.delete(3);
    office.pass(100);
    expect(office.state(3)).toBe(MemberState.Down);
  });

  test('writes need as many in-sync replicas as the bucket once had, at most --min-in-sync', () => {
    const office = new Office();
    office.register(1);
    office.pass(1000);
    expect(office.view.rows.every(({ floor }) => floor === 1)).toBe(true);
    office.register(2);
    office.pass(1000);
    office.admitAll();
    office.pass(300);
    expect(office.view.rows.every(({ floor }) => floor === 2)).toBe(true);
    expect(office.leader.status(office.now).warnings).toEqual([]);
  });
});

describe('removing a server', () => {
  test('that is up, or unknown, is refused', () => {
    const office = founded(3);
    expect(office.operator.remove('id 1', true)).toMatchObject({
      code: 'SERVER_IS_UP',
    });
    expect(office.operator.remove('nobody', true)).toMatchObject({
      code: 'UNKNOWN_SERVER',
    });
  });

  test('that is down takes it out of all rows at once; others take its place', () => {
    const office = founded(4);
    office.alive.delete(2);
    office.pass(1200);
    expect(office.operator.remove('id 2', false)).toMatchObject({
      ok: true,
      lost: 0,
    });
    office.pass(50);
    expect(office.state(2)).toBe(MemberState.Replaced);
    const { rows } = office.view;
    expect(rows.some(({ replicas, target }) => [...replicas, ...target].includes(2))).toBe(false);
    expect(rows.every(({ founded: anew }) => anew === 0)).toBe(true);
  });

  test('with the only copy of a bucket needs the loss to be accepted; then it begins anew (D6)', () => {
    const office = founded(2);
    office.alive.delete(1);
    office.pass(8000);
    office.alive.delete(2);
    office.pass(8000);
    // Server 1 is back, but server 2 has what was written last.
    office.alive.set(1, 1);
    office.pass(8000);
    expect(office.state(2)).toBe(MemberState.Down);
    const before = office.view;
    const refused = office.operator.remove('id 2', false);
    expect(refused).toMatchObject({ ok: false, code: 'DATA_LOSS' });
    expect(refused.ok ? '' : refused.message).toMatch(/only in-sync copy of 32 buckets of 32/);
    expect(office.view).toBe(before);
    const removed = office.operator.remove('id 2', true);
    expect(removed).toMatchObject({ ok: true, buckets: 32, lost: 32 });
    office.pass(50);
    for (const { replicas, epoch, founded: anew } of office.view.rows) {
      expect(replicas).toEqual([1]);
      expect(anew).toBe(epoch);
    }
  });
});

describe('a link that is cut', () => {
  const both = (row: { replicas: readonly number[] }, a: number, b: number): boolean =>
    row.replicas.includes(a) && row.replicas.includes(b);

  test('parts the two from each other, in every row, and in no other; nothing moves', () => {
    const office = founded(4);
    const before = office.view;
    office.unheard.set(1, [2]);
    office.pass(1000);
    const { rows } = office.view;
    expect(rows.some((row) => both(row, 1, 2))).toBe(false);
    for (const [bucket, row] of rows.entries()) {
      const old = before.rows[bucket]!;
      expect(row.target).toEqual(old.target);
      expect(row.replicas.length).toBe(both(old, 1, 2) ? 2 : 3);
      // The primary stays unless the other one is worse off.
      expect(row.replicas[0]).toBe(old.replicas[0]);
    }
    expect(office.view.epoch).toBe(before.epoch + 1);
    expect(office.state(1)).toBe(MemberState.Up);
    expect(office.state(2)).toBe(MemberState.Up);
  });

  test('is not what it was when one of the two had died', () => {
    const office = founded(4);
    const before = office.view.rows;
    office.alive.delete(2);
    office.unheard.set(1, [2]);
    office.pass(950);
    expect(office.view.rows).toEqual(before);
    office.pass(500);
    expect(office.state(2)).toBe(MemberState.Down);
    expect(office.view.rows.every(({ replicas }) => !replicas.includes(2))).toBe(true);
    expect(office.view.rows.some(({ replicas }) => replicas.includes(1))).toBe(true);
  });

  test('takes out the one that nobody hears', () => {
    const office = founded(4);
    for (const server of [1, 2, 4]) office.unheard.set(server, [3]);
    office.pass(1000);
    const { rows } = office.view;
    expect(rows.every(({ replicas }) => !replicas.includes(3))).toBe(true);
  });

  test('that is mended lets it catch up again', () => {
    const office = founded(3);
    office.unheard.set(1, [2]);
    office.pass(1000);
    office.unheard.clear();
    office.admitAll();
    office.pass(1000);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
  });
});

describe('damage', () => {
  test('a replica with damaged records leaves the set and stays a learner (D7)', () => {
    const office = founded(3);
    const { epoch } = office.view;
    office.beat(2, 1, false, [5]);
    const row = office.view.rows[5];
    expect(row?.replicas).not.toContain(2);
    expect(row?.replicas).toHaveLength(2);
    expect(row?.target).toContain(2);
    expect(office.view.epoch).toBe(epoch + 1);
    expect(office.leader.status(office.now).warnings.join()).toMatch(/bucket 5 on server 2/);
    // It says so until it has adopted that view.
    office.beat(2, 1, false, [5]);
    expect(office.view.epoch).toBe(epoch + 1);
    const changed = office.view.rows.filter(({ replicas }) => replicas.length < 3);
    expect(changed).toHaveLength(1);
  });

  test('the last copy is never taken out (D6)', () => {
    const office = founded(1);
    const { rows } = office.view;
    office.beat(1, 1, false, [5]);
    expect(office.view.rows).toEqual(rows);
  });
});
