import { availableParallelism } from 'node:os';
import process from 'node:process';
import { Worker } from 'node:worker_threads';

import { Command, InvalidArgumentError } from 'commander';

import { tellFailure, tellSummary } from './report.js';
import { run } from './run.js';
import { SABOTAGES } from './sabotage/all.js';
import { HONEST, type Sabotage } from './sabotage/sabotage.js';
import type { Task, Told } from './worker.js';

/** A sabotage must be caught within so many seeds. */
const CATCH_WITHIN = 2000;
const WORKERS = Math.min(2, availableParallelism());

interface Flags {
  readonly seeds?: number;
  readonly seedFrom: number;
  readonly seed?: number;
  readonly sabotage?: string;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError('give a whole number, 0 or more');
  }
  return value;
}

function find(name: string): Sabotage {
  const sabotage = SABOTAGES.find((known) => known.name === name);
  if (sabotage !== undefined) return sabotage;
  const names = SABOTAGES.map((known) => known.name).join(', ');
  process.stderr.write(`There is no sabotage ${name}. There are: all, ${names}\n`);
  process.exit(2);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One run, told in full. */
function runOne(seed: number, sabotage: Sabotage): boolean {
  const outcome = run(seed, sabotage);
  if (outcome.violations.length > 0) say(tellFailure(outcome, sabotage.name));
  say(tellSummary(outcome));
  return outcome.violations.length === 0;
}

/** Hand seeds to the workers until all are done or `stop` says so. */
async function runMany(task: Task, count: number, onTold: (told: Told) => boolean): Promise<void> {
  let next = task.from;
  const end = task.from + count;
  await Promise.all(
    Array.from({ length: WORKERS }, async () => {
      const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: task });
      await new Promise<void>((resolve, reject) => {
        const more = (): void => {
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
          if (next < end) worker.postMessage(next++);
          else resolve();
        };
        worker.on('error', reject);
        worker.on('message', (told: Told) => {
          if (!onTold(told)) next = end;
          more();
        });
        more();
      });
      await worker.terminate();
    }),
  );
}

async function runRange(from: number, count: number, sabotage: string): Promise<boolean> {
  const startedMs = performance.now();
  let seeds = 0;
  let failed = 0;
  let operations = 0;
  let undecided = 0;
  let virtualMs = 0;
  await runMany({ from, sabotage }, count, (told) => {
    seeds += 1;
    operations += told.operations;
    undecided += told.undecided;
    virtualMs += told.virtualMs;
    if (told.failure !== '') {
      failed += 1;
      say(told.failure);
    }
    return true;
  });
  const wallMs = performance.now() - startedMs;
  say(
    `${seeds} seeds from ${from}: ${failed} failed; ${operations} operations checked, ` +
      `${undecided} keys undecided; ${((seeds / wallMs) * 60_000).toFixed(0)} seeds per minute, ` +
      `${(virtualMs / wallMs).toFixed(0)} times real time`,
  );
  return failed === 0;
}

/** How many seeds it took to catch a sabotage; null when it was missed. */
async function catchOne(sabotage: Sabotage, from: number): Promise<number | null> {
  let first: number | null = null;
  await runMany({ from, sabotage: sabotage.name }, CATCH_WITHIN, (told) => {
    if (told.failure !== '') first = Math.min(first ?? Infinity, told.seed - from + 1);
    return first === null;
  });
  return first;
}

async function catchAll(from: number): Promise<boolean> {
  let missed = 0;
  for (const sabotage of SABOTAGES) {
    const seeds = await catchOne(sabotage, from);
    if (seeds === null) missed += 1;
    const { name, breaks } = sabotage;
    say(seeds === null ? `MISSED ${name} (${breaks})` : `caught ${name} after ${seeds} seeds`);
  }
  return missed === 0;
}

async function main(): Promise<boolean> {
  const command = new Command('sim')
    .description('Run simulated clusters with faults and check every promise')
    .option('--seeds <n>', 'how many runs', whole)
    .option('--seed-from <n>', 'the first seed', whole, 1)
    .option('--seed <n>', 'one run, told in full', whole)
    .option('--sabotage <name>', 'break the code on purpose; all: each must be caught')
    .parse();
  const { seeds = 200, seedFrom, seed, sabotage = '' } = command.opts<Flags>();
  if (sabotage === 'all') return catchAll(seedFrom);
  const broken = sabotage === '' ? HONEST : find(sabotage);
  if (seed !== undefined) return runOne(seed, broken);
  return runRange(seedFrom, seeds, sabotage);
}

process.exitCode = (await main()) ? 0 : 1;
