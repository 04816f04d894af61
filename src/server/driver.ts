import { performance } from 'node:perf_hooks';

import type { Entry } from '../core/entry.js';
import type { ServerSettings } from '../core/host.js';
import type { BucketId, Key, Ordinal, Sequence } from '../core/ids.js';
import type { LeaderMessage, PeerMessage, ViewUpdate } from '../core/message.js';
import {
  NO_RECORDS,
  type Operation,
  readdressed,
  Result,
  type StoredRecord,
} from '../core/operation.js';
import { DamagedBucket } from '../core/outbox.js';
import type { Alarm, Completion, LogRecord, Outbox, SelfMessage } from '../core/outbox.js';
import type { Recovered } from '../core/recovery.js';
import { Code } from '../core/refusal.js';
import { StorageServer } from '../core/server.js';
import type { Storage } from '../storage/storage.js';
import type { Answers } from '../transport/stream.js';

const TICK_MS = 20;
const CHECKPOINT_EVERY_MS = 60_000;
/** Acknowledgements that are worth a frame of their own. */
const FEW_MESSAGES = 2;
/** A forwarded operation whose link broke is routed again after this long. */
const FORWARD_AGAIN_MS = 50;
/**
 * Unwritten engine rows that make the server refuse more writes (U3). On their way into the engine
 * they may be in memory twice.
 */
const OVERLAY_BYTES = 64 * 1024 * 1024;

/** What the driver needs of the network. */
export interface Network {
  send(to: Ordinal, message: PeerMessage): void;
  toLeader(message: LeaderMessage): void;
  /** What was sent so far leaves now. */
  flush(): void;
  /** Hand an operation to another server; null when the link to it broke. */
  forward(to: Ordinal, operation: Operation, done: (result: Result | null) => void): void;
}

/** Where the answer to a request goes. */
class Pending {
  constructor(
    readonly answers: Answers,
    readonly id: number,
  ) {}
}

/** What waits for the same group of the log. */
class Held {
  readonly to: Ordinal[] = [];
  readonly messages: (PeerMessage | SelfMessage)[] = [];

  constructor(readonly group: number) {}
}

/** Monotonic milliseconds. */
export function monotonicMs(): number {
  return performance.now();
}

/**
 * Runs the machine of one storage server on the real clock, disk and network, and carries out what
 * it puts into its outbox. All inputs of one turn of the event loop are one batch: one group in the
 * log, one prepare message for each follower of each bucket.
 */
export class Driver implements Outbox {
  readonly machine: StorageServer;
  private readonly requests = new Map<number, Pending>();
  private nextRequest = 1;
  /** What waits for the newest group of the log; an older one has a notice of its own. */
  private held: Held | null = null;
  private flushing = false;
  private running = false;
  /** Inputs that arose while the machine was taking a step. */
  private readonly later: ((now: number) => void)[] = [];
  private ticker: NodeJS.Timeout | null = null;
  private checkpointing: Promise<void> = Promise.resolve();
  private atCheckpoint = false;
  private checkpointedMs = monotonicMs();
  private stopped = false;

  constructor(
    identity: { readonly ordinal: Ordinal; readonly incarnation: number },
    settings: ServerSettings,
    recovered: Recovered,
    private readonly storage: Storage,
    private readonly network: Network,
    private readonly fatal: (error: Error) => void,
    /** Tell people. */
    readonly alarm: (alarm: Alarm) => void,
  ) {
    const now = monotonicMs();
    const { store } = storage;
    this.machine = new StorageServer(identity, settings, store, recovered, now, Date.now() - now);
  }

