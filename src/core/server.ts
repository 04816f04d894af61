import type { Bucket } from './bucket.js';
import { Causal } from './causal.js';
import { isCausal } from './causal-message.js';
import type { Host, ServerSettings } from './host.js';
import { ballotEpoch, type BucketId, type Ordinal, type Sequence } from './ids.js';
import { Lease } from './lease.js';
import type { Learner } from './learner.js';
import {
  Beacon,
  BeaconAnswer,
  type BucketMeta,
  type PeerMessage,
  Prepare,
  PrepareAck,
  PrepareRefused,
  RefusedBecause,
  type SnapshotChunk,
  ViewUpdate,
} from './message.js';
import {
  afterDoubt,
  NO_RECORDS,
  type Operation,
  OperationKind,
  readdressed,
  Result,
} from './operation.js';
import { type Completion, DamagedBucket, type SelfMessage } from './outbox.js';
import type { Outbox, StateStore } from './outbox.js';
import { MultiReads } from './multi-read.js';
import { Parking } from './parking.js';
import { bucketOf } from './pools.js';
import type { Primary } from './primary.js';
import type { Recovered } from './recovery.js';
import { Code, LIMITS } from './refusal.js';
import { Replicas } from './replicas.js';
import { Reporter } from './reporter.js';
import { Scrub } from './scrub.js';
import { onPrepare, refuse } from './secondary.js';
import { Throttle } from './throttle.js';
import { objection } from './validate.js';
import {
  applyDelta,
  type BucketRow,
  ChangePhase,
  MemberState,
  NO_VIEW,
  type View,
} from './view.js';

/** How long a commit point waits for entries to ride on; then many are told together. */
const TELL_COMMIT_MS = 200;
/** Messages kept for a view that is on its way; more are dropped and sent again. */
const EARLY_MESSAGES = 16_384;

/**
 * A storage server as one synchronous state machine: messages, operations, completions and ticks
 * in; effects out through the outbox. It has no clock, socket or disk of its own. The process and
 * the simulator drive the same machine.
 *
 * After each batch of inputs the driver calls `flush`, which sends what the batch gathered.
 */
export class StorageServer implements Host {
  readonly self: Ordinal;
  readonly lease: Lease;
  view: View;
  now: number;
  /** When the present view was adopted, monotonic ms. */
  adoptedMs = -Infinity;
  outbox!: Outbox;
  private readonly incarnation: number;
  private readonly replicas: Replicas;
  private readonly parking: Parking;
  private readonly reporter: Reporter;
  private readonly multiReads: MultiReads;
  private readonly scrub: Scrub;
  readonly causal: Causal;
  /** The newest view received; adopted when it is durable (V1). */
  private newest: View;
  private readonly expected = new Map<number, (completion: Completion) => void>();
  private nextToken = 1;
  /** Messages to this server itself, delivered at the end of the step. */
  private readonly inbox: PeerMessage[] = [];
  /** Messages built on a view that is not adopted here yet. */
  private readonly fromTheFuture: { from: Ordinal; message: PeerMessage }[] = [];
  /** Those that got the last beacons; once more after the relation ended, to show the epoch. */
  private readonly beaconed = new Set<Ordinal>();
  /** To whom, and when, the present view was last shown. */
  private readonly shown = new Map<Ordinal, { epoch: number; atMs: number }>();
  private readonly throttle: Throttle;
  private beaconMs = -Infinity;
  /** When commit points were told last. */
  private toldMs = -Infinity;
  /** Operations of which an earlier attempt may have taken effect, or may still (D4). */
  private readonly doubted = new Map<number, Operation>();

  constructor(
    identity: { readonly ordinal: Ordinal; readonly incarnation: number },
    readonly settings: ServerSettings,
    readonly store: StateStore,
    recovered: Recovered,
    now: number,
    /** What to add to the monotonic clock to have the wall clock's time, ms. */
    private readonly wallOffsetMs: number,
  ) {
    this.self = identity.ordinal;
    this.incarnation = identity.incarnation;
    this.now = now;
    this.throttle = new Throttle(settings, now);
    // A directory that never had a view cannot have answered anybody.
    this.lease = new Lease(recovered.view === null ? -Infinity : now);
    this.parking = new Parking(settings.parkedAtOnce);
    this.view = NO_VIEW;
    this.newest = recovered.view ?? this.view;
    this.scrub = new Scrub(this, (bucket) => this.replicas.primaryOf(bucket));
    this.replicas = new Replicas(this, this.incarnation, recovered, this.scrub);
    this.reporter = new Reporter(this, this.incarnation, this.scrub);
    this.multiReads = new MultiReads(this);
    this.causal = new Causal(this, recovered.causal);
  }

