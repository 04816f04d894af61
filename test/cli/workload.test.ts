import { readFileSync } from 'node:fs';

import { describe, expect, test } from '@jest/globals';

import {
  Latest,
  Ranked,
  scrambled,
  Scrambled,
  Zipfian,
} from '../../src/cli/workload/distribution.js';
import { Latencies } from '../../src/cli/workload/latencies.js';
import { cacheMixes, Kind, UPDATES, YCSB } from '../../src/cli/workload/mix.js';
import { run } from '../../src/cli/workload/run.js';
import { type Store, Workload } from '../../src/cli/workload/workload.js';
import { Prng } from '../../src/checkers/prng.js';
import { kvsClient, WRITTEN } from './support.js';

const DRAWS = 200_000;

function draws(next: () => number, ranks: number): number[] {
  const counts = Array.from({ length: ranks }, () => 0);
  for (let draw = 0; draw < DRAWS; draw += 1) counts[next()]! += 1;
  return counts.map((count) => count / DRAWS);
}

function random(seed: number): () => number {
  const prng = new Prng(seed);
  return () => prng.real();
}

describe('distributions', () => {
  test('Zipf: the likely ranks as often as the law says, all within range', () => {
    const zipfian = new Zipfian(1000, random(1));
    const shares = draws(() => zipfian.next(), 1000);
    const weights = Array.from({ length: 1000 }, (_, rank) => 1 / (rank + 1) ** 0.99);
    const zeta = weights.reduce((sum, weight) => sum + weight, 0);
    for (const rank of [0, 1]) {
      expect(shares[rank]! / (weights[rank]! / zeta)).toBeCloseTo(1, 1);
    }
    // Beyond the first two ranks the method approximates; sums of ranks are close.
    const upTo = (list: readonly number[], ranks: number) =>
      list.slice(0, ranks).reduce((sum, share) => sum + share, 0);
    for (const ranks of [10, 100, 500]) {
      expect(Math.abs(upTo(shares, ranks) - upTo(weights, ranks) / zeta)).toBeLessThan(0.03);
    }
  });

  test('growing is the same as having been that large', () => {
    const grown = new Zipfian(10, random(2));
    grown.grow(500);
    const large = new Zipfian(500, random(2));
    for (let draw = 0; draw < 1000; draw += 1) expect(grown.next()).toBe(large.next());
  });

  test('the hash that scatters ranks is the 64-bit one of YCSB', () => {
    const byBigInt = (rank: number, records: number): number => {
      let hash = 0xcbf29ce484222325n;
      let rest = BigInt(rank);
      for (let octet = 0; octet < 8; octet += 1) {
        hash = BigInt.asUintN(64, (hash ^ (rest & 0xffn)) * 1099511628211n);
        rest >>= 8n;
      }
      const signed = BigInt.asIntN(64, hash);
      return Number((signed < 0n ? -signed : signed) % BigInt(records));
    };
    const prng = new Prng(3);
    for (let round = 0; round < 2000; round += 1) {
      const rank = Math.floor(prng.real() * 10 ** prng.whole(0, 10));
      const records = prng.whole(1, 10 ** prng.whole(0, 9));
      expect([rank, records, scrambled(rank, records)]).toEqual([
        rank,
        records,
        byBigInt(rank, records),
      ]);
    }
  });

  test('scrambled: the hottest record has the share of rank 0 of ten billion', () => {
    const distribution = new Scrambled(10_000, random(4));
    const shares = draws(() => distribution.next(), 10_000).toSorted((a, b) => b - a);
    expect(shares[0]).toBeCloseTo(1 / 26.469, 2);
    expect(shares[1]).toBeCloseTo(0.5 ** 0.99 / 26.469, 2);
    expect(shares.filter((share) => share > 0).length).toBeGreaterThan(9000);
  });

  test('latest: the newest first, also when there are more', () => {
    const latest = new Latest(100, random(5));
    expect(draws(() => latest.next(), 100)).toHaveLength(100);
    latest.grow(1000);
    const shares = draws(() => latest.next(), 1000);
    expect(shares.indexOf(Math.max(...shares))).toBe(999);
    expect(shares[999]!).toBeGreaterThan(shares[998]! * 1.5);
  });

  test('any exponent from a table: 0 is even, above 1 is steep', () => {
    const even = draws(toNext(new Ranked(10, 0, random(6))), 10);
    for (const share of even) expect(share).toBeCloseTo(0.1, 1);
    const steep = draws(toNext(new Ranked(10, 2, random(7))), 10);
    expect(steep[0]! / steep[1]!).toBeCloseTo(4, 0);
  });
});

