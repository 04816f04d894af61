import type { Key } from '../core/ids.js';
import { type Call, type History, NEVER, type Violation } from './history.js';

/** The elements of a list's value, oldest first. */
function elementsOf(value: string | null): string[] {
  return value === null ? [] : value.split(',');
}

/** What an operation means for one list: how long it was read, or which element it appended. */
interface Part {
  readonly key: Key;
  /** Length of the list that it saw. */
  readonly length: number;
  /** '' for a read. */
  readonly appended: string;
}

/** An operation on lists that took effect. */
interface Transaction {
  readonly call: Call;
  readonly parts: readonly Part[];
}

/**
 * D3: operations on lists, which only ever grow by what `setr` appends, are strictly serializable.
 * The order of a list's elements is the order of their writers; from it follow the dependencies of
 * all operations (Kingsbury & Alvaro 2020, "Elle", §4), to which the order in time is added. A
 * cycle means that no serial order explains what clients saw. D2: no acknowledged append is lost.
 */
export function checkLists(history: History, lists: readonly Key[]): Violation[] {
  const orders = new Map<Key, readonly string[]>();
  const violations = lists.flatMap((key) => orderOf(history, key, orders));
  if (violations.length > 0) return violations;
  const transactions = transactionsOn(history, orders);
  const lost = lostAppends(history, orders);
  if (lost.length > 0) return lost;
  const cycle = new Graph(transactions, orders).cycle();
  if (cycle === null) return [];
  const story = cycle.map(({ call }) => call.describe()).join(' | ');
  const what = `no order in time explains these together: ${story}`;
  const keys = new Set(cycle.flatMap(({ parts }) => parts.map(({ key }) => key)));
  return [{ promise: 'D3', what, keys: Array.from(keys) }];
}

/** The longest value of a list that anybody saw; all others must be beginnings of it. */
function orderOf(history: History, key: Key, orders: Map<Key, readonly string[]>): Violation[] {
  const seen = new Set<string>();
  for (const call of history.of(key)) {
    if (call.outcome !== 'ok') continue;
    const value = call.isRead
      ? call.sightOf(key).value
      : call.changes.find((change) => change.key === key)?.value;
    if (value !== null && value !== undefined) seen.add(value);
  }
  const values = Array.from(seen, elementsOf).toSorted((a, b) => a.length - b.length);
  const longest = values.at(-1) ?? [];
  orders.set(key, longest);
  const fork = values.find((value) => value.some((element, at) => element !== longest[at]));
  if (fork !== undefined) {
    const what = `${key} was both ${fork.join()} and ${longest.join()}`;
    return [{ promise: 'D3', what, keys: [key] }];
  }
  if (new Set(longest).size === longest.length) return [];
  return [{ promise: 'D4', what: `${key} has an element twice: ${longest.join()}`, keys: [key] }];
}

function transactionsOn(
  history: History,
  orders: ReadonlyMap<Key, readonly string[]>,
): Transaction[] {
  return history.calls.flatMap((call): Transaction[] => {
    const parts = partsOf(call, orders);
    if (parts.length === 0 || !tookEffect(call, parts, orders)) return [];
    return [{ call, parts }];
  });
}

function partsOf(call: Call, orders: ReadonlyMap<Key, readonly string[]>): Part[] {
  if (call.isRead) {
    return call.keys
      .filter((key) => orders.has(key))
      .map((key) => {
        return { key, length: elementsOf(call.sightOf(key).value).length, appended: '' };
      });
  }
  return call.changes
    .filter(({ key }) => orders.has(key))
    .map(({ key, value }) => {
      const elements = elementsOf(value);
      return { key, length: elements.length - 1, appended: elements.at(-1) ?? '' };
    });
}

function tookEffect(
  call: Call,
  parts: readonly Part[],
  orders: ReadonlyMap<Key, readonly string[]>,
): boolean {
  if (call.outcome === 'ok') return true;
  return parts.some(
    ({ key, appended }) => appended !== '' && (orders.get(key) ?? []).includes(appended),
  );
}

