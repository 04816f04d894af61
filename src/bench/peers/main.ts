import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { Command } from 'commander';

import { wholeNumber } from '../../cli/options.js';
import { measureEcho, measureLog } from './bare.js';
import { svgOf } from './chart.js';
import { chartsOf } from './charts.js';
import { measureEtcd } from './etcd.js';
import { buildLoad, missingForLoad } from './go-load.js';
import { ONE_PRIMARY_GOALS, verdictsOf } from './goals.js';
import { measureKvs, measureOnePrimary, measureSingle } from './kvs.js';
import { commandLine, commitHere, machineHere, versionOf } from './machine.js';
import { pageOf } from './page.js';
import { measureRedis } from './redis.js';
import type { Results } from './results.js';
import type { RoundOptions, Sample } from './sample.js';
import { programPath } from './spawned.js';

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only?: string;
  readonly from?: string;
  readonly docs: string;
}

interface System {
  readonly name: string;
  readonly measure: (options: RoundOptions) => Promise<void>;
  /** Debian packages without which it is left out. */
  readonly missing: readonly string[];
}

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url));

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The Debian package of a program that is not here. */
function needed(program: string, debian: string): string[] {
  return programPath(program) === null ? [debian] : [];
}

function systems(): System[] {
  const withUnary = programPath('h2load') !== null;
  const load = missingForLoad();
  return [
    {
      name: 'etcd',
      measure: (options) => measureEtcd(options, withUnary),
      missing: [...needed('etcd', 'etcd-server'), ...load],
    },
    { name: 'kvs', measure: (options) => measureKvs(options, withUnary), missing: [] },
    { name: 'one', measure: measureOnePrimary, missing: [] },
    {
      name: 'redis',
      measure: measureRedis,
      missing: [...needed('redis-server', 'redis-server'), ...load],
    },
    { name: 'stream', measure: measureEcho, missing: [] },
    { name: 'log', measure: measureLog, missing: [] },
    { name: 'single', measure: measureSingle, missing: [] },
  ];
}

/** `keep` gets what there is after every round: a run takes minutes, and may be cut short. */
async function measure(
  { rounds, seconds, only }: Options,
  keep: (results: Results) => void,
): Promise<Results> {
  const all = systems();
  const wanted = only?.split(',') ?? all.map(({ name }) => name);
  const unknown = wanted.filter((name) => all.every((system) => system.name !== name));
  if (unknown.length > 0) throw new Error(`there is no system ${unknown.join(', ')}`);
  const chosen = all.filter(({ name }) => wanted.includes(name));
  const leftOut = chosen
    .filter(({ missing }) => missing.length > 0)
    .map(({ name, missing }) => `${name}; it needs these Debian packages: ${missing.join(' ')}`);
  if (programPath('h2load') === null) {
    leftOut.push('unary calls; they need the Debian package nghttp2-client');
  }
  for (const what of leftOut) say(`left out: ${what}`);
  const present = chosen.filter(({ missing }) => missing.length === 0);
  const about = {
    date: new Date().toISOString().slice(0, 10),
    commit: commitHere(),
    command: commandLine(),
    machine: await machineHere(),
    versions: {
      node: process.versions.node,
      etcd: versionOf('etcd', '--version'),
      go: versionOf('go', 'version'),
      redis: versionOf('redis-server', '--version'),
      h2load: versionOf('h2load', '--version'),
    },
  };
  if (missingForLoad().length === 0) await buildLoad();
  const samples: Sample[] = [];
  const soFar = (done: number): Results => {
    return { ...about, leftOut, rounds: done, seconds, samples };
  };
  for (let round = 1; round <= rounds; round += 1) {
    // Who is first changes: the machine may get slower or faster within a round.
    for (const system of round % 2 === 1 ? present : present.toReversed()) {
      const emit: RoundOptions['emit'] = (name, work, inFlight, figures) => {
        samples.push({ round, system: name, work, inFlight, figures });
        tell(samples.at(-1)!);
      };
      try {
        await inDirectory((directory) => system.measure({ round, seconds, directory, emit }));
      } catch (error) {
        // The others go on; the page says that something is missing.
        leftOut.push(`points of ${system.name} in round ${round}: ${(error as Error).message}`);
        say(`FAILED: ${leftOut.at(-1)}`);
        process.exitCode = 1;
      }
    }
    keep(soFar(round));
  }
  return soFar(rounds);
}

function tell({ round, system, work, inFlight, figures }: Sample): void {
  const { operationsPerSecond, p50Ms, p99Ms, errors } = figures;
  const { serverMicroseconds, clientMicroseconds } = figures;
  say(
    `round ${round}: ${system} ${work} ${inFlight}: ${operationsPerSecond.toFixed(0)} a second, ` +
      `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ` +
      `CPU ${serverMicroseconds.toFixed(1)} + ${clientMicroseconds.toFixed(1)} µs` +
      (errors === 0 ? '' : `; ${errors} FAILED`),
  );
  if (errors > 0) process.exitCode = 1;
}

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-peers-'));
  // Servers that were killed a moment ago may still write.
  const removal = { recursive: true, force: true, maxRetries: 10, retryDelay: 100 };
  const remove = (): void => rmSync(directory, removal);
  process.once('exit', remove);
  try {
    await work(directory);
  } finally {
    remove();
    process.off('exit', remove);
  }
  // What one leaves to be written back must not slow the next one's flushes.
  execFileSync('sync');
}

function keepResults(results: Results, docs: string): string {
  const folder = join(docs, 'benchmarks');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(results)}\n`);
  return folder;
}

function write(results: Results, docs: string): void {
  const folder = keepResults(results, docs);
  const charts = chartsOf(results).filter(([, { series }]) =>
    series.some(({ points }) => points.length > 0),
  );
  for (const [name, chart] of charts) writeFileSync(join(folder, `${name}.svg`), svgOf(chart));
  const names = charts.map(([name]) => name);
  writeFileSync(join(docs, 'benchmarks.md'), pageOf(results, names));
  for (const { goal, value, met } of [
    ...verdictsOf(results),
    ...verdictsOf(results, ONE_PRIMARY_GOALS),
  ]) {
    if (value === null) continue;
    say(
      `${met === true ? 'met   ' : 'MISSED'} ${goal.about}: ${value.median.toPrecision(3)}` +
        `${goal.unit}, goal ${goal.bound} ${goal.goal}${goal.unit}`,
    );
  }
  say(`written: ${join(docs, 'benchmarks.md')}`);
}

// The end of this process ends the servers too, but only when it is an orderly one.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

await new Command('bench-peers')
  .description('Measures kvs beside etcd, Redis and its own parts, turn about; writes a page.')
  .option('--rounds <n>', 'rounds; the page shows medians', wholeNumber(1, 100), 5)
  .option('--seconds <n>', 'counted at each point', Number, 2)
  .option('--only <names>', 'of etcd,kvs,one,redis,stream,log,single; default all')
  .option('--from <file>', 'measure nothing: make the page again from these results')
  .option('--docs <directory>', 'where benchmarks.md and benchmarks/ are written', DOCS)
  .showHelpAfterError()
  .action(async (options: Options) => {
    const { from, docs } = options;
    const results =
      from === undefined
        ? await measure(options, (kept) => void keepResults(kept, docs))
        : (JSON.parse(readFileSync(from, 'utf8')) as Results);
    write(results, docs);
  })
  .parseAsync();
