import type { Key } from './ids.js';

interface Hold {
  readonly untilMs: number;
  /** No other hold begins before: writes get at least half of the time. */
  readonly againMs: number;
}

/** The longest hold that anybody may ask for, ms. */
const MOST_MS = 160;

/**
 * Keys whose writes wait for a moment, so that a getr among many writes comes to an end. A hold is
 * a courtesy in this server's memory: nothing is wrong when it is forgotten.
 */
export class ReadHolds {
  private readonly holds = new Map<Key, Hold>();

  hold(key: Key, now: number, forMs: number): void {
    const present = this.holds.get(key);
    if (present !== undefined && now < present.againMs) return;
    const ms = Math.min(forMs, MOST_MS);
    this.holds.set(key, { untilMs: now + ms, againMs: now + 2 * ms });
  }

  on(key: Key, now: number): boolean {
    const hold = this.holds.get(key);
    return hold !== undefined && now < hold.untilMs;
  }

  get any(): boolean {
    return this.holds.size > 0;
  }

  sweep(now: number): void {
    for (const [key, { againMs }] of this.holds) if (now >= againMs) this.holds.delete(key);
  }
}
