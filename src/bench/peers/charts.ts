import { type Chart, type Series } from './chart.js';
import { type Results, type Selector, spreadOf } from './results.js';
import { ONE_PRIMARY, type SystemName, type Work } from './sample.js';

const COLORS: Readonly<Record<SystemName, string>> = {
  kvs: '#0969da',
  [ONE_PRIMARY]: '#54aeff',
  etcd: '#bc4c00',
  Redis: '#8250df',
  'bare stream': '#57606a',
  'bare log': '#57606a',
};
const WRITERS: readonly SystemName[] = ['kvs', ONE_PRIMARY, 'etcd', 'Redis'];
const READERS: readonly SystemName[] = ['kvs', 'etcd'];
const X_LABEL = 'operations in flight';
const PER_SECOND = 'operations a second';

interface Line {
  readonly system: SystemName;
  readonly work: Work;
  readonly figure: Selector['figure'];
  readonly name?: string;
  readonly dashed?: boolean;
}

/** File name, without its ending, and chart. */
export function chartsOf(results: Results): [string, Chart][] {
  const chart = (title: string, yLabel: string, lines: readonly Line[]): Chart => {
    const series = lines.map((line) => seriesOf(results, line));
    return { title, xLabel: X_LABEL, yLabel, series };
  };
  return [
    [
      'writes',
      chart(
        'Durable writes, three copies, one client process',
        PER_SECOND,
        WRITERS.map((system) => rate(system, 'write')),
      ),
    ],
    [
      'reads',
      chart('Linearizable reads, one client process', PER_SECOND, [
        ...READERS.map((system) => rate(system, 'read')),
        rate('bare stream', 'echo'),
      ]),
    ],
    [
      'write-latency',
      chart(
        'Latency of durable writes',
        'ms',
        WRITERS.flatMap((system) => latencies(system, 'write')),
      ),
    ],
    [
      'read-latency',
      chart(
        'Latency of linearizable reads',
        'ms',
        READERS.flatMap((system) => latencies(system, 'read')),
      ),
    ],
    [
      'server-cpu',
      chart('CPU of all servers for an operation', 'µs', [
        ...WRITERS.map((system) => serverCpu(system, 'write')),
        ...READERS.map((system) => serverCpu(system, 'read')),
      ]),
    ],
  ];
}

function rate(system: SystemName, work: Work): Line {
  return { system, work, figure: 'operationsPerSecond' };
}

function latencies(system: SystemName, work: Work): Line[] {
  return [
    { system, work, figure: 'p50Ms', name: `${system}, p50` },
    { system, work, figure: 'p99Ms', name: `${system}, p99`, dashed: true },
  ];
}

function serverCpu(system: SystemName, work: 'read' | 'write'): Line {
  const name = `${system}, ${work}s`;
  return { system, work, figure: 'serverMicroseconds', name, dashed: work === 'read' };
}

function seriesOf(results: Results, { system, work, figure, name, dashed }: Line): Series {
  const measured = new Set(
    results.samples
      .filter((sample) => sample.system === system && sample.work === work)
      .map(({ inFlight }) => inFlight),
  );
  const points = Array.from(measured)
    .toSorted((a, b) => a - b)
    .flatMap((x) => {
      const spread = spreadOf(results, { system, work, inFlight: x, figure });
      if (spread === null) return [];
      return [{ x, y: spread.median, least: spread.least, most: spread.most }];
    });
  return { name: name ?? system, color: COLORS[system], dashed: dashed ?? false, points };
}
