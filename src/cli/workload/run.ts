import { Latencies } from './latencies.js';
import { Kind } from './mix.js';
import type { Store, Workload } from './workload.js';

export interface RunOptions {
  /** Hands: each begins its next operation when its last one is answered. */
  readonly concurrency: number;
  readonly forMs: number;
  /** Runs so long before anything is counted. */
  readonly warmMs?: number;
  /**
   * Operations that begin in a second, all hands together. Their latency counts from when they
   * were to begin: what a slow store delays is not left out.
   */
  readonly rate?: number;
  /** Operations that a hand begins in one turn of the event loop, as one. Default 1. */
  readonly batch?: number;
  /** A batch is one setr. */
  readonly commits?: boolean;
  readonly interrupted?: AbortSignal;
  /** Called when counting begins and when it ends. */
  readonly onEdge?: (edge: 'begin' | 'end') => void;
  /** Called now and then with the number of operations counted. */
  readonly onProgress?: (operations: number) => void;
}

/** What was counted. A read-modify-write is a write, a scan a read. */
export interface Outcome {
  readonly seconds: number;
  readonly reads: Latencies;
  readonly writes: Latencies;
  readonly errors: number;
  readonly firstError: string;
}

const PROGRESS_MS = 100;
/** Timers are this much late at worst: shorter waits poll. */
const TIMER_MS = 2;

/** Runs a workload; hand `n` uses store `n` modulo their number. */
export async function run(
  stores: readonly Store[],
  workload: Workload,
  options: RunOptions,
): Promise<Outcome> {
  const { concurrency, rate } = options;
  const runner = new Runner(workload, options);
  const hands = Array.from({ length: concurrency }, (_, hand) => {
    const store = stores[hand % stores.length]!;
    return rate === undefined ? runner.closed(store) : runner.open(store, rate);
  });
  return runner.finish(Promise.all(hands));
}

class Runner {
  private readonly reads = new Latencies();
  private readonly writes = new Latencies();
  private readonly batch: number;
  private counting = false;
  private stopping = false;
  private errors = 0;
  private firstError = '';
  private beganMs = 0;
  private readonly startMs = performance.now();
  private begun = 0;

  constructor(
    private readonly workload: Workload,
    private readonly options: RunOptions,
  ) {
    this.batch = options.batch ?? 1;
  }

  async finish(hands: Promise<unknown>): Promise<Outcome> {
    const { warmMs = 0, forMs, interrupted, onEdge, onProgress } = this.options;
    const ticker = setInterval(() => {
      onProgress?.(this.reads.count + this.writes.count);
    }, PROGRESS_MS);
    let endMs = this.beganMs;
    try {
      await pause(warmMs, interrupted);
      this.beganMs = performance.now();
      onEdge?.('begin');
      this.counting = true;
      await pause(forMs, interrupted);
      this.counting = false;
      endMs = performance.now();
      onEdge?.('end');
    } finally {
      this.stopping = true;
      clearInterval(ticker);
    }
    await hands;
    const { reads, writes, errors, firstError } = this;
    return { seconds: (endMs - this.beganMs) / 1000, reads, writes, errors, firstError };
  }

  /** Closed loop. Awaits what the store gives, without a promise of its own in between. */
  async closed(store: Store): Promise<void> {
    const { workload, batch } = this;
    let startMs = performance.now();
    while (!this.stopping) {
      const kind = workload.draw();
      try {
        await (batch === 1 ? workload.begin(kind, store) : this.many(kind, store));
        const endMs = performance.now();
        if (this.counting) this.count(kind, endMs - startMs);
        startMs = endMs;
      } catch (error) {
        await this.fail(error);
        startMs = performance.now();
      }
    }
  }

  /** Takes the next operation of the schedule; waits until it is due, or begins it late. */
  async open(store: Store, rate: number): Promise<void> {
    while (!this.stopping) {
      const dueMs = this.startMs + (this.begun++ * 1000) / rate;
      for (;;) {
        const leftMs = dueMs - performance.now();
        if (leftMs <= 0 || this.stopping) break;
        if (leftMs > TIMER_MS) await pause(Math.min(PROGRESS_MS, leftMs - TIMER_MS));
        else await turn();
      }
      if (this.stopping) return;
      const kind = this.workload.draw();
      try {
        await this.workload.begin(kind, store);
        if (this.counting) this.count(kind, performance.now() - dueMs);
      } catch (error) {
        await this.fail(error);
      }
    }
  }

  /** All of one kind, so that the latency is of that kind. */
  private many(kind: Kind, store: Store): Promise<unknown> {
    if (this.options.commits === true) return this.workload.commit(store, this.batch);
    const begun = Array.from({ length: this.batch }, () => this.workload.begin(kind, store));
    return Promise.all(begun);
  }

  private count(kind: Kind, ms: number): void {
    const read = kind === Kind.Read || kind === Kind.Scan;
    (read ? this.reads : this.writes).add(ms, this.batch);
  }

  /** What fails at once must not keep the timers from running. */
  private fail(error: unknown): Promise<void> {
    if (this.counting) {
      this.errors += 1;
      if (this.errors === 1) this.firstError = String(error);
    }
    return turn();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pause(ms: number, interrupted?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (interrupted?.aborted === true) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      interrupted?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    interrupted?.addEventListener('abort', end);
  });
}
