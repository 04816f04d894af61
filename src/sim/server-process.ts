import type { Entry } from '../core/entry.js';
import type { BucketId, Key, Ordinal, Sequence } from '../core/ids.js';
import { type LeaderMessage, type PeerMessage, SnapshotChunk } from '../core/message.js';
import { type Operation, readdressed, type Result } from '../core/operation.js';
import type { StoredRecord } from '../core/operation.js';
import { DamagedBucket } from '../core/outbox.js';
import type { Alarm, Completion, LogRecord, Outbox, SelfMessage } from '../core/outbox.js';
import { StorageServer } from '../core/server.js';
import type { ProcessClock } from './clock.js';
import type { Disk } from './disk.js';
import { LEADER_NODE, type Node } from './network.js';
import type { Prng } from '../checkers/prng.js';
import type { World } from './world.js';

const TICK_MS = 20;
const MOST_ENTRIES = 20;

/**
 * One incarnation of one storage server: drives the machine as the real driver does, on the
 * simulated network, disk and clock. It ends with a crash; the disk outlives it.
 */
export class ServerProcess implements Outbox {
  readonly machine: StorageServer;
  alive = true;
  /** For faults: called when something is logged. */
  onPersist: ((record: LogRecord) => void) | null = null;
  private pausedUntilMs = 0;
  private readonly backlog: (() => void)[] = [];
  private readonly requests = new Map<number, (result: Result) => void>();
  private nextRequest = 1;
  private readonly forwards = new Map<number, (result: Result | null) => void>();
  private nextForward = 1;
  private flushing = false;
  /** What the machine puts its effects into; a sabotage may stand in between. */
  private readonly effects: Outbox;

  constructor(
    private readonly world: World,
    readonly node: Node,
    private readonly disk: Disk,
    readonly processClock: ProcessClock,
    private readonly random: Prng,
  ) {
    this.effects = world.sabotage.outbox?.(this) ?? this;
    const { ordinal, incarnation } = disk;
    const recovered = disk.recover();
    const now = processClock.monotonicMs();
    this.machine = new StorageServer(
      { ordinal, incarnation },
      world.settings.server,
      disk.store,
      recovered,
      now,
      processClock.wallMs() - now,
    );
    this.input((at) => this.machine.start(at, this.effects));
    this.tickAgain();
    this.checkpointAgain();
  }

  get nowMs(): number {
    return this.processClock.monotonicMs();
  }

  /** kill -9. */
  crash(): void {
    this.alive = false;
    this.disk.crash(this.world.sabotage.lostLogRecords ?? 0);
  }

  /** The process stands still; what arrives meanwhile is handled afterwards. */
  pause(forMs: number): void {
    const { clock } = this.world;
    this.pausedUntilMs = Math.max(this.pausedUntilMs, clock.now + forMs);
    clock.after(forMs, () => this.resume());
  }

  receive(from: Ordinal, message: PeerMessage): void {
    this.input((now) => this.machine.peer(from, message, now, this.effects));
  }

  /** `answer` is called once, unless the process dies. */
  submit(operation: Operation, answer: (result: Result) => void): void {
    this.input((now) => {
      const request = this.nextRequest++;
      this.requests.set(request, answer);
      this.machine.submit(request, operation, now, this.effects);
    });
  }

  // Outbox

  send(to: Ordinal, message: PeerMessage): void {
    const arriving = this.shortened(this.world.codec.peer(message));
    this.world.toServer(this.node, to, message.type, (process) => {
      process.receive(this.machine.self, arriving);
    });
  }

  /** In some runs something between two servers loses a record: the counts must tell (V4). */
  private shortened(message: PeerMessage): PeerMessage {
    const { shortChunks } = this.world;
    if (shortChunks === 0 || message.type !== 'snapshotChunk') return message;
    const { bucket, ballot, transfer, index, last, records, meta, total } = message;
    if (records.length === 0 || !this.random.chance(shortChunks)) return message;
    const short = records.slice(0, -1);
    return new SnapshotChunk(bucket, ballot, transfer, index, last, short, meta, total);
  }

  persist(record: LogRecord): void {
    this.onPersist?.(record);
    if (record.type === 'causal') this.world.onCausal(this.machine.self, record.change);
    this.disk.log.append(record);
  }

  sendAfter(to: Ordinal, message: PeerMessage | SelfMessage): void {
    // Never within the step that asked for it, even if the disk has nothing to do.
    this.disk.log.whenDurable(() => this.leaveAtOnce(to, message));
  }

  /** Also for a sabotage: what had to wait for the disk does not. */
  leaveAtOnce(to: Ordinal, message: PeerMessage | SelfMessage): void {
    this.world.clock.after(0, () => this.leave(to, message));
  }