function toNext(distribution: { next(): number }): () => number {
  return () => distribution.next();
}

describe('latencies', () => {
  test('quantiles are right to 0.4 % or a microsecond', () => {
    const latencies = new Latencies();
    for (let at = 1; at <= 10_000; at += 1) latencies.add(at / 10);
    for (const share of [0.01, 0.5, 0.99, 0.999]) {
      expect(latencies.quantile(share) / (share * 1000)).toBeCloseTo(1, 2);
    }
    expect(new Latencies().quantile(0.5)).toBeNaN();
  });

  test('those of several processes add up', () => {
    const [one, two, both] = [new Latencies(), new Latencies(), new Latencies()];
    for (let at = 0; at < 1000; at += 1) {
      one.add(at ** 2 / 1000);
      two.add(at / 1000, 3);
    }
    for (const part of [one, two]) both.merge(JSON.parse(JSON.stringify(part.toCounts())));
    expect(both.count).toBe(4000);
    expect(both.quantile(0.5)).toBeLessThan(one.quantile(0.5));
    expect(both.quantile(1)).toBe(one.quantile(1));
  });

  test('what is too long for the table counts as the longest', () => {
    const latencies = new Latencies();
    latencies.add(1e9);
    latencies.add(-1);
    expect(latencies.quantile(0.5)).toBe(0);
    expect(latencies.quantile(1)).toBeGreaterThan(2_000_000);
  });
});

describe('mixes', () => {
  test('shares of YCSB add up', () => {
    expect(YCSB.map(({ name }) => name).join('')).toBe('abcdef');
    for (const { shares } of YCSB) {
      expect(shares.reduce((sum, [, share]) => sum + share, 0)).toBe(1);
    }
  });

  test('every production cache can be read', () => {
    const path = new URL('../../data/production-cache-workloads.csv', import.meta.url);
    const mixes = cacheMixes(readFileSync(path, 'utf8'));
    expect(mixes).toHaveLength(53);
    const fourteen = mixes.find(({ name }) => name === 'cluster14');
    expect(fourteen).toEqual({
      name: 'cluster14',
      about: '65 % reads, 22 % deletions, 13 % updates',
      shares: [
        [Kind.Read, expect.closeTo(0.65)],
        [Kind.Delete, expect.closeTo(0.22)],
        [Kind.Update, expect.closeTo(0.13)],
      ],
      skew: { by: 'zipf', exponent: 1.2959 },
      keyBytes: 96,
      valueBytes: 414,
    });
  });

  test('other text is refused with its line', () => {
    expect(() => cacheMixes('cluster,key_bytes,value_bytes,operations\na,1,1,fly:1\n')).toThrow(
      'line 2: "fly:1" is no operation with its share',
    );
    expect(() => cacheMixes('id,name\n1,x\n')).toThrow('line 2 does not tell');
  });
});

