import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';

import type { LocalCluster as Cluster } from '../cli/local-cluster.js';
import { count } from '../cli/output.js';
import { type Mix, READS, UPDATES } from '../cli/workload/mix.js';
import { run } from '../cli/workload/run.js';
import { Workload } from '../cli/workload/workload.js';
import type { connect as Connect } from '../client/index.js';
import { cpuMs, mainThreadCpuMs } from './cpu.js';
import { type CpuProfile, type Part, PARTS, splitProfile } from './profile-split.js';

/** A compiled kvs, by its directory, and what the page calls it. */
export interface Build {
  readonly name: string;
  readonly directory: string;
}

/** One measured point of one build; CPU and parts are microseconds for each operation. */
export interface Point {
  readonly work: string;
  readonly inFlight: number;
  readonly rate: number;
  readonly servers: Side;
  readonly client: Side;
}

interface Side {
  /** Busy time of the main thread, by samples. */
  readonly parts: ReadonlyMap<Part, number>;
  readonly mainThread: number;
  readonly otherThreads: number;
}

const SERVERS = 3;
const SETTLE_MS = 30_000;
const RECORDS = 10_000;
const UNIFORM = { by: 'zipf', exponent: 0 } as const;
const WORKS: readonly (readonly [string, Mix])[] = [
  ['linearizable read', { ...READS, skew: UNIFORM }],
  ['durable write', { ...UPDATES, skew: UNIFORM }],
];
const IN_FLIGHT = [64, 1000];
/** Cold code is slow: before the first point, and before each. */
const FIRST_WARM_MS = 3000;
const WARM_MS = 1000;
const SAMPLE_US = 500;
/** What rounds to nothing is not shown. */
const LEAST_US = 0.005;

/** Three servers with default settings and one client, all of them under the profiler. */
export async function measureProfile(build: Build, seconds: number): Promise<Point[]> {
  const load = async <T>(script: string): Promise<T> =>
    (await import(pathToFileURL(resolve(build.directory, 'dist', script)).href)) as T;
  const { LocalCluster } = await load<{ LocalCluster: typeof Cluster }>('cli/local-cluster.js');
  const { connect } = await load<{ connect: typeof Connect }>('client/index.js');
  const directory = mkdtempSync(join(tmpdir(), 'kvs-bench-'));
  const profiles = join(directory, 'profiles');
  const serverNodeOptions = [
    '--cpu-prof',
    `--cpu-prof-interval=${SAMPLE_US}`,
    `--cpu-prof-dir=${profiles}`,
  ];
  const cluster = new LocalCluster({ directory: join(directory, 'kvs'), serverNodeOptions });
  const end = (): void => cluster.daemons.forEach((daemon) => daemon.signal('SIGKILL'));
  process.once('exit', end);
  try {
    await settle(cluster);
    const watch = new Watch(cluster.servers.map(({ pid }) => pid));
    const client = await connect({ leader: cluster.leaderAddress, timeoutMs: SETTLE_MS });
    try {
      for (const [, mix] of WORKS) {
        const workload = new Workload({ mix, records: RECORDS });
        await workload.load(client);
        await run([client], workload, { concurrency: IN_FLIGHT[0]!, forMs: FIRST_WARM_MS });
      }
      for (const [work, mix] of WORKS) {
        for (const inFlight of IN_FLIGHT) {
          const workload = new Workload({ mix, records: RECORDS });
          const point = { concurrency: inFlight, warmMs: WARM_MS, forMs: seconds * 1000 };
          await watch.during(work, inFlight, (onEdge) =>
            run([client], workload, { ...point, onEdge }),
          );
        }
      }
    } finally {
      client.close();
    }
    // The profiler writes when its process ends by itself.
    const unwell = await cluster.stopAll();
    if (unwell.length > 0) throw new Error(`did not stop in order: ${unwell.join(', ')}`);
    const ofServers = readdirSync(profiles).map(
      (name) => JSON.parse(readFileSync(join(profiles, name), 'utf8')) as CpuProfile,
    );
    return watch.points(ofServers);
  } finally {
    await cluster.killAll();
    process.off('exit', end);
    rmSync(directory, { recursive: true, force: true });
  }
}

async function settle(cluster: Cluster): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
}

interface Watched {
  readonly work: string;
  readonly inFlight: number;
  readonly operations: number;
  readonly seconds: number;
  readonly window: readonly [fromUs: number, toUs: number];
  readonly profile: CpuProfile;
  /** CPU in the window, ms: of the main threads, and of all. */
  readonly servers: readonly [main: number, all: number];
  readonly client: readonly [main: number, all: number];
}

/** Watches points as they run; what the servers did is known when they have ended. */
class Watch {
  private readonly watched: Watched[] = [];

  constructor(private readonly pids: readonly number[]) {}

