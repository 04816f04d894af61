import { Bucket } from './bucket.js';
import type { Host } from './host.js';
import { ballotEpoch, type BucketId } from './ids.js';
import type { TakeoverWait } from './lease.js';
import { Learner } from './learner.js';
import type { BucketMeta } from './message.js';
import { Primary } from './primary.js';
import type { Recovered } from './recovery.js';
import type { Scrub } from './scrub.js';
import type { BucketRow, View } from './view.js';

/** Buckets that are looked through for what has expired, at a time. */
const SWEEPS_AT_ONCE = 16;

/** What a bucket is to this server. */
export interface Replica {
  readonly bucket: Bucket;
  readonly learner: Learner;
  primary: Primary | null;
}

/** The replicas that one server holds, and the roles that the view gives it in their buckets. */
export class Replicas {
  readonly primaries = new Set<Primary>();
  private readonly byBucket = new Map<BucketId, Replica>();
  private readonly dirty = new Set<Primary>();
  /** Those that ticks are for: most buckets have nothing to do most of the time. */
  private readonly awake = new Set<Primary>();
  /** Those that only wait until a learner of theirs may be caught up. */
  private readonly queued = new Set<Primary>();
  /** Given up since the last checkpoint. */
  private readonly gaveUp = new Set<BucketId>();
  /** Given up, but not durably yet: their records are still here. */
  private readonly givingUp = new Set<BucketId>();

  constructor(
    private readonly host: Host,
    private readonly incarnation: number,
    recovered: Recovered,
    private readonly scrub: Scrub,
  ) {
    for (const bucket of recovered.buckets.values()) this.add(bucket);
    // The next checkpoint must say so before the log that does is cut off.
    for (const bucket of recovered.gone) this.gaveUp.add(bucket);
  }

  /** Buckets held here. */
  get all(): ReadonlyMap<BucketId, Replica> {
    return this.byBucket;
  }

  get(bucket: BucketId): Replica | undefined {
    return this.byBucket.get(bucket);
  }

  /** Whoever asks gives it something to do. */
  primaryOf(bucket: BucketId): Primary | null | undefined {
    const primary = this.byBucket.get(bucket)?.primary;
    if (primary) this.wake(primary);
    return primary;
  }

  /** Time has passed. `tellCommit`: see `Primary.tick`. `turn`: queued ones may have theirs. */
  tick(tellCommit: boolean, turn: boolean): void {
    const due = Array.from(this.awake);
    if (turn) for (const primary of this.queued) if (!this.awake.has(primary)) due.push(primary);
    for (const primary of due) {
      primary.tick(tellCommit);
      const { rest } = primary;
      if (rest === 'none') this.wake(primary);
      else {
        primary.awake = false;
        this.awake.delete(primary);
      }
      if (rest === 'queued') this.queued.add(primary);
      else this.queued.delete(primary);
    }
  }

  /**
   * Take up the roles of the host's view. `before`: the view adopted last; views between the two
   * were skipped if their epochs are not consecutive. `resuming`: the roles are those of a former
   * incarnation.
   */
  adopt(before: View, resuming: boolean): void {
    const { view } = this.host;
    const skipped = view.epoch > before.epoch + 1;
    let wait: TakeoverWait | null = null;
    if (view.namespaces !== before.namespaces) {
      for (const primary of this.primaries) primary.serving.expiry.wake();
    }
    for (const [bucket, row] of view.rows.entries()) {
      if (row === before.rows[bucket]) continue;
      wait = this.takeRole(bucket, row, skipped, resuming, wait);
    }
    for (const [ordinal, { incarnation }] of view.members) {
      if (before.members.get(ordinal)?.incarnation === incarnation) continue;
      for (const primary of this.primaries) {
        primary.onRestarted(ordinal);
        this.wake(primary);
      }
    }
  }

  /**
   * The log says durably that the bucket is not here: now its records may go. The other way round,
   * a crash would leave a replica that claims records which it has lost.
   */
  onGaveUp(bucket: BucketId): void {
    const { store, view } = this.host;
    store.clear(bucket);
    this.scrub.onForgotten(bucket);
    this.givingUp.delete(bucket);
    const row = view.rows[bucket];
    if (row !== undefined) this.takeRole(bucket, row, true, false, null);
  }

  /** Call the role at the end of this batch of inputs. */
  markDirty(primary: Primary): void {
    if (!this.primaries.has(primary)) return;
    this.wake(primary);
    this.dirty.add(primary);
  }

