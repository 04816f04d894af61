import { createHash } from 'node:crypto';

import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { comparePolicies } from '../../src/core/compare.js';
import { bucketInPool } from '../../src/core/hash.js';
import { place } from '../../src/core/policies.js';
import { evenSplit, seededSplit } from '../../src/core/policy-shards.js';
import { sha1, sha1Modulo } from '../../src/core/sha1.js';
import { learnersOf } from '../../src/core/view.js';
import { founded, Office } from './office.js';

function serversOf(count: number) {
  return Array.from({ length: count }, (_, at) => {
    return { ordinal: at + 1, id: `id ${at + 1}`, zone: '', weight: 1, shard: 0 };
  });
}

describe('SHA-1', () => {
  test('is what everyone else computes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const text = Buffer.from(bytes).toString('latin1');
        const words = sha1(text).map((word) => word.toString(16).padStart(8, '0'));
        expect(words.join('')).toBe(createHash('sha1').update(bytes).digest('hex'));
      }),
    );
  });

  test('modulo a number is that of the whole digest', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 65_536 }), (text, divisor) => {
        const digest = createHash('sha1').update(text, 'latin1').digest('hex');
        const latin = Buffer.from(text, 'latin1').toString('latin1');
        expect(sha1Modulo(latin, divisor)).toBe(Number(BigInt(`0x${digest}`) % BigInt(divisor)));
      }),
    );
  });
});

describe('modulo', () => {
  test('a key is on server sha1(key) mod N and on those that follow', () => {
    const parameters = { bucketCount: 5040, replicaCount: 2, policy: 'modulo', shardCount: 0 };
    for (const count of [3, 5, 7]) {
      const table = place(serversOf(count), parameters, null);
      for (let key = 0; key < 200; key += 1) {
        const first = sha1Modulo(`key ${key}`, count);
        const set = table[bucketInPool(`key ${key}`, parameters)];
        expect(set).toEqual([first + 1, ((first + 1) % count) + 1]);
      }
    }
  });
});

describe('shards', () => {
  test('an even split is contiguous, and the last group takes what is left over', () => {
    const shards = Array.from(evenSplit(serversOf(8), 3).values());
    expect(shards).toEqual([1, 1, 2, 2, 3, 3, 3, 3]);
  });

  test('a seeded split gives every shard at least two, or none is found', () => {
    const table = seededSplit(serversOf(12), 4);
    const sizes = [1, 2, 3, 4].map(
      (shard) => Array.from(table?.values() ?? []).filter((one) => one === shard).length,
    );
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(2);
    expect(seededSplit(serversOf(12), 4)).toEqual(table);
    expect(seededSplit(serversOf(3), 2)).toBeNull();
  });

  test('all members of a shard hold all its buckets, and lead their share of them', () => {
    const split = evenSplit(serversOf(6), 3);
    const servers = serversOf(6).map((one) => ({ ...one, shard: split.get(one.ordinal) ?? 0 }));
    const parameters = { bucketCount: 96, replicaCount: 3, policy: 'shards', shardCount: 3 };
    const table = place(servers, parameters, null);
    for (const [bucket, set] of table.entries()) {
      const shard = 1 + (bucket % 3);
      expect(set.toSorted()).toEqual([2 * shard - 1, 2 * shard]);
    }
    for (const { ordinal } of servers) {
      expect(table.filter((set) => set[0] === ordinal)).toHaveLength(16);
    }
  });
});

