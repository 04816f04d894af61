import type { CausalBucket } from './causal-bucket.js';
import { type CausalAck, CausalBehind, CausalMark, CausalPush } from './causal-message.js';
import type { Host } from './host.js';
import type { BucketId, Epoch, Ordinal } from './ids.js';
import { covers, joined, NOTHING_SEEN, type Vector } from './vector.js';
import { type BucketRow, isGivenUp } from './view.js';

/** Records of one message, and their bytes. */
const PUSH_RECORDS = 512;
const PUSH_BYTES = 512 * 1024;
/** A message that was not answered is sent again after this time, and then twice as long, … */
const PAUSE_CAP_MS = 400;
/** … but never before the answers of that server, which may be busy, take twice their time. */
const SLOW_CAP_MS = 2000;
/** A server takes so many records in a millisecond at least: what it is busy with is not lost. */
const TAKEN_PER_MS = 10;
/** A mark may get lost. */
const MARK_AGAIN_MS = 500;
/** Buckets of which a mark says that something is on its way; with more, it waits. */
const MOST_UNDER_WAY = 128;
/** Buckets that are looked through for a mark after each batch. */
const MOST_OPEN = 512;
const NOTHING_UNDER_WAY: ReadonlyMap<BucketId, number> = new Map();

/** What is known of another holder of a bucket. */
interface Peer {
  /** Our writes up to this one are durable there; -1: not heard yet. */
  acked: number;
  sent: number;
  sentMs: number;
  /** The number of the last push to it. */
  push: number;
  pauseMs: number;
  /** Messages in a row that were not answered in time. */
  lost: number;
  known: Vector;
  /** Of its view when it said so. */
  epoch: Epoch;
  /** The view in which it became a holder, or a later one: what it said before is void. */
  readonly sinceEpoch: Epoch;
  /** It knows that we left the bucket, and took all that we had for it. */
  released: boolean;
}

/** What was sent to a server at once. */
interface Batch {
  /** Of which it has not answered. */
  readonly buckets: Set<BucketId>;
  sentMs: number;
  records: number;
}

/** The servers that hold a bucket, or are about to, by a row of the view. */
export function holdersOf({ replicas, target }: BucketRow): Set<Ordinal> {
  return new Set([...replicas, ...target]);
}

/**
 * Sends what this server takes to the other holders, at once and again until each has
 * acknowledged. Nothing is queued: the records carry their numbers, so that what one lacks is
 * read off from the last number that it has acknowledged, also after a restart.
 */
export class CausalGossip {
  private readonly peers = new Map<BucketId, Map<Ordinal, Peer>>();
  /** Buckets of which somebody has not acknowledged everything. */
  private readonly open = new Set<BucketId>();
  /** Of those, the ones of which something was not even sent. */
  private readonly fresh = new Set<BucketId>();
  /** How long each server lately took to answer, ms; a quick answer counts little by little. */
  private readonly delays = new Map<Ordinal, number>();
  private readonly neighbours = new Map<BucketId, { row: BucketRow; others: readonly Ordinal[] }>();
  /**
   * One batch for each server at a time (as Nagle's algorithm, RFC 896), and at most one in
   * `gossipPaceMs`: alone, a write leaves at once; otherwise what comes meanwhile shares a message,
   * and a flush of the disk over there.
   */
  private readonly batches = new Map<Ordinal, Batch>();
  private lastPush = 0;
  /** When a batch was asked for that leaves then. */
  private backMs = -Infinity;
  /** Marks that were told, by server. */
  private readonly marked = new Map<Ordinal, { epoch: number; upTo: number; atMs: number }>();

  constructor(
    private readonly host: Pick<
      Host,
      'self' | 'view' | 'now' | 'store' | 'settings' | 'send' | 'outbox'
    >,
    private readonly buckets: ReadonlyMap<BucketId, CausalBucket>,
    /** Own writes up to this number are durable. */
    private readonly durableNumber: () => number,
  ) {}

  /** A server was given up: nothing is expected of it. */
  onGivenUp(): void {
    this.neighbours.clear();
  }

  /** What was taken for the bucket is durable, its holders have changed, or the process began. */
  touch(bucket: BucketId): void {
    this.open.add(bucket);
    this.fresh.add(bucket);
  }

  /** Every holder has acknowledged all that we took for the bucket. */
  isDrained(bucket: CausalBucket): boolean {
    return this.others(bucket.id).every((other) =>
      this.isDone(bucket, this.peer(bucket.id, other)),
    );
  }

