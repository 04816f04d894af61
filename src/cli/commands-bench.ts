import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';

import { LIMITS } from '../core/refusal.js';
import { CommandError, Exit } from './exit-code.js';
import { parseDuration, parseSize, setting, wholeNumber } from './options.js';
import { count, plural, table } from './output.js';
import { Progress } from './progress.js';
import type { Session } from './session.js';
import type { Latencies } from './workload/latencies.js';
import type { Mix } from './workload/mix.js';
import type { Outcome } from './workload/run.js';
import type { Workload } from './workload/workload.js';

interface BenchOptions {
  readonly workload: string;
  readonly mix?: string;
  /** In ms. */
  readonly duration: number;
  readonly concurrency: number;
  readonly records: number;
  readonly valueSize?: number;
  readonly rate?: number;
  readonly load: boolean;
  readonly prefix: string;
}

const MOST_RECORDS = 100_000_000;
const MOST_AT_ONCE = 10_000;
/** Before it counts, so that neither side is cold. */
const WARM_MS = 1000;

const EXAMPLES = `
Workloads (YCSB): a: half reads, half updates; b: 95 % reads; c: reads only; d: reads of the latest
and 5 % inserts; e: scans and 5 % inserts, each scan asking every bucket, since keys are scattered
by a hash (give it --concurrency 1); f: reads and read-modify-writes. Or a table of caches, see
data/README.md.
Without --rate each of --concurrency hands begins the next operation when the last is answered;
with it latency counts from when an operation was to begin.

Examples:
  $ kvs-client bench --workload b --duration 30s --concurrency 256
  $ kvs-client bench --workload a --rate 2000 -o json
  $ kvs-client bench --workload data/production-cache-workloads.csv --mix cluster29`;

/** `bench`. */
export function addBenchCommand(program: Command, session: Session): void {
  program
    .command('bench')
    .description('load the cluster with a mix of reads and writes, and measure')
    .addOption(
      setting('--workload <a…f|file>', 'a workload of YCSB, or a file of mixes').default('a'),
    )
    .addOption(setting('--mix <name>', 'which one of the file'))
    .addOption(
      setting('--duration <duration>', `counted, after ${WARM_MS / 1000} s to warm up`)
        .argParser(parseDuration)
        .default(10_000, '10s'),
    )
    .addOption(
      setting('--concurrency <number>', 'operations in flight')
        .argParser(wholeNumber(1, MOST_AT_ONCE))
        .default(64),
    )
    .addOption(
      setting('--records <number>', 'keys that are used')
        .argParser(wholeNumber(1, MOST_RECORDS))
        .default(10_000),
    )
    .addOption(
      setting('--value-size <size>', 'of a value; default 128, or as the file says').argParser(
        parseValueSize,
      ),
    )
    .addOption(
      setting(
        '--rate <number>',
        'operations that begin in a second; default: as many as can',
      ).argParser(wholeNumber(1, 10_000_000)),
    )
    .addOption(setting('--prefix <prefix>', 'starts every key that is used').default('key'))
    .addOption(setting('--no-load', 'the records are there from an earlier run'))
    .addHelpText('after', EXAMPLES)
    .action((options: BenchOptions) => bench(session, options));
}

function parseValueSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes >= 1 && bytes <= LIMITS.valueBytes) return bytes;
  throw new InvalidArgumentError('A value has from 1 byte to 1MiB.');
}

async function bench(session: Session, options: BenchOptions): Promise<void> {
  const { stderr, interrupted } = session.surroundings;
  const mix = await mixOf(options);
  const { Workload } = await import('./workload/workload.js');
  const { run } = await import('./workload/run.js');
  const workload = new Workload({ mix, records: options.records, prefix: options.prefix });
  const progress = stderr.isTTY === true ? new Progress(stderr, 'bench:') : null;
  await session.withKeys(async (client) => {
    if (options.load) await load(session, workload, client, progress);
    if (interrupted.aborted) return;
    const { concurrency, rate } = options;
    const outcome = await run([client], workload, {
      concurrency,
      forMs: options.duration,
      warmMs: WARM_MS,
      ...(rate !== undefined && { rate }),
      interrupted,
      onProgress: (done) => progress?.update(() => plural(done, 'operation')),
    });
    progress?.end();
    await tell(session, options, workload, outcome);
  });
}

