import { randomBytes } from 'node:crypto';
import process from 'node:process';

import { Latencies } from '../../cli/workload/latencies.js';
import { Entry, EntryKind } from '../../core/entry.js';
import { DEFAULT_LOG_SETTINGS, Log } from '../../storage/log.js';
import type { Report } from '../report.js';
import { RECORDS, VALUE_BYTES } from './sample.js';

export interface LogTask {
  readonly directory: string;
  readonly writers: number;
  readonly warmMs: number;
  readonly forMs: number;
}

const BUCKETS = 256;
const CLIENT = randomBytes(16).toString('latin1');

/** Writers that append an entry each, and the next one when it is durable. */
async function measure({ directory, writers, warmMs, forMs }: LogTask): Promise<Report> {
  const log = await Log.open(directory, DEFAULT_LOG_SETTINGS, {
    onFatal: (error) => {
      throw error;
    },
  });
  const latencies = new Latencies();
  const value = randomBytes(VALUE_BYTES);
  const state = { counting: false, stopping: false };
  let sequence = 0;
  const writer = async (): Promise<void> => {
    while (!state.stopping) {
      const startMs = performance.now();
      sequence += 1;
      log.append({
        type: 'entry',
        bucket: sequence % BUCKETS,
        entry: entryOf(sequence, value),
        commitPoint: 0,
      });
      await new Promise<void>((resolve) => log.whenDurable(resolve));
      if (state.counting) latencies.add(performance.now() - startMs);
    }
  };
  const writing = Promise.all(Array.from({ length: writers }, writer));
  await pause(warmMs);
  const [own, beganMs] = [process.cpuUsage(), performance.now()];
  state.counting = true;
  await pause(forMs);
  state.counting = false;
  const seconds = (performance.now() - beganMs) / 1000;
  const { user, system } = process.cpuUsage(own);
  state.stopping = true;
  await writing;
  await log.close();
  return {
    seconds,
    reads: [],
    writes: latencies.toCounts(),
    errors: 0,
    firstError: '',
    clientCpuMs: 0,
    // Writers and log are one process.
    serverCpuMs: (user + system) / 1000,
  };
}

function entryOf(sequence: number, value: Uint8Array): Entry {
  const key = `key${String(sequence % RECORDS).padStart(13, '0')}`;
  const { Set } = EntryKind;
  return new Entry(Set, sequence, 7, sequence, 0, 1, CLIENT, sequence, 0, key, value, null);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

process.on('message', (task: LogTask) => {
  void measure(task).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit());