  /** Everybody who holds the bucket is known to know `vector`. */
  allKnow(bucket: BucketId, vector: Vector): boolean {
    return this.others(bucket).every((other) => covers(this.peer(bucket, other).known, vector));
  }

  knownBy(bucket: BucketId, server: Ordinal): Vector {
    return this.peers.get(bucket)?.get(server)?.known ?? NOTHING_SEEN;
  }

  /** Everybody who holds the bucket has said what it knows in that view, or a later one. */
  allToldIn(bucket: BucketId, epoch: Epoch): boolean {
    return this.others(bucket).every((other) => this.toldIn(bucket, other) >= epoch);
  }

  /** The newest view in which the server said what it knows. */
  toldIn(bucket: BucketId, server: Ordinal): Epoch {
    return this.peers.get(bucket)?.get(server)?.epoch ?? 0;
  }

  /** What anybody else who holds the bucket is known to know. */
  knownByOthers(bucket: BucketId): Vector {
    return this.others(bucket).reduce(
      (all, other) => joined(all, this.knownBy(bucket, other)),
      NOTHING_SEEN,
    );
  }

  onAck(from: Ordinal, message: CausalAck): void {
    const { bucket: id, known, epoch, bucketEpoch, former, push } = message;
    const bucket = this.buckets.get(id);
    const row = this.host.view.rows[id];
    if (bucket === undefined || row === undefined || !holdersOf(row).has(from)) return;
    const peer = this.peer(id, from);
    if (epoch < peer.sinceEpoch) return;
    // Also one that tells of a loss.
    this.batches.get(from)?.buckets.delete(id);
    peer.known = known;
    peer.epoch = epoch;
    const acked = known.get(this.host.self) ?? 0;
    if (acked < peer.acked) return;
    if (peer.lost === 0 && acked > peer.acked) this.timed(from, this.host.now - peer.sentMs);
    const isLate = bucketEpoch < row.epoch || former.includes(this.host.self);
    const isAll = acked >= bucket.ownLast && covers(known, bucket.known);
    peer.released = this.isLeaving(id) && isAll && !isLate;
    const first = peer.acked < 0;
    peer.acked = acked;
    if (first || peer.sent < acked) peer.sent = acked;
    if (peer.lost > 0) this.onBack(from, push);
    peer.lost = 0;
    peer.pauseMs = this.host.settings.resendMs;
    if (peer.sent < bucket.ownLast) this.fresh.add(id);
  }

  /**
   * A server answers that had not: all that it lacks leaves now, and not for each bucket when its
   * own pause is over. The link keeps the order: what left before the push that it answers is lost,
   * and what left after it will be answered next.
   */
  private onBack(server: Ordinal, answered: number): void {
    for (const id of this.open) {
      const peer = this.peers.get(id)?.get(server);
      if (peer === undefined || peer.lost === 0 || peer.push > answered) continue;
      peer.lost = 0;
      peer.pauseMs = this.host.settings.resendMs;
      peer.sent = peer.acked;
      this.fresh.add(id);
    }
  }

  /** End of a batch: what is new and durable leaves. */
  flush(): void {
    if (this.fresh.size === 0) return;
    const busy = this.busy();
    const told = new Set<Ordinal>();
    for (const id of this.fresh) {
      const bucket = this.buckets.get(id);
      const last = Math.min(bucket?.ownLast ?? 0, this.durableNumber());
      let more = false;
      for (const other of bucket === undefined ? [] : this.others(id)) {
        const peer = this.peer(id, other);
        // Nobody knows when one answers that does not: nothing more is sent before it does.
        if (peer.sent >= last || peer.lost > 0) continue;
        if (!busy.has(other)) {
          this.push(bucket!, other, peer);
          told.add(other);
        } else this.comeBack(other);
        more ||= peer.sent < last;
      }
      if (!more) this.fresh.delete(id);
    }
    // Where much is under way a tick has the time to say what.
    if (told.size > 0 && this.open.size <= MOST_OPEN) this.mark(told);
  }

