import type { Sequence } from './ids.js';
import type { Operation, Result } from './operation.js';

/** Someone who waits for an entry to commit: its answer, or a fact that depends on it. */
export class Waiting {
  /** Who waits for the same entry, and came later. */
  next: Waiting | null = null;
  /** Of the first one: the last of them. */
  last: Waiting = this;

  constructor(
    readonly request: number,
    readonly operation: Operation,
    /** Of the entry: what it wrote; or the operation is to begin anew. */
    readonly result: Result | 'written' | 'again',
  ) {}
}

/** The requests of one bucket that wait for entries to commit, in the order in which they came. */
export class CommitWaits {
  private readonly waiting = new Map<Sequence, Waiting>();

  add(sequence: Sequence, request: number, operation: Operation, result: Waiting['result']): void {
    const waiting = new Waiting(request, operation, result);
    const first = this.waiting.get(sequence);
    if (first === undefined) {
      this.waiting.set(sequence, waiting);
      return;
    }
    first.last.next = waiting;
    first.last = waiting;
  }

  /** The entry is committed: the first one that waited for it, or null. */
  take(sequence: Sequence): Waiting | null {
    const first = this.waiting.get(sequence);
    if (first === undefined) return null;
    this.waiting.delete(sequence);
    return first;
  }

  /** All of them, which wait no more. */
  drain(): Waiting[] {
    const all: Waiting[] = [];
    for (const first of this.waiting.values()) {
      for (let one: Waiting | null = first; one !== null; one = one.next) all.push(one);
    }
    this.waiting.clear();
    return all;
  }
}
