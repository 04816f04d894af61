import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { bucketInPool, murmur3 } from '../../src/core/hash.js';
import type { Candidate, PlacementTable } from '../../src/core/policy.js';
import { placeByRing } from '../../src/core/policy-ring.js';

function serversOf(count: number, zones = 1, weights: readonly number[] = []): Candidate[] {
  return Array.from({ length: count }, (_, index) => ({
    ordinal: index + 1,
    id: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
    zone: zones === 1 ? '' : `zone ${index % zones}`,
    weight: weights[index] ?? 1,
  }));
}

function loads(table: PlacementTable): Map<number, number> {
  const counts = new Map<number, number>();
  for (const set of table) for (const one of set) counts.set(one, (counts.get(one) ?? 0) + 1);
  return counts;
}

function primaries(table: PlacementTable): Map<number, number> {
  return loads(table.map((set) => set.slice(0, 1)));
}

/** Replicas in `after` that were not there before. */
function moved(before: PlacementTable, after: PlacementTable): number {
  return after.reduce((sum, set, bucket) => {
    return sum + set.filter((one) => !before[bucket]?.includes(one)).length;
  }, 0);
}

/** The fewest replicas that any way from one balance to the other moves. */
function least(before: PlacementTable, after: PlacementTable): number {
  const old = loads(before);
  return Array.from(loads(after)).reduce((sum, [server, count]) => {
    return sum + Math.max(0, count - (old.get(server) ?? 0));
  }, 0);
}

const parameters = { bucketCount: 1024, replicaCount: 3 };

describe('hash', () => {
  test('is murmur3 x86 32 as published', () => {
    expect(murmur3('')).toBe(0);
    expect(murmur3('', 1)).toBe(0x514e28b7);
    expect(murmur3('', 0xffffffff)).toBe(0x81f16f39);
    expect(murmur3('\0\0\0\0')).toBe(0x2362f9de);
    expect(murmur3('test', 0x9747b28c)).toBe(0x704b81dc);
    expect(murmur3('Hello, world!', 0x9747b28c)).toBe(0x24884cba);
    expect(murmur3('The quick brown fox jumps over the lazy dog', 0x9747b28c)).toBe(0x2fa826cd);
  });

  test('spreads keys over buckets', () => {
    const counts = Array.from({ length: 64 }, () => 0);
    for (let key = 0; key < 64_000; key += 1)
      counts[bucketInPool(`key ${key}`, { bucketCount: 64, policy: 'ring' })]! += 1;
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1150);
  });
});

describe('ring', () => {
  test('no server holds more than 5 % over its fair share, nor leads more', () => {
    for (let count = 3; count <= 12; count += 1) {
      const table = placeByRing(serversOf(count), parameters, null);
      const fair = (1024 * 3) / count;
      for (const load of loads(table).values()) expect(load).toBeLessThanOrEqual(fair * 1.05);
      for (const lead of primaries(table).values()) {
        expect(lead).toBeLessThanOrEqual((1024 / count) * 1.05);
      }
    }
  });

  test('a join moves no more than the newcomer has to get', () => {
    let table: PlacementTable = placeByRing(serversOf(3), parameters, null);
    for (let count = 4; count <= 10; count += 1) {
      const next = placeByRing(serversOf(count), parameters, table);
      expect(moved(table, next)).toBeLessThanOrEqual(least(table, next) * 1.05);
      expect(least(table, next)).toBe(Math.floor((1024 * 3) / count));
      table = next;
    }
  });

  test('a leave moves only what was lost', () => {
    const servers = serversOf(6);
    const table = placeByRing(servers, parameters, null);
    const lost = loads(table).get(4) ?? 0;
    const next = placeByRing(
      servers.filter(({ ordinal }) => ordinal !== 4),
      parameters,
      table,
    );
    expect(moved(table, next)).toBeLessThanOrEqual(lost * 1.05);
  });

  test('nothing moves when nothing changed', () => {
    const table = placeByRing(serversOf(5), parameters, null);
    expect(placeByRing(serversOf(5), parameters, table)).toEqual(table);
  });

  test('replicas are in distinct zones where there are enough', () => {
    const servers = serversOf(9, 3);
    const founded = placeByRing(servers.slice(0, 6), parameters, null);
    for (const table of [founded, placeByRing(servers, parameters, founded)]) {
      const crowded = table.filter((set) => new Set(set.map((one) => (one - 1) % 3)).size < 3);
      expect(crowded).toEqual([]);
    }
  });

  test('shares follow the weights', () => {
    const table = placeByRing(serversOf(5, 1, [1, 1, 2, 2, 2]), parameters, null);
    const held = loads(table);
    for (const light of [1, 2]) expect(held.get(light)).toBe(384);
    for (const heavy of [3, 4, 5]) expect(held.get(heavy)).toBe(768);
  });

  test('with equal weights every join and leave moves the least possible, whatever the zones', () => {
    const steps = fc.record({
      buckets: fc.integer({ min: 16, max: 256 }),
      replicas: fc.integer({ min: 1, max: 3 }),
      zones: fc.integer({ min: 1, max: 3 }),
      changed: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }),
    });
    fc.assert(
      fc.property(steps, ({ buckets, replicas, zones, changed }) => {
        const all = serversOf(9, zones);
        const settings = { bucketCount: buckets, replicaCount: replicas };
        let present = all.slice(0, 6);
        let table: PlacementTable = placeByRing(present, settings, null);
        for (const ordinal of changed) {
          const leaves = present.some((server) => server.ordinal === ordinal);
          // As long as every server can take any bucket.
          if (leaves && present.length <= replicas + 1) continue;
          present = all.filter((server) =>
            server.ordinal === ordinal ? !leaves : present.includes(server),
          );
          const next = placeByRing(present, settings, table);
          expect(moved(table, next)).toBeLessThanOrEqual(Math.ceil(least(table, next) * 1.02));
          table = next;
        }
      }),
    );
  });

  test('any chain of joins and leaves leaves whole, balanced sets', () => {
    const chain = fc.record({
      buckets: fc.integer({ min: 1, max: 48 }),
      replicas: fc.integer({ min: 1, max: 4 }),
      zones: fc.integer({ min: 1, max: 3 }),
      weights: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 8, maxLength: 8 }),
      present: fc.array(fc.subarray([1, 2, 3, 4, 5, 6, 7, 8], { minLength: 1 }), {
        minLength: 1,
        maxLength: 6,
      }),
    });
    fc.assert(
      fc.property(chain, ({ buckets, replicas, zones, weights, present }) => {
        const all = serversOf(8, zones, weights);
        let table: PlacementTable | null = null;
        for (const ordinals of present) {
          const servers = all.filter(({ ordinal }) => ordinals.includes(ordinal));
          const size = Math.min(replicas, servers.length);
          const settings = { bucketCount: buckets, replicaCount: replicas };
          table = placeByRing(servers, settings, table);
          expect(table).toHaveLength(buckets);
          for (const set of table) {
            expect(new Set(set).size).toBe(size);
            for (const ordinal of set) expect(ordinals).toContain(ordinal);
          }
          const weight = servers.reduce((sum, server) => sum + server.weight, 0);
          // A server can hold each bucket once: where that caps one, the others share the rest.
          const capped = servers.some((server) => (server.weight * size) / weight > 1);
          for (const server of capped ? [] : servers) {
            const fair = (buckets * size * server.weight) / weight;
            expect(loads(table).get(server.ordinal) ?? 0).toBeLessThanOrEqual(Math.ceil(fair));
          }
        }
      }),
    );
  });
});