  get wallMs(): number {
    return this.now + this.wallOffsetMs;
  }

  /** Take up the roles of the recovered view. Call once, before anything else. */
  start(now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    if (this.newest.epoch > 0) this.adopt(this.newest, true);
    this.leave();
  }

  /** A message of a peer, or a view from the view leader (`from` 0). */
  peer(from: Ordinal, message: PeerMessage, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.dispatch(from, message);
    this.leave();
  }

  /** What was given to `sendAfter` for this server itself: the records before it are durable. */
  durable(message: PeerMessage | SelfMessage, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    if (message.type === 'adopt') this.adopt(message.view, false);
    else if (message.type === 'beat') this.reporter.onDurable(this.replicas.primaries);
    else if (message.type === 'causalDurable') this.causal.onDurable(message.number);
    else if (message.type === 'causalDropped') this.causal.onDropped(message.bucket);
    else if (message.type === 'gaveUp') this.replicas.onGaveUp(message.bucket);
    else if (message.type === 'logged') {
      this.primaryOf(message.bucket)?.onLogged(message.ballot, message.upTo);
    } else this.dispatch(this.self, message);
    this.leave();
  }

  /** A client's operation, or one that another server forwarded. Answered through the outbox. */
  submit(request: number, operation: Operation, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.route(request, operation);
    this.leave();
  }

  /**
   * An operation that was forwarded, and nobody knows what became of it: try again. Its number
   * protects it, and no refusal will be taken for a proof that nothing happened.
   */
  submitAgain(request: number, operation: Operation, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.reroute(request, operation);
    this.leave();
  }

  complete(completion: Completion, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    const done = this.expected.get(completion.token);
    this.expected.delete(completion.token);
    if (completion.type === 'damaged') this.scrub.onDamage(completion.bucket, completion.why);
    done?.(completion);
    this.leave();
  }

  /** Call every 10–50 ms. */
  tick(now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.throttle.tick(now, this.view.parameters);
    if (now - this.beaconMs >= this.view.parameters.leaseMs / 5) this.sendBeacons();
    const tellCommit = now - this.toldMs >= TELL_COMMIT_MS;
    if (tellCommit) this.toldMs = now;
    if (tellCommit && this.view.namespaces.size > 0) this.replicas.sweep();
    this.replicas.tick(tellCommit, tellCommit || this.throttle.free);
    for (const { request, bucket, code, why } of this.parking.expired(now)) {
      this.refuse(request, bucket, code, why);
    }
    this.multiReads.tick();
    this.causal.tick();
    this.scrub.tick(this.replicas.primaries);
    this.reporter.tick();
    this.leave();
  }

  /** Ask the view leader to take this server out of the write path, before it stops. */
  prepareToStop(): void {
    this.reporter.leave();
  }

  /** The newest view received, maybe not adopted yet: for addresses. */
  get newestView(): View {
    return this.newest;
  }

  /** True while the view counts on this server for any bucket. */
  get needed(): boolean {
    return this.view.rows.some((row) => row.replicas.includes(this.self));
  }

  /** End of a batch of inputs. */
  flush(now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.replicas.flush();
    this.causal.flush();
    this.leave();
  }

  /** Committed state of the buckets that changed since the last call; null: not held any more. */
  takeDirty(): Map<BucketId, BucketMeta | null> {
    const metas = this.replicas.takeDirty();
    this.causal.takeDirty(metas);
    return metas;
  }

  /** Whether this server would answer a read of the bucket now. For checkers. */
  servesReads(bucket: BucketId, now: number): boolean {
    this.now = now;
    return this.primaryOf(bucket)?.holdsLease ?? false;
  }

  /** Buckets held here, with their roles' commit points. For status and checkers. */
  held(): ReadonlyMap<BucketId, { readonly bucket: Bucket }> {
    return this.replicas.all;
  }

  // Host: what the roles use.

  send(to: Ordinal, message: PeerMessage): void {
    if (to === this.self) this.inbox.push(message);
    else this.outbox.send(to, message);
  }

  sendToPrimary(bucket: BucketId, message: PeerMessage): void {
    const to = this.view.rows[bucket]?.replicas[0];
    if (to !== undefined) this.send(to, message);
  }

