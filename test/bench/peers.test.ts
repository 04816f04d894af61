import { describe, expect, test } from '@jest/globals';

import { svgOf } from '../../src/bench/peers/chart.js';
import { chartsOf } from '../../src/bench/peers/charts.js';
import { GOALS, ONE_PRIMARY_GOALS, verdictsOf } from '../../src/bench/peers/goals.js';
import { pageOf } from '../../src/bench/peers/page.js';
import { ratioOf, type Results, spread, spreadOf } from '../../src/bench/peers/results.js';
import {
  ONE_PRIMARY,
  type Sample,
  type SystemName,
  type Work,
} from '../../src/bench/peers/sample.js';
import { type Figures, figuresOf, type Report } from '../../src/bench/report.js';
import { Latencies } from '../../src/cli/workload/latencies.js';

const FIGURES: Figures = {
  operationsPerSecond: 1000,
  p50Ms: 1,
  p99Ms: 2,
  serverMicroseconds: 30,
  clientMicroseconds: 10,
  errors: 0,
};

function sample(
  round: number,
  system: SystemName,
  figures: Partial<Figures>,
  work: Work = 'write',
  inFlight = 64,
): Sample {
  return { round, system, work, inFlight, figures: { ...FIGURES, ...figures } };
}

function resultsOf(samples: readonly Sample[]): Results {
  return {
    date: '2026-01-02',
    commit: 'abcdef0',
    command: 'make bench-peers',
    machine: {
      processor: 'a processor',
      cores: 2,
      memory: '8.0 GiB',
      system: 'Linux',
      fileSystem: 'xfs',
      load: '0.10',
    },
    versions: { node: '20.15.0', etcd: '3.4.23' },
    leftOut: ['redis; it needs these Debian packages: redis-server'],
    rounds: 3,
    seconds: 2,
    samples,
  };
}

const THREE_ROUNDS = resultsOf([
  sample(1, 'etcd', { operationsPerSecond: 100 }),
  sample(1, 'kvs', { operationsPerSecond: 500 }),
  sample(2, 'kvs', { operationsPerSecond: 400, serverMicroseconds: 40 }),
  sample(2, 'etcd', { operationsPerSecond: 50 }),
  sample(3, 'etcd', { operationsPerSecond: 200 }),
  sample(3, 'kvs', { operationsPerSecond: 300 }),
]);
const WRITES = { work: 'write', inFlight: 64, figure: 'operationsPerSecond' } as const;
const KVS = { system: 'kvs', ...WRITES } as const;
const ETCD = { system: 'etcd', ...WRITES } as const;

describe('over the rounds', () => {
  test('median, least and most', () => {
    expect(spread([3, 1, 2])).toEqual({ median: 2, least: 1, most: 3 });
    expect(spread([4, 1])).toEqual({ median: 2.5, least: 1, most: 4 });
    expect(spread([])).toBeNull();
    expect(spreadOf(THREE_ROUNDS, KVS)).toEqual({ median: 400, least: 300, most: 500 });
  });

  test('a ratio is that of the medians; its range is that of the rounds', () => {
    expect(ratioOf(THREE_ROUNDS, KVS, ETCD)).toEqual({ median: 4, least: 1.5, most: 8 });
    expect(ratioOf(THREE_ROUNDS, KVS, { ...ETCD, system: 'Redis' })).toBeNull();
  });
});

