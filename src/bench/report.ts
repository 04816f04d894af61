import { type Counts, Latencies } from '../cli/workload/latencies.js';

/** What one process that makes load has counted; crosses process borders as JSON. */
export interface Report {
  readonly seconds: number;
  readonly reads: Counts;
  readonly writes: Counts;
  readonly errors: number;
  readonly firstError: string;
  /** CPU of this process while it counted. */
  readonly clientCpuMs: number;
  /** Of the servers, in the same time; 0 where another process watches them. */
  readonly serverCpuMs: number;
}

/** One measured point. */
export interface Figures {
  readonly operationsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU for each operation, all servers, and all clients. */
  readonly serverMicroseconds: number;
  readonly clientMicroseconds: number;
  readonly errors: number;
}

/** What processes that ran at the same time counted together; the first watched the servers. */
export function figuresOf(reports: readonly Report[]): Figures {
  const all = new Latencies();
  let rate = 0;
  let errors = 0;
  let clientCpuMs = 0;
  for (const report of reports) {
    const before = all.count;
    for (const counts of [report.reads, report.writes]) all.merge(counts);
    rate += (all.count - before) / report.seconds;
    errors += report.errors;
    clientCpuMs += report.clientCpuMs;
  }
  const { serverCpuMs = 0, seconds = 0 } = reports[0] ?? {};
  return {
    operationsPerSecond: rate,
    p50Ms: all.quantile(0.5),
    p99Ms: all.quantile(0.99),
    serverMicroseconds: (serverCpuMs * 1000) / (rate * seconds),
    clientMicroseconds: (clientCpuMs * 1000) / all.count,
    errors,
  };
}

/** The first failure of any of them; empty: none. */
export function firstErrorOf(reports: readonly Report[]): string {
  return reports.find(({ errors }) => errors > 0)?.firstError ?? '';
}