  park(request: number, operation: Operation, bucket: BucketId, code: Code, why: string): void {
    if (this.parking.add(request, operation, bucket, this.now, code, why)) return;
    this.refuse(request, bucket, Code.Overloaded, 'too many operations wait on this server');
  }

  resubmit(bucket: BucketId): void {
    for (const { request, operation } of this.parking.take(bucket)) this.route(request, operation);
  }

  route(request: number, operation: Operation): void {
    const problem = objection(operation, this.view);
    if (problem !== null) {
      this.refuse(request, 0, problem.code, problem.detail);
      return;
    }
    const { kind } = operation;
    const isWhole = kind === OperationKind.Scan || kind === OperationKind.Count;
    const bucket = isWhole ? operation.bucket : bucketOf(operation.key, this.view);
    const row = this.view.rows[bucket];
    if (row === undefined) {
      this.park(request, operation, bucket, Code.Unavailable, 'there is no such bucket yet');
      return;
    }
    if (this.causal.takes(request, operation, bucket, row)) return;
    if (operation.kind === OperationKind.GetR && this.multiReads.start(request, operation)) return;
    if (operation.bucketEpoch > row.epoch) {
      this.park(request, operation, bucket, Code.Unavailable, 'this server waits for a newer view');
      return;
    }
    const primary = this.primaryOf(bucket);
    if (!primary) {
      this.pass(request, operation, bucket, row);
      return;
    }
    // Where one record is damaged others may have vanished: what is absent cannot be trusted.
    if (this.scrub.isDamaged(bucket) && row.replicas.length > 1) {
      this.onDamaged(request, operation, bucket);
      return;
    }
    try {
      primary.serving.submit(request, operation);
    } catch (error) {
      this.noteDamage(error);
      this.onDamaged(request, operation, bucket);
    }
  }

  onDamaged(request: number, operation: Operation, bucket: BucketId): void {
    const why = 'records of the bucket are damaged on this server';
    const alone = (this.view.rows[bucket]?.replicas.length ?? 0) < 2;
    if (alone) this.refuse(request, bucket, Code.Damaged, `${why}, which has the only copy`);
    else this.park(request, operation, bucket, Code.Unavailable, `${why}: another takes over`);
  }

  onDigestEntry(bucket: Bucket, sequence: Sequence): void {
    this.scrub.onEntry(bucket, sequence);
  }

  reroute(request: number, operation: Operation): void {
    this.doubted.set(request, operation);
    if (operation.timeoutMs > 0 && !this.causal.isWrite(operation)) this.route(request, operation);
    else this.refuse(request, 0, Code.Unavailable, 'the server that holds the key went silent');
  }

  answer(request: number, result: Result): void {
    this.parking.forget(request);
    if (request < 0) {
      this.multiReads.onAnswer(request, result);
      return;
    }
    const doubted = this.doubted.size === 0 ? undefined : this.doubted.get(request);
    if (doubted !== undefined) this.doubted.delete(request);
    this.outbox.answer(request, doubted === undefined ? result : afterDoubt(doubted, result));
  }

  /** The server that an operation was forwarded to has answered it. */
  onForwarded(request: number, result: Result, now: number, outbox: Outbox): void {
    this.enter(now, outbox);
    this.answer(request, result);
    this.leave();
  }

  refuse(request: number, bucket: BucketId, code: Code, detail: string): void {
    const server = this.view.rows[bucket]?.replicas[0] ?? 0;
    const { epoch } = this.view;
    this.answer(
      request,
      new Result(code, false, null, 0, 0, epoch, bucket, server, detail, NO_RECORDS, false, 0),
    );
  }

  markDirty(primary: Primary): void {
    this.replicas.markDirty(primary);
  }

  hastenBeacons(): void {
    this.beaconMs = -Infinity;
  }

  expect(done: (completion: Completion) => void): number {
    const token = this.nextToken++;
    this.expected.set(token, done);
    return token;
  }

  shareView(to: Ordinal): void {
    const { epoch } = this.view;
    const last = this.shown.get(to);
    if (last?.epoch === epoch && this.now - last.atMs < this.settings.resendMs) return;
    this.shown.set(to, { epoch, atMs: this.now });
    this.send(to, new ViewUpdate(this.view, null));
  }

  transferBudget(): number {
    return this.throttle.left(this.view.parameters);
  }

