import type { Key } from '../core/ids.js';
import type { Outcome } from './run.js';

const STORY_CALLS = 50;

/** Everything one needs to understand a failed run, and the command that replays it. */
export function tellFailure(outcome: Outcome, sabotage: string): string {
  const { seed, violations } = outcome;
  const lines = [`seed ${seed} FAILED`, ...tellSetting(outcome)];
  for (const { promise, what } of violations) lines.push(`  broken ${promise}: ${what}`);
  const keys = new Set(violations.flatMap((violation) => violation.keys));
  for (const key of keys) lines.push(...tellStory(outcome, key));
  lines.push(`  replay: ${commandOf(outcome, sabotage)}`);
  return lines.join('\n');
}

/** A failed run and, of what is left of it when it is made smaller, the story. */
export function tellShrunk(failed: Outcome, smallest: Outcome, sabotage: string): string {
  const before = `${failed.faults.length} faults, ${failed.history.calls.length} operations`;
  const after = `${smallest.faults.length} faults, ${smallest.history.calls.length} operations`;
  return [
    tellFailure(smallest, sabotage),
    `  shrunk from ${before} to ${after}; the whole run: ${commandOf(failed, sabotage)}`,
  ].join('\n');
}

/** The operations on a key in order, around the trouble when there are many. */
function tellStory({ history, violations }: Outcome, key: Key): string[] {
  const calls = history.of(key);
  const { aroundMs = Infinity } = violations.find(({ keys }) => keys.includes(key)) ?? {};
  const at = calls.filter(({ invokedMs }) => invokedMs <= aroundMs).length;
  const first = Math.max(0, at - STORY_CALLS);
  const shown = calls.slice(first, at + STORY_CALLS / 2);
  return [
    `  story of ${key}, operations ${first + 1} to ${first + shown.length} of ${calls.length}:`,
    ...shown.map((call) => `    ${call.describe()}`),
  ];
}

function commandOf({ seed, limits }: Outcome, sabotage: string): string {
  const { faults, chaosMs, clients, causal = 0 } = limits;
  const flags = [
    ...(sabotage === '' ? [] : ['--sabotage', sabotage]),
    ...(faults === undefined ? [] : ['--faults', faults.length === 0 ? 'none' : faults.join()]),
    ...(chaosMs === undefined ? [] : ['--chaos-ms', String(chaosMs)]),
    ...(clients === undefined ? [] : ['--clients', String(clients)]),
    ...(causal === 0 ? [] : ['--causal', String(causal)]),
  ];
  if (flags.length === 0) return `make sim SEED=${seed}`;
  return `node dist/sim/main.js --seed ${seed} ${flags.join(' ')}`;
}

/** Settings and faults, one line each. */
export function tellSetting(outcome: Outcome): string[] {
  const lines = [`  settings: ${JSON.stringify(outcome.settings)}`, '  faults:'];
  for (const { number, atMs, what } of outcome.faults) {
    lines.push(`    ${number}. ${atMs.toFixed(1)} ms: ${what}`);
  }
  return lines;
}

/** A run that went well, for people. */
export function tellSummary(outcome: Outcome): string {
  const { seed, hash, events, virtualMs, history, violations, undecided } = outcome;
  const answered = history.calls.filter((call) => call.outcome === 'ok').length;
  const unknown = history.calls.filter((call) => call.outcome === 'unknown').length;
  return [
    `seed ${seed}: trace ${hash}, ${events} events in ${(virtualMs / 1000).toFixed(1)} s of ` +
      'virtual time',
    ...tellSetting(outcome),
    `  operations: ${history.calls.length}, ok ${answered}, unknown ${unknown}`,
    `  undecided keys: ${undecided.length === 0 ? 'none' : undecided.join(', ')}`,
    `  broken promises: ${violations.length}`,
  ].join('\n');
}