  private wake(primary: Primary): void {
    if (primary.awake) return;
    primary.awake = true;
    this.awake.add(primary);
  }

  /** End of a batch of inputs. */
  flush(): void {
    for (const primary of this.dirty) {
      // A flush may begin a role, which then logs what waited: that comes round again.
      this.dirty.delete(primary);
      if (this.primaries.has(primary)) primary.flush();
    }
  }

  /** Committed state of the buckets that changed since the last call; null: not held any more. */
  takeDirty(): Map<BucketId, BucketMeta | null> {
    const metas = new Map<BucketId, BucketMeta | null>();
    for (const [id, { bucket }] of this.byBucket) {
      if (!bucket.dirty) continue;
      bucket.dirty = false;
      metas.set(id, bucket.empty ? null : bucket.meta());
    }
    // One that came back since is held again: its meta counts.
    for (const id of this.gaveUp) if (!metas.has(id)) metas.set(id, null);
    this.gaveUp.clear();
    return metas;
  }

  /** End what has expired, in a few buckets. */
  sweep(): void {
    let left = SWEEPS_AT_ONCE;
    for (const primary of Array.from(this.primaries)) {
      if (left === 0) return;
      if (!primary.serving.sweep()) continue;
      left -= 1;
      // Next time it is the turn of others.
      this.primaries.delete(primary);
      this.primaries.add(primary);
    }
  }

  private takeRole(
    id: BucketId,
    row: BucketRow,
    skipped: boolean,
    resuming: boolean,
    wait: TakeoverWait | null,
  ): TakeoverWait | null {
    const { self } = this.host;
    // Wanted again while the old copy is being given up: taken up when that is done.
    if (this.givingUp.has(id)) return wait;
    const replica = this.byBucket.get(id);
    if (!row.replicas.includes(self) && !row.target.includes(self)) {
      if (replica !== undefined) this.giveUp(id, replica);
      return wait;
    }
    // What is damaged is learned again, once others are in sync without it (D7).
    const mends = !row.replicas.includes(self) && this.scrub.isDamaged(id);
    if (replica !== undefined && (mends || isVoid(replica.bucket, row))) {
      this.giveUp(id, replica);
      return wait;
    }
    const held = replica ?? this.add(new Bucket(id));
    const primary = this.primaryOf(id) ?? null;
    if (row.replicas[0] !== self) {
      this.endPrimary(held);
      return wait;
    }
    if (primary !== null && (!skipped || row.epoch === primary.epoch)) {
      primary.update(row, this.incarnation, null);
      return wait;
    }
    const shared = wait ?? this.takeoverWait();
    if (primary !== null) {
      // Another server may have been primary in a view that we never saw (V2).
      primary.update(row, this.incarnation, shared);
      return shared;
    }
    held.primary = new Primary(held.bucket, row, this.host, this.incarnation, shared, resuming);
    this.primaries.add(held.primary);
    this.wake(held.primary);
    this.dirty.add(held.primary);
    return shared;
  }

  private takeoverWait(): TakeoverWait {
    const { self, view, lease, now } = this.host;
    const others = Array.from(view.members.keys()).filter((other) => other !== self);
    return lease.waits(others, view.epoch, now, view.parameters.graceMs);
  }

  private add(bucket: Bucket): Replica {
    const replica = { bucket, learner: new Learner(bucket), primary: null };
    this.byBucket.set(bucket.id, replica);
    return replica;
  }

  private endPrimary(replica: Replica): void {
    const { primary } = replica;
    if (primary === null) return;
    replica.primary = null;
    this.primaries.delete(primary);
    primary.end();
    // A tick would begin it again: it has no followers now that it would have to wait for.
    this.awake.delete(primary);
    this.queued.delete(primary);
  }

  /** The view places the bucket elsewhere, on replicas that are in sync. */
  private giveUp(id: BucketId, replica: Replica): void {
    const { outbox, self } = this.host;
    this.endPrimary(replica);
    this.byBucket.delete(id);
    this.gaveUp.add(id);
    this.givingUp.add(id);
    outbox.persist({ type: 'dropped', bucket: id });
    outbox.sendAfter(self, { type: 'gaveUp', bucket: id });
  }
}

/** What is held here was given up before: the bucket began anew, empty (D6). */
function isVoid(bucket: Bucket, row: BucketRow): boolean {
  const newest = bucket.ballotAt(bucket.last) ?? bucket.commitBallot;
  return !bucket.empty && ballotEpoch(newest) < row.founded;
}
