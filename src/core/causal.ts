import { CausalBucket, type CausalChange, latest, metaOf } from './causal-bucket.js';
import { CausalGossip, holdersOf } from './causal-gossip.js';
import { CausalGraves } from './causal-graves.js';
import { CausalLearners } from './causal-learners.js';
import { CausalAck, type CausalMessage, CausalPush } from './causal-message.js';
import {
  type CausalRecord,
  causalHalf,
  type Context,
  isLive,
  NO_CONTEXT,
  STEPS,
} from './causal-record.js';
import { CausalReads, type Found } from './causal-reads.js';
import { hasCausal, isForCausal, namesObjection, objectionTo } from './causal-rules.js';
import { CausalSync } from './causal-sync.js';
import { DedupTable } from './dedup.js';
import type { Host } from './host.js';
import type { BucketId, Epoch, Ordinal } from './ids.js';
import type { BucketMeta } from './message.js';
import { namespaceOf } from './namespace.js';
import { isWrite, NO_RECORDS, type Operation, OperationKind, Result } from './operation.js';
import { Code, LIMITS } from './refusal.js';
import { covers, including, NOTHING_SEEN, type Vector } from './vector.js';
import { type BucketRow, isGivenUp, isUp, type View } from './view.js';

/** How often holders tell each other what they know, and look for tombstones to drop. */
const TELL_MS = 1000;

/** A write that was taken, and is answered when it is durable. */
interface Pending {
  readonly number: number;
  readonly request: number;
  readonly operation: Operation;
  readonly bucket: BucketId;
  readonly clock: number;
  /** There was something before. */
  readonly found: boolean;
}

/** What a restarted server knows of its causal buckets. */
export interface RecoveredCausal {
  readonly buckets: Map<BucketId, CausalBucket>;
  /** Of the last write that it took. */
  readonly number: number;
  readonly clock: number;
}

/**
 * The causal namespaces of one server (D5): every replica takes writes, alone too; gossip and
 * comparisons make all replicas equal; what a session has seen is checked before it reads.
 */
export class Causal {
  private readonly buckets: Map<BucketId, CausalBucket>;
  private readonly gossip: CausalGossip;
  private readonly sync: CausalSync;
  private number: number;
  private clock: number;
  /** Own writes up to this number are durable: others may see them. */
  private durableNumber: number;
  private readonly pending: Pending[] = [];
  private readonly dedup = new DedupTable();
  private readonly reads: CausalReads;
  private readonly graves: CausalGraves;
  private readonly learners: CausalLearners;
  /** Buckets of which a holder may not know all that we do, or knows more. */
  private readonly uneven = new Set<BucketId>();
  /** Of those that lack something: what was known when it was looked at last. */
  private readonly lacking = new Map<BucketId, Vector>();
  private toldMs: number;
  /** The epoch at which a server was given up last: what was said before may tell of it. */
  private givenUp: Epoch = 0;
  /** Dropped, but not durably yet: their records are still here. */
  private readonly dropping = new Set<BucketId>();
  /** Forgotten since the last checkpoint, which knows something of them. */
  private readonly dropped = new Set<BucketId>();

  constructor(
    private readonly host: Host,
    recovered: RecoveredCausal,
  ) {
    this.buckets = recovered.buckets;
    this.number = recovered.number;
    this.clock = recovered.clock;
    this.durableNumber = recovered.number;
    this.toldMs = host.now;
    this.gossip = new CausalGossip(host, this.buckets, () => this.durableNumber);
    this.learners = new CausalLearners(host, this.gossip);
    this.sync = new CausalSync(host, {
      clock: () => this.clock,
      change: (bucket, change) => this.change(bucket, change),
      onSynced: (bucket, from) => this.onSynced(bucket, from),
    });
    this.graves = new CausalGraves(host, this.buckets, {
      time: () => this.time,
      change: (bucket, change) => this.change(bucket, change),
      allKnow: (bucket, vector) => this.gossip.allKnow(bucket, vector),
      knownByOthers: (bucket) => this.gossip.knownByOthers(bucket),
    });
    this.reads = new CausalReads(host, {
      bucket: (id) => this.bucket(id),
      known: (id) => this.known(id),
      number: () => this.number,
      time: () => this.time,
      pass: (request, operation, id, row) => this.pass(request, operation, id, row),
      answer: (...answer) => this.answer(...answer),
      hasRest: (bucket, server, epoch) => this.hasRest(bucket, server, epoch),
    });
    for (const bucket of this.buckets.values()) {
      bucket.begin();
      this.graves.search(bucket.id);
      this.gossip.touch(bucket.id);
      this.uneven.add(bucket.id);
    }
  }

