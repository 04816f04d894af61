/** Groups above this size go through the pool in any case. */
const BLOCKING_BYTES = 256 * 1024;
/** Slower than this on the average: the pool takes over. */
const QUICK_MS = 2;
/** A disk that takes so long is left alone: nothing is blocked to find out how it is. */
const STALL_MS = 20;
/** Weight of the newest flush in the average. */
const WEIGHT = 1 / 16;
/** One of so many groups is written blocking, to find out whether the disk is quick again. */
const PROBE_EVERY = 64;

/**
 * Whether the next group of the log may block the event loop while it is flushed. On a quick disk
 * that costs half the processor time of a detour through the thread pool, and nothing else could be
 * answered much earlier; on a slow one reads would wait for writes. Decided by how long flushes
 * that blocked took; how long one took in the pool says more about the event loop than about the
 * disk, unless it is very long. See docs/decisions/0016.
 */
export class FlushPace {
  private averageMs = 0;
  private lastMs = 0;
  private sinceProbe = 0;

  /** `bytes`: of the group to be written. */
  mayBlock(bytes: number): boolean {
    if (bytes > BLOCKING_BYTES) return false;
    if (this.averageMs < QUICK_MS) return true;
    this.sinceProbe += 1;
    if (this.sinceProbe < PROBE_EVERY || this.lastMs > STALL_MS) return false;
    this.sinceProbe = 0;
    return true;
  }

  /** A flush took so long. */
  took(ms: number, blocked: boolean): void {
    this.lastMs = ms;
    if (ms > STALL_MS) this.averageMs = Math.max(this.averageMs, 2 * QUICK_MS);
    else if (blocked) this.averageMs += (ms - this.averageMs) * WEIGHT;
  }
}