  start(): void {
    this.run((now) => this.machine.start(now, this));
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  /** Let the view leader take this server out of every replica set, at most for `deadlineMs`. */
  async leave(deadlineMs: number): Promise<void> {
    this.run(() => this.machine.prepareToStop());
    const end = monotonicMs() + deadlineMs;
    while (this.machine.needed && monotonicMs() < end && !this.stopped) {
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  /** No input is taken any more; what is durable stays. */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.ticker !== null) clearInterval(this.ticker);
    await this.checkpointing;
    await this.checkpoint();
  }

  /** Messages of one peer. */
  receive(from: Ordinal, messages: readonly PeerMessage[]): void {
    this.run((now) => {
      for (const message of messages) this.machine.peer(from, message, now, this);
    });
  }

  receiveView(update: ViewUpdate): void {
    this.run((now) => this.machine.peer(0, update, now, this));
  }

  /** Client operations that came together; each is answered exactly once, maybe at once. */
  submit(operations: readonly Operation[], ids: readonly number[], answers: Answers): void {
    if (this.storage.store.overlayBytes > OVERLAY_BYTES) {
      const why = 'the disk is behind: too much waits to be written';
      for (const id of ids) answers.answer(id, this.refusal(Code.Overloaded, why));
      return;
    }
    this.run((now) => {
      for (let index = 0; index < operations.length; index += 1) {
        const request = this.nextRequest++;
        this.requests.set(request, new Pending(answers, ids[index]!));
        this.machine.submit(request, operations[index]!, now, this);
      }
    });
  }

  /** Operations not answered yet. */
  get outstanding(): number {
    return this.requests.size;
  }

  // Outbox

  send(to: Ordinal, message: PeerMessage): void {
    this.network.send(to, message);
  }

  persist(record: LogRecord): void {
    this.storage.append(record);
  }

  sendAfter(to: Ordinal, message: PeerMessage | SelfMessage): void {
    const group = this.storage.pendingGroup;
    if (group === 0) {
      this.later.push((now) => this.say(to, message, now));
      return;
    }
    let { held } = this;
    if (held?.group !== group) {
      const opened = new Held(group);
      held = opened;
      this.held = opened;
      this.storage.whenDurable(() => this.deliver(opened));
    }
    held.to.push(to);
    held.messages.push(message);
  }

  /** The records before these messages are durable. */
  private deliver(held: Held): void {
    if (this.held === held) this.held = null;
    if (this.stopped) return;
    this.run((now) => {
      const { to, messages } = held;
      for (let index = 0; index < to.length; index += 1)
        this.say(to[index]!, messages[index]!, now);
    });
    // Alone they leave now. Many leave with what the next batch, which has arrived by now, gives
    // rise to: as many frames again would cost more than they gain.
    if (held.messages.length <= FEW_MESSAGES) this.network.flush();
  }

  private say(to: Ordinal, message: PeerMessage | SelfMessage, now: number): void {
    if (to === this.machine.self) this.machine.durable(message, now, this);
    else this.network.send(to, message as PeerMessage);
  }

  toLeader(message: LeaderMessage): void {
    this.network.toLeader(message);
  }

  answer(request: number, result: Result): void {
    const pending = this.requests.get(request);
    if (pending === undefined) return;
    this.requests.delete(request);
    pending.answers.answer(pending.id, result);
  }

  forward(to: Ordinal, request: number, operation: Operation): void {
    const deadlineMs = monotonicMs() + operation.timeoutMs;
    this.network.forward(to, operation, (result) => {
      if (result === null) this.routeAgain(request, operation, deadlineMs);
      else this.run((now) => this.machine.onForwarded(request, result, now, this));
    });
  }

  scan(token: number, bucket: BucketId, after: Key, records: number, bytes: number): void {
    this.completes(token, this.storage.store.scan(bucket, after, records, bytes), (page) => ({
      type: 'scanned',
      token,
      ...page,
    }));
  }

  ingest(token: number, bucket: BucketId, records: readonly StoredRecord[], first: boolean): void {
    this.completes(token, this.storage.store.ingest(bucket, records, first), () => ({
      type: 'ingested',
      token,
    }));
  }

  readLog(token: number, bucket: BucketId, from: Sequence, limitBytes: number): void {
    this.completes(
      token,
      this.storage.readEntries(bucket, from, limitBytes),
      (entries: readonly Entry[] | null) => ({ type: 'logRead', token, entries }),
    );
  }

  digest(token: number, bucket: BucketId): void {
    this.completes(token, this.storage.store.digest(bucket), (digest) => ({
      type: 'digested',
      token,
      digest,
    }));
  }

  private completes<T>(
    token: number,
    work: Promise<T>,
    completion: (value: T) => Completion,
  ): void {
    const complete = async (): Promise<void> => {
      try {
        const value = await work;
        this.run((now) => this.machine.complete(completion(value), now, this));
      } catch (error) {
        if (error instanceof DamagedBucket) {
          const { bucket, message: why } = error;
          const found: Completion = { type: 'damaged', token, bucket, why };
          this.run((now) => this.machine.complete(found, now, this));
          return;
        }
        if (!this.stopped) this.fatal(error instanceof Error ? error : new Error(String(error)));
      }
    };
    void complete();
  }

  /** Feed the machine; the batch ends when this turn of the event loop has no more inputs. */
  private run(input: (now: number) => void): void {
    if (this.stopped) return;
    this.later.push(input);
    if (this.running) return;
    this.drain();
    this.endBatchSoon();
  }

  /** Carry out the inputs, and those that they give rise to; how many there were. */
  private drain(): number {
    let inputs = 0;
    this.running = true;
    try {
      for (let next = this.later.shift(); next !== undefined; next = this.later.shift()) {
        inputs += 1;
        next(monotonicMs());
      }
    } catch (error) {
      this.stopped = true;
      this.fatal(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.running = false;
    }
    return inputs;
  }

  flushIn(ms: number): void {
    const dueMs = monotonicMs() + ms;
    const wait = (): void => {
      // After a long turn of the event loop a timer is early.
      const left = dueMs - monotonicMs();
      if (left > 0) setTimeout(wait, Math.ceil(left));
      else this.endBatchSoon();
    };
    setTimeout(wait, ms);
  }

  private endBatchSoon(): void {
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => {
      this.flushing = false;
      this.endBatch();
    });
  }

  private endBatch(): void {
    if (this.stopped) return;
    this.later.push((now) => this.machine.flush(now, this));
    // What the end of a batch gives rise to is the next batch; on its own it is none.
    if (this.drain() > 1) this.endBatchSoon();
    this.network.flush();
  }

  private tick(): void {
    this.run((now) => this.machine.tick(now, this));
    const due = monotonicMs() - this.checkpointedMs > CHECKPOINT_EVERY_MS;
    const { bytesSinceCheckpoint, checkpointDue } = this.storage;
    if (this.atCheckpoint) return;
    if (checkpointDue || (due && bytesSinceCheckpoint > 0)) {
      this.checkpointedMs = monotonicMs();
      this.checkpointing = this.checkpointing.then(() => this.checkpoint());
    }
  }

  private async checkpoint(): Promise<void> {
    this.atCheckpoint = true;
    try {
      await this.storage.checkpoint(this.machine.takeDirty(), this.machine.view);
      this.checkpointedMs = monotonicMs();
    } catch (error) {
      this.fatal(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.atCheckpoint = false;
    }
  }

  /** The link to the primary broke: it may have taken the operation; the number protects it. */
  private routeAgain(request: number, operation: Operation, deadlineMs: number): void {
    // Requests below 0 are the machine's own.
    if ((request > 0 && !this.requests.has(request)) || this.stopped) return;
    setTimeout(() => {
      this.run((now) => {
        const left = Math.max(0, Math.round(deadlineMs - now));
        const again = readdressed(operation, operation.bucketEpoch, left, operation.hops);
        this.machine.submitAgain(request, again, now, this);
      });
    }, FORWARD_AGAIN_MS);
  }

  private refusal(code: Code, detail: string): Result {
    const { epoch } = this.machine.view;
    const { self } = this.machine;
    return new Result(code, false, null, 0, 0, epoch, 0, self, detail, NO_RECORDS, false, 0);
  }
}
