import { describe, expect, test } from '@jest/globals';

import { GIVEN_UP } from '../../src/core/leader.js';
import { learnersOf, MemberState } from '../../src/core/view.js';
import { founded } from './office.js';

describe('drain', () => {
  test('a drained server is to hold nothing, and serves until others do', () => {
    const office = founded(4);
    const { rows } = office.view;
    expect(office.operator.drain('id 2', false)).toEqual({ ok: true, buckets: 24 });
    office.pass(500);
    expect(office.view.rows.some(({ target }) => target.includes(2))).toBe(false);
    expect(office.view.rows.map(({ replicas }) => replicas)).toEqual(
      rows.map(({ replicas }) => replicas),
    );
    for (let round = 0; round < 4; round += 1) {
      office.admitAll();
      office.pass(500);
    }
    expect(office.view.rows.some(({ replicas }) => replicas.includes(2))).toBe(false);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
    // A restart changes nothing about it.
    office.register(2, { incarnation: 2 });
    office.pass(1000);
    expect(office.view.rows.some(({ target }) => target.includes(2))).toBe(false);
  });

  test('undone, it gets its share again', () => {
    const office = founded(4);
    office.operator.drain('id 2', false);
    office.pass(500);
    office.operator.drain('id 2', true);
    office.pass(500);
    expect(office.view.rows.every((row) => learnersOf(row).length === 0)).toBe(true);
  });

  test('is refused when nobody else could take over', () => {
    const office = founded(1);
    expect(office.operator.drain('id 1', false)).toMatchObject({ code: 'NO_SERVERS' });
    expect(office.operator.drain('id 9', false)).toMatchObject({
      code: 'UNKNOWN_SERVER',
    });
  });
});

test('draining leaves enough replicas for writes', () => {
  const office = founded(2);
  const refused = office.operator.drain('id 1', false);
  expect(refused).toMatchObject({ ok: false, code: 'TOO_FEW_SERVERS' });
  // One that nobody can replace after all stays in the sets.
  const three = founded(3);
  three.alive.delete(3);
  three.pass(5000);
  expect(three.operator.drain('id 1', false)).toMatchObject({ ok: true });
  expect(three.operator.remove('id 3', false)).toMatchObject({ ok: true });
  three.pass(40_000);
  expect(three.view.rows.every(({ target }) => target.length === 1)).toBe(true);
  expect(three.view.rows.every(({ replicas, floor }) => replicas.length >= floor)).toBe(true);
});

describe('a server that was given up', () => {
  const withoutFourth = (acceptLoss: boolean): ReturnType<typeof founded> => {
    const office = founded(4);
    office.alive.delete(4);
    office.pass(5000);
    expect(office.operator.remove('id 4', acceptLoss)).toMatchObject({ ok: true, lost: 0 });
    office.pass(500);
    return office;
  };

  test('is not let in again, and not heard', () => {
    const office = withoutFourth(true);
    const { rows } = office.view;
    expect(office.view.members.get(4)?.givenUp).toBeGreaterThan(0);
    const answer = office.register(4, { incarnation: 2 });
    expect(answer).toMatchObject({ ok: false, code: GIVEN_UP });
    expect(answer.ok ? '' : answer.message).toMatch(/data is kept.*another data directory/);
    office.beat(4, 1);
    expect(office.sent.at(-1)).toMatchObject({ to: 4, message: { code: 'REGISTER_AGAIN' } });
    office.pass(1000);
    expect(office.state(4)).toBe(MemberState.Replaced);
    expect(office.view.rows).toEqual(rows);
  });

  test('stays so when it is removed again, and over a restart of the view leader', () => {
    const office = withoutFourth(true);
    const { givenUp } = office.view.members.get(4)!;
    office.operator.remove('id 4', true);
    office.pass(500);
    expect(office.view.members.get(4)?.givenUp).toBe(givenUp);
    expect(office.restart().register(4, { incarnation: 3 })).toMatchObject({ code: GIVEN_UP });
  });

  test('may come back when no loss was accepted', () => {
    const office = withoutFourth(false);
    expect(office.register(4, { incarnation: 2 })).toMatchObject({ ok: true, ordinal: 4 });
    office.pass(1000);
    expect(office.state(4)).toBe(MemberState.Up);
  });
});

describe('a rebalance', () => {
  test('that is paused says so; the rate that an operator set outlives the view leader', () => {
    const office = founded(3);
    office.operator.steer({ paused: true, rateBytes: 5 });
    office.register(4);
    office.pass(1000);
    const { viewChange } = office.leader.status(office.now);
    expect(viewChange).toMatchObject({ phase: 'moving', paused: true, rateBytes: 5 });
    expect(viewChange.waitsFor).toMatch(/paused: \d+ buckets stay/);
    const again = office.restart();
    again.pass(100);
    expect(again.view.parameters).toMatchObject({ rebalancePaused: true, rebalanceRateBytes: 5 });
  });
});

describe('a preview', () => {
  test('says what a join would move, and is right', () => {
    const office = founded(3);
    const answer = office.leader.preview({ added: 1, without: [], only: null });
    if (!answer.ok) throw new Error(answer.message);
    const { moves, loads, replicasLeast } = answer.preview;
    expect(moves.reduce((sum, { replicas }) => sum + replicas, 0)).toBe(24);
    expect(replicasLeast).toBe(24);
    expect(loads.map(({ replicasAfter }) => replicasAfter)).toEqual([24, 24, 24, 24]);
    const { epoch } = office.view;
    office.register(4);
    office.pass(1000);
    const planned = office.view.rows.flatMap((row) => learnersOf(row));
    expect(planned).toHaveLength(24);
    expect(office.view.epoch).toBeGreaterThan(epoch);
  });

  test('of something impossible says why', () => {
    const office = founded(2);
    const all = { added: 0, without: ['id 1', 'id 2'], only: null };
    expect(office.leader.preview(all)).toMatchObject({ ok: false, code: 'NO_SERVERS' });
    const nobody = { added: 0, without: ['nobody'], only: null };
    expect(office.leader.preview(nobody)).toMatchObject({ ok: false, code: 'UNKNOWN_SERVER' });
  });
});

test('cancelling does not keep a server from getting back what it lost', () => {
  const office = founded(3);
  office.alive.delete(3);
  office.pass(5000);
  office.operator.remove('id 3', false);
  office.pass(1000);
  expect(office.view.rows.every(({ target }) => target.length === 2)).toBe(true);
  office.alive.set(3, 1);
  office.pass(100);
  office.operator.steer({ cancel: true });
  office.pass(1000);
  expect(office.view.rows.every(({ target }) => target.length === 3)).toBe(true);
});