  /** Only the server that may have taken such an operation knows whether it has (D4). */
  isWrite(operation: Operation): boolean {
    const { context } = operation;
    return context !== null && isWrite(operation) && isForCausal(operation, this.host.view);
  }

  /** False when all keys of the operation are strong. */
  takes(request: number, operation: Operation, bucket: BucketId, row: BucketRow): boolean {
    const { context } = operation;
    // Only keys of namespaces come with one.
    if (context === null) return false;
    const { host } = this;
    const problem = namesObjection(operation, host.view);
    if (problem !== null) {
      const { Invalid, Unavailable } = Code;
      if (context.epoch <= host.view.epoch) host.refuse(request, bucket, Invalid, problem);
      else host.park(request, operation, bucket, Unavailable, 'this server waits for a newer view');
    } else if (isForCausal(operation, host.view)) this.submit(request, operation, bucket, row);
    else return false;
    return true;
  }

  private submit(request: number, operation: Operation, bucket: BucketId, row: BucketRow): void {
    const problem = objectionTo(operation);
    if (problem !== null) {
      this.host.refuse(request, bucket, Code.Invalid, problem);
      return;
    }
    const isHere = row.replicas.includes(this.host.self) && !this.dropping.has(bucket);
    if (!isHere) this.pass(request, operation, bucket, row);
    else if (isWrite(operation)) this.write(request, operation, this.bucket(bucket));
    else this.reads.submit(request, operation, bucket, row);
  }

  onMessage(from: Ordinal, message: CausalMessage): void {
    if (message.type === 'causalMark') {
      this.reads.onMark(from, message);
      return;
    }
    const row = this.host.view.rows[message.bucket];
    if (row === undefined || isGivenUp(this.host.view, from)) return;
    if (this.dropping.has(message.bucket)) return;
    const held = this.buckets.get(message.bucket);
    if (message.type === 'causalAck') {
      this.gossip.onAck(from, message);
      this.onAck(from, message, held, row);
      return;
    }
    // Of a view that is not adopted here yet, or not there: it comes again. But one that leaves
    // still shows what it has.
    const { type } = message;
    const isShown = held !== undefined && (type === 'causalDigest' || type === 'causalPull');
    if (!isShown && !holdersOf(row).has(this.host.self)) return;
    const bucket = held ?? this.bucket(message.bucket);
    switch (message.type) {
      case 'causalPush':
        this.onPush(from, message, bucket, row);
        break;
      case 'causalBehind':
        this.sync.start(bucket, from);
        break;
      case 'causalDigest':
        this.sync.onDigest(from, message, bucket);
        break;
      case 'causalStamps':
        this.sync.onStamps(from, message, bucket);
        break;
      case 'causalPull':
        this.sync.onPull(from, message, bucket);
        break;
      case 'causalRecords':
        this.sync.onRecords(from, message, bucket);
        break;
    }
  }

  /** Everything that was taken up to `number` is durable here. */
  onDurable(number: number): void {
    if (number <= this.durableNumber) return;
    this.durableNumber = number;
    while (this.pending.length > 0 && this.pending[0]!.number <= number) {
      const write = this.pending.shift()!;
      this.buckets.get(write.bucket)?.onDurable(number, this.host.store);
      this.gossip.touch(write.bucket);
      this.answerWrite(write);
    }
  }

