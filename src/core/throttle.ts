import type { ViewParameters } from './view.js';

/** Bytes that may leave at once: as many as the rate gives in this time, s. */
const BURST_S = 0.1;
/** Sizes of a chunk of what is moved, in chunks of the setting. */
const CHUNK = { least: 0.5, most: 4 } as const;
/** After so long without a transfer the next ones begin slowly. */
const COLD_AFTER_MS = 1000;
/** Until then the rate grows, from a small share of it on. */
const WARM_UP_MS = 5000;
const LEAST_WARM = 0.05;

/**
 * Keeps the copying of buckets out of the way of clients: so many transfers at a time, so many
 * bytes a second. Both begin low: a server that has just started is slow, and its peers wait.
 */
export class Throttle {
  private transfers = 0;
  private permits = 1;
  private endedMs = -Infinity;
  /** When the first transfer after a pause began. */
  private coldMs = -Infinity;
  private budget = 0;
  private tickMs: number;

  constructor(
    private readonly settings: { readonly transfersAtOnce: number; readonly chunkBytes: number },
    now: number,
  ) {
    this.tickMs = now;
  }

  /** A permit among the concurrent transfers, or false. */
  begin(now: number): boolean {
    if (this.transfers === 0 && now - this.endedMs > COLD_AFTER_MS) {
      this.permits = 1;
      this.coldMs = now;
    }
    if (!this.free) return false;
    this.transfers += 1;
    return true;
  }

  /** A transfer could begin. */
  get free(): boolean {
    return this.transfers < this.permits;
  }

  end(now: number): void {
    this.transfers -= 1;
    this.endedMs = now;
    this.permits = Math.min(this.permits + 1, this.settings.transfersAtOnce);
  }

  /** Bytes that may go to learners now; negative when the rate is used up. */
  left({ rebalanceRateBytes }: ViewParameters): number {
    return rebalanceRateBytes === 0 ? 1 : this.budget;
  }

  /** Bytes of one chunk: small ones stay out of the way, large ones cost less. */
  chunkBytes({ rebalanceRateBytes }: ViewParameters): number {
    const { chunkBytes } = this.settings;
    const most = chunkBytes * CHUNK.most;
    if (rebalanceRateBytes === 0) return most;
    const least = Math.ceil(chunkBytes * CHUNK.least);
    return Math.round(Math.min(most, Math.max(least, rebalanceRateBytes * BURST_S)));
  }

  charge(bytes: number): void {
    this.budget -= bytes;
  }

  tick(now: number, { rebalanceRateBytes }: ViewParameters): void {
    const warm = Math.min(1, Math.max(LEAST_WARM, (now - this.coldMs) / WARM_UP_MS));
    const rate = rebalanceRateBytes * warm;
    const burst = Math.max(rate * BURST_S, this.settings.chunkBytes * CHUNK.least);
    this.budget = Math.min(burst, this.budget + (rate * (now - this.tickMs)) / 1000);
    this.tickMs = now;
  }
}
