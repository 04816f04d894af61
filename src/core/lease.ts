import type { Epoch, Ordinal } from './ids.js';

/** Beacons whose answers may still count. */
const BEACONS = 256;

/**
 * Both halves of the lease (D1, V2). Beacons run between servers, not through the view leader.
 *
 * The primary's half: server P may answer reads alone while every server it replicates to answered
 * a beacon that P *sent* less than `leaseMs` ago. An answer made under a newer view than P's does
 * not count before P has adopted that view too: the answerer may already follow another primary.
 *
 * The secondary's half: server S, made primary by a new view, serves once no answer it gave before
 * it adopted that view can still be a lease somewhere: `graceMs` after the last beacon *received*
 * from each server that has not shown, by a beacon of its own, that it adopted that view as well.
 *
 * Safe while no clock runs more than `graceMs / leaseMs - 1` faster than another. Monotonic
 * milliseconds only. (PacificA, MSR-TR-2008-117, §3.1, with servers instead of replica groups.)
 */
export class Lease {
  private readonly sentMs = new Set<number>();
  private readonly answered = new Map<Ordinal, number>();
  private readonly ahead = new Map<Ordinal, { epoch: Epoch; sentMs: number }>();
  private readonly received = new Map<Ordinal, number>();
  private readonly shown = new Map<Ordinal, Epoch>();

  constructor(
    /** Beacons that a former incarnation answered are unknown: their grace counts from here. */
    private readonly startedMs: number,
  ) {}

  /** Beacons leave now. */
  sent(now: number): void {
    this.sentMs.add(now);
    if (this.sentMs.size <= BEACONS) return;
    for (const oldest of this.sentMs) {
      this.sentMs.delete(oldest);
      return;
    }
  }

  /**
   * A beacon of ours was answered by `from`, whose view then had `epoch`. An answer to a beacon of
   * a former incarnation carries a time of another clock: it is not known here.
   */
  answer(from: Ordinal, epoch: Epoch, sentMs: number, ownEpoch: Epoch): void {
    if (!this.sentMs.has(sentMs)) return;
    if (epoch <= ownEpoch) this.extend(from, sentMs);
    else this.ahead.set(from, { epoch, sentMs });
  }

  /** Our view now has `epoch`: answers that were ahead of us may count. */
  adopted(epoch: Epoch): void {
    for (const [from, held] of this.ahead) {
      if (held.epoch > epoch) continue;
      this.ahead.delete(from);
      this.extend(from, held.sentMs);
    }
  }

  /** Whether a primary may answer alone at `now`, as far as its replica `other` goes. */
  holds(other: Ordinal, now: number, leaseMs: number): boolean {
    const sentMs = this.answered.get(other);
    return sentMs !== undefined && now - sentMs < leaseMs;
  }

  /** Whether each of `others` answered a beacon that was sent after `sinceMs`. */
  confirmedSince(others: Iterable<Ordinal>, sinceMs: number): boolean {
    for (const other of others) {
      if ((this.answered.get(other) ?? -Infinity) <= sinceMs) return false;
    }
    return true;
  }

  /** A beacon of `from`, whose view has `epoch`, arrived; it will be answered. */
  beacon(from: Ordinal, epoch: Epoch, now: number): void {
    this.received.set(from, now);
    if (epoch > (this.shown.get(from) ?? 0)) this.shown.set(from, epoch);
  }

  /**
   * What a server that becomes primary at `epoch` has to wait for: for each other server, until
   * when it may still hold a lease that this one answered.
   */
  waits(others: Iterable<Ordinal>, epoch: Epoch, now: number, graceMs: number): TakeoverWait {
    const until = new Map<Ordinal, number>();
    for (const other of others) {
      if ((this.shown.get(other) ?? 0) >= epoch) continue;
      const end = (this.received.get(other) ?? this.startedMs) + graceMs;
      if (end > now) until.set(other, end);
    }
    return new TakeoverWait(epoch, until);
  }

  /** The newest epoch `other` has shown to have adopted. */
  shownBy(other: Ordinal): Epoch {
    return this.shown.get(other) ?? 0;
  }

  /**
   * When a word of `other` arrived last (its beacon), or left here before it was answered (ours);
   * -Infinity when never.
   */
  heardMs(other: Ordinal): number {
    const received = this.received.get(other) ?? -Infinity;
    return Math.max(received, this.answered.get(other) ?? -Infinity);
  }

  private extend(from: Ordinal, sentMs: number): void {
    if (sentMs > (this.answered.get(from) ?? -Infinity)) this.answered.set(from, sentMs);
  }
}

/** The wait of one takeover; shared by all buckets taken over with the same view. */
export class TakeoverWait {
  constructor(
    private readonly epoch: Epoch,
    private readonly until: Map<Ordinal, number>,
  ) {}

  over(lease: Lease, now: number): boolean {
    for (const [other, end] of this.until) {
      if (now >= end || lease.shownBy(other) >= this.epoch) this.until.delete(other);
    }
    return this.until.size === 0;
  }
}
