import { describe, expect, test } from '@jest/globals';

import { EntryKind } from '../../src/core/entry.js';
import { ConditionKind } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { Cluster, rowOf, text, viewOf } from './cluster.js';

const value = new TextEncoder().encode('x');

function write(key: string, condition: ConditionKind = ConditionKind.None, ifVersion = 0) {
  return { key, value, condition, ifVersion };
}

/** Three servers, two buckets with different primaries. `a` is in bucket 0, `b` in bucket 1. */
function two(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  const view = viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]);
  const rows = [rowOf(1, [1, 2, 3]), rowOf(1, [2, 3, 1])];
  cluster.adopt({ ...view, rows, parameters: { ...view.parameters, bucketCount: 2 } });
  cluster.pass(200);
  return cluster;
}

const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);

describe('setr', () => {
  test('all keys get the same version, and the buckets that took part are told (D3)', () => {
    const cluster = two();
    const result = cluster.run(1, cluster.setr(keys.map((key) => write(key))));
    expect(result).toMatchObject({ code: Code.Ok, participants: 2 });
    cluster.pass(500);
    for (const key of keys) {
      expect(cluster.run(3, cluster.get(key))?.version).toBe(result?.version);
    }
  });

  test('one unmet condition aborts everything at once', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    writes[3] = write('key-3', ConditionKind.IfVersion, 5);
    const result = cluster.run(1, cluster.setr(writes));
    expect(result?.code).toBe(Code.ConditionNotMet);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBeNull();
  });

  test('of commits that meet one that holds a key, some wait and the others are conflicts', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    // It cannot be decided.
    cluster.lost = ({ message }) => message.type === 'vote';
    cluster.submit(1, cluster.setr(writes));
    cluster.settle();
    const later = Array.from({ length: 12 }, () => cluster.submit(1, cluster.setr(writes)));
    cluster.lost = ({ message }) => message.type === 'vote' && message.yes;
    cluster.settle();
    const codes = later.map((request) => cluster.results.get(request)?.code);
    expect(new Set(codes)).toEqual(new Set([undefined, Code.Conflict]));
    cluster.lost = () => false;
    cluster.pass(1000);
    const waited = later.filter((_, index) => codes[index] === undefined);
    const results = waited.map((request) => cluster.results.get(request)?.code);
    expect(new Set(results)).toEqual(new Set([Code.Ok]));
  });

  test('of two commits that hold what the other one wants, one goes on at once', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    const there = cluster.submit(1, cluster.setr(writes));
    const back = cluster.submit(2, cluster.setr(writes.toReversed()));
    cluster.settle();
    const codes = [there, back].map((request) => cluster.results.get(request)?.code);
    expect(codes.toSorted()).toEqual([Code.Ok, Code.Conflict].toSorted());
  });

  test('an abort that comes before the intent is durable is remembered', () => {
    const cluster = two();
    // The bucket of `a` says no; that of `b` has no replica to rely on.
    const writes = [write('a', ConditionKind.IfVersion, 5), write('b')];
    cluster.lost = ({ message, to }) => message.type === 'prepareAck' && to === 2;
    expect(cluster.run(1, cluster.setr(writes))?.code).toBe(Code.ConditionNotMet);
    cluster.lost = ({ message }) => message.type === 'decide';
    cluster.pass(400);
    expect(cluster.run(3, cluster.get('b'))).toMatchObject({ code: Code.Ok, found: false });
  });

  test('a key of a commit that is decided is waited for', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    cluster.lost = ({ message }) => message.type === 'decide';
    const first = cluster.run(1, cluster.setr(writes));
    // The participants hear of the decision now, but cannot finish.
    cluster.lost = ({ message }) => message.type === 'prepareAck';
    cluster.pass(300);
    const second = cluster.submit(1, cluster.setr(writes.toReversed()));
    cluster.settle();
    expect(cluster.results.get(second)).toBeUndefined();
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.results.get(second)?.code).toBe(Code.Ok);
    expect(cluster.results.get(second)?.version).toBeGreaterThan(first?.version ?? 0);
  });

  test('a participant that is not the primary any more does not vote', () => {
    const cluster = two();
    // Server 2 cannot tell that the version is another one: it has no lease.
    cluster.lost = ({ message, to }) => message.type === 'beaconAnswer' && to === 2;
    cluster.pass(1000);
    const commit = cluster.setr([write('a'), write('b', ConditionKind.IfVersion, 5)]);
    expect(cluster.run(1, commit)).toBeUndefined();
    const votes: number[] = [];
    cluster.lost = ({ message, from }) => {
      if (message.type === 'vote') votes.push(from);
      return false;
    };
    const view = cluster.node(1).machine.view;
    cluster.adopt({ ...view, epoch: 2, rows: [view.rows[0]!, rowOf(2, [3, 1])] });
    cluster.pass(100);
    expect(votes).not.toContain(2);
    cluster.pass(2000);
    expect(new Set(votes)).toEqual(new Set([3]));
  });

  test('a read of a locked key waits for the outcome', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decide';
    const commit = cluster.submit(1, cluster.setr(keys.map((key) => write(key))));
    cluster.settle();
    expect(cluster.results.get(commit)?.code).toBe(Code.Ok);
    const reads = keys.map((key) => cluster.submit(3, cluster.get(key)));
    cluster.settle();
    cluster.lost = () => false;
    cluster.pass(1000);
    for (const read of reads) expect(text(cluster.results.get(read))).toBe('x');
  });

  test('the coordinator dies before it decides: the participants abort (D3)', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'vote';
    const operation = cluster.setr(keys.map((key) => write(key)));
    cluster.submit(1, operation);
    cluster.settle();
    // Both primaries restart: what the coordinator knew in memory is gone.
    cluster.restart(1, 2);
    cluster.restart(2, 2);
    cluster.lost = () => false;
    cluster.pass(3000);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBeNull();
    // A straggling retry finds the recorded abort.
    expect(cluster.run(1, operation)?.code).toBe(Code.Conflict);
  });

  test('the coordinator dies after its decision: everyone commits (D3)', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decide';
    const operation = cluster.setr(keys.map((key) => write(key)));
    const first = cluster.run(1, operation);
    cluster.restart(1, 2);
    cluster.restart(2, 2);
    cluster.lost = () => false;
    cluster.pass(3000);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBe('x');
    expect(cluster.run(1, operation)?.version).toBe(first?.version);
    const forgotten = cluster
      .node(1)
      .log.concat(cluster.node(2).log)
      .some((record) => record.type === 'entry' && record.entry.kind === EntryKind.Forget);
    expect(forgotten).toBe(true);
  });
});
