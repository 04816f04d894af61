import { bucketInPool } from '../core/hash.js';
import type { BucketId, Key, Version } from '../core/ids.js';
import { type ConditionalWrite, ConditionKind, OperationKind } from '../core/operation.js';
import { balanceOf } from '../checkers/transactions.js';
import type { Script, Wish } from './client.js';
import { type Call, toBytes } from '../checkers/history.js';
import type { Prng } from '../checkers/prng.js';

/** Every account begins with this much. */
export const BALANCE = 100;

/** Makes values that occur once in a run. */
export class Values {
  private made = 0;

  /** `text` and a number of its own; a balance or a count is read up to the colon. */
  unique(text: string | number): string {
    return `${text}:${this.next()}`;
  }

  next(): string {
    this.made += 1;
    return String(this.made);
  }
}

export function get(key: Key, kind: OperationKind = OperationKind.Get): Wish {
  const { None } = ConditionKind;
  return { kind, key, value: null, condition: None, ifVersion: 0, writes: null };
}

function getr(keys: readonly Key[]): Wish {
  return { ...get(keys[0] ?? '', OperationKind.GetR), reads: { keys, holdMs: 0 } };
}

/** A page of a bucket at one instant: a getr of the keys that it may have. */
function scan(random: Prng, [bucket, all]: readonly [BucketId, readonly Key[]]): Wish {
  const after = random.chance(0.5) ? '' : random.pick(all);
  const keys = all.filter((key) => key > after);
  return { ...get(after, OperationKind.Scan), bucket, reads: { keys, holdMs: 0 } };
}

function set(
  key: Key,
  value: string,
  condition: ConditionKind = ConditionKind.None,
  ifVersion: Version = 0,
): Wish {
  const kind = OperationKind.Set;
  return { kind, key, value: toBytes(value), condition, ifVersion, writes: null };
}

function setr(writes: readonly ConditionalWrite[]): Wish {
  const key = writes[0]?.key ?? '';
  const { None } = ConditionKind;
  return { kind: OperationKind.SetR, key, value: null, condition: None, ifVersion: 0, writes };
}

function write(
  key: Key,
  value: string | null,
  condition: ConditionKind = ConditionKind.None,
  ifVersion: Version = 0,
): ConditionalWrite {
  return { key, value: value === null ? null : toBytes(value), condition, ifVersion };
}

/** `count` different ones of `list`. */
function some<T>(random: Prng, list: readonly T[], count: number): T[] {
  const left = list.slice();
  const chosen: T[] = [];
  while (chosen.length < count && left.length > 0) {
    chosen.push(...left.splice(random.whole(0, left.length - 1), 1));
  }
  return chosen;
}

/** What the clients of one run work on. */
export interface Playground {
  readonly keys: readonly Key[];
  readonly accounts: readonly Key[];
  readonly lists: readonly Key[];
  readonly counters: readonly Key[];
  /** All of these by their bucket. */
  readonly buckets: readonly (readonly [BucketId, readonly Key[]])[];
  readonly values: Values;
  /** No new operations from then on. */
  over(): boolean;
}

/** Opens the accounts, in one commit; tries until it knows that they are open. */
export function* openAccounts(random: Prng, play: Playground): Script {
  while (!play.over()) {
    const { accounts, values } = play;
    const first = accounts[0];
    if (first === undefined) return;
    const opening = accounts.map((key) =>
      write(key, values.unique(BALANCE), ConditionKind.IfAbsent),
    );
    const opened: Call | null = yield setr(opening);
    if (opened?.outcome === 'ok') break;
    const looked: Call | null = yield get(first);
    if (looked?.outcome === 'ok' && looked.seen !== null) break;
    yield 'think';
  }
  yield* work(random, play);
}

/** An ordinary client: single keys, several keys, transfers, lists, counters. */
export function* work(random: Prng, play: Playground): Script {
  const versions = new Map<Key, Version>();
  const learn = (key: Key, call: Call | null): void => {
    const { result } = call ?? {};
    if (call?.outcome === 'ok' && result) versions.set(key, result.version);
  };
  while (!play.over()) {
    const draw = random.real();
    if (draw < 0.12) yield* transfer(random, play);
    else if (draw < 0.2) yield several(random, play);
    else if (draw < 0.29) yield* append(random, play);
    else if (draw < 0.33) yield* increment(random, play);
    else if (draw < 0.37) yield getr(some(random, everything(play), random.whole(1, 5)));
    else if (draw < 0.4) yield scan(random, random.pick(play.buckets));
    else {
      const key = random.pick(play.keys);
      const wish = single(random, play, key, versions.get(key) ?? 0);
      learn(key, yield wish);
    }
    yield 'think';
  }
}