  /** End of a batch of inputs. */
  flush(): void {
    this.gossip.flush();
  }

  /** The log says durably that the bucket's causal half is gone. */
  onDropped(bucket: BucketId): void {
    this.host.store.clear(causalHalf(bucket));
    this.dropping.delete(bucket);
    const row = this.host.view.rows[bucket];
    // It may be wanted again meanwhile.
    if (row !== undefined && holdersOf(row).has(this.host.self)) return;
    this.forget(bucket);
  }

  tick(): void {
    const { now } = this.host;
    this.gossip.tick();
    this.sync.tick();
    this.reads.tick();
    if (now - this.toldMs < TELL_MS) return;
    this.toldMs = now;
    this.leave();
    for (const id of Array.from(this.uneven)) this.even(id);
    this.graves.tick();
  }

  adopt(before: View): void {
    const { view, self } = this.host;
    if (view.namespaces !== before.namespaces) {
      for (const id of this.buckets.keys()) this.graves.search(id);
    }
    // In a view that was not seen a server may have left a bucket, to come back later.
    const skipped = view.epoch > before.epoch + 1;
    for (const [id, row] of view.rows.entries()) {
      const old = before.rows[id];
      if (row === old) continue;
      const holders = holdersOf(row);
      const bucket = this.buckets.get(id);
      if (bucket === undefined && !(holders.has(self) && hasCausal(view))) continue;
      const marked = old === undefined ? NOTHING_SEEN : this.reads.markedUnder(old, before.epoch);
      this.rearrange(bucket ?? this.bucket(id), row, old, holders, marked, skipped);
    }
    this.takeGivenUp();
    this.reads.onAdopted();
  }

  /** Nothing comes from them any more: what is left of theirs, the holders find out together. */
  private takeGivenUp(): void {
    const { view } = this.host;
    const epochs = Array.from(view.members.values(), ({ givenUp }) => givenUp);
    const newest = Math.max(0, ...epochs);
    if (newest === this.givenUp) return;
    this.givenUp = newest;
    this.gossip.onGivenUp();
    for (const bucket of this.buckets.values()) {
      this.uneven.add(bucket.id);
      this.graves.reconsider(bucket.id);
      const former = Array.from(bucket.former).filter((server) => !isGivenUp(view, server));
      if (former.length < bucket.former.size) this.change(bucket, { former });
    }
  }

  /** Whatever is left of the writes of a server that was given up at that epoch is here. */
  hasRest(bucket: CausalBucket, server: Ordinal, epoch: Epoch): boolean {
    const { gossip } = this;
    const here = bucket.known.get(server) ?? 0;
    const there = gossip.knownByOthers(bucket.id).get(server) ?? 0;
    const isAll = bucket.former.size === 0 && here >= there;
    if (isAll && gossip.allToldIn(bucket.id, epoch)) return true;
    this.uneven.add(bucket.id);
    return false;
  }

  /** Whether the learner has what this primary had when the learner came. */
  isReady(id: BucketId, learner: Ordinal): boolean {
    const bucket = this.buckets.get(id);
    if (bucket === undefined || (bucket.empty && bucket.former.size === 0)) return true;
    const isReady = this.learners.isReady(bucket, learner);
    if (!isReady) this.uneven.add(id);
    return isReady;
  }

  /** What is known of the bucket. */
  known(id: BucketId): Vector {
    return this.buckets.get(id)?.known ?? NOTHING_SEEN;
  }

  takeDirty(metas: Map<BucketId, BucketMeta | null>): void {
    const { number, clock } = this;
    // The numbers go on, also when no bucket is left to tell them.
    const none = { known: [], former: [], unsafe: [], number, clock };
    for (const id of this.dropped) metas.set(causalHalf(id), metaOf(none));
    this.dropped.clear();
    for (const bucket of this.buckets.values()) {
      if (!bucket.dirty) continue;
      bucket.dirty = false;
      metas.set(causalHalf(bucket.id), metaOf(bucket.meta(this.number, this.clock)));
    }
  }

