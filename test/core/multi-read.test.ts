import { describe, expect, test } from '@jest/globals';

import { ConditionKind, type Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { Cluster, rowOf, viewOf } from './cluster.js';

const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);

/** Three servers, two buckets with different primaries; all keys are written once. */
function two(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  const view = viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]);
  const rows = [rowOf(1, [1, 2, 3]), rowOf(1, [2, 3, 1])];
  cluster.adopt({ ...view, rows, parameters: { ...view.parameters, bucketCount: 2 } });
  cluster.pass(200);
  writeAll(cluster, 'old');
  return cluster;
}

function writeAll(cluster: Cluster, text: string): void {
  const value = new TextEncoder().encode(text);
  const condition = ConditionKind.None;
  const writes = keys.map((key) => ({ key, value, condition, ifVersion: 0 }));
  expect(cluster.run(1, cluster.setr(writes))?.code).toBe(Code.Ok);
  cluster.pass(300);
}

function texts(result: Result | undefined): string[] {
  return (result?.records ?? []).map(({ value }) => new TextDecoder().decode(value));
}

describe('getr', () => {
  test('answers from any server; what is absent is left out', () => {
    const cluster = two();
    for (const server of [1, 2, 3]) {
      const result = cluster.run(server, cluster.getr([...keys, 'absent']));
      expect(result).toMatchObject({ code: Code.Ok, participants: 2 });
      expect(result?.records.map(({ key }) => key).toSorted()).toEqual(keys.toSorted());
    }
  });

  test('a commit between its parts is seen whole', () => {
    const cluster = two();
    // The part for bucket 1 is under way while everything is overwritten.
    cluster.lost = ({ message }) => message.type === 'decide';
    const value = new TextEncoder().encode('new');
    const condition = ConditionKind.None;
    const writes = keys.map((key) => ({ key, value, condition, ifVersion: 0 }));
    cluster.submit(1, cluster.setr(writes));
    const read = cluster.submit(3, cluster.getr(keys));
    cluster.settle();
    expect(cluster.results.get(read)).toBeUndefined();
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(new Set(texts(cluster.results.get(read)))).toEqual(new Set(['new']));
  });

  test('a part that nobody answers: refused when its time is over', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decide';
    const value = new TextEncoder().encode('new');
    const condition = ConditionKind.None;
    cluster.submit(1, cluster.setr(keys.map((key) => ({ key, value, condition, ifVersion: 0 }))));
    const read = cluster.submit(1, cluster.getr(keys));
    cluster.pass(6000);
    expect(cluster.results.get(read)?.code).toBe(Code.Unavailable);
    expect(cluster.run(2, cluster.getr(keys.slice(0, 0)))?.code).toBe(Code.Invalid);
    expect(cluster.run(2, cluster.getr(['a', 'a']))?.code).toBe(Code.Invalid);
  });
});
