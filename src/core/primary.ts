import type { Bucket } from './bucket.js';
import { CatchUp } from './catch-up.js';
import { type Entry, entryBytes } from './entry.js';
import { Follower } from './follower.js';
import type { Host } from './host.js';
import { type Ballot, type Epoch, makeBallot, type Ordinal, type Sequence } from './ids.js';
import type { TakeoverWait } from './lease.js';
import { Prepare, type PrepareAck, type PrepareRefused, RefusedBecause } from './message.js';
import type { PrepareList } from './prepare-list.js';
import { Serving } from './serving.js';
import { type BucketRow, isUp, learnersOf } from './view.js';

const MESSAGE_ENTRIES = 1024;
const MESSAGE_BYTES = 1024 * 1024;
const RESEND_CAP_MS = 2000;
/** Gaps reported within this time of a rewind are of messages sent before it. */
const GAP_PAUSE_MS = 20;

/**
 * A server in its role as primary of one bucket: orders the log, prepares on every replica,
 * commits what all have made durable (PacificA §2.3). With a new ballot it first settles what it
 * had prepared: every follower takes over its log, and cuts what goes beyond (§2.4).
 */
export class Primary {
  ballot: Ballot;
  readonly followers = new Map<Ordinal, Follower>();
  readonly serving: Serving;
  private readonly catchUp: CatchUp;
  /** End of the own log that is durable here. */
  private durable: Sequence;
  /** Serve nothing before this is committed. */
  private settleThrough: Sequence;
  private takeover: TakeoverWait | null;
  /** End of the own log for which notice of durability was asked. */
  private logged: Sequence;
  private readonly resumedEpoch: Epoch;
  private begun = false;
  /** Ticks are for it: kept by `Replicas`. */
  awake = false;
  /** What to add to our monotonic clock to have the bucket's. */
  private clockOffsetMs: number;

  constructor(
    readonly bucket: Bucket,
    private row: BucketRow,
    private readonly host: Host,
    incarnation: number,
    takeover: TakeoverWait,
    /** The role of a former incarnation, which may have proposed its learners. */
    resumes: boolean,
  ) {
    this.resumedEpoch = resumes ? row.epoch : 0;
    this.ballot = makeBallot(row.epoch, incarnation);
    bucket.promised = this.ballot;
    this.takeover = takeover;
    this.clockOffsetMs = bucket.clockMs - host.now;
    this.settleThrough = bucket.last;
    this.durable = bucket.commitPoint;
    this.logged = bucket.commitPoint;
    this.serving = new Serving(this, host);
    this.catchUp = new CatchUp(this, host);
    this.follow(row);
    this.confirmDurable();
  }

  /** Settled, and no former primary can still hold a lease: operations are served. */
  get ready(): boolean {
    return this.begun;
  }

  /** May answer from committed state alone (D1). */
  get holdsLease(): boolean {
    if (!this.begun) return false;
    const { lease, now, view } = this.host;
    for (const follower of this.followers.values()) {
      if (!follower.counted) continue;
      if (!lease.holds(follower.ordinal, now, view.parameters.leaseMs)) return false;
    }
    return true;
  }

  /**
   * Every counted replica answered a beacon that left after `sinceMs`, in a view no newer than
   * ours: at that moment no other primary had begun. No clock is compared with another.
   */
  confirmedSince(sinceMs: number): boolean {
    if (!this.begun) return false;
    const counted = Array.from(this.followers.values()).filter((follower) => follower.counted);
    const others = counted.map(({ ordinal }) => ordinal);
    return this.host.lease.confirmedSince(others, sinceMs);
  }

  /** Enough in-sync replicas for a write (D2). */
  get writable(): boolean {
    return this.row.replicas.length >= this.row.floor;
  }

  /** The view leader may count on this learner, by a proposal of ours or of a former self. */
  mayBeAdmitted(follower: Follower): boolean {
    return follower.proposedMs > -Infinity || this.row.epoch === this.resumedEpoch;
  }

  get epoch(): number {
    return this.row.epoch;
  }

  /** The bucket's clock now, in whole ms. */
  get clockMs(): number {
    return Math.max(this.bucket.clockMs, Math.round(this.host.now + this.clockOffsetMs));
  }

  /**
   * The view changed. A new bucket epoch means a new ballot and settling again. `takeover`: views
   * were skipped, so that another server may have been primary in between (V2).
   */
  update(row: BucketRow, incarnation: number, takeover: TakeoverWait | null): void {
    const before = this.row;
    this.row = row;
    if (row.epoch === before.epoch) {
      this.follow(row);
      return;
    }
    this.ballot = makeBallot(row.epoch, incarnation);
    this.bucket.promised = this.ballot;
    this.takeover = takeover ?? this.takeover;
    // Another's clock may have gone on from an earlier time than ours would show by now.
    if (takeover !== null) this.clockOffsetMs = this.bucket.clockMs - this.host.now;
    this.settleThrough = this.bucket.last;
    this.logged = this.bucket.commitPoint;
    this.begun = false;
    this.dropFollowers();
    this.follow(row);
    this.confirmDurable();
  }

