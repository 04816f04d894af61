import type { Key } from '../core/ids.js';
import { OperationKind, type StoredRecord } from '../core/operation.js';
import { type Call, type History, toText, type Violation } from './history.js';

/** The balance in an account's value: the digits before the colon. */
export function balanceOf(value: string | null): number {
  return value === null ? 0 : Number(value.slice(0, value.indexOf(':')));
}

/** Every value that anyone ever saw of a key, with its version, and what is there at rest. */
function sightings(history: History, rest: ReadonlyMap<Key, StoredRecord>): Map<string, number> {
  const seen = new Map<string, number>();
  for (const call of history.calls) {
    if (!call.isRead || call.outcome !== 'ok') continue;
    for (const key of call.keys) {
      const { value, version } = call.sightOf(key);
      if (value !== null) seen.set(`${key}=${value}`, version);
    }
  }
  for (const { key, value, version } of rest.values()) seen.set(`${key}=${toText(value)}`, version);
  return seen;
}

function half(call: Call, seen: string, missing: Key): Violation {
  const what = `half a setr: ${seen} was written, ${missing} was not`;
  return { promise: 'D3', what, keys: call.keys };
}

/**
 * D3: of a committed `setr` every write is there, or was replaced by a later one; of an aborted one
 * nobody ever saw anything. An unknown one that anyone saw counts as committed.
 */
export function checkAtomicity(
  history: History,
  rest: ReadonlyMap<Key, StoredRecord>,
): Violation[] {
  const seen = sightings(history, rest);
  const setrs = history.calls.filter(({ operation }) => operation.kind === OperationKind.SetR);
  return setrs.flatMap((call): Violation[] => {
    const witness = call.changes.find(({ key, value }) => seen.has(`${key}=${value}`));
    if (call.outcome === 'refused' || call.outcome === 'nothing') {
      if (witness === undefined) return [];
      const what = `an aborted setr wrote ${witness.key} = ${witness.value}`;
      return [{ promise: 'D3', what, keys: call.keys }];
    }
    const told = call.outcome === 'ok' ? call.result?.version : undefined;
    const version = told ?? seen.get(`${witness?.key}=${witness?.value}`);
    if (version === undefined) return [];
    const shown = witness === undefined ? `version ${version}` : `${witness.key}`;
    return call.changes.flatMap(({ key, value }) => {
      const record = rest.get(key);
      // A deleted key shows nothing at rest; that its deletion came later is D1's business.
      if (record === undefined || record.version > version) return [];
      const intact = record.version === version && toText(record.value) === value;
      return intact ? [] : [half(call, shown, key)];
    });
  });
}

/** D1, D4: a counter counts every increment that was acknowledged once, and no other twice. */
export function checkCounters(
  history: History,
  counters: readonly Key[],
  rest: ReadonlyMap<Key, StoredRecord>,
): Violation[] {
  return counters.flatMap((key): Violation[] => {
    const writes = history.of(key).filter((call) => !call.isRead);
    const done = writes.filter(({ outcome }) => outcome === 'ok').length;
    const unknown = writes.filter(({ outcome }) => outcome === 'unknown').length;
    const counted = balanceOf(toText(rest.get(key)?.value ?? null));
    if (counted >= done && counted <= done + unknown) return [];
    const what = `${key} is ${counted} after ${done} increments and ${unknown} unknown ones`;
    return [{ promise: 'D4', what, keys: [key] }];
  });
}

/** D3: transfers move money, and neither make nor lose any. */
export function checkTotal(
  accounts: readonly Key[],
  rest: ReadonlyMap<Key, StoredRecord>,
  expected: number,
): Violation[] {
  const values = accounts.map((key) => toText(rest.get(key)?.value ?? null));
  const total = values.reduce((sum, value) => sum + balanceOf(value), 0);
  if (total === expected) return [];
  const what = `the accounts hold ${total} together, not ${expected}: ${values.join(', ')}`;
  return [{ promise: 'D3', what, keys: accounts }];
}
