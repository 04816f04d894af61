import type { Key, Version } from '../core/ids.js';
import { ConditionKind, OperationKind } from '../core/operation.js';
import type { Call, Change, History, Violation } from './history.js';
import { linearize, type Step, type Verdict } from './linearizability.js';

/** One key: its value (null: absent), and the newest version that is known to precede. */
interface Cell {
  readonly value: string | null;
  readonly newest: Version;
}

type Cells = readonly Cell[];

/** Values that no read returned and no answer gave a version to are all alike. */
const UNSEEN = '?';

/** Which version each value has, as answers and reads told. */
class Versions {
  readonly conflicts: Violation[] = [];
  private readonly byValue = new Map<string, Version>();

  constructor(calls: readonly Call[]) {
    for (const call of calls) {
      if (call.outcome !== 'ok' || call.result === null) continue;
      const { version } = call.result;
      if (call.isRead) {
        for (const key of call.keys) {
          const sight = call.sightOf(key);
          if (sight.value !== null) this.learn(key, sight.value, sight.version);
        }
        continue;
      }
      for (const { key, value } of call.changes) {
        if (value !== null) this.learn(key, value, version);
      }
    }
  }

  /** Undefined when nobody was told. */
  of(key: Key, value: string): Version | undefined {
    return this.byValue.get(`${key}=${value}`);
  }

  private learn(key: Key, value: string, version: Version): void {
    const known = this.of(key, value);
    this.byValue.set(`${key}=${value}`, version);
    if (known === undefined || known === version) return;
    const what = `${key} = ${value} was seen with version ${known} and with version ${version}`;
    this.conflicts.push({ promise: 'D4', what: `${what}: it took effect twice`, keys: [key] });
  }
}

/** The steps of `calls` on `keys`, which are all that the state knows of. */
function stepsOf(calls: readonly Call[], keys: readonly Key[], versions: Versions): Step<Cells>[] {
  const places = new Map(keys.map((key, place) => [key, place]));
  const holds = (change: Change, cell: Cell): boolean => {
    if (change.condition === ConditionKind.None) return true;
    if (change.condition === ConditionKind.IfAbsent || change.ifVersion === 0) {
      return cell.value === null;
    }
    return cell.value !== null && versions.of(change.key, cell.value) === change.ifVersion;
  };
  const write = (change: Change, cell: Cell, told: Version): Cell | null => {
    const { key, value } = change;
    const version = (value === null ? undefined : versions.of(key, value)) ?? told;
    if (version > 0 && version <= cell.newest) return null;
    const shown = value !== null && version === 0 ? UNSEEN : value;
    return { value: shown, newest: Math.max(version, cell.newest) };
  };
  return calls.flatMap((call): Step<Cells>[] => {
    const { invoked, completed, outcome, changes } = call;
    if (outcome === 'nothing' || (call.isRead && outcome !== 'ok')) return [];
    const mine = changes.filter(({ key }) => places.has(key));
    const cellOf = (cells: Cells, key: Key): Cell => cells[places.get(key)!]!;
    const allHold = (cells: Cells): boolean =>
      mine.every((change) => holds(change, cellOf(cells, change.key)));
    if (call.isRead) {
      const read = call.keys.filter((key) => places.has(key));
      const sights = read.map((key) => [key, call.sightOf(key).value] as const);
      const same = (cells: Cells): boolean =>
        sights.every(([key, value]) => cellOf(cells, key).value === value);
      return [{ invoked, completed, apply: (cells) => (same(cells) ? cells : null) }];
    }
    if (outcome === 'refused') {
      // Another key of the setr may have been the reason.
      if (mine.length < changes.length) return [];
      return [{ invoked, completed, apply: (cells) => (allHold(cells) ? null : cells) }];
    }
    const told = outcome === 'ok' ? (call.result?.version ?? 0) : 0;
    const found = outcome === 'ok' ? call.result?.found : undefined;
    const apply = (cells: Cells): Cells | null => {
      if (!allHold(cells)) return null;
      if (call.operation.kind === OperationKind.Delete) {
        const { value } = cellOf(cells, call.operation.key);
        if (found !== undefined && found !== (value !== null)) return null;
        if (value === null) return cells;
      }
      const next = cells.slice();
      for (const change of mine) {
        const cell = write(change, cellOf(cells, change.key), told);
        if (cell === null) return null;
        next[places.get(change.key)!] = cell;
      }
      return next;
    };
    return [{ invoked, completed, apply }];
  });
}

