interface Event {
  readonly atMs: number;
  /** Breaks ties: what was scheduled first happens first. */
  readonly order: number;
  readonly action: () => void;
}

function before(left: Event, right: Event): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

/** Virtual time: a queue of events. Nothing happens between two events. Milliseconds. */
export class Clock {
  now = 0;
  private readonly heap: Event[] = [];
  private scheduled = 0;

  after(delayMs: number, action: () => void): void {
    const event = { atMs: this.now + Math.max(0, delayMs), order: this.scheduled++, action };
    const { heap } = this;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above]!;
      if (before(parent, event)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = event;
  }

  /** Let everything happen that is due up to `untilMs`. */
  run(untilMs: number): void {
    for (let next = this.heap[0]; next !== undefined; next = this.heap[0]) {
      if (next.atMs > untilMs) break;
      this.removeFirst();
      this.now = next.atMs;
      next.action();
    }
    this.now = untilMs;
  }

  private removeFirst(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && before(heap[below + 1]!, heap[below]!)) below += 1;
      if (before(last, heap[below]!)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
  }
}

/**
 * The clocks that one process reads: a monotonic one that starts near zero with the process and
 * runs a little fast, and a wall clock that may be wrong and may be set while the process runs.
 */
export class ProcessClock {
  private readonly startedMs: number;

  constructor(
    private readonly clock: Clock,
    /** At least 1; how much faster than virtual time it runs. */
    private readonly rate: number,
    /** Added to virtual time it gives the wall clock. */
    private wallOffsetMs: number,
  ) {
    this.startedMs = clock.now;
  }

  monotonicMs(): number {
    return (this.clock.now - this.startedMs) * this.rate;
  }

  wallMs(): number {
    return Math.floor(this.clock.now + this.wallOffsetMs);
  }

  /** Someone sets the wall clock. */
  stepWall(byMs: number): void {
    this.wallOffsetMs += byMs;
  }
}