function single(random: Prng, play: Playground, key: Key, version: Version): Wish {
  const draw = random.real();
  if (draw < 0.05) return get(key, OperationKind.ConfirmedGet);
  if (draw < 0.4) return get(key);
  const value = play.values.unique('v');
  if (draw < 0.65) return set(key, value);
  if (draw < 0.72) return set(key, value, ConditionKind.IfAbsent);
  if (draw < 0.88) return set(key, value, ConditionKind.IfVersion, version);
  const kind = OperationKind.Delete;
  const conditional = draw > 0.95;
  const condition = conditional ? ConditionKind.IfVersion : ConditionKind.None;
  return { kind, key, value: null, condition, ifVersion: conditional ? version : 0, writes: null };
}

/** A setr on plain keys. */
function several(random: Prng, play: Playground): Wish {
  const keys = some(random, play.keys, random.whole(1, 3));
  return setr(
    keys.map((key) => {
      const value = random.chance(0.15) ? null : play.values.unique('r');
      return write(key, value, random.chance(0.2) ? ConditionKind.IfAbsent : ConditionKind.None);
    }),
  );
}

/** Moves money between accounts, on condition that nobody else did meanwhile. */
function* transfer(random: Prng, play: Playground): Script {
  const { accounts, values } = play;
  const chosen = some(random, accounts, random.whole(2, Math.min(3, accounts.length)));
  const together = random.chance(0.5);
  const reads: Call[] = [];
  for (const wish of together ? [getr(chosen)] : chosen.map((key) => get(key))) {
    const call: Call | null = yield wish;
    if (call?.outcome !== 'ok') return;
    reads.push(call);
  }
  const sights = chosen.map((key, at) => reads[together ? 0 : at]!.sightOf(key));
  if (sights.some(({ value }) => value === null)) return;
  const balances = sights.map(({ value }) => balanceOf(value));
  const versions = sights.map(({ version }) => version);
  const amount = random.whole(1, 20);
  const share = chosen.length - 1;
  yield setr(
    chosen.map((key, at) => {
      const balance = balances[at]! + (at === 0 ? -amount * share : amount);
      return write(key, values.unique(balance), ConditionKind.IfVersion, versions[at]!);
    }),
  );
}

/**
 * Reads lists at one instant, and appends to some of them, in one commit, on condition that they
 * are as they were read.
 */
function* append(random: Prng, play: Playground): Script {
  const chosen = some(random, play.lists, random.whole(1, play.lists.length));
  const read: Call | null = yield getr(chosen);
  if (read?.outcome !== 'ok' || random.chance(0.3)) return;
  yield setr(
    some(random, chosen, random.whole(1, 2)).map((key) => {
      const { value, version } = read.sightOf(key);
      const grown = value === null ? play.values.next() : `${value},${play.values.next()}`;
      return write(key, grown, ConditionKind.IfVersion, version);
    }),
  );
}

/** Adds one to a counter, unless somebody else did meanwhile. */
function* increment(random: Prng, play: Playground): Script {
  const key = random.pick(play.counters);
  const read: Call | null = yield get(key);
  if (read?.outcome !== 'ok') return;
  const { value, version } = read.sightOf(key);
  const next = play.values.unique(balanceOf(value) + 1);
  yield set(key, next, ConditionKind.IfVersion, version);
}

/** Every key there is. */
export function everything({
  keys,
  accounts,
  lists,
  counters,
}: Pick<Playground, 'keys' | 'accounts' | 'lists' | 'counters'>): Key[] {
  return [...keys, ...accounts, ...lists, ...counters];
}

/** Reads every key once. */
export function* readAll(keys: readonly Key[]): Script {
  for (const key of keys) yield get(key);
}

/** The buckets that have any of the keys, and which. */
export function byBucket(
  keys: readonly Key[],
  pool: Parameters<typeof bucketInPool>[1],
): (readonly [BucketId, readonly Key[]])[] {
  const buckets = new Map<BucketId, Key[]>();
  for (const key of keys) {
    const bucket = bucketInPool(key, pool);
    buckets.set(bucket, [...(buckets.get(bucket) ?? []), key]);
  }
  return Array.from(buckets);
}
