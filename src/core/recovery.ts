import { Bucket } from './bucket.js';
import type { RecoveredCausal } from './causal.js';
import { CausalBucket, type CausalChange, latest } from './causal-bucket.js';
import { holdersOf } from './causal-gossip.js';
import { MOST_BUCKETS } from './causal-record.js';
import { hasCausal } from './causal-rules.js';
import type { BucketId, Ordinal, Sequence } from './ids.js';
import type { BucketMeta } from './message.js';
import type { LogRecord, StateStore } from './outbox.js';
import { applyDelta, isGivenUp, type View, type ViewDelta } from './view.js';

/** What a server knows when it starts. */
export interface Recovered {
  /** The newest view it had adopted; null for a new server. */
  readonly view: View | null;
  readonly buckets: Map<BucketId, Bucket>;
  /** Given up, while the checkpoint may still say that they are held. */
  readonly gone: readonly BucketId[];
  readonly causal: RecoveredCausal;
}

/**
 * Rebuilds a server from its last checkpoint and its log, in two passes. The first pass (`scan`)
 * finds where each bucket was last replaced by a snapshot or dropped: older entries are void and
 * must not touch the records that the snapshot wrote. The second (`replay`) applies what was known
 * to be committed and keeps the rest as prepared. Replay is idempotent: the state store may
 * already hold effects beyond the checkpoint.
 */
export class Recovery {
  private readonly voidBefore = new Map<BucketId, number>();
  private readonly commitPoints = new Map<BucketId, Sequence>();
  private readonly buckets = new Map<BucketId, Bucket>();
  private readonly causal = new Map<BucketId, CausalBucket>();
  /**
   * Who left each bucket in the views that are replayed. A view is durable before what it makes of
   * the causal buckets is: a server that is killed between the two must not forget whose writes it
   * may lack.
   */
  private readonly left = new Map<BucketId, Set<Ordinal>>();
  /** Of the last causal write, and of the latest one seen. */
  private number = 0;
  private clock = 0;

  constructor(
    metas: ReadonlyMap<BucketId, BucketMeta>,
    private view: View | null,
    private readonly store: StateStore,
    private readonly self: Ordinal,
  ) {
    for (const [id, meta] of metas) {
      if (meta.causal !== null) {
        this.number = Math.max(this.number, meta.causal.number);
        this.clock = Math.max(this.clock, meta.causal.clock);
        this.causalBucket(id - MOST_BUCKETS).load(meta.causal, store);
        continue;
      }
      const bucket = new Bucket(id);
      bucket.load(meta);
      this.buckets.set(id, bucket);
    }
  }

  /** First pass, over every record in log order. `position` grows along the log. */
  scan(position: number, record: LogRecord): void {
    if (record.type === 'installed' || record.type === 'dropped') {
      this.replacedAt(record.bucket, position);
    }
  }

  /** Instead of the first pass, by whoever knows where each bucket was last replaced or dropped. */
  replacedAt(bucket: BucketId, position: number): void {
    this.voidBefore.set(bucket, position);
  }

  /** Second pass, over the same records. */
  replay(position: number, record: LogRecord): void {
    if (record.type === 'view') {
      if (this.view === null || record.view.epoch > this.view.epoch) this.replayView(record.view);
      return;
    }
    if (record.type === 'viewDelta') {
      this.replayDelta(record.delta);
      return;
    }
    if (record.type === 'causal') {
      this.replayCausal(record.bucket, record.change);
      return;
    }
    if (position < (this.voidBefore.get(record.bucket) ?? 0)) return;
    const bucket = this.bucket(record.bucket);
    switch (record.type) {
      case 'entry':
        this.replayEntry(bucket, record);
        break;
      case 'cut':
        // Also one below the commit point, which was reached later: what came before is void.
        bucket.cutAfter(record.sequence);
        break;
      case 'installed':
        // The checkpoint may be past the snapshot already; or of a replica that was here before.
        if (record.meta.life !== bucket.life) bucket.load(record.meta);
        break;
      case 'dropped':
        bucket.load(null);
        this.store.clear(record.bucket);
        break;
    }
  }

  finish(): Recovered {
    const gone: BucketId[] = [];
    for (const [id, bucket] of this.buckets) {
      if (bucket.empty) {
        this.buckets.delete(id);
        gone.push(id);
      }
      bucket.matched = bucket.commitPoint;
      bucket.blurredUpTo = bucket.last;
      // Never answer to a ballot older than one that wrote here.
      bucket.promised = bucket.ballotAt(bucket.last) ?? bucket.commitBallot;
    }
    const { view, buckets, number, clock } = this;
    if (view !== null) this.noteWhoLeft(view);
    return { view, buckets, gone, causal: { buckets: this.causal, number, clock } };
  }

  private replayCausal(id: BucketId, change: CausalChange): void {
    this.clock = latest(this.clock, change);
    for (const { writer, number } of change.records) {
      if (writer === this.self && number > this.number) this.number = number;
    }
    this.causalBucket(id).apply(change, this.store, false);
  }

  private causalBucket(id: BucketId): CausalBucket {
    let bucket = this.causal.get(id);
    if (bucket === undefined) {
      bucket = new CausalBucket(id, this.self);
      this.causal.set(id, bucket);
    }
    return bucket;
  }

  private replayDelta(delta: ViewDelta): void {
    if (this.view !== null && delta.toEpoch <= this.view.epoch) return;
    const next = this.view === null ? null : applyDelta(this.view, delta);
    if (next === null) {
      const have = this.view?.epoch ?? 0;
      throw new Error(`the log goes from view ${have} to ${delta.toEpoch}: a view is missing`);
    }
    this.replayView(next);
  }

  private replayView(next: View): void {
    const before = this.view;
    this.view = next;
    if (before === null || !hasCausal(next)) return;
    for (const [id, row] of before.rows.entries()) {
      const follower = next.rows[id];
      if (follower === undefined || follower === row) continue;
      const holders = holdersOf(follower);
      for (const server of holdersOf(row)) {
        if (holders.has(server)) continue;
        const left = this.left.get(id) ?? new Set();
        this.left.set(id, left.add(server));
      }
    }
  }

  /**
   * More than have anything left to hand on, maybe: those that have not say so when they are told
   * that they are waited for.
   */
  private noteWhoLeft(view: View): void {
    for (const [id, servers] of this.left) {
      const row = view.rows[id];
      const holders = row === undefined ? new Set<Ordinal>() : holdersOf(row);
      if (!holders.has(this.self) && (this.causal.get(id)?.empty ?? true)) continue;
      for (const server of servers) {
        if (server === this.self || holders.has(server) || isGivenUp(view, server)) continue;
        const bucket = this.causalBucket(id);
        bucket.former.add(server);
        bucket.dirty = true;
      }
    }
  }

  private replayEntry(bucket: Bucket, record: LogRecord & { type: 'entry' }): void {
    const { entry } = record;
    if (entry.sequence <= bucket.last + 1) {
      // As when it was logged; the same goes for one that the checkpoint has.
      bucket.cutAfter(entry.sequence - 1);
      if (entry.sequence > bucket.commitPoint) bucket.append(entry);
    }
    const known = Math.max(this.commitPoints.get(bucket.id) ?? 0, record.commitPoint);
    this.commitPoints.set(bucket.id, known);
    while (bucket.commitPoint < Math.min(known, bucket.last)) bucket.commitNext(this.store);
  }

  private bucket(id: BucketId): Bucket {
    let bucket = this.buckets.get(id);
    if (bucket === undefined) {
      bucket = new Bucket(id);
      this.buckets.set(id, bucket);
    }
    return bucket;
  }
}