  transferChunk(): number {
    return this.throttle.chunkBytes(this.view.parameters);
  }

  charge(bytes: number): void {
    this.throttle.charge(bytes);
  }

  beginTransfer(): boolean {
    return this.throttle.begin(this.now);
  }

  endTransfer(): void {
    this.throttle.end(this.now);
  }

  private enter(now: number, outbox: Outbox): void {
    this.now = now;
    this.outbox = outbox;
  }

  /** Deliver what the step sent to this server itself. */
  private leave(): void {
    for (let next = this.inbox.shift(); next !== undefined; next = this.inbox.shift()) {
      this.dispatch(this.self, next);
    }
  }

  private dispatch(from: Ordinal, message: PeerMessage): void {
    // Nearly all messages are of these two kinds.
    if (message instanceof PrepareAck || message instanceof Prepare) {
      if (this.early(from, message)) return;
      if (message instanceof Prepare) this.onPrepare(from, message);
      else this.primaryOf(message.bucket)?.onAck(from, message);
      return;
    }
    if (isCausal(message)) {
      this.causal.onMessage(from, message);
      return;
    }
    if ('ballot' in message && this.early(from, message)) return;
    switch (message.type) {
      case 'prepareRefused':
        this.primaryOf(message.bucket)?.onRefused(from, message);
        break;
      case 'beacon':
        this.lease.beacon(from, message.epoch, this.now);
        this.send(from, new BeaconAnswer(this.view.epoch, message.sentMs));
        break;
      case 'beaconAnswer':
        this.lease.answer(from, message.epoch, message.sentMs, this.view.epoch);
        break;
      case 'learnProbe':
        this.learnerFor(from, message)?.onProbe(from, message, this.transferNumber(), this);
        break;
      case 'learnState':
        this.primaryOf(message.bucket)?.onLearnState(from, message);
        break;
      case 'snapshotChunk':
        this.onChunk(from, message);
        break;
      case 'snapshotAck':
        this.primaryOf(message.bucket)?.onSnapshotAck(from, message);
        break;
      case 'voteRequest':
        // Without an answer the coordinator asks again.
        try {
          this.primaryOf(message.bucket)?.serving.participant.onVoteRequest(message);
        } catch (error) {
          this.noteDamage(error);
        }
        break;
      case 'vote':
        this.primaryOf(message.coordinatorBucket)?.serving.coordinator.onVote(message);
        break;
      case 'decide':
        this.primaryOf(message.bucket)?.serving.participant.onDecide(message);
        break;
      case 'decideAck':
        this.primaryOf(message.coordinatorBucket)?.serving.coordinator.onConfirmed(message);
        break;
      case 'decisionQuery':
        this.primaryOf(message.coordinatorBucket)?.serving.coordinator.onQuery(message);
        break;
      case 'digestReport':
        this.scrub.onReport(from, message);
        break;
      case 'viewUpdate':
        this.onView(message);
        break;
    }
  }

  /** Reads of the state happen before anything is changed: what they break off left no trace. */
  private noteDamage(error: unknown): void {
    if (!(error instanceof DamagedBucket)) throw error;
    this.scrub.onDamage(error.bucket, error.message);
  }

  /** Built on a view that is not adopted here yet: it is kept until then. */
  private early(from: Ordinal, message: PeerMessage & { ballot: number; bucket: number }): boolean {
    const epoch = ballotEpoch(message.ballot);
    if (epoch <= (this.view.rows[message.bucket]?.epoch ?? 0)) return false;
    if (this.fromTheFuture.length < EARLY_MESSAGES) this.fromTheFuture.push({ from, message });
    if (this.newest.epoch < epoch && from !== this.self) {
      const { bucket, ballot } = message;
      const have = this.newest.epoch;
      this.send(from, new PrepareRefused(bucket, ballot, have, 0, RefusedBecause.Behind));
    }
    return true;
  }

  private primaryOf(bucket: BucketId): Primary | null | undefined {
    return this.replicas.primaryOf(bucket);
  }

  /** Follow the primary of the view, under its bucket epoch; refuse everyone else (V1). */
  private onPrepare(from: Ordinal, message: Prepare): void {
    const replica = this.replicas.get(message.bucket);
    const row = this.view.rows[message.bucket];
    const stale = ballotEpoch(message.ballot) < (row?.epoch ?? 0) || from !== row?.replicas[0];
    if (replica === undefined || stale || message.ballot < replica.bucket.promised) {
      refuse(from, message, 0, RefusedBecause.Stale, this);
      return;
    }
    if (replica.learner.busy || from === this.self) return;
    onPrepare(replica.bucket, from, message, this);
  }

