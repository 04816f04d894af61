import type { BucketId } from './ids.js';
import type { Operation } from './operation.js';
import type { Code } from './refusal.js';

/** An operation that waits for something to change, and what it is told if nothing does. */
export interface Parked {
  readonly request: number;
  readonly operation: Operation;
  readonly bucket: BucketId;
  readonly deadlineMs: number;
  readonly code: Code;
  readonly why: string;
}

/**
 * Operations that cannot be served now but may be soon: a take-over, a lost lease, a locked key, a
 * view that lags. Nothing of them has taken effect. Bounded (U3).
 */
export class Parking {
  private readonly byBucket = new Map<BucketId, Parked[]>();
  /** Deadlines outlive a resubmission. */
  private readonly deadlines = new Map<number, number>();
  private count = 0;

  constructor(private readonly most: number) {}

  /** False when there is no room. */
  add(
    request: number,
    operation: Operation,
    bucket: BucketId,
    now: number,
    code: Code,
    why: string,
  ): boolean {
    if (this.count >= this.most) return false;
    const deadlineMs = this.deadlines.get(request) ?? now + operation.timeoutMs;
    this.deadlines.set(request, deadlineMs);
    const parked = { request, operation, bucket, deadlineMs, code, why };
    const list = this.byBucket.get(bucket);
    if (list === undefined) this.byBucket.set(bucket, [parked]);
    else list.push(parked);
    this.count += 1;
    return true;
  }

  /** Take all that wait for a bucket, oldest first. */
  take(bucket: BucketId): readonly Parked[] {
    const list = this.byBucket.get(bucket);
    if (list === undefined) return [];
    this.byBucket.delete(bucket);
    this.count -= list.length;
    return list;
  }

  takeAll(): Parked[] {
    return Array.from(this.byBucket.keys()).flatMap((bucket) => this.take(bucket));
  }

  /** Take those whose time is over. */
  expired(now: number): Parked[] {
    const over: Parked[] = [];
    for (const [bucket, list] of this.byBucket) {
      const keep = list.filter((parked) => parked.deadlineMs > now);
      if (keep.length === list.length) continue;
      over.push(...list.filter((parked) => parked.deadlineMs <= now));
      if (keep.length > 0) this.byBucket.set(bucket, keep);
      else this.byBucket.delete(bucket);
    }
    this.count -= over.length;
    return over;
  }

  /** The request was answered or went elsewhere. */
  forget(request: number): void {
    if (this.deadlines.size > 0) this.deadlines.delete(request);
  }
}
