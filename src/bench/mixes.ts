import { readFileSync } from 'node:fs';

import type { LocalCluster } from '../cli/local-cluster.js';
import { count, table } from '../cli/output.js';
import { cacheMixes, Kind, type Mix, READS, UPDATES, YCSB } from '../cli/workload/mix.js';
import { Crew } from './crew.js';
import { figuresOf, firstErrorOf, type Report } from './report.js';

const SERVERS = 3;
const RECORDS = 10_000;
const CONCURRENCIES = [1, 16, 64, 256, 1000];
/** As many clients, in so many processes. */
const MANY = { processes: 16, clients: 64 } as const;
const WARM_MS = { first: 3000, point: 1000 } as const;
const CACHES_FILE = new URL('../../data/production-cache-workloads.csv', import.meta.url);
/** Small and large values, reads and writes, even and steep: one of each. */
const CACHES = [
  'cluster18',
  'cluster19',
  'cluster23',
  'cluster29',
  'cluster7',
  'cluster12',
  'cluster14',
  'cluster15',
  'cluster52',
];
const CACHES_AT_ONCE = 64;

/** YCSB's mixes, from one client process and from many. */
export async function measureYcsb(
  cluster: LocalCluster,
  seconds: number,
  say: (line: string) => void,
): Promise<void> {
  const servers = await started(cluster);
  const rows: string[][] = [];
  const forMs = seconds * 1000;
  const one = await Crew.start(cluster.leaderAddress, 1, 1, servers);
  try {
    await prepare(one, YCSB[0]!);
    for (const mix of YCSB) {
      // A scan asks every bucket: more at once only wait for each other.
      const concurrencies = scans(mix) ? CONCURRENCIES.slice(0, 1) : CONCURRENCIES;
      for (const concurrency of concurrencies) {
        const point = { mix, records: RECORDS, concurrency, warmMs: WARM_MS.point, forMs };
        rows.push(rowOf(`${mix.name}, ${concurrency}`, await one.run(point)));
      }
    }
  } finally {
    await one.stop();
  }
  const { processes, clients } = MANY;
  const many = await Crew.start(cluster.leaderAddress, processes, clients / processes, servers);
  try {
    // Each of them is cold, and gets a share of the load only.
    const cold = { records: RECORDS, concurrency: clients, warmMs: 0, forMs: WARM_MS.first };
    await many.run({ mix: YCSB[0]!, ...cold });
    for (const mix of YCSB.filter((other) => !scans(other))) {
      const point = { mix, records: RECORDS, concurrency: clients, warmMs: WARM_MS.point, forMs };
      rows.push(rowOf(`${mix.name}, ${clients} in ${processes} processes`, await many.run(point)));
    }
  } finally {
    await many.stop();
  }
  say(
    `YCSB on ${SERVERS} servers, ${count(RECORDS)} records of ${UPDATES.valueBytes} bytes, ` +
      `${seconds} s a point`,
  );
  for (const { name, about } of YCSB) say(`  ${name}: ${about}`);
  say(table(['mix, in flight', ...COLUMNS], rows));
}

/** Mixes of production caches. */
export async function measureCaches(
  cluster: LocalCluster,
  seconds: number,
  say: (line: string) => void,
): Promise<void> {
  const servers = await started(cluster);
  const mixes = cacheMixes(readFileSync(CACHES_FILE, 'utf8'));
  const chosen = CACHES.flatMap((name) => mixes.find((mix) => mix.name === name) ?? []);
  const rows: string[][] = [];
  const crew = await Crew.start(cluster.leaderAddress, 1, 1, servers);
  try {
    await prepare(crew, YCSB[0]!);
    for (const mix of chosen) {
      await crew.load(mix, RECORDS);
      const reports = await crew.run({
        mix,
        records: RECORDS,
        concurrency: CACHES_AT_ONCE,
        warmMs: WARM_MS.point,
        forMs: seconds * 1000,
      });
      const alpha = mix.skew.by === 'zipf' ? String(mix.skew.exponent) : '';
      const sizes = [String(mix.keyBytes), String(mix.valueBytes), alpha];
      const [name = '', ...figures] = rowOf(mix.name, reports);
      rows.push([name, mix.about, ...sizes, ...figures]);
    }
  } finally {
    await crew.stop();
  }
  say(
    `mixes of production caches (Yang, Yue and Rashmi, OSDI 2020; see data/README.md) on ` +
      `${SERVERS} servers, ${count(RECORDS)} records, ${CACHES_AT_ONCE} in flight, ` +
      `${seconds} s each`,
  );
  say(table(['cache', 'operations', 'key', 'value', 'alpha', ...COLUMNS], rows));
}

const COLUMNS = ['a second', 'p50 ms', 'p99 ms', 'server µs', 'client µs', 'failed'];

function rowOf(name: string, reports: readonly Report[]): string[] {
  const figures = figuresOf(reports);
  if (figures.errors > 0) throw new Error(`${name}: operations failed: ${firstErrorOf(reports)}`);
  return [
    name,
    count(Math.round(figures.operationsPerSecond)),
    figures.p50Ms.toFixed(2),
    figures.p99Ms.toFixed(2),
    figures.serverMicroseconds.toFixed(1),
    figures.clientMicroseconds.toFixed(1),
    String(figures.errors),
  ];
}

function scans({ shares }: Mix): boolean {
  return shares.some(([kind]) => kind === Kind.Scan);
}

/** Loads the records, and warms up both sides. */
async function prepare(crew: Crew, mix: Mix): Promise<void> {
  await crew.load(mix, RECORDS);
  const warm = { records: RECORDS, concurrency: 64, warmMs: 0, forMs: WARM_MS.first };
  for (const part of [UPDATES, READS]) await crew.run({ mix: part, ...warm });
}

/** Pids of the servers, once they hold their buckets. */
async function started(cluster: LocalCluster): Promise<number[]> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  return cluster.servers.map(({ pid }) => pid);
}