  /** The learner that this message is for, if its sender is the primary under our view. */
  private learnerFor(
    from: Ordinal,
    message: { readonly bucket: BucketId; readonly ballot: number },
  ): Learner | undefined {
    const row = this.view.rows[message.bucket];
    const replica = this.replicas.get(message.bucket);
    if (row === undefined || row.replicas[0] !== from) return undefined;
    // A replica that is in sync never lets a snapshot in.
    if (row.replicas.includes(this.self) || ballotEpoch(message.ballot) < row.epoch) {
      return undefined;
    }
    if (replica === undefined || message.ballot < replica.bucket.promised) return undefined;
    return replica.learner;
  }

  private onChunk(from: Ordinal, message: SnapshotChunk): void {
    if (from === this.self) this.replicas.get(message.bucket)?.learner.onVoided(message, this);
    else this.learnerFor(from, message)?.onChunk(message, this);
  }

  /** Unique within this incarnation; a restart forgets the offers it made. */
  private transferNumber(): number {
    return this.incarnation * 2 ** 32 + this.nextToken++;
  }

  /** Forward to the primary, unless it is known to be away or the operation went far enough. */
  private pass(request: number, operation: Operation, bucket: BucketId, row: BucketRow): void {
    const to = row.replicas[0];
    const member = to === undefined ? undefined : this.view.members.get(to);
    if (to === undefined || to === this.self || member?.state !== MemberState.Up) {
      const why = `server ${to ?? '?'}, which holds the key, is down`;
      this.park(request, operation, bucket, Code.Unavailable, why);
      return;
    }
    if (operation.hops >= LIMITS.hops) {
      this.refuse(request, bucket, Code.NotPrimary, `server ${to} holds the key`);
      return;
    }
    this.forward(to, request, operation, row);
  }

  forward(to: Ordinal, request: number, operation: Operation, row: BucketRow): void {
    this.parking.forget(request);
    const epoch = Math.max(operation.bucketEpoch, row.epoch);
    const { timeoutMs, hops } = operation;
    this.outbox.forward(to, request, readdressed(operation, epoch, timeoutMs, hops + 1));
  }

  causalReady(bucket: BucketId, learner: Ordinal): boolean {
    return this.causal.isReady(bucket, learner);
  }

  private onView(message: ViewUpdate): void {
    const { newest } = this;
    const next =
      message.view ?? (message.delta === null ? null : applyDelta(newest, message.delta));
    if (next === null) {
      this.reporter.hurry();
      return;
    }
    if (next.epoch <= newest.epoch) return;
    if (newest.clusterId !== '' && next.clusterId !== newest.clusterId) return;
    this.newest = next;
    // A whole view is large, and most epochs change a few rows.
    if (message.delta === null) this.outbox.persist({ type: 'view', view: next });
    else this.outbox.persist({ type: 'viewDelta', delta: message.delta });
    this.outbox.sendAfter(this.self, { type: 'adopt', view: next });
  }

  private adopt(view: View, resuming: boolean): void {
    if (view.epoch <= this.view.epoch) return;
    const before = this.view;
    this.view = view;
    this.adoptedMs = this.now;
    this.lease.adopted(view.epoch);
    // Whoever got beacons of us must hear that we have adopted this view, too.
    this.sendBeacons();
    this.replicas.adopt(before, resuming);
    this.causal.adopt(before);
    this.sendBeacons();
    // The view leader waits for what this server has to send.
    if (view.change.phase === ChangePhase.Prime) this.reporter.hurry();
    for (const { request, operation } of this.parking.takeAll()) this.route(request, operation);
    const early = this.fromTheFuture.splice(0);
    for (const { from, message } of early) this.dispatch(from, message);
  }

  private sendBeacons(): void {
    this.beaconMs = this.now;
    this.lease.sent(this.now);
    const peers = new Set<Ordinal>(this.beaconed);
    this.beaconed.clear();
    for (const primary of this.replicas.primaries) {
      for (const ordinal of primary.followers.keys()) this.beaconed.add(ordinal);
    }
    for (const ordinal of this.beaconed) peers.add(ordinal);
    for (const ordinal of peers) {
      this.outbox.send(ordinal, new Beacon(this.view.epoch, this.now));
    }
  }
}
