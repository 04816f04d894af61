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
  const replay = sabotage === '' ? `make sim SEED=${seed}` : commandOf(seed, sabotage);
  lines.push(`  replay: ${replay}`);
  return lines.join('\n');
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

function commandOf(seed: number, sabotage: string): string {
  return `node dist/sim/main.js --seed ${seed} --sabotage ${sabotage}`;
}

/** Settings and faults, one line each. */
export function tellSetting(outcome: Outcome): string[] {
  const lines = [`  settings: ${JSON.stringify(outcome.settings)}`, '  faults:'];
  for (const { atMs, what } of outcome.faults) lines.push(`    ${atMs.toFixed(1)} ms: ${what}`);
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