  tick(): void {
    const { now } = this.host;
    const busy = this.busy();
    for (const id of this.open) {
      const bucket = this.buckets.get(id);
      if (bucket === undefined || this.isDrained(bucket)) {
        this.open.delete(id);
        continue;
      }
      for (const other of this.others(id)) {
        const peer = this.peer(id, other);
        if (this.isDone(bucket, peer) || now - peer.sentMs < this.pauseOf(id, other, peer))
          continue;
        const waits = peer.lost === 0 && peer.sent === peer.acked && this.fresh.has(id);
        if (waits && busy.has(other)) continue;
        peer.pauseMs = Math.min(peer.pauseMs * 2, PAUSE_CAP_MS);
        peer.sent = peer.acked;
        peer.lost += 1;
        this.push(bucket, other, peer);
        this.showRest(bucket, other, peer);
      }
    }
    this.mark(this.host.view.members.keys());
  }

  /** How long an answer may take. */
  private pauseOf(bucket: BucketId, from: Ordinal, { pauseMs, lost }: Peer): number {
    if (lost > 1) return pauseMs;
    const batch = this.batches.get(from);
    const busyMs = batch?.buckets.has(bucket) === true ? batch.records / TAKEN_PER_MS : 0;
    return Math.max(pauseMs, 2 * (this.delays.get(from) ?? 0)) + busyMs;
  }

  /**
   * The view changed: who left is forgotten, whoever came is asked what it knows. `before`: who
   * stayed, if they are among them now; one that left and came back has begun anew.
   */
  adopt(bucket: BucketId, before: ReadonlySet<Ordinal>): void {
    this.stopCounting(bucket);
    const others = new Set(this.others(bucket));
    const peers = this.peers.get(bucket);
    for (const server of peers?.keys() ?? []) {
      if (!others.has(server) || !before.has(server)) peers?.delete(server);
    }
    this.touch(bucket);
  }

  forget(bucket: BucketId): void {
    this.stopCounting(bucket);
    this.peers.delete(bucket);
    this.neighbours.delete(bucket);
    this.open.delete(bucket);
    this.fresh.delete(bucket);
  }

  /** What waits only for the pace leaves when its time has come, also if nothing else happens. */
  private comeBack(to: Ordinal): void {
    const { now, outbox, settings } = this.host;
    const dueMs = (this.batches.get(to)?.sentMs ?? -Infinity) + settings.gossipPaceMs;
    if (dueMs <= now || this.backMs > now) return;
    this.backMs = dueMs;
    outbox.flushIn(Math.ceil(dueMs - now));
  }

  /** Servers that have not acknowledged what was sent last, and may still do so, or just got it. */
  private busy(): Set<Ordinal> {
    const { now, settings } = this.host;
    const busy = new Set<Ordinal>();
    for (const [server, { buckets, sentMs, records }] of this.batches) {
      const unansweredMs = settings.resendMs + records / TAKEN_PER_MS;
      const wait = buckets.size > 0 ? unansweredMs : settings.gossipPaceMs;
      if (now - sentMs < wait) busy.add(server);
    }
    return busy;
  }

  private stopCounting(bucket: BucketId): void {
    for (const { buckets } of this.batches.values()) buckets.delete(bucket);
  }

  private timed(server: Ordinal, ms: number): void {
    const before = this.delays.get(server) ?? 0;
    this.delays.set(server, Math.min(SLOW_CAP_MS / 2, Math.max(ms, before * 0.95)));
  }

  private isDone(bucket: CausalBucket, { acked, released }: Peer): boolean {
    return this.isLeaving(bucket.id) ? released : acked >= bucket.ownLast;
  }

  private isLeaving(bucket: BucketId): boolean {
    const row = this.host.view.rows[bucket];
    return row !== undefined && !holdersOf(row).has(this.host.self);
  }