describe('goals', () => {
  const verdictOf = (about: string, results: Results) =>
    verdictsOf(results).find(({ goal }) => goal.about.startsWith(about));

  test('met, missed, or not measured', () => {
    const writes = 'durable writes, one client, 64 in flight';
    expect(verdictOf(writes, THREE_ROUNDS)).toMatchObject({ met: true, value: { median: 4 } });
    const slower = resultsOf([
      sample(1, 'kvs', { operationsPerSecond: 399 }),
      sample(1, 'etcd', { operationsPerSecond: 100 }),
    ]);
    expect(verdictOf(writes, slower)).toMatchObject({ met: false });
    expect(verdictOf('unary reads', slower)).toMatchObject({ met: null, value: null });
    const cpu = 'server CPU of a durable write, 64 in flight';
    expect(verdictOf(cpu, THREE_ROUNDS)).toMatchObject({ met: true, value: { median: 30 } });
  });

  test('those of one primary are judged by its own figures', () => {
    const results = resultsOf([
      sample(1, 'kvs', { operationsPerSecond: 900 }),
      sample(1, ONE_PRIMARY, { operationsPerSecond: 390 }),
      sample(1, 'etcd', { operationsPerSecond: 100 }),
    ]);
    const [first] = verdictsOf(results, ONE_PRIMARY_GOALS);
    expect(first).toMatchObject({ met: false, value: { median: 3.9 } });
    expect(pageOf(results, [])).toContain(`| 64 | ${ONE_PRIMARY} | 390 |`);
  });

  test('each is told once', () => {
    const all = [...GOALS, ...ONE_PRIMARY_GOALS];
    expect(new Set(all.map(({ about }) => about)).size).toBe(all.length);
  });
});

describe('what several processes counted', () => {
  test('adds up; the first one watched the servers', () => {
    const report = (milliseconds: number, more: Partial<Report>): Report => {
      const latencies = new Latencies();
      latencies.add(milliseconds, 100);
      return {
        seconds: 2,
        reads: [],
        writes: latencies.toCounts(),
        errors: 0,
        firstError: '',
        clientCpuMs: 4,
        serverCpuMs: 0,
        ...more,
      };
    };
    const figures = figuresOf([
      report(1, { serverCpuMs: 10 }),
      report(5, { errors: 2, firstError: 'no' }),
    ]);
    expect(figures).toEqual({
      operationsPerSecond: 100,
      p50Ms: expect.closeTo(1, 1),
      p99Ms: expect.closeTo(5, 1),
      serverMicroseconds: 50,
      clientMicroseconds: 40,
      errors: 2,
    });
  });
});

describe('the page', () => {
  const page = pageOf(THREE_ROUNDS, ['writes']);

  test('tells how it was made, the goals and the figures', () => {
    expect(page).toContain('2026-01-02, commit abcdef0');
    expect(page).toContain('figures are of 3 rounds in which the systems took turns');
    expect(page).toContain('Left out: redis; it needs these Debian packages: redis-server.');
    expect(page).toContain(
      '| durable writes, one client, 64 in flight: kvs / etcd | 4× (1.5 … 8) | at least 4× | met |',
    );
    expect(page).toContain('| not measured | at least 1.2× |  |');
    expect(page).toContain('| 64 | kvs | 400 (300 … 500) | 1 | 2 | 30 (30 … 40) | 10 |');
    expect(page).toContain('![writes](benchmarks/writes.svg)');
  });

  test('every table is as wide as its head', () => {
    let width = 0;
    for (const line of page.split('\n')) {
      const cells = line.startsWith('|') ? line.split('|').length : 0;
      if (cells > 0 && width > 0) expect([line, cells]).toEqual([line, width]);
      width = cells;
    }
  });

  test('charts are drawn from the same numbers, within their frame', () => {
    const [, chart] = chartsOf(THREE_ROUNDS).find(([name]) => name === 'writes')!;
    const svg = svgOf({ ...chart, title: 'a < b & "c"' });
    expect(svg).toContain('aria-label="a &lt; b &amp; &quot;c&quot;"');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg.match(/<circle/g)).toHaveLength(2 + 2);
    const heights = Array.from(svg.matchAll(/cy="([\d.]+)"/g), ([, y]) => Number(y));
    for (const y of heights) {
      expect(y).toBeGreaterThan(0);
      expect(y).toBeLessThan(420);
    }
  });
});