function nameOf(cells: Cells): string {
  return cells.map(({ value, newest }) => `${value ?? ''}@${newest}`).join('&');
}

/** Judge the operations on `keys` as operations on one object. */
export function judge(history: History, keys: readonly Key[], budget?: number): Verdict {
  const calls = history.calls.filter((call) => call.keys.some((key) => keys.includes(key)));
  const steps = stepsOf(calls, keys, new Versions(calls));
  const initial = keys.map(() => ({ value: null, newest: 0 }));
  return linearize(steps, initial, nameOf, budget);
}

/** When each operation that the judge must explain was answered, in order. */
function completions(history: History, keys: readonly Key[]): number[] {
  return history.calls
    .filter((call) => call.keys.some((key) => keys.includes(key)))
    .filter(({ outcome }) => outcome === 'ok' || outcome === 'refused')
    .map(({ completedMs }) => completedMs)
    .toSorted((left, right) => left - right);
}

/** What the checks of a history found; `undecided` names keys that took too long to judge. */
export interface Judgement {
  readonly violations: Violation[];
  readonly undecided: Key[];
}

/**
 * D1: the operations on each key are linearizable, versions grow with their order, and a value has
 * one version. D3: the operations on keys that `setr` joins are strictly serializable.
 */
export function checkHistory(history: History, joined: readonly Key[]): Judgement {
  const violations = new Versions(history.calls).conflicts;
  const undecided: Key[] = [];
  for (const key of history.keys()) {
    const { answer, explained } = judge(history, [key]);
    if (answer === 'undecided') undecided.push(key);
    if (answer !== 'violated') continue;
    const what = `the operations on ${key} are not linearizable; ${explained} can be explained`;
    const aroundMs = completions(history, [key])[explained] ?? 0;
    violations.push({ promise: 'D1', what, keys: [key], aroundMs });
  }
  if (joined.length > 1 && violations.length === 0) {
    const { answer, explained } = judge(history, joined);
    if (answer === 'undecided') undecided.push(...joined);
    if (answer === 'violated') {
      const what = `the operations on ${joined.join(', ')} together are not serializable`;
      const aroundMs = completions(history, joined)[explained] ?? 0;
      violations.push({ promise: 'D3', what, keys: joined, aroundMs });
    }
  }
  return { violations, undecided };
}

/**
 * D2: the last write that was acknowledged, when nothing came after it or overlapped it, is what
 * the final read returns. Part of D1, but worth its own words.
 */
export function checkLastWrites(history: History): Violation[] {
  return history.keys().flatMap((key): Violation[] => {
    const calls = history.of(key);
    const final = calls.findLast((call) => call.isRead && call.outcome === 'ok');
    const writes = calls.filter(
      (call) => !call.isRead && call.outcome !== 'nothing' && call.outcome !== 'refused',
    );
    const last = writes.reduce<Call | null>(
      (latest, call) => (latest === null || call.completed > latest.completed ? call : latest),
      null,
    );
    if (final === undefined || last === null || last.outcome !== 'ok') return [];
    const alone = writes.every((call) => call === last || call.completed < last.invoked);
    if (!alone || last.completed > final.invoked) return [];
    const value = last.changes.find((change) => change.key === key)?.value ?? null;
    const seen = final.sightOf(key).value;
    if (seen === value) return [];
    const what = `the acknowledged write ${key} = ${value ?? 'absent'} is lost`;
    return [{ promise: 'D2', what: `${what}: it now reads ${seen ?? 'absent'}`, keys: [key] }];
  });
}