async function load(
  session: Session,
  workload: Workload,
  client: Parameters<Workload['load']>[0],
  progress: Progress | null,
): Promise<void> {
  const { records, mix } = workload;
  const [first, last] = [workload.keyOf(0), workload.keyOf(records - 1)];
  session.output.note(
    `bench: writes ${plural(records, 'record')} of ${mix.valueBytes} bytes, ${first} to ${last}, ` +
      'and leaves them there',
  );
  await workload.load(client, (done) => progress?.update(() => `${plural(done, 'record')} loaded`));
  progress?.end();
}

/** The mix that the options mean. */
async function mixOf({ workload, mix: wanted, valueSize }: BenchOptions): Promise<Mix> {
  const { cacheMixes, YCSB } = await import('./workload/mix.js');
  const known = YCSB.find(({ name }) => name === workload.toLowerCase());
  let mix = known;
  if (known !== undefined && wanted !== undefined) {
    throw CommandError.usage('--mix names a line of a file', 'give the file with --workload');
  }
  if (mix === undefined) {
    const mixes = await mixesIn(workload, cacheMixes);
    mix = wanted === undefined && mixes.length === 1 ? mixes[0] : undefined;
    mix ??= mixes.find(({ name }) => name === wanted);
    if (mix === undefined) {
      const what = wanted === undefined ? 'which mix is meant' : `there is no mix "${wanted}"`;
      const names = mixes.map(({ name }) => name).join(', ');
      throw CommandError.usage(`${workload}: ${what}`, `name one with --mix: ${names}`);
    }
  }
  return valueSize === undefined ? mix : { ...mix, valueBytes: valueSize };
}

async function mixesIn(file: string, read: (text: string) => Mix[]): Promise<Mix[]> {
  const { readFile } = await import('node:fs/promises');
  if (/^\w$/.test(file)) {
    throw CommandError.usage(`there is no workload "${file}"`, 'those of YCSB are a to f');
  }
  const text = await readFile(file, 'utf8');
  try {
    return read(text);
  } catch (error) {
    const what = `${file} holds no mixes: ${(error as Error).message}`;
    throw CommandError.usage(what, 'see data/README.md for the columns');
  }
}

async function tell(
  session: Session,
  { concurrency, rate }: BenchOptions,
  { mix, records, conflicts }: Workload,
  { seconds, reads, writes, errors, firstError }: Outcome,
): Promise<void> {
  const { output } = session;
  const { Latencies } = await import('./workload/latencies.js');
  const all = new Latencies();
  for (const part of [reads, writes]) all.merge(part.toCounts());
  const json = {
    workload: mix.name,
    ...figures(all, seconds),
    errors,
    conflicts,
    operations: all.count,
    seconds: Number(seconds.toFixed(3)),
    reads: figures(reads, seconds),
    writes: figures(writes, seconds),
  };
  const pace = rate === undefined ? '' : `, ${count(rate)} a second begun`;
  const rows = [
    ['all', all],
    ['reads', reads],
    ['writes', writes],
  ] as const;
  const text = [
    `workload ${mix.name}: ${mix.about}; ${plural(records, 'record')} of ` +
      `${mix.valueBytes} bytes, ` +
      `${concurrency} in flight${pace}, ${seconds.toFixed(1)} s`,
    table(
      ['', 'operations', 'a second', 'p50 ms', 'p99 ms', 'p99.9 ms'],
      rows.filter(([, part]) => part.count > 0).map(([name, part]) => row(name, part, seconds)),
    ),
    (all.count === 0 ? 'no operation ended in time; ' : '') +
      `${count(errors)} failed` +
      (conflicts === 0 ? '' : `; ${count(conflicts)} begun again`),
  ].join('\n');
  await output.result(json, text);
  if (errors === 0) return;
  output.note(`bench: the first failure: ${firstError}`);
  session.exitCode = Exit.Refused;
}

function figures(part: Latencies, seconds: number): Record<string, number | null> {
  return {
    ops_per_second: Math.round(part.count / seconds),
    p50_ms: rounded(part.quantile(0.5)),
    p99_ms: rounded(part.quantile(0.99)),
    p999_ms: rounded(part.quantile(0.999)),
  };
}

/** To the microsecond; null: none was counted. */
function rounded(ms: number): number | null {
  return Number.isNaN(ms) ? null : Number(ms.toFixed(3));
}

function row(name: string, part: Latencies, seconds: number): string[] {
  const latencies = [0.5, 0.99, 0.999].map((share) => part.quantile(share).toFixed(2));
  return [name, count(part.count), count(Math.round(part.count / seconds)), ...latencies];
}
