import { describe, expect, test } from '@jest/globals';

import { keyIn, Mode } from '../../src/core/namespace.js';
import { bucketOf, poolsOf } from '../../src/core/pools.js';
import type { Ordinal } from '../../src/core/ids.js';
import { founded, Office } from './office.js';

const { Strong, Causal } = Mode;

/** Replicas of each server in a pool. */
function loads(office: Office, pool: number): Map<Ordinal, number> {
  const { rows, parameters } = office.view;
  const own = rows.slice(pool * parameters.bucketCount, (pool + 1) * parameters.bucketCount);
  const counts = new Map<Ordinal, number>();
  for (const { replicas } of own) {
    for (const server of replicas) counts.set(server, (counts.get(server) ?? 0) + 1);
  }
  return counts;
}

describe('namespaces with a number of replicas of their own', () => {
  test('get buckets of their own, spread evenly', () => {
    const office = founded(4);
    const before = office.view.rows;
    expect(office.leader.namespaces.create('few', Causal, 0, 2)).toMatchObject({
      namespace: { pool: 1, replicas: 2 },
    });
    expect(office.leader.namespaces.create('many', Strong, 0, 4)).toMatchObject({
      namespace: { pool: 2 },
    });
    expect(office.leader.namespaces.create('few, too', Causal, 0, 2)).toMatchObject({ ok: false });
    expect(office.leader.namespaces.create('few-too', Causal, 0, 2)).toMatchObject({
      namespace: { pool: 1 },
    });
    office.pass(500);
    const { view } = office;
    expect(poolsOf(view)).toEqual([
      { first: 0, replicaCount: 3 },
      { first: 32, replicaCount: 2 },
      { first: 64, replicaCount: 4 },
    ]);
    expect(view.rows.slice(0, 32)).toEqual(before);
    expect(view.rows).toHaveLength(96);
    expect([...loads(office, 1).values()]).toEqual([16, 16, 16, 16]);
    expect([...loads(office, 2).values()]).toEqual([32, 32, 32, 32]);
    const plain = bucketOf('key', view);
    expect(plain).toBeLessThan(32);
    const named = [1, 2, 3].map((number) => bucketOf(keyIn(number, 'key'), view));
    expect(named.map((bucket) => Math.floor(bucket / 32))).toEqual([1, 2, 1]);
  });

  test('keep their number as servers come and go', () => {
    const office = founded(3);
    office.leader.namespaces.create('many', Strong, 0, 4);
    office.leader.namespaces.create('one', Strong, 0, 1);
    office.pass(500);
    expect([...loads(office, 1).values()]).toEqual([32, 32, 32]);
    office.register(4);
    office.pass(1000);
    for (let round = 0; round < 8; round += 1) {
      office.admitAll();
      office.pass(500);
    }
    expect([...loads(office, 1).values()]).toEqual([32, 32, 32, 32]);
    expect([...loads(office, 2).values()]).toEqual([8, 8, 8, 8]);
    expect(office.leader.status(office.now)).toMatchObject({
      underReplicated: 0,
      bucketCount: 32,
      poolReplicas: [4, 1],
    });
    const preview = office.leader.preview({ added: 0, without: ['id 4'], only: null });
    expect(preview).toMatchObject({ preview: { loads: { length: 4 } } });
  });

  test('are founded on the servers that are up', () => {
    const office = founded(3);
    office.alive.delete(3);
    office.pass(5000);
    office.leader.namespaces.create('two', Causal, 0, 2);
    office.pass(500);
    const own = office.view.rows.slice(32);
    expect(own.some(({ target }) => target.includes(3))).toBe(true);
    expect(own.every(({ replicas }) => replicas.length > 0 && !replicas.includes(3))).toBe(true);
  });

  test('may be there before the first server', () => {
    const office = new Office();
    office.leader.namespaces.create('one', Strong, 0, 1);
    for (const server of [1, 2, 3]) office.register(server);
    office.pass(1000);
    expect(office.view.rows.map(({ replicas }) => replicas.length)).toEqual([
      ...Array.from({ length: 32 }, () => 3),
      ...Array.from({ length: 32 }, () => 1),
    ]);
  });

  test('are refused where they cannot be', () => {
    const create = (office: Office, replicas: number): unknown =>
      office.leader.namespaces.create('n', Strong, 0, replicas);
    expect(create(founded(3), 17)).toMatchObject({ code: 'BAD_REPLICAS' });
    expect(create(founded(3), 1.5)).toMatchObject({ code: 'BAD_REPLICAS' });
    const shards = new Office(null, { policy: 'shards', shardCount: 1 });
    expect(create(shards, 2)).toMatchObject({ code: 'NOT_WITH_SHARDS' });
    const full = new Office(null, { bucketCount: 20_000 });
    expect(create(full, 2)).toMatchObject({ code: 'TOO_MANY_BUCKETS' });
    expect(create(full, 0)).toMatchObject({ ok: true });
    // Another number is another namespace.
    expect(create(full, 3)).toMatchObject({ ok: false });
  });
});
