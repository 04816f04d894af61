import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { afterEach } from '@jest/globals';

import { Entry, EntryKind } from '../../src/core/entry.js';
import type { BucketMeta } from '../../src/core/message.js';
import type { LogRecord } from '../../src/core/outbox.js';
import { NO_CHANGE, type View } from '../../src/core/view.js';

const madeDirectories: string[] = [];
const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
  for (const path of madeDirectories.splice(0)) await rm(path, { recursive: true, force: true });
});

/** A fresh directory that is removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'kvs-storage-'));
  madeDirectories.push(path);
  return path;
}

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

export function entry(sequence: number, key = `key${sequence}`, value = `value${sequence}`): Entry {
  const { Set } = EntryKind;
  return new Entry(
    Set,
    sequence,
    7,
    sequence,
    0,
    1,
    'client',
    sequence,
    0,
    key,
    bytes(value),
    null,
  );
}

export function logged(bucket: number, sequence: number, value?: string): LogRecord {
  const made = entry(sequence, `key${sequence}`, value);
  return { type: 'entry', bucket, entry: made, commitPoint: sequence - 1 };
}

export function meta(sequence: number): BucketMeta {
  return {
    sequence,
    ballot: 7,
    version: sequence,
    clockMs: 0,
    life: 0,
    dedup: [],
    intents: [],
    decisions: [],
    causal: null,
  };
}

export function view(epoch: number): View {
  return {
    clusterId: 'cluster',
    epoch,
    parameters: {
      bucketCount: 8,
      replicaCount: 2,
      minInSync: 2,
      policy: 'ring',
      shardCount: 0,
      shardSpread: 'even',
      leaseMs: 1,
      graceMs: 2,
      rebalanceRateBytes: 0,
      rateSteered: false,
      rebalancePaused: false,
    },
    members: new Map(),
    rows: [],
    change: NO_CHANGE,
    namespaces: new Map(),
    reason: 'test',
    atMs: 5,
  };
}

/** Nothing in these tests may fail by itself. */
export function noFatal(error: Error): void {
  throw error;
}

/** Runs `child.js` with the built storage, as a process of its own. */
export class Child {
  private readonly process: ChildProcessWithoutNullStreams;
  readonly lines: string[] = [];
  private wake: () => void = () => undefined;
  private ended = false;
  private errors = '';

  constructor(...args: string[]) {
    const script = fileURLToPath(new URL('child.js', import.meta.url));
    this.process = spawn(process.execPath, [script, ...args]);
    children.push(this);
    createInterface(this.process.stdout).on('line', (line) => {
      this.lines.push(line);
      this.wake();
    });
    this.process.stderr.on('data', (data: Buffer) => (this.errors += data.toString()));
    this.process.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** Waits until the child has printed so many lines. */
  async printed(lines: number): Promise<void> {
    while (this.lines.length < lines) {
      if (this.ended) throw new Error(`the child ended early: ${this.errors}`);
      await this.news();
    }
  }

  /** kill -9, and everything that it had printed. */
  async kill(): Promise<string[]> {
    this.process.kill('SIGKILL');
    while (!this.ended) await this.news();
    return this.lines;
  }

  private news(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}