  /** Deliver what had to wait for the disk. */
  private leave(to: Ordinal, message: PeerMessage | SelfMessage): void {
    if (to === this.machine.self) {
      this.input((now) => this.machine.durable(message, now, this.effects));
      return;
    }
    // The kernel does not send for a process that stands still.
    this.whenRunning(() => this.send(to, message as PeerMessage));
  }

  toLeader(message: LeaderMessage): void {
    const { world, node, machine } = this;
    const arriving = world.codec.leader(message);
    world.network.send(node, LEADER_NODE, message.type, () => {
      world.leader.receive(machine.self, arriving);
    });
  }

  answer(request: number, result: Result): void {
    const tell = this.requests.get(request);
    this.requests.delete(request);
    tell?.(result);
  }

  forward(to: Ordinal, request: number, operation: Operation): void {
    const deadlineMs = this.nowMs + operation.timeoutMs;
    const forward = this.nextForward++;
    this.forwards.set(forward, (result) => {
      this.forwards.delete(forward);
      if (result === null) this.routeAgain(request, operation, deadlineMs);
      else this.machine.onForwarded(request, result, this.nowMs, this.effects);
    });
    this.world.operate(this.node, to, operation, (result) => {
      this.input(() => this.forwards.get(forward)?.(result));
    });
    // Sooner or later a stream that lost a message is seen to be broken.
    this.world.clock.after(this.random.between(100, 1000), () => {
      this.input(() => this.forwards.get(forward)?.(null));
    });
  }

  scan(token: number, bucket: BucketId, after: Key, records: number, _bytes: number): void {
    this.completes(token, () => {
      const limit = Math.min(records, this.random.whole(1, 5));
      return { type: 'scanned', token, ...this.disk.store.scan(bucket, after, limit) };
    });
  }

  ingest(token: number, bucket: BucketId, records: readonly StoredRecord[], first: boolean): void {
    this.disk.store.ingest(bucket, records, first);
    this.completes(token, () => ({ type: 'ingested', token }));
  }

  readLog(token: number, bucket: BucketId, from: Sequence, _limitBytes: number): void {
    this.completes(token, () => {
      const limit = this.random.whole(1, MOST_ENTRIES);
      const entries: readonly Entry[] | null = this.disk.log.entriesFrom(bucket, from, limit);
      return { type: 'logRead', token, entries };
    });
  }

  digest(token: number, bucket: BucketId): void {
    const digest = this.disk.store.digest(bucket);
    this.completes(token, () => ({ type: 'digested', token, digest: digest() }));
  }

  alarm(alarm: Alarm): void {
    this.world.onAlarm(alarm);
  }

  flushIn(ms: number): void {
    this.world.clock.after(ms, () => this.input(() => undefined));
  }

  private completes(token: number, work: () => Completion): void {
    this.world.clock.after(this.random.between(0.1, 5), () => {
      if (!this.alive) return;
      const completion = completionOf(token, work);
      this.input((now) => this.machine.complete(completion, now, this.effects));
    });
  }

  private routeAgain(request: number, operation: Operation, deadlineMs: number): void {
    if (request > 0 && !this.requests.has(request)) return;
    const left = Math.max(0, Math.round(deadlineMs - this.nowMs));
    const again = readdressed(operation, operation.bucketEpoch, left, operation.hops);
    this.machine.submitAgain(request, again, this.nowMs, this.effects);
  }

  private whenRunning(action: () => void): void {
    if (!this.alive) return;
    if (this.world.clock.now < this.pausedUntilMs) this.backlog.push(action);
    else action();
  }

  private resume(): void {
    if (this.world.clock.now < this.pausedUntilMs) return;
    for (const action of this.backlog.splice(0)) if (this.alive) action();
  }

  /** Feed the machine; inputs that come close together are one batch. */
  private input(action: (now: number) => void): void {
    this.whenRunning(() => {
      action(this.nowMs);
      if (this.flushing) return;
      this.flushing = true;
      this.world.clock.after(this.random.between(0, 0.3), () => {
        this.whenRunning(() => {
          this.flushing = false;
          this.machine.flush(this.nowMs, this.effects);
        });
      });
    });
  }

  private tickAgain(): void {
    this.world.clock.after(this.random.between(TICK_MS / 2, TICK_MS * 1.5), () => {
      this.input((now) => this.machine.tick(now, this.effects));
      this.whenRunning(() => this.tickAgain());
    });
  }

  private checkpointAgain(): void {
    const { clock, settings } = this.world;
    clock.after(this.random.between(0.2, 1.8) * settings.checkpointEveryMs, () => {
      this.whenRunning(() => {
        if (!this.disk.busy) {
          this.disk.checkpoint(this.machine.takeDirty(), this.machine.view, () => this.alive);
        }
        this.checkpointAgain();
      });
    });
  }
}

/** What the work comes to, or that it met a damaged record. */
function completionOf(token: number, work: () => Completion): Completion {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DamagedBucket)) throw error;
    return { type: 'damaged', token, bucket: error.bucket, why: error.message };
  }
}
