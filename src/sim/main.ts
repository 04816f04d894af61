import { availableParallelism } from 'node:os';
import process from 'node:process';
import { Worker } from 'node:worker_threads';

import { Command, InvalidArgumentError } from 'commander';

import { POLICIES } from '../core/policies.js';
import { tellFailure, tellShrunk, tellSummary } from './report.js';
import { type Limits, run } from './run.js';
import { SABOTAGES } from './sabotage/all.js';
import { HONEST, type Sabotage } from './sabotage/sabotage.js';
import { shrink } from './shrink.js';
import { crashAtEveryStep } from './steps.js';
import type { Task, Told } from './worker.js';

/** A sabotage must be caught within so many seeds. */
const CATCH_WITHIN = 2000;
/** A range that takes long says how far it is. */
const SAY_EVERY_MS = 60_000;
const WORKERS = Math.min(2, availableParallelism());

interface Flags {
  readonly seeds?: number;
  readonly seedFrom: number;
  readonly seed?: number;
  readonly sabotage?: string;
  readonly shrink?: true;
  readonly endless?: true;
  readonly steps?: true;
  readonly faults?: readonly number[];
  readonly chaosMs?: number;
  readonly clients?: number;
  readonly causal?: number;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvalidArgumentError('give a whole number, 0 or more');
  }
  return value;
}

function wholes(text: string): number[] {
  return text === 'none' ? [] : text.split(',').map(whole);
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
function runOne(seed: number, sabotage: Sabotage, limits: Limits, shrinks: boolean): boolean {
  const outcome = run(seed, sabotage, limits);
  const failed = outcome.violations.length > 0;
  if (failed && shrinks) say(tellShrunk(outcome, shrink(outcome, sabotage), sabotage.name));
  else if (failed) say(tellFailure(outcome, sabotage.name));
  say(tellSummary(outcome));
  return !failed;
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

async function runRange(task: Task, count: number): Promise<boolean> {
  const { from } = task;
  const startedMs = performance.now();
  let seeds = 0;
  let failed = 0;
  let operations = 0;
  let undecided = 0;
  let virtualMs = 0;
  let saidMs = startedMs;
  let interrupted = false;
  process.once('SIGINT', () => {
    interrupted = true;
  });
  const sayTotal = (): void => {
    saidMs = performance.now();
    const minutes = (saidMs - startedMs) / 60_000;
    say(
      `${seeds} seeds from ${from}: ${failed} failed; ${operations} operations checked, ` +
        `${undecided} keys undecided; ${(seeds / minutes).toFixed(0)} seeds and ` +
        `${(virtualMs / 3_600_000 / minutes).toFixed(1)} simulated hours per minute`,
    );
  };
  await runMany(task, count, (told) => {
    seeds += 1;
    operations += told.operations;
    undecided += told.undecided;
    virtualMs += told.virtualMs;
    if (told.failure !== '') {
      failed += 1;
      say(told.failure);
    }
    if (performance.now() - saidMs > SAY_EVERY_MS) sayTotal();
    return !interrupted;
  });
  sayTotal();
  return failed === 0;
}

/** How many seeds it took to catch a sabotage; null when it was missed. */
async function catchOne(sabotage: Sabotage, asked: number): Promise<number | null> {
  let first: number | null = null;
  const { name, causal = 0, seldom: from = asked } = sabotage;
  await runMany({ from, sabotage: name, shrinks: false, causal }, CATCH_WITHIN, (told) => {
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

/** A view change in each policy, with a crash at every step. */
function runSteps(sabotage: Sabotage): boolean {
  let failed = 0;
  for (const policy of POLICIES) {
    let runs = 0;
    for (const { step, victim, awayMs, violations } of crashAtEveryStep(policy, sabotage)) {
      runs += 1;
      const { number, kind, from, to } = step;
      if (violations.length > 0) {
        failed += 1;
        say(`step ${number}, ${kind} from ${from} to ${to}: ${victim} away for ${awayMs} ms`);
      }
      for (const { promise, what } of violations) say(`  broken ${promise}: ${what}`);
    }
    say(`${policy}: ${runs} view changes, a crash in each, ${failed} failed so far`);
  }
  return failed === 0;
}

function limitsOf({ faults, chaosMs, clients, causal }: Flags): Limits {
  return {
    ...(faults !== undefined && { faults }),
    ...(chaosMs !== undefined && { chaosMs }),
    ...(clients !== undefined && { clients }),
    ...(causal !== undefined && { causal }),
  };
}

async function main(): Promise<boolean> {
  const command = new Command('sim')
    .description('Run simulated clusters with faults and check every promise')
    .option('--seeds <n>', 'how many runs', whole)
    .option('--seed-from <n>', 'the first seed', whole, 1)
    .option('--seed <n>', 'one run, told in full', whole)
    .option('--endless', 'seeds without end, until Ctrl-C')
    .option('--steps', 'a crash at every step of a view change, in each policy')
    .option('--shrink', 'with --seed: make a failed run smaller')
    .option('--faults <numbers>', 'with --seed: only these faults; none: no fault', wholes)
    .option('--chaos-ms <ms>', 'with --seed: when the faults end', whole)
    .option('--clients <n>', 'with --seed: how many clients', whole)
    .option('--causal <n>', 'with so many clients of a causal namespace', whole)
    .option('--sabotage <name>', 'break the code on purpose; all: each must be caught')
    .parse();
  const { seed, sabotage = '', shrink: shrinks = false, ...asked } = command.opts<Flags>();
  const { seeds = 200, seedFrom, endless = false } = asked;
  if (sabotage === 'all') return catchAll(seedFrom);
  const broken = sabotage === '' ? HONEST : find(sabotage);
  // Some breaks show only to causal clients.
  const { causal = broken.causal ?? 0 } = asked;
  const flags = { ...asked, causal };
  if (flags.steps === true) return runSteps(broken);
  if (seed !== undefined) return runOne(seed, broken, limitsOf(flags), shrinks);
  const task = { from: seedFrom, sabotage, shrinks: true, causal };
  return runRange(task, endless ? Infinity : seeds);
}

process.exitCode = (await main()) ? 0 : 1;
