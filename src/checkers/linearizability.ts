import { Prng } from './prng.js';

/** One operation on an object with states `S`. */
export interface Step<S> {
  /** Order among all invocations and completions; a completion may be Infinity: never told. */
  readonly invoked: number;
  readonly completed: number;
  /** The state after the operation, or null when it cannot happen in `state`. */
  apply(state: S): S | null;
}

export interface Verdict {
  readonly answer: 'linearizable' | 'violated' | 'undecided';
  /** Of a violation: how many operations, in order of completion, can be explained. */
  readonly explained: number;
  readonly visited: number;
}

/** Nodes of the list: 2i is the invocation of step i, 2i + 1 its completion; the last the head. */
class EventList {
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly head: number;

  constructor(steps: readonly Step<unknown>[]) {
    this.head = steps.length * 2;
    this.next = new Int32Array(this.head + 1).fill(-1);
    this.previous = new Int32Array(this.head + 1).fill(-1);
    const events = steps.flatMap(({ invoked, completed }, at) => {
      const invocation = { order: invoked, node: at * 2 };
      return completed === Infinity
        ? [invocation]
        : [invocation, { order: completed, node: at * 2 + 1 }];
    });
    events.sort((left, right) => left.order - right.order);
    let last = this.head;
    for (const { node } of events) {
      this.next[last] = node;
      this.previous[node] = last;
      last = node;
    }
  }

  get first(): number {
    return this.next[this.head]!;
  }

  after(node: number): number {
    return this.next[node]!;
  }

  unlink(node: number): void {
    const next = this.next[node]!;
    const previous = this.previous[node]!;
    if (previous < 0) return;
    this.next[previous] = next;
    if (next >= 0) this.previous[next] = previous;
  }

  relink(node: number): void {
    const next = this.next[node]!;
    const previous = this.previous[node]!;
    if (previous < 0) return;
    this.next[previous] = node;
    if (next >= 0) this.previous[next] = node;
  }
}

/**
 * A name for the set of steps taken, kept up to date step by step: the exclusive or of one random
 * number of 64 bits per step (Zobrist 1970). Two sets share a name with a chance of 2⁻⁶⁴.
 */
class Taken {
  private readonly low: Int32Array;
  private readonly high: Int32Array;
  private lowName = 0;
  private highName = 0;

  constructor(steps: number) {
    const random = new Prng(steps);
    this.low = Int32Array.from({ length: steps }, () => random.next() | 0);
    this.high = Int32Array.from({ length: steps }, () => random.next() | 0);
  }

  /** Put a step in, or take it out again. */
  toggle(step: number): void {
    this.lowName ^= this.low[step]!;
    this.highName ^= this.high[step]!;
  }

  get name(): string {
    return `${this.lowName},${this.highName}`;
  }
}

/**
 * Searches for an order of the steps that agrees with real time and with `apply` (Wing and Gong
 * 1993, with the memory of visited states of Lowe 2017). A step that never completed may happen at
 * any time after its invocation, or never. Gives up after `budget` visited states.
 */
export function linearize<S>(
  steps: readonly Step<S>[],
  initial: S,
  nameOf: (state: S) => string,
  budget = 500_000,
): Verdict {
  const events = new EventList(steps);
  const taken = new Taken(steps.length);
  const visited = new Set<string>();
  const chosen: { at: number; before: S }[] = [];
  let left = steps.filter(({ completed }) => completed !== Infinity).length;
  const required = left;
  let explained = 0;
  let state = initial;
  let node = events.first;
  while (left > 0) {
    if (node >= 0 && node % 2 === 0) {
      const at = node >> 1;
      const next = steps[at]!.apply(state);
      if (next !== null) {
        taken.toggle(at);
        const name = `${taken.name}|${nameOf(next)}`;
        if (!visited.has(name)) {
          visited.add(name);
          if (visited.size > budget) return { answer: 'undecided', explained, visited: budget };
          chosen.push({ at, before: state });
          state = next;
          events.unlink(node);
          events.unlink(node + 1);
          if (steps[at]!.completed !== Infinity) left -= 1;
          explained = Math.max(explained, required - left);
          node = events.first;
          continue;
        }
        taken.toggle(at);
      }
      node = events.after(node);
      continue;
    }
    // A step completed here that none of the choices so far explains: take the last one back.
    const last = chosen.pop();
    if (last === undefined) return { answer: 'violated', explained, visited: visited.size };
    state = last.before;
    taken.toggle(last.at);
    if (steps[last.at]!.completed !== Infinity) left += 1;
    events.relink(last.at * 2 + 1);
    events.relink(last.at * 2);
    node = events.after(last.at * 2);
  }
  return { answer: 'linearizable', explained, visited: visited.size };
}