  /** Lamport's clock of this server now. */
  private get time(): number {
    return Math.max(this.clock, Math.floor(this.host.wallMs) * STEPS);
  }

  private bucket(id: BucketId): CausalBucket {
    let bucket = this.buckets.get(id);
    if (bucket === undefined) {
      bucket = new CausalBucket(id, this.host.self);
      this.buckets.set(id, bucket);
    }
    return bucket;
  }

  /** `fresh`: see `CausalBucket.apply`. */
  private change(bucket: CausalBucket, change: Partial<CausalChange>, fresh = false): void {
    const { host } = this;
    const whole: CausalChange = {
      records: [],
      gone: [],
      known: NOTHING_SEEN,
      clock: 0,
      former: null,
      dropped: false,
      ...change,
    };
    this.clock = latest(this.clock, whole);
    bucket.apply(whole, host.store, fresh);
    host.outbox.persist({ type: 'causal', bucket: bucket.id, change: whole });
    if (whole.dropped) return;
    this.uneven.add(bucket.id);
    this.graves.onRecords(bucket, whole.records);
    this.reads.onKnown(bucket.id);
  }

  private write(request: number, operation: Operation, bucket: CausalBucket): void {
    const { self, now, store } = this.host;
    const { key, client, clientSequence, settledBelow, kind } = operation;
    const earlier = this.dedup.lookup(client, clientSequence);
    if (earlier === 'settled') {
      const why = 'the request was settled by its client';
      this.host.refuse(request, bucket.id, Code.AlreadySettled, why);
      return;
    }
    if (earlier !== 'new') {
      const { previous, version, found } = earlier;
      const taken = { bucket: bucket.id, number: previous, clock: version, found };
      this.answerWhenDurable({ request, operation, ...taken });
      return;
    }
    const { clock: seenClock, seen, epoch: seenEpoch } = operation.context ?? NO_CONTEXT;
    const held = bucket.get(key, store);
    this.clock = Math.max(this.time, seenClock, held?.clock ?? 0) + 1;
    this.number += 1;
    const { clock, number } = this;
    const past = new Map(seen);
    past.delete(self);
    const value = kind === OperationKind.Delete ? null : (operation.value ?? new Uint8Array(0));
    const ttlMs = operation.ttlMs || (this.host.view.namespaces.get(namespaceOf(key))?.ttlMs ?? 0);
    const expires = value !== null && ttlMs > 0 ? clock + ttlMs * STEPS : 0;
    const epoch = Math.max(seenEpoch, this.host.view.epoch);
    const stamp = { clock, writer: self, number };
    const record: CausalRecord = { key, value, ...stamp, past, epoch, expires };
    const found = isLive(held, clock);
    const result = { version: clock, previous: number, found, participants: 0 };
    this.dedup.record(client, clientSequence, settledBelow, now, { ...result, committed: true });
    this.change(bucket, { records: [record], known: new Map([[self, number]]) }, true);
    this.host.outbox.sendAfter(self, { type: 'causalDurable', number });
    this.answerWhenDurable({ request, operation, bucket: bucket.id, number, clock, found });
  }

  private answerWhenDurable(write: Pending): void {
    if (write.number > this.durableNumber) this.pending.push(write);
    // A retry of one that was answered before.
    else this.answerWrite(write);
  }

  private answerWrite({ request, operation, bucket, number, clock, found }: Pending): void {
    const { seen, epoch } = operation.context ?? NO_CONTEXT;
    const context = { clock, epoch, seen: including(seen, this.host.self, number) };
    this.answer(request, bucket, { found, value: null, version: clock }, context);
  }