/** Appends that were acknowledged and are not there, and such that were refused and are. */
function lostAppends(history: History, orders: ReadonlyMap<Key, readonly string[]>): Violation[] {
  return history.calls.flatMap((call): Violation[] => {
    const parts = partsOf(call, orders).filter(({ appended }) => appended !== '');
    const there = ({ key, appended }: Part): boolean => (orders.get(key) ?? []).includes(appended);
    if (call.outcome === 'ok' && !parts.every(there)) {
      return [{ promise: 'D2', what: `lost: ${call.describe()}`, keys: call.keys }];
    }
    const denied = call.outcome === 'refused' || call.outcome === 'nothing';
    if (denied && parts.some(there)) {
      return [{ promise: 'D3', what: `it was refused: ${call.describe()}`, keys: call.keys }];
    }
    return [];
  });
}

/** Who must come before whom. Nodes are transactions, then one for each moment of completion. */
class Graph {
  private readonly next: number[][];

  constructor(
    private readonly transactions: readonly Transaction[],
    orders: ReadonlyMap<Key, readonly string[]>,
  ) {
    this.next = Array.from(transactions, () => []);
    for (const [key, order] of orders) this.addDependencies(key, order);
    this.addTime();
  }

  /** Some cycle, shortest links first; null when there is an order. */
  cycle(): Transaction[] | null {
    const waitsFor = this.next.map(() => 0);
    for (const targets of this.next) for (const to of targets) waitsFor[to]! += 1;
    const free = waitsFor.flatMap((count, node) => (count === 0 ? [node] : []));
    for (let node = free.pop(); node !== undefined; node = free.pop()) {
      for (const to of this.next[node]!) {
        waitsFor[to]! -= 1;
        if (waitsFor[to] === 0) free.push(to);
      }
    }
    const start = waitsFor.findIndex((count) => count > 0);
    return start < 0 ? null : this.walk(start, waitsFor);
  }

  /** Every node that still waits has a predecessor that waits: going back ends in a cycle. */
  private walk(start: number, waitsFor: readonly number[]): Transaction[] {
    const before = new Map<number, number>();
    for (const [node, targets] of this.next.entries()) {
      if (waitsFor[node]! > 0) for (const to of targets) before.set(to, node);
    }
    const path: number[] = [];
    let node = start;
    while (!path.includes(node)) {
      path.push(node);
      node = before.get(node)!;
    }
    const loop = path.slice(path.indexOf(node)).toReversed();
    return loop.flatMap((at) => this.transactions[at] ?? []);
  }

  private addDependencies(key: Key, order: readonly string[]): void {
    const writers = new Map<string, number>();
    for (const [node, { parts }] of this.transactions.entries()) {
      const part = parts.find((one) => one.key === key && one.appended !== '');
      if (part !== undefined) writers.set(part.appended, node);
    }
    for (const [node, { parts }] of this.transactions.entries()) {
      for (const part of parts) {
        if (part.key !== key) continue;
        // Who wrote what it saw precedes it; it precedes who wrote what it did not see.
        this.edge(writers.get(order[part.length - 1] ?? ''), node);
        const after = part.appended === '' ? part.length : part.length + 1;
        this.edge(node, writers.get(order[after] ?? ''));
      }
    }
  }

  /** What ended before something else began precedes it. */
  private addTime(): void {
    const count = this.transactions.length;
    const byEnd = Array.from(this.transactions.keys())
      .filter((node) => this.transactions[node]!.call.completed !== NEVER)
      .toSorted((a, b) => this.completed(a) - this.completed(b));
    for (const [at, node] of byEnd.entries()) {
      this.next.push(at + 1 < byEnd.length ? [count + at + 1] : []);
      this.edge(node, count + at);
    }
    const byStart = Array.from(this.transactions.keys()).toSorted(
      (a, b) => this.transactions[a]!.call.invoked - this.transactions[b]!.call.invoked,
    );
    let ended = 0;
    for (const node of byStart) {
      const { invoked } = this.transactions[node]!.call;
      while (ended < byEnd.length && this.completed(byEnd[ended]!) < invoked) ended += 1;
      if (ended > 0) this.edge(count + ended - 1, node);
    }
  }

  private completed(node: number): number {
    return this.transactions[node]!.call.completed;
  }

  private edge(from: number | undefined, to: number | undefined): void {
    if (from !== undefined && to !== undefined && from !== to) this.next[from]!.push(to);
  }
}
