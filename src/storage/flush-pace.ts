/** Groups above this size go through the pool in any case. */
const BLOCKING_BYTES = 256 * 1024;
/** Slower than this on the average: the pool takes over. */
const QUICK_MS = 1;
/** One flush that takes so long is enough. */
const STALL_MS = 20;
/** Weight of the newest flush in the average. */
const WEIGHT = 1 / 16;

/**
 * Whether the next group of the log may block the event loop while it is flushed. On a quick disk
 * that costs half the processor time of a detour through the thread pool, and nothing else could be
 * answered much earlier; on a slow one reads would wait for writes. Decided by how long flushes
 * took, of either kind. See docs/decisions/0016.
 */
export class FlushPace {
  private averageMs = 0;

  /** `bytes`: of the group to be written. */
  mayBlock(bytes: number): boolean {
    return this.averageMs < QUICK_MS && bytes <= BLOCKING_BYTES;
  }

  /** A flush took so long. */
  took(ms: number): void {
    const counted = ms > STALL_MS ? Math.max(ms, 2 * QUICK_MS) / WEIGHT : ms;
    this.averageMs += (counted - this.averageMs) * WEIGHT;
  }
}