  private onPush(from: Ordinal, message: CausalPush, bucket: CausalBucket, row: BucketRow): void {
    const { since, upTo, leaving, records } = message;
    const have = bucket.known.get(from) ?? 0;
    if (have >= since) {
      // Where it still counts as a holder here, it is told so, and says it again.
      const left = leaving && !holdersOf(row).has(from) && bucket.former.has(from);
      const former = left ? Array.from(bucket.former).filter((server) => server !== from) : null;
      if (upTo > have || left) {
        this.change(bucket, { records, known: new Map([[from, upTo]]), former });
      }
    }
    this.tell(bucket, from, row, false, message.push);
  }

  private tell(
    bucket: CausalBucket,
    to: Ordinal,
    { epoch }: BucketRow,
    asks = false,
    push = 0,
  ): void {
    const former = Array.from(bucket.former);
    const known = new Map(bucket.known);
    const { view, outbox } = this.host;
    outbox.sendAfter(to, new CausalAck(bucket.id, known, view.epoch, epoch, former, asks, push));
  }

  private onAck(
    from: Ordinal,
    { bucket: id, known, former, epoch, bucketEpoch, asks }: CausalAck,
    bucket: CausalBucket | undefined,
    row: BucketRow,
  ): void {
    const { self } = this.host;
    const holders = holdersOf(row);
    if (!holders.has(self)) {
      // We left it long ago, and have nothing for it; under a view that we have not adopted we may.
      const knows = epoch <= this.host.view.epoch;
      if (bucket === undefined && knows && former.includes(self)) {
        this.host.send(from, new CausalPush(id, 0, 0, true, [], 0));
      }
      return;
    }
    if (asks) this.tell(bucket ?? this.bucket(id), from, row);
    if (bucket === undefined) return;
    if (!covers(bucket.known, known)) this.uneven.add(id);
    if (this.givenUp > 0) this.reads.retry(id);
    if (bucketEpoch !== row.epoch) return;
    // Whoever skipped views has not seen everybody leave.
    const { view } = this.host;
    const isNew = (server: Ordinal): boolean => !holders.has(server) && !isGivenUp(view, server);
    const fresh = former.filter((server) => isNew(server) && !bucket.former.has(server));
    if (fresh.length > 0) this.change(bucket, { former: [...bucket.former, ...fresh] });
  }

  /**
   * Tell holders that may not know all that we do what that is, and compare with one that knows
   * more than gossip has brought here.
   */
  private even(id: BucketId): void {
    const bucket = this.buckets.get(id);
    const row = this.host.view.rows[id];
    if (bucket === undefined || row === undefined || !holdersOf(row).has(this.host.self)) {
      this.uneven.delete(id);
      return;
    }
    let even = true;
    const lacks: Ordinal[] = [];
    for (const server of holdersOf(row)) {
      if (server === this.host.self || isGivenUp(this.host.view, server)) continue;
      const known = this.gossip.knownBy(id, server);
      if (!covers(known, bucket.known) || this.gossip.toldIn(id, server) < this.givenUp) {
        even = false;
        this.tell(bucket, server, row, true);
      }
      if (!covers(bucket.known, known)) {
        even = false;
        lacks.push(server);
      }
    }
    this.fetch(bucket, lacks);
    for (const server of bucket.former) {
      even = false;
      this.tell(bucket, server, row);
    }
    if (even) this.uneven.delete(id);
  }

  /** Others know more. Mostly it is on its way; when nothing came since the last look, compare. */
  private fetch(bucket: CausalBucket, from: readonly Ordinal[]): void {
    const before = this.lacking.get(bucket.id);
    if (from.length === 0) this.lacking.delete(bucket.id);
    else this.lacking.set(bucket.id, new Map(bucket.known));
    if (from.length === 0 || before === undefined || !covers(before, bucket.known)) return;
    const up = from.find((server) => isUp(this.host.view, server));
    if (up !== undefined) this.sync.start(bucket, up);
  }

  private onSynced(bucket: CausalBucket, from: Ordinal): void {
    this.tellAll(bucket);
    // It may be one that leaves, and waits to hear that nothing of it is lacking.
    const row = this.host.view.rows[bucket.id];
    if (row !== undefined && !holdersOf(row).has(from)) this.tell(bucket, from, row);
  }

