import { parentPort, workerData } from 'node:worker_threads';

import { tellFailure, tellShrunk } from './report.js';
import { type Outcome, run } from './run.js';
import { SABOTAGES } from './sabotage/all.js';
import { HONEST } from './sabotage/sabotage.js';
import { shrink } from './shrink.js';

/** What a worker is told when it starts. */
export interface Task {
  readonly from: number;
  /** '' for none. */
  readonly sabotage: string;
  /** Make failed runs smaller before they are told. */
  readonly shrinks: boolean;
  /** Clients of a causal namespace. */
  readonly causal: number;
}

/** What a worker tells of one seed. */
export interface Told {
  readonly seed: number;
  readonly operations: number;
  readonly undecided: number;
  readonly virtualMs: number;
  /** '' when every promise was kept. */
  readonly failure: string;
}

const { sabotage: name, shrinks, causal } = workerData as Task;
const sabotage = SABOTAGES.find((known) => known.name === name) ?? HONEST;

function tell(failed: Outcome): string {
  return shrinks ? tellShrunk(failed, shrink(failed, sabotage), name) : tellFailure(failed, name);
}

parentPort?.on('message', (seed: number) => {
  const outcome = run(seed, sabotage, { causal });
  const told: Told = {
    seed,
    operations: outcome.history.calls.length + outcome.namespaceOperations,
    undecided: outcome.undecided.length,
    virtualMs: outcome.virtualMs,
    failure: outcome.violations.length === 0 ? '' : tell(outcome),
  };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
  parentPort?.postMessage(told);
});