/** A store in memory; counts, and answers in a later turn. */
function memory() {
  const values = new Map<string, { value: Uint8Array; version: number }>();
  const state = { values, atOnce: 0, most: 0, calls: [] as string[] };
  const turn = async <T>(call: string, act: () => T): Promise<T> => {
    state.calls.push(call);
    state.atOnce += 1;
    state.most = Math.max(state.most, state.atOnce);
    await new Promise((resolve) => setImmediate(resolve));
    state.atOnce -= 1;
    return act();
  };
  const store = {
    get: (key: string) => turn('get', () => values.get(key) ?? null),
    set: (key: string, value: Uint8Array, options: { ifVersion?: number } = {}) =>
      turn('set', () => {
        const version = values.get(key)?.version ?? 0;
        if (options.ifVersion !== undefined && options.ifVersion !== version) {
          throw Object.assign(new Error('not met'), { code: 'CONDITION_NOT_MET' });
        }
        values.set(key, { value, version: version + 1 });
        return WRITTEN;
      }),
    setr: (writes: readonly { key: string; value: Uint8Array }[]) =>
      turn('setr', () => {
        for (const { key, value } of writes) values.set(key, { value, version: 1 });
        return { ...WRITTEN, txid: '', participants: 1 };
      }),
    delete: (key: string) => turn('delete', () => ({ deleted: values.delete(key), ...WRITTEN })),
    async *export(prefix: string) {
      await turn('export', () => undefined);
      for (const [key, { value }] of values) {
        if (key.startsWith(prefix)) yield { key: Buffer.from(key), value, version: 1, server: '' };
      }
    },
  };
  return { state, store: store as unknown as Store };
}

describe('a run', () => {
  const mixOf = (name: string) => YCSB.find((mix) => mix.name === name)!;

  test('loads keys of the size asked for, then keeps so many in flight', async () => {
    const { state, store } = memory();
    const workload = new Workload({ mix: mixOf('a'), records: 100, random: random(8) });
    await workload.load(store);
    expect([...state.values.keys()].toSorted().slice(0, 2)).toEqual([
      'key0000000000000',
      'key0000000000001',
    ]);
    expect(state.values).toHaveProperty('size', 100);
    state.most = 0;
    const outcome = await run([store], workload, { concurrency: 7, forMs: 100 });
    expect(state.most).toBe(7);
    expect(outcome.errors).toBe(0);
    const { reads, writes } = outcome;
    expect(reads.count / (reads.count + writes.count)).toBeCloseTo(0.5, 0);
    expect(state.values.size).toBe(100);
  });

  test('batches begin together', async () => {
    const { state, store } = memory();
    const workload = new Workload({ mix: UPDATES, records: 100 });
    const outcome = await run([store], workload, { concurrency: 2, batch: 64, forMs: 50 });
    expect(state.most).toBe(128);
    expect(outcome.writes.count % 64).toBe(0);
  });

  test('a batch can be one setr, of as many different keys', async () => {
    const { state, store } = memory();
    const workload = new Workload({ mix: UPDATES, records: 64, random: random(3) });
    const options = { concurrency: 2, batch: 64, commits: true, forMs: 50 };
    const outcome = await run([store], workload, options);
    expect(new Set(state.calls)).toEqual(new Set(['setr']));
    expect(state.values.size).toBe(64);
    expect(outcome.writes.count % 64).toBe(0);
    expect(outcome.errors).toBe(0);
  });

  test('f: a read-modify-write loses no other', async () => {
    const { state, store } = memory();
    const workload = new Workload({ mix: mixOf('f'), records: 2, random: random(9) });
    const outcome = await run([store], workload, { concurrency: 8, forMs: 50 });
    const versions = [...state.values.values()].reduce((sum, { version }) => sum + version, 0);
    expect(workload.conflicts).toBeGreaterThan(0);
    expect(versions).toBeGreaterThanOrEqual(outcome.writes.count);
    expect(outcome.errors).toBe(0);
  });

  test('d and e: two processes that insert do not write each other’s keys', async () => {
    const stores = [memory(), memory()];
    for (const [index, { store }] of stores.entries()) {
      const mix = mixOf(index === 0 ? 'd' : 'e');
      const workload = new Workload({ mix, records: 50, process: [index, 2] });
      await run([store], workload, { concurrency: 4, forMs: 50 });
    }
    const [one, two] = stores.map(({ state }) => new Set(state.values.keys()));
    expect(one!.size).toBeGreaterThan(0);
    expect(two!.size).toBeGreaterThan(0);
    expect([...one!].filter((key) => two!.has(key))).toEqual([]);
  });

  test('a fixed rate: latency counts from when an operation was to begin', async () => {
    const { store } = memory();
    const slow: Store = {
      ...store,
      get: async () => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        return null;
      },
    };
    const workload = new Workload({ mix: mixOf('c'), records: 10 });
    const outcome = await run([slow], workload, { concurrency: 1, rate: 500, forMs: 400 });
    // Ten times as many were to begin as one hand can: the last one waited for most of the run.
    expect(outcome.reads.quantile(1)).toBeGreaterThan(200);
    expect(outcome.reads.count).toBeLessThan(25);
  });

  test('failures are counted, and do not keep it from ending', async () => {
    const { store } = memory();
    const broken: Store = { ...store, get: () => Promise.reject(new Error('gone')) };
    const workload = new Workload({ mix: mixOf('c'), records: 10 });
    const outcome = await run([broken], workload, { concurrency: 3, forMs: 30 });
    expect(outcome).toMatchObject({ firstError: 'Error: gone' });
    expect(outcome.errors).toBeGreaterThan(0);
    expect(outcome.reads.count).toBe(0);
  });
});

