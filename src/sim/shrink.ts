import { type Limits, type Outcome, run } from './run.js';
import type { Sabotage } from './sabotage/sabotage.js';

/** A run takes about a tenth of a second. */
const MOST_RUNS = 200;

/**
 * Make a failed run smaller while it still breaks the same promise: fewer faults (delta debugging:
 * Zeller & Hildebrandt 2002, ddmin), then less time and fewer clients.
 */
export function shrink(failed: Outcome, sabotage: Sabotage): Outcome {
  const promises = new Set(failed.violations.map(({ promise }) => promise));
  let smallest = failed;
  let runs = 0;
  const fails = (limits: Limits): boolean => {
    if (runs >= MOST_RUNS) return false;
    runs += 1;
    const outcome = run(failed.seed, sabotage, limits);
    if (!outcome.violations.some(({ promise }) => promises.has(promise))) return false;
    smallest = outcome;
    return true;
  };
  const faults = fewest(
    failed.faults.map(({ number }) => number),
    (some) => fails({ ...smallest.limits, faults: some }),
  );
  const lastMs = failed.faults.find(({ number }) => number === faults.at(-1))?.atMs ?? 0;
  const { chaosMs, clients } = failed.settings;
  for (const share of [0, 0.1, 0.25, 0.5, 0.75]) {
    const untilMs = Math.ceil(lastMs + 1 + (chaosMs - lastMs) * share);
    if (fails({ ...smallest.limits, chaosMs: untilMs })) break;
  }
  for (let fewer = 1; fewer < clients; fewer++) {
    if (fails({ ...smallest.limits, clients: fewer })) break;
  }
  return smallest;
}

/** A smallest part of `all` for which `fails` holds, as far as taking out parts leads to it. */
export function fewest<T>(all: readonly T[], fails: (some: readonly T[]) => boolean): readonly T[] {
  let left = all;
  if (left.length > 0 && fails([])) return [];
  for (let parts = 2; left.length >= 2;) {
    const size = Math.ceil(left.length / parts);
    const starts = Array.from({ length: Math.ceil(left.length / size) }, (_, at) => at * size);
    const without = starts
      .map((start) => [...left.slice(0, start), ...left.slice(start + size)])
      .find((some) => fails(some));
    if (without !== undefined) {
      left = without;
      parts = Math.max(2, parts - 1);
    } else if (size === 1) break;
    else parts = Math.min(left.length, parts * 2);
  }
  return left;
}