  /** The role ends: another server is primary, or this one left the bucket. */
  end(): void {
    this.begun = false;
    this.dropFollowers();
    this.serving.end();
  }

  /** Log an entry that the role made. It is prepared on the others at the end of the batch. */
  append(entry: Entry): void {
    const { bucket, host } = this;
    bucket.append(entry);
    host.outbox.persist({
      type: 'entry',
      bucket: bucket.id,
      entry,
      commitPoint: bucket.commitPoint,
    });
    host.markDirty(this);
  }

  /** End of a batch of inputs: one prepare per follower, one notice of durability. */
  flush(): void {
    for (const follower of this.followers.values()) {
      if (follower.mode === 'replicate') this.sendPrepared(follower);
    }
    this.confirmDurable();
    this.beginWhenReady();
  }

  onAck(from: Ordinal, message: PrepareAck): void {
    const follower = this.followers.get(from);
    if (follower === undefined || message.ballot !== this.ballot) return;
    if (follower.mode !== 'replicate' && follower.mode !== 'log') return;
    if (message.upTo >= follower.next) return;
    if (message.commitPoint > follower.applied) follower.applied = message.commitPoint;
    if (message.upTo > follower.match) {
      follower.match = message.upTo;
      follower.resendMs = this.host.settings.resendMs;
      follower.sentMs = this.host.now;
    }
    this.catchUp.advance(follower);
    this.tryCommit();
  }

  onRefused(from: Ordinal, message: PrepareRefused): void {
    const follower = this.followers.get(from);
    if (follower === undefined || message.ballot !== this.ballot) return;
    switch (message.reason) {
      case RefusedBecause.Stale:
        // Ours is the older view; the newer one is on its way to us.
        return;
      case RefusedBecause.Behind:
        // It keeps the message until it has the view.
        this.host.shareView(from);
        return;
      case RefusedBecause.Gap:
        this.onGap(follower, message.have);
        return;
    }
  }

  /** Entries after `have` were lost on the way. A secondary holds all that is committed. */
  private onGap(follower: Follower, have: Sequence): void {
    if (follower.mode !== 'replicate' && follower.mode !== 'log') return;
    // One lost message makes a refusal of each that followed it; one rewind answers them all.
    const { now } = this.host;
    if (now - follower.rewoundMs < GAP_PAUSE_MS) return;
    follower.rewoundMs = now;
    const from = Math.max(follower.match, have);
    if (follower.learner && from < this.bucket.commitPoint) {
      this.catchUp.probe(follower);
      return;
    }
    follower.next = Math.max(from, this.bucket.commitPoint) + 1;
    this.sendPrepared(follower);
  }

  /** The server started again: it knows its log, but not how much of it is committed. */
  onRestarted(server: Ordinal): void {
    const follower = this.followers.get(server);
    if (follower !== undefined) follower.applied = 0;
  }

  /** The own log is durable up to `upTo`. */
  onLogged(ballot: Ballot, upTo: Sequence): void {
    if (ballot !== this.ballot || upTo <= this.durable) return;
    this.durable = upTo;
    this.tryCommit();
  }

  /** Commit what every counted replica has made durable. */
  tryCommit(): void {
    const { bucket } = this;
    let all = Math.min(this.durable, bucket.last);
    for (const follower of this.followers.values()) {
      if (follower.counted && follower.match < all) all = follower.match;
    }
    if (all <= bucket.commitPoint) {
      this.catchUp.propose();
      return;
    }
    while (bucket.commitPoint < all) {
      const entry = bucket.commitNext(this.host.store);
      this.serving.onCommitted(entry);
    }
    this.host.markDirty(this);
    this.catchUp.propose();
    this.beginWhenReady();
  }

  /** `tellCommit`: the commit point, which rides on entries, may now go out without any. */
  tick(tellCommit: boolean): void {
    const { now } = this.host;
    for (const follower of this.followers.values()) {
      this.resend(follower, now);
      if (tellCommit) this.tellCommit(follower);
    }
    this.catchUp.tick();
    this.beginWhenReady();
    if (this.begun) this.serving.tick();
  }

  /**
   * quiet: ticks would do nothing until a message, an operation or a view comes in · queued: nor
   * would they but for a learner that waits for its turn: to be caught up, or to be admitted
   */
  get rest(): 'none' | 'queued' | 'quiet' {
    const { last, commitPoint } = this.bucket;
    if (last > commitPoint || !this.serving.quiet || !this.holdsLease) return 'none';
    let rest: 'queued' | 'quiet' = 'quiet';
    for (const { learner, mode, permit, match, applied, toldCommit } of this.followers.values()) {
      if (learner || mode === 'probe') rest = 'queued';
      if (mode === 'probe' && !permit) continue;
      if (mode !== 'replicate' || toldCommit < 0 || match < last || applied < last) return 'none';
    }
    return rest;
  }