describe('kvs-client bench', () => {
  const short = ['--duration', '100ms', '--records', '50', '--concurrency', '4'];

  test('loads, says so, and prints one line of JSON', async () => {
    const { store, state } = memory();
    const told = await kvsClient(['bench', ...short, '-o', 'json'], { client: store });
    expect(told.code).toBe(0);
    expect(told.stderr).toBe(
      'bench: writes 50 records of 128 bytes, key0000000000000 to key0000000000049, ' +
        'and leaves them there\n',
    );
    const figures = {
      ops_per_second: expect.any(Number),
      p50_ms: expect.any(Number),
      p99_ms: expect.any(Number),
      p999_ms: expect.any(Number),
    };
    expect(JSON.parse(told.stdout)).toMatchObject({
      workload: 'a',
      ...figures,
      errors: 0,
      reads: figures,
      writes: figures,
    });
    expect(state.values.get('key0000000000000')?.value).toHaveLength(128);
  });

  test('a mix of a file, without loading, with a size of its own', async () => {
    const { store, state } = memory();
    const file = 'data/production-cache-workloads.csv';
    const args = ['--workload', file, '--mix', 'cluster15', '--no-load', '--value-size', '1KiB'];
    const told = await kvsClient(['bench', ...args, ...short, '--rate', '1000'], { client: store });
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout).toMatch(/^workload cluster15: 100 % updates; 50 records of 1024 bytes, /);
    const [key, record] = [...state.values][0]!;
    expect([key.length, record.value.length]).toEqual([18, 1024]);
  });

  test('what is meant must be clear', async () => {
    const refusals = [
      [['--workload', 'g'], 'there is no workload "g"'],
      [['--workload', 'a', '--mix', 'x'], '--mix names a line of a file'],
      [['--workload', 'data/production-cache-workloads.csv'], 'which mix is meant'],
      [['--workload', 'data/navaids.csv', '--mix', 'x'], 'holds no mixes'],
      [['--value-size', '2MiB'], 'A value has from 1 byte to 1MiB'],
    ] as const;
    for (const [args, what] of refusals) {
      const told = await kvsClient(['bench', ...args]);
      expect(told.code).toBe(2);
      expect(told.stderr).toContain(what);
    }
    expect((await kvsClient(['bench', '--workload', 'no-such-file'])).code).toBe(1);
  });

  test('failures are told, and the exit code says so', async () => {
    const { store } = memory();
    const client: Store = { ...store, get: () => Promise.reject(new Error('gone')) };
    const told = await kvsClient(['bench', '--workload', 'c', ...short], { client });
    expect(told.code).toBe(1);
    expect(told.stderr).toContain('the first failure: Error: gone');
  });
});