  private push(bucket: CausalBucket, to: Ordinal, peer: Peer): void {
    const { host } = this;
    peer.sentMs = host.now;
    const durable = Math.min(bucket.ownLast, this.durableNumber());
    const leaving = this.isLeaving(bucket.id);
    // One that was not heard yet says what it knows.
    const since = peer.sent < 0 ? durable : peer.sent;
    // A link keeps the order: what was sent may only not be answered yet. One record asks how far
    // it is, and the rest leaves with the answer.
    const most = peer.lost > 0 ? 1 : PUSH_RECORDS;
    const own = bucket.ownSince(since, { records: most, bytes: PUSH_BYTES }, host.store);
    if (own === null) {
      peer.sent = durable;
      this.batches.get(to)?.buckets.delete(bucket.id);
      host.send(to, new CausalBehind(bucket.id));
      return;
    }
    peer.sent = own.upTo;
    if (own.upTo < durable) this.fresh.add(bucket.id);
    // The next to be sent is not durable yet.
    if (own.upTo === since && peer.acked >= since && !leaving) return;
    // One that is sent again is not waited for with others.
    if (peer.lost > 0) this.batches.get(to)?.buckets.delete(bucket.id);
    else if (own.upTo > since) {
      const batch = this.batches.get(to) ?? { buckets: new Set(), sentMs: host.now, records: 0 };
      this.batches.set(to, batch);
      if (batch.sentMs !== host.now) batch.records = 0;
      batch.buckets.add(bucket.id);
      batch.sentMs = host.now;
      batch.records += own.records.length;
    }
    const ends = leaving && own.upTo >= bucket.ownLast && covers(peer.known, bucket.known);
    this.lastPush += 1;
    peer.push = this.lastPush;
    host.send(to, new CausalPush(bucket.id, since, own.upTo, ends, own.records, peer.push));
  }

  /**
   * One that leaves gives nothing up that those who stay lack, also of the writes of others: who
   * took these may be gone for ever by now. Mostly they have them already.
   */
  private showRest(bucket: CausalBucket, to: Ordinal, { known }: Peer): void {
    if (!this.isLeaving(bucket.id) || covers(known, bucket.known)) return;
    this.host.send(to, new CausalBehind(bucket.id));
  }

  /** One number stands for all buckets; of some, a last part is still on its way. */
  private mark(servers: Iterable<Ordinal>): void {
    const { host } = this;
    const { epoch } = host.view;
    const upTo = this.durableNumber();
    if (upTo === 0) return;
    const all = new Set(servers);
    const underWay = this.allUnderWay(upTo, all);
    for (const server of all) {
      const own = underWay.get(server) ?? NOTHING_UNDER_WAY;
      if (server === host.self || own.size > MOST_UNDER_WAY) continue;
      const told = this.marked.get(server);
      const isNews = told?.upTo !== upTo || told.epoch !== epoch;
      if (!isNews && host.now - told.atMs < MARK_AGAIN_MS) continue;
      this.marked.set(server, { epoch, upTo, atMs: host.now });
      host.send(server, new CausalMark(epoch, upTo, own));
    }
  }

  /**
   * For each of the servers the own writes that it has not acknowledged, the last one of each
   * bucket. A learner is not counted: when it is admitted, marks begin anew.
   */
  private allUnderWay(
    upTo: number,
    servers: ReadonlySet<Ordinal>,
  ): Map<Ordinal, Map<BucketId, number>> {
    const all = new Map<Ordinal, Map<BucketId, number>>();
    for (const id of this.open) {
      const bucket = this.buckets.get(id);
      const replicas = this.host.view.rows[id]?.replicas ?? [];
      if (bucket === undefined) continue;
      const last = bucket.ownLastUpTo(upTo);
      for (const other of replicas) {
        if (!servers.has(other) || other === this.host.self) continue;
        if (this.peer(id, other).acked >= last) continue;
        const own = all.get(other) ?? new Map<BucketId, number>();
        all.set(other, own);
        if (own.size <= MOST_UNDER_WAY) own.set(id, last);
      }
    }
    return all;
  }

  private others(bucket: BucketId): readonly Ordinal[] {
    const row = this.host.view.rows[bucket];
    if (row === undefined) return [];
    const known = this.neighbours.get(bucket);
    if (known?.row === row) return known.others;
    const { self, view } = this.host;
    const others = Array.from(holdersOf(row)).filter(
      (server) => server !== self && !isGivenUp(view, server),
    );
    this.neighbours.set(bucket, { row, others });
    return others;
  }

  private peer(bucket: BucketId, server: Ordinal): Peer {
    let peers = this.peers.get(bucket);
    if (peers === undefined) {
      peers = new Map();
      this.peers.set(bucket, peers);
    }
    let peer = peers.get(server);
    if (peer === undefined) {
      const { resendMs } = this.host.settings;
      peer = {
        acked: -1,
        sent: -1,
        sentMs: -Infinity,
        push: 0,
        pauseMs: resendMs,
        lost: 0,
        known: NOTHING_SEEN,
        epoch: 0,
        sinceEpoch: this.host.view.epoch,
        released: false,
      };
      peers.set(server, peer);
    }
    return peer;
  }
}
