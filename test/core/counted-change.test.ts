import { describe, expect, test } from '@jest/globals';

import { Reconfigure } from '../../src/core/message.js';
import { ChangePhase, learnersOf } from '../../src/core/view.js';
import { founded, type Office } from './office.js';

/** Four servers, the last of which has just joined: the change is planned, not started. */
function planned(): Office {
  const office = founded(3);
  office.register(4);
  for (const server of [1, 2, 3]) office.behind.add(server);
  office.pass(1000);
  return office;
}

function start(office: Office): void {
  office.behind.clear();
  office.pass(100);
}

/** So many learners have caught up, and no more. */
function admit(office: Office, count: number): void {
  const rows = office.view.rows.filter((row) => learnersOf(row).length > 0).slice(0, count);
  for (const row of rows) {
    const bucket = office.view.rows.indexOf(row);
    const request = new Reconfigure(bucket, row.epoch, learnersOf(row)[0]!, 10, 10, 100);
    office.leader.step(row.replicas[0]!, request, office.now, office);
  }
  office.pass(500);
}

function finish(office: Office): void {
  for (let round = 0; round < 4; round += 1) {
    office.admitAll();
    office.pass(500);
  }
}

describe('a counted view change (V4)', () => {
  test('starts when every server with something to send has counted under the plan', () => {
    const office = planned();
    expect(office.view.change).toMatchObject({ phase: ChangePhase.Prime, replicasPlanned: 24 });
    const { viewChange } = office.leader.status(office.now);
    expect(viewChange.phase).toBe('counting');
    expect(viewChange.waitsFor).toMatch(/server [123, ]+ counts what it has to send/);
    const count = { to: 4, recordsSent: 0, bytesSent: 0 };
    office.vectors.set(1, [{ ...count, recordsPlanned: 100, bytesPlanned: 1000 }]);
    office.vectors.set(2, [{ ...count, recordsPlanned: 50, bytesPlanned: 500 }]);
    office.behind.delete(1);
    office.behind.delete(2);
    office.pass(500);
    expect(office.view.change.phase).toBe(ChangePhase.Prime);
    start(office);
    expect(office.view.change).toMatchObject({
      phase: ChangePhase.Move,
      recordsExpected: 150,
      bytesExpected: 1500,
    });
  });

  test('does not wait for the count of a server that went down', () => {
    const office = planned();
    office.behind.delete(1);
    office.behind.delete(2);
    office.alive.delete(3);
    office.pass(5000);
    expect(office.view.change.phase).toBe(ChangePhase.Move);
  });

  test('hands nothing over of which the receiver has counted less than the sender', () => {
    const office = planned();
    start(office);
    const bucket = office.view.rows.findIndex((row) => learnersOf(row).length > 0);
    const row = office.view.rows[bucket]!;
    const short = new Reconfigure(bucket, row.epoch, learnersOf(row)[0]!, 10, 9, 100);
    office.leader.step(row.replicas[0]!, short, office.now, office);
    office.pass(1000);
    expect(office.view.rows[bucket]).toBe(row);
    expect(office.view.change.replicasMoved).toBe(0);
  });

  test('is done when everything is in its place and the counts match', () => {
    const office = planned();
    start(office);
    office.admitAll();
    office.pass(500);
    finish(office);
    expect(office.view.change).toMatchObject({
      phase: ChangePhase.Done,
      replicasPlanned: 24,
      replicasMoved: 24,
      replicasLeast: 24,
      recordsSent: 240,
      recordsTaken: 240,
    });
    expect(office.view.rows.every(({ before }) => before.length === 0)).toBe(true);
    expect(office.view.reason).toMatch(/view change \d+ is done: 240 records/);
    expect(office.leader.status(office.now).viewChange.phase).toBe('idle');
  });

  test('goes on where it was after a restart of the view leader', () => {
    const office = planned();
    start(office);
    const { number } = office.view.change;
    admit(office, 1);
    const again = office.restart();
    for (const server of [1, 2, 3, 4]) again.register(server, { incarnation: 1 });
    again.pass(3000);
    expect(again.view.change).toMatchObject({ number, replicasMoved: 1, recordsSent: 10 });
    finish(again);
    expect(again.view.change).toMatchObject({ number, phase: ChangePhase.Done, recordsSent: 240 });
  });

  test('takes in a second plan', () => {
    const office = planned();
    start(office);
    admit(office, 10);
    const { number } = office.view.change;
    office.register(5);
    office.pass(1000);
    expect(office.view.change).toMatchObject({ number, replicasMoved: 10 });
    office.pass(500);
    finish(office);
    expect(office.view.change).toMatchObject({ number, phase: ChangePhase.Done });
    const held = [1, 2, 3, 4, 5].map(
      (server) => office.view.rows.filter(({ replicas }) => replicas.includes(server)).length,
    );
    expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(1);
  });

  test('that is cancelled goes back to the table before it, counted as well', () => {
    const office = planned();
    const before = office.view.rows.map(({ before: old, target }) =>
      old.length > 0 ? old : target,
    );
    start(office);
    admit(office, 10);
    expect(office.view.change.replicasMoved).toBe(10);
    expect(office.operator.steer({ cancel: true })).toEqual({ ok: true });
    office.pass(500);
    expect(office.view.change).toMatchObject({ cancelled: true, replicasPlanned: 20 });
    finish(office);
    expect(office.view.rows.map(({ replicas }) => replicas)).toEqual(before);
    expect(office.view.change).toMatchObject({ phase: ChangePhase.Done, replicasMoved: 20 });
    // Neither time nor a restart plans it again; an operator does.
    const again = office.restart();
    again.pass(5000);
    expect(again.view.rows.some(({ target }) => target.includes(4))).toBe(false);
    again.operator.steer({ paused: true });
    again.operator.steer({ paused: false });
    again.pass(500);
    expect(again.view.rows.some(({ target }) => target.includes(4))).toBe(true);
  });

  test('cancelled before anything moved, it is over at once', () => {
    const office = planned();
    start(office);
    office.operator.steer({ cancel: true });
    office.pass(500);
    expect(office.view.change).toMatchObject({ phase: ChangePhase.Done, cancelled: true });
    expect(office.view.rows.every((row) => learnersOf(row).length === 0)).toBe(true);
  });

  test('a cancelled drain keeps the server', () => {
    const office = founded(4);
    office.operator.drain('id 2', false);
    office.pass(500);
    office.operator.steer({ cancel: true });
    office.pass(500);
    expect(office.view.members.get(2)?.drained).toBe(false);
    expect(office.view.rows.every((row) => learnersOf(row).length === 0)).toBe(true);
  });

  test('cancelled, it keeps the replicas that it added', () => {
    const office = founded(1);
    office.register(2);
    office.register(3);
    office.pass(1000);
    admit(office, 40);
    office.operator.steer({ cancel: true });
    office.pass(500);
    finish(office);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
  });

  test('cancelling before there are buckets does not keep the cluster from being founded', () => {
    const office = founded(0);
    office.register(1);
    office.operator.steer({ cancel: true });
    office.pass(1000);
    expect(office.view.rows).toHaveLength(32);
  });
});