  onLearnState: CatchUp['onState'] = (from, message) => this.catchUp.onState(from, message);
  onSnapshotAck: CatchUp['onChunkAck'] = (from, message) => this.catchUp.onChunkAck(from, message);

  /** Send what the follower has not been sent. */
  sendPrepared(follower: Follower): void {
    const { bucket } = this;
    while (follower.next <= bucket.last && follower.next > bucket.commitPoint) {
      const to = this.messageEnd(follower.next);
      const entries = bucket.prepared.range(follower.next, to);
      this.sendEntries(follower, entries, to === bucket.last);
    }
    if (follower.next <= bucket.commitPoint) {
      this.catchUp.advance(follower);
      return;
    }
    if (follower.toldCommit < 0) this.sendEntries(follower, [], true);
  }

  private tellCommit(follower: Follower): void {
    const { bucket, host } = this;
    if (follower.mode !== 'replicate' || follower.applied >= bucket.commitPoint) return;
    const told = follower.toldCommit === bucket.commitPoint;
    if (told && host.now - follower.sentMs < host.settings.resendMs) return;
    this.sendEntries(follower, [], false);
  }

  /** Send entries that follow `follower.next - 1`, from the list or read back from the log. */
  sendEntries(follower: Follower, entries: readonly Entry[], settle: boolean): void {
    const { bucket, host } = this;
    const previous = follower.next - 1;
    const previousBallot = bucket.ballotAt(previous) ?? follower.previousBallot;
    const { id, commitPoint } = bucket;
    host.send(
      follower.ordinal,
      new Prepare(id, this.ballot, previous, previousBallot, commitPoint, settle, entries),
    );
    follower.next += entries.length;
    follower.previousBallot = entries.at(-1)?.ballot ?? previousBallot;
    follower.toldCommit = commitPoint;
    follower.sentMs = host.now;
  }

  private messageEnd(from: Sequence): Sequence {
    const { prepared } = this.bucket;
    let to = from;
    let size = sizeAt(prepared, from);
    while (to < prepared.last && to - from + 1 < MESSAGE_ENTRIES && size < MESSAGE_BYTES) {
      to += 1;
      size += sizeAt(prepared, to);
    }
    return to;
  }

  private resend(follower: Follower, now: number): void {
    if (follower.mode !== 'replicate') return;
    if (follower.match < this.bucket.last && now - follower.sentMs >= follower.resendMs) {
      follower.next = Math.max(follower.match, this.bucket.commitPoint) + 1;
      follower.toldCommit = -1;
      follower.resendMs = Math.min(follower.resendMs * 2, RESEND_CAP_MS);
      follower.sentMs = now;
    }
    this.sendPrepared(follower);
  }

  /** Take the followers of `row`: its other replicas, and the learners it is to have. */
  private follow(row: BucketRow): void {
    const { host, bucket } = this;
    const wanted = new Map<Ordinal, boolean>();
    for (const ordinal of row.replicas) if (ordinal !== host.self) wanted.set(ordinal, false);
    for (const ordinal of learnersOf(row)) if (ordinal !== host.self) wanted.set(ordinal, true);
    for (const [ordinal, follower] of this.followers) {
      if (wanted.get(ordinal) === follower.learner) continue;
      this.catchUp.stop(follower);
      this.followers.delete(ordinal);
    }
    for (const [ordinal, learner] of wanted) {
      if (this.followers.has(ordinal)) continue;
      const { resendMs } = host.settings;
      const follower = new Follower(ordinal, learner, bucket.commitPoint, resendMs);
      // One that is down in this view was not proposed in it.
      if (learner && isUp(host.view, ordinal) && row.epoch === this.resumedEpoch) {
        follower.counted = true;
        follower.countedFrom = bucket.last;
      }
      this.followers.set(ordinal, follower);
      if (learner) this.catchUp.probe(follower);
    }
    host.markDirty(this);
    this.tryCommit();
  }

  private dropFollowers(): void {
    for (const follower of this.followers.values()) this.catchUp.stop(follower);
    this.followers.clear();
  }

  private beginWhenReady(): void {
    if (this.begun || this.bucket.commitPoint < this.settleThrough) return;
    if (this.takeover !== null && !this.takeover.over(this.host.lease, this.host.now)) return;
    this.takeover = null;
    this.begun = true;
    this.serving.begin();
  }

  /** Ask to hear when everything logged so far is durable here. */
  private confirmDurable(): void {
    const { bucket, host } = this;
    if (this.logged >= bucket.last) return;
    this.logged = bucket.last;
    const { ballot } = this;
    host.outbox.sendAfter(host.self, {
      type: 'logged',
      bucket: bucket.id,
      ballot,
      upTo: bucket.last,
    });
  }
}

function sizeAt(prepared: PrepareList, sequence: Sequence): number {
  const entry = prepared.get(sequence);
  return entry === undefined ? 0 : entryBytes(entry);
}