  private tellAll(bucket: CausalBucket): void {
    const row = this.host.view.rows[bucket.id];
    if (row === undefined) return;
    for (const server of holdersOf(row)) {
      if (server !== this.host.self) this.tell(bucket, server, row);
    }
  }

  private rearrange(
    bucket: CausalBucket,
    row: BucketRow,
    old: BucketRow | undefined,
    holders: ReadonlySet<Ordinal>,
    marked: Vector,
    skipped: boolean,
  ): void {
    const { view } = this.host;
    const former = new Set(Array.from(bucket.former).filter((one) => !isGivenUp(view, one)));
    const before = old === undefined ? new Set<Ordinal>() : holdersOf(old);
    for (const server of before) {
      if (!holders.has(server) && !isGivenUp(view, server)) former.add(server);
    }
    for (const server of holders) former.delete(server);
    former.delete(this.host.self);
    const same =
      former.size === bucket.former.size &&
      [...former].every((server) => bucket.former.has(server));
    if (!same || !covers(bucket.known, marked)) {
      this.change(bucket, { former: Array.from(former), known: marked });
    }
    for (const server of [...before, ...holders]) {
      const stays = before.has(server) && holders.has(server) && !row.replicas.includes(server);
      if (!stays) this.learners.forget(bucket.id, server);
    }
    this.sync.stop(bucket.id);
    this.graves.reconsider(bucket.id);
    this.gossip.adopt(bucket.id, skipped ? new Set() : before);
    this.uneven.add(bucket.id);
    if (!bucket.empty) this.tellAll(bucket);
  }

  /** Give up what is held elsewhere, once all that we took is known there. */
  private leave(): void {
    const { view, self } = this.host;
    for (const bucket of Array.from(this.buckets.values())) {
      const row = view.rows[bucket.id];
      if (row === undefined || holdersOf(row).has(self)) continue;
      if (bucket.empty && bucket.former.size === 0 && !this.dropping.has(bucket.id)) {
        this.forget(bucket.id);
        continue;
      }
      this.gossip.touch(bucket.id);
      if (!this.gossip.isDrained(bucket)) continue;
      this.drop(bucket);
      this.gossip.forget(bucket.id);
      this.graves.forget(bucket.id);
    }
  }

  /** Nothing of the bucket is here, or wanted. */
  private forget(id: BucketId): void {
    if (this.buckets.get(id)?.dirty) this.dropped.add(id);
    this.buckets.delete(id);
    this.gossip.forget(id);
    this.graves.forget(id);
    this.uneven.delete(id);
    this.lacking.delete(id);
  }

  private drop(bucket: CausalBucket): void {
    if (bucket.empty || this.dropping.has(bucket.id)) return;
    this.dropping.add(bucket.id);
    this.change(bucket, { dropped: true }, true);
    const { outbox, self } = this.host;
    outbox.sendAfter(self, { type: 'causalDropped', bucket: bucket.id });
  }

  /** Another server holds the bucket: any of its replicas will do. */
  private pass(request: number, operation: Operation, id: BucketId, row: BucketRow): void {
    const { host } = this;
    const up = row.replicas.filter((server) => isUp(host.view, server));
    const to = up[(request >>> 0) % Math.max(1, up.length)];
    if (to === undefined || operation.hops >= LIMITS.hops) {
      host.refuse(request, id, Code.NotPrimary, `server ${row.replicas[0] ?? 0} holds the key`);
      return;
    }
    host.forward(to, request, operation, row);
  }

  private answer(
    request: number,
    bucket: BucketId,
    { found, value, version, records = NO_RECORDS, more = false }: Found,
    context: Context,
  ): void {
    const { self, view } = this.host;
    const { epoch } = view;
    const { Ok } = Code;
    const now = { ...context, epoch: Math.max(context.epoch, epoch) };
    this.host.answer(
      request,
      new Result(Ok, found, value, version, 0, epoch, bucket, self, '', records, more, 0, now),
    );
  }
}
