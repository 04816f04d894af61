import { count } from '../../cli/output.js';
import { ONE_PRIMARY_GOALS, type Verdict, verdictsOf } from './goals.js';
import { type Results, type Spread, spreadOf } from './results.js';
import { introduction, settings } from './page-setup.js';
import { BATCH, MANY, ONE_PRIMARY, type Sample, type SystemName, type Work } from './sample.js';

const TITLES: readonly (readonly [string, readonly Work[]])[] = [
  ['Durable writes, one client process', ['write']],
  ['Durable writes in the first seconds of new processes', ['cold']],
  ['Linearizable reads, one client process', ['read']],
  [`Writes in batches of ${BATCH}`, ['batch']],
  [`Writes of ${MANY.clients} clients in ${MANY.processes} processes`, ['many']],
  ['Unary calls, the same client in C', ['unaryWrite', 'unaryRead']],
  ['A bare stream: the ceiling for reads', ['echo', 'echo64']],
  ['One replica and a bare log', ['single']],
];
const WHAT: Readonly<Partial<Record<Work, string>>> = {
  unaryWrite: ', writes',
  unaryRead: ', reads',
  echo: ', one frame of all',
  echo64: `, frames of ${BATCH}`,
};

const ORDER: readonly SystemName[] = [
  'kvs',
  ONE_PRIMARY,
  'etcd',
  'Redis',
  'bare stream',
  'bare log',
];
const COLUMNS = [
  'in flight',
  'system',
  'operations a second',
  'p50 ms',
  'p99 ms',
  'server CPU µs',
  'client CPU µs',
];

/** The page of the benchmarks, in Markdown. `charts`: names of files beside it. */
export function pageOf(results: Results, charts: readonly string[]): string {
  return [
    ...introduction(results),
    '## Goals',
    '',
    ...goalTable(verdictsOf(results)),
    '',
    'The keys of a cluster have several primaries, one for each bucket; all keys of etcd have one,',
    'and all of Redis. The same goals for a cluster of one bucket, whose keys have one, too:',
    '',
    ...goalTable(verdictsOf(results, ONE_PRIMARY_GOALS)),
    '',
    '## Figures',
    '',
    'CPU is that of one operation, of all servers (and the view leader of kvs) and of all client',
    'processes. Latency is that of the operation, or of the batch or frame that it was in. Axes of',
    'the charts are logarithmic.',
    '',
    ...charts.flatMap((name) => [`![${name}](benchmarks/${name}.svg)`, '']),
    ...TITLES.flatMap(([title, works]) => section(results, title, works)),
    ...settings(results),
  ].join('\n');
}

function goalTable(verdicts: readonly Verdict[]): string[] {
  return [
    '| | median (least … most) | goal | |',
    '|---|---|---|---|',
    ...verdicts.map(({ goal: { about, bound, goal, unit }, value, met }) => {
      const said = value === null ? 'not measured' : spreadText(value, ratio, unit);
      const verdict = met === null ? '' : met ? 'met' : 'missed';
      return `| ${about} | ${said} | ${bound} ${goal}${unit} | ${verdict} |`;
    }),
  ];
}

function section(results: Results, title: string, works: readonly Work[]): string[] {
  const points = new Map<string, Sample>();
  for (const work of works) {
    for (const sample of results.samples.filter((one) => one.work === work)) {
      points.set(`${sample.system} ${work} ${sample.inFlight}`, sample);
    }
  }
  if (points.size === 0) return [];
  const rows = Array.from(points.values()).toSorted(
    (a, b) => a.inFlight - b.inFlight || ORDER.indexOf(a.system) - ORDER.indexOf(b.system),
  );
  return [
    `### ${title}`,
    '',
    `| ${COLUMNS.join(' | ')} |`,
    `|${COLUMNS.map(() => '---').join('|')}|`,
    ...rows.map((sample) => row(results, sample)),
    '',
  ];
}

function row(results: Results, { system, work, inFlight }: Sample): string {
  const of = (figure: keyof Sample['figures'], digits: (value: number) => string): string => {
    const spread = spreadOf(results, { system, work, inFlight, figure });
    return spread === null ? '' : spreadText(spread, digits, '');
  };
  const cells = [
    count(inFlight) + (WHAT[work] ?? ''),
    system,
    of('operationsPerSecond', (value) => count(Math.round(value))),
    of('p50Ms', ratio),
    of('p99Ms', ratio),
    of('serverMicroseconds', ratio),
    // Writers and log are one process.
    system === 'bare log' ? '' : of('clientMicroseconds', ratio),
  ];
  return `| ${cells.join(' | ')} |`;
}

function spreadText(
  { median, least, most }: Spread,
  digits: (value: number) => string,
  unit: string,
): string {
  const middle = `${digits(median)}${unit}`;
  return least === most ? middle : `${middle} (${digits(least)} … ${digits(most)})`;
}

/** Three digits, or the whole number. */
function ratio(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