describe('a cluster of shards', () => {
  function sharded(servers: number): Office {
    const office = new Office(null, { policy: 'shards', shardCount: 3 });
    for (let server = 1; server <= servers; server += 1) office.register(server);
    office.pass(1000);
    return office;
  }

  function settle(office: Office): void {
    for (let round = 0; round < 8; round += 1) {
      office.admitAll();
      office.pass(500);
    }
    expect(office.view.rows.every((row) => learnersOf(row).length === 0)).toBe(true);
  }

  function shardsOf(office: Office): number[] {
    return Array.from(office.view.members.values(), ({ shard }) => shard);
  }

  test('waits for two servers a shard, and says so', () => {
    const office = sharded(5);
    expect(office.view.rows).toEqual([]);
    const { warnings } = office.leader.status(office.now);
    expect(warnings.join()).toMatch(/3 shards need 6 servers, two each; there are 5/);
    office.register(6);
    office.pass(1000);
    expect(office.view.rows).toHaveLength(32);
    expect(shardsOf(office)).toEqual([1, 1, 2, 2, 3, 3]);
  });

  test('a server joins the shard that is named, or the smallest one', () => {
    const office = sharded(6);
    office.register(7);
    office.pass(1000);
    expect(shardsOf(office)).toEqual([1, 1, 2, 2, 3, 3, 1]);
    settle(office);
    expect(office.leader.shards.addMember(3, 'id 7')).toEqual({ ok: true });
    settle(office);
    expect(shardsOf(office)[6]).toBe(3);
    for (const [bucket, { replicas }] of office.view.rows.entries()) {
      expect(replicas.includes(7)).toBe(bucket % 3 === 2);
    }
    const { shards } = office.leader;
    expect(shards.addMember(1, 'id 3')).toMatchObject({ code: 'TOO_FEW_SERVERS' });
    expect(shards.addMember(9, 'id 7')).toMatchObject({ code: 'UNKNOWN_SHARD' });
    expect(shards.addMember(1, 'nobody')).toMatchObject({ code: 'UNKNOWN_SERVER' });
  });

  test('is resharded, and refuses what would leave a shard with one server', () => {
    const office = sharded(6);
    const { shards } = office.leader;
    const refused = shards.reshard(4);
    expect(refused).toMatchObject({ ok: false, code: 'TOO_FEW_SERVERS' });
    expect(refused.ok ? '' : refused.message).toMatch(/4 shards need 8 servers.*there are 6/);
    expect(office.leader.previewReshard(2)).toMatchObject({ ok: true });
    expect(shards.reshard(2)).toEqual({ ok: true });
    settle(office);
    expect(shardsOf(office)).toEqual([1, 1, 1, 2, 2, 2]);
    expect(office.view.parameters.shardCount).toBe(2);
    for (const [bucket, { replicas }] of office.view.rows.entries()) {
      expect(replicas.toSorted()).toEqual(bucket % 2 === 0 ? [1, 2, 3] : [4, 5, 6]);
    }
  });

  test('a whole shard is removed: its servers hold nothing, the others all', () => {
    const office = sharded(6);
    expect(office.leader.shards.remove(2)).toEqual({ ok: true });
    settle(office);
    expect(office.view.rows.some(({ replicas }) => replicas.some((one) => one === 3))).toBe(false);
    expect(office.view.rows.some(({ replicas }) => replicas.some((one) => one === 4))).toBe(false);
    expect(shardsOf(office)).toEqual([1, 1, 0, 0, 2, 2]);
    expect(office.leader.shards.remove(2)).toEqual({ ok: true });
    expect(office.leader.shards.remove(1)).toMatchObject({ code: 'LAST_SHARD' });
  });

  test('a shard that lost a server gets one of the largest', () => {
    const office = sharded(8);
    expect(shardsOf(office)).toEqual([1, 1, 2, 2, 3, 3, 3, 3]);
    office.alive.delete(1);
    office.pass(40_000);
    expect(shardsOf(office)).toEqual([1, 1, 2, 2, 3, 3, 3, 1]);
  });

  test('a server that its shard needs is not drained', () => {
    const office = sharded(6);
    const refused = office.operator.drain('id 2', false);
    expect(refused).toMatchObject({ ok: false, code: 'TOO_FEW_SERVERS' });
    expect(refused.ok ? '' : refused.message).toMatch(/without id 2 there are 5: reshard/);
    office.register(7);
    office.pass(1000);
    settle(office);
    expect(office.operator.drain('id 2', false)).toMatchObject({ ok: true });
    settle(office);
    expect(office.view.rows.every(({ replicas }) => replicas.length === 2)).toBe(true);
  });

  test('with another policy there are none', () => {
    const office = founded(3);
    expect(office.leader.shards.reshard(2)).toMatchObject({ ok: false });
    expect(office.leader.shards.addMember(1, 'id 1')).toMatchObject({
      code: 'NO_SHARDS',
    });
  });
});

test('the ring is even, and moves the least, up to 64 servers', () => {
  for (const servers of [3, 5, 10, 32, 64]) {
    const rows = comparePolicies(servers, { bucketCount: 1024, replicaCount: 3 });
    const ring = rows.find(({ policy }) => policy === 'ring');
    expect(ring?.replicasOverMean).toBeLessThanOrEqual(1.05);
    expect(ring?.primariesOverMean).toBeLessThanOrEqual(1.05);
    expect(ring?.join.moved).toBeLessThanOrEqual((ring?.join.least ?? 0) * 1.05);
    expect(ring?.leave.moved).toBeLessThanOrEqual((ring?.leave.least ?? 0) * 1.05);
  }
});

test('with 256 buckets no server up to 44 holds 5 % more than its share', () => {
  for (let servers = 3; servers <= 44; servers += 1) {
    const rows = comparePolicies(servers, { bucketCount: 256, replicaCount: 3 });
    const ring = rows.find(({ policy }) => policy === 'ring');
    expect(ring?.replicasOverMean).toBeLessThanOrEqual(1.05);
  }
});
