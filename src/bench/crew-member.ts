import process from 'node:process';

import type { Mix } from '../cli/workload/mix.js';
import { run } from '../cli/workload/run.js';
import { Workload } from '../cli/workload/workload.js';
import { connect, type KvsClient } from '../client/index.js';
import { cpuMs } from './cpu.js';
import type { Report } from './report.js';

/** What a process of the crew is told to do. */
export type Task =
  | { readonly type: 'connect'; readonly leader: string; readonly clients: number }
  | { readonly type: 'load'; readonly mix: Mix; readonly records: number }
  | {
      readonly type: 'run';
      readonly mix: Mix;
      readonly records: number;
      /** In flight in this process. */
      readonly concurrency: number;
      readonly batch: number;
      /** A batch is one setr. */
      readonly commits: boolean;
      readonly warmMs: number;
      readonly forMs: number;
      readonly process: readonly [index: number, count: number];
      /** Their CPU is measured too. */
      readonly servers: readonly number[];
    };

/** What it answers; to a run with a report. */
export type Answer = { readonly report: Report | null } | { readonly problem: string };

const TIMEOUT_MS = 30_000;

let clients: KvsClient[] = [];

async function carryOut(task: Task): Promise<Report | null> {
  switch (task.type) {
    case 'connect':
      clients = await Promise.all(
        Array.from({ length: task.clients }, () =>
          connect({ leader: task.leader, timeoutMs: TIMEOUT_MS }),
        ),
      );
      return null;
    case 'load': {
      const { mix, records } = task;
      await new Workload({ mix, records }).load(clients[0]!);
      return null;
    }
    case 'run':
      return load(task);
  }
}

async function load(task: Task & { type: 'run' }): Promise<Report> {
  const { servers, mix, records, concurrency, batch, commits, warmMs, forMs } = task;
  const workload = new Workload({ mix, records, process: task.process });
  let serverCpuMs = 0;
  let clientCpuMs = 0;
  const onEdge = (edge: 'begin' | 'end'): void => {
    const sign = edge === 'begin' ? -1 : 1;
    const { user, system } = process.cpuUsage();
    clientCpuMs += (sign * (user + system)) / 1000;
    serverCpuMs += sign * cpuMs(servers);
  };
  const options = { concurrency, batch, commits, warmMs, forMs, onEdge };
  const outcome = await run(clients, workload, options);
  const { seconds, reads, writes, errors, firstError } = outcome;
  return {
    seconds,
    reads: reads.toCounts(),
    writes: writes.toCounts(),
    errors,
    firstError,
    clientCpuMs,
    serverCpuMs,
  };
}

function answer(said: Answer): void {
  process.send?.(said);
}

process.on('message', (task: Task) => {
  carryOut(task).then(
    (report) => answer({ report }),
    (error: unknown) => answer({ problem: String(error) }),
  );
});
// The parent is gone, or done.
process.on('disconnect', () => process.exit());