  async during(
    work: string,
    inFlight: number,
    measure: (onEdge: (edge: 'begin' | 'end') => void) => ReturnType<typeof run>,
  ): Promise<void> {
    const session = new Session();
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    await session.post('Profiler.start');
    const window: [number, number] = [0, 0];
    const servers: [number, number] = [0, 0];
    const client: [number, number] = [0, 0];
    const outcome = await measure((edge) => {
      const begins = edge === 'begin';
      window[begins ? 0 : 1] = Number(process.hrtime.bigint() / 1000n);
      for (const [used, pids] of [
        [servers, this.pids],
        [client, [process.pid]],
      ] as const) {
        used[0] += mainThreadCpuMs(pids) * (begins ? -1 : 1);
        used[1] += cpuMs(pids) * (begins ? -1 : 1);
      }
    });
    const { profile } = await session.post('Profiler.stop');
    session.disconnect();
    const { reads, writes, seconds, errors, firstError } = outcome;
    if (errors > 0) throw new Error(`${errors} operations failed, the first: ${firstError}`);
    const operations = reads.count + writes.count;
    this.watched.push({
      work,
      inFlight,
      operations,
      seconds,
      window,
      servers,
      client,
      profile: profile as CpuProfile,
    });
  }

  points(ofServers: readonly CpuProfile[]): Point[] {
    return this.watched.map(({ work, inFlight, operations, seconds, window, ...rest }) => {
      const side = (profiles: readonly CpuProfile[], [main, all]: readonly [number, number]) => {
        const parts = new Map<Part, number>();
        for (const profile of profiles) {
          for (const [part, us] of splitProfile(profile, ...window)) {
            parts.set(part, (parts.get(part) ?? 0) + us / operations);
          }
        }
        const each = 1000 / operations;
        return { parts, mainThread: main * each, otherThreads: (all - main) * each };
      };
      return {
        work,
        inFlight,
        rate: operations / seconds,
        servers: side(ofServers, rest.servers),
        client: side([rest.profile], rest.client),
      };
    });
  }
}

/** The measured builds side by side, as a page. */
export function profilePage(
  builds: readonly { readonly name: string; readonly points: readonly Point[] }[],
  date: string,
): string {
  const tables = (builds[0]?.points ?? []).flatMap(({ work, inFlight }) => {
    const points = builds.map(({ name, points: all }) => ({
      name,
      point: all.find((each) => each.work === work && each.inFlight === inFlight)!,
    }));
    return table(`A ${work}, ${count(inFlight)} in flight`, points);
  });
  return [
    '# Where a microsecond goes',
    '',
    'A program writes this page; no figure is set by hand:',
    '',
    '```sh',
    builds.length === 1
      ? 'make bench BENCH=profile'
      : 'node dist/bench/main.js profile --before DIRECTORY # with another compiled kvs',
    '```',
    '',
    `${date}. A view leader, three servers with default settings and one client process`,
    'share the cores of one machine. V8’s profiler samples the main thread of every server and',
    `of the client each ${SAMPLE_US / 1000} ms, which costs some speed itself. A figure is`,
    'microseconds for one operation, all three servers summed: time in which the thread was busy,',
    'which on a machine whose cores are all taken includes the wait for a core. The durable write',
    'mostly waits for the disk. The CPU below is what the system counted. What it means:',
    '[decision 18](decisions/0018-what-limits-the-hot-path.md).',
    '',
    ...tables,
  ].join('\n');
}

function table(
  title: string,
  points: readonly { readonly name: string; readonly point: Point }[],
): string[] {
  const sides = ['servers', 'client'] as const;
  const columns = sides.flatMap((side) => points.map(({ name, point }) => ({ side, name, point })));
  const row = (name: string, figure: (point: Side) => number): string =>
    `| ${name} | ${columns.map(({ side, point }) => micros(figure(point[side]))).join(' | ')} |`;
  const used = PARTS.filter((part) =>
    columns.some(({ side, point }) => (point[side].parts.get(part) ?? 0) >= LEAST_US),
  );
  return [
    `## ${title}`,
    '',
    `| µs | ${columns.map(({ side, name }) => `${side}, ${name}`).join(' | ')} |`,
    `|---|${columns.map(() => '---:|').join('')}`,
    ...used.map((part) => row(part, ({ parts }) => parts.get(part) ?? 0)),
    row('**busy, main thread**', ({ parts }) => sum([...parts.values()])),
    row('CPU, main thread', ({ mainThread }) => mainThread),
    row('CPU, other threads', ({ otherThreads }) => otherThreads),
    '',
    `Operations a second: ${points
      .map(({ name, point }) => `${count(Math.round(point.rate))} ${name}`)
      .join(', ')}.`,
    '',
  ];
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

function micros(us: number): string {
  return us >= 10 ? us.toFixed(1) : us.toFixed(2);
}

/** Measures each build, in turn, and writes the page. */
export async function writeProfile(
  builds: readonly Build[],
  seconds: number,
  page: string,
  say: (line: string) => void,
): Promise<void> {
  const measured = [];
  for (const build of builds) {
    say(`measuring ${build.name}`);
    measured.push({ name: build.name, points: await measureProfile(build, seconds) });
  }
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(page, profilePage(measured, date));
  say(`wrote ${page}`);
}
