import { describe, expect, test } from '@jest/globals';

import { Heartbeat } from '../../src/core/message.js';
import { Code } from '../../src/core/refusal.js';
import { Cluster, rowOf, text, viewOf } from './cluster.js';

/** Three servers that hold one bucket, with some keys. */
function three(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  cluster.adopt(viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]));
  cluster.pass(200);
  for (const key of ['a', 'b', 'c']) cluster.run(1, cluster.set(key, key));
  cluster.pass(300);
  return cluster;
}

function lastBeat(cluster: Cluster, server: number): Heartbeat | undefined {
  const beats = cluster.node(server).toLeaderMessages.filter((one) => one instanceof Heartbeat);
  return beats.at(-1);
}

describe('comparison of replicas', () => {
  test('of equal ones is silent', () => {
    const cluster = three();
    cluster.pass(60_000);
    for (const server of [1, 2, 3]) expect(cluster.node(server).alarms).toEqual([]);
  });

  test('names the bucket, the server and the entry where records differ (D7)', () => {
    const cluster = three();
    cluster.node(3).store.remove(0, 'b');
    cluster.pass(60_000);
    const [alarm, ...more] = cluster.node(1).alarms;
    expect(alarm).toMatchObject({ kind: 'differs', bucket: 0, server: 3 });
    expect(alarm?.sequence).toBeGreaterThan(3);
    expect(more).toEqual([]);
    expect(lastBeat(cluster, 1)?.differences).toMatchObject([{ bucket: 0, server: 3 }]);
    // Written again, they are equal: the alarm ends.
    cluster.run(1, cluster.set('b', 'again'));
    cluster.pass(60_000);
    expect(lastBeat(cluster, 1)?.differences).toEqual([]);
  });
});

describe('a damaged record', () => {
  test('is not served; another replica takes over and the bucket is learned again (D7)', () => {
    const cluster = three();
    cluster.node(1).store.damaged.add('b');
    const read = cluster.submit(1, cluster.get('b'));
    cluster.pass(600);
    expect(cluster.results.get(read)).toBeUndefined();
    expect(cluster.node(1).alarms).toMatchObject([{ kind: 'damaged', bucket: 0, server: 1 }]);
    expect(lastBeat(cluster, 1)?.damaged).toEqual([0]);
    // Of a bucket with damage nothing is served: a record that is absent may have vanished.
    const other = cluster.submit(1, cluster.get('a'));
    cluster.pass(100);
    expect(cluster.results.get(other)).toBeUndefined();
    // As the view leader answers to that.
    const row = rowOf(2, [2, 3]);
    cluster.adopt(viewOf(2, { ...row, target: [1, 2, 3] }, [1, 2, 3]));
    cluster.node(1).store.damaged.clear();
    cluster.pass(2000);
    expect(text(cluster.results.get(read))).toBe('b');
    expect(text(cluster.results.get(other))).toBe('a');
    expect(lastBeat(cluster, 1)?.damaged).toEqual([]);
    expect(cluster.node(1).store.buckets.get(0)?.size).toBe(3);
    expect(cluster.node(1).alarms.map(({ kind }) => kind)).toEqual(['damaged', 'mending']);
  });

  test('of which there is no other copy is refused, and the others are served (D6)', () => {
    const cluster = new Cluster([1]);
    cluster.adopt(viewOf(1, rowOf(1, [1]), [1]));
    cluster.pass(200);
    for (const key of ['a', 'b']) cluster.run(1, cluster.set(key, key));
    cluster.node(1).store.damaged.add('b');
    expect(cluster.run(1, cluster.get('b'))?.code).toBe(Code.Damaged);
    expect(text(cluster.run(1, cluster.get('a')))).toBe('a');
  });
});