describe('setting the membership in one step', () => {
  test('gives the data to these servers and takes it from the others', () => {
    const office = founded(5);
    expect(office.operator.change(['id 1', 'id 2', 'id 4'])).toMatchObject({ ok: true });
    office.pass(500);
    finish(office);
    const holders = new Set(office.view.rows.flatMap(({ replicas }) => replicas));
    expect([...holders].toSorted()).toEqual([1, 2, 4]);
    expect(office.operator.change(['id 3', 'id 4', 'id 5'])).toMatchObject({ ok: true });
    office.pass(500);
    finish(office);
    finish(office);
    const then = new Set(office.view.rows.flatMap(({ replicas }) => replicas));
    expect([...then].toSorted()).toEqual([3, 4, 5]);
  });

  test('is refused with the reason', () => {
    const office = founded(3);
    expect(office.operator.change(['id 1', 'id 9'])).toMatchObject({ code: 'UNKNOWN_SERVER' });
    expect(office.operator.change(['id 1'])).toMatchObject({ code: 'TOO_FEW_SERVERS' });
    office.alive.delete(3);
    office.pass(5000);
    office.operator.remove('id 3', false);
    const gone = office.operator.change(['id 1', 'id 2', 'id 3']);
    expect(gone).toMatchObject({ code: 'SERVER_IS_REPLACED' });
  });
});
