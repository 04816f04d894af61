import type { BucketId, Epoch } from '../core/ids.js';
import {
  afterDoubt,
  isWrite,
  NO_RECORDS,
  type Operation,
  OperationKind,
  Result,
} from '../core/operation.js';
import { Mode, namespaceOf } from '../core/namespace.js';
import { bucketOf } from '../core/pools.js';
import { Code, CODES } from '../core/refusal.js';
import { MemberState, type View } from '../core/view.js';
import { clientChannelOptions } from '../transport/channel.js';
import { type Asker, FrameClient, type LinkBroken } from '../transport/stream.js';

/** An attempt that is silent for this long is doubled by another one. */
const ATTEMPT_MS = 1000;
/** Between two looks at what is due. */
const SWEEP_MS = 25;
/** Before its deadline an operation leaves so much time for the answer. */
const ANSWER_MS = 100;
/** The same, as a share of its time: a busy machine is late. */
const ANSWER_SHARE = 0.1;
const AVOID_MS = 2000;
const BACKOFF_MS = { least: 25, most: 400 } as const;

/** Hears the outcome of an operation, once. */
export interface Outcome {
  done(result: Result): void;
}

/** One operation until its outcome is told, and the one that hears of its attempts. */
class Call implements Asker {
  bucketEpoch = 0;
  timeoutMs = 0;
  attempts = 0;
  /** Attempts that were not answered. */
  open = 0;
  /** An attempt may have taken effect, or may still. */
  uncertain = false;
  /** Where the last attempt went. */
  address = '';
  /** When to try again; Infinity while an attempt is open. */
  retryMs = 0;
  /** A final refusal that waits for the other open attempts: one of them may say otherwise. */
  refusal: Result | null = null;
  /** Why the last attempt that was answered was refused. */
  lastSaid = '';
  finished = false;

  constructor(
    readonly operation: Operation,
    readonly outcome: Outcome,
    readonly deadlineMs: number,
    public attemptMs: number,
    private readonly router: CallKeeper,
  ) {}

  onResult(result: Result): void {
    this.open -= 1;
    this.router.onResult(this, result);
  }

  onBroken({ sent }: LinkBroken): void {
    this.open -= 1;
    this.router.onBroken(this, sent);
  }
}

interface CallKeeper {
  onResult(call: Call, result: Result): void;
  onBroken(call: Call, sent: boolean): void;
}

/** Where the router gets its view, and what it tells when that seems old. */
export interface Views {
  readonly view: View | null;
  /** `address` answered from a newer epoch. */
  newer(epoch: Epoch, address: string): void;
}

/**
 * Sends each operation straight to the primary of its bucket, and again under the same number until
 * it is answered or its time is over (D4). What it reports: done, not done, or unknown; "not done"
 * only when no attempt can have taken effect.
 */
export class Router implements CallKeeper {
  private readonly links = new Map<string, FrameClient>();
  private readonly calls = new Set<Call>();
  /** For what is due first; a client that only waits for answers sleeps. */
  private timer: NodeJS.Timeout | null = null;
  private timerMs = Infinity;
  private turn = 0;
  /** Which of its replicas a causal key is asked of first. */
  private readonly home = Math.floor(Math.random() * 2 ** 16);
  /** Servers that could not be reached, and until when others come first. */
  private readonly broken = new Map<string, number>();

  constructor(
    private readonly views: Views,
    /** Servers to use as doors; they forward. Empty: go to the primary. */
    private readonly doors: readonly string[],
  ) {}

  submit(operation: Operation, outcome: Outcome): void {
    const now = performance.now();
    const call = new Call(operation, outcome, now + operation.timeoutMs, now, this);
    if (this.calls.size === 0) this.timer?.ref();
    this.calls.add(call);
    this.attempt(call, now);
    this.wakeAt(dueOf(call), now);
  }

  close(): void {
    for (const call of this.calls) this.giveUp(call, 'the client was closed');
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.timerMs = Infinity;
    for (const link of this.links.values()) link.close();
    this.links.clear();
  }

  private attempt(call: Call, now: number): void {
    const { view } = this.views;
    const bucket = this.bucketOf(call.operation, view);
    const address = this.addressOf(call, bucket, view);
    if (address === null) {
      call.attemptMs = now;
      call.retryMs = now + BACKOFF_MS.most;
      return;
    }
    call.attempts += 1;
    call.open += 1;
    call.address = address;
    call.attemptMs = now;
    call.retryMs = Infinity;
    // Causal reads wait at the server for what is missing there, and are told what that is.
    const left = call.deadlineMs - now;
    const waits = view !== null && isCausal(call.operation, view);
    const spare = waits ? Math.max(ANSWER_MS, left * ANSWER_SHARE) : 0;
    call.timeoutMs = Math.max(1, Math.ceil(left - spare));
    call.bucketEpoch = view?.rows[bucket]?.epoch ?? 0;
    this.link(address).submit(call);
  }

  onResult(call: Call, result: Result): void {
    if (result.epoch > (this.views.view?.epoch ?? 0)) {
      this.views.newer(result.epoch, call.address);
    }
    if (call.finished) return;
    const { retryable, noEffect } = CODES[result.code];
    if (result.code === Code.Ok) {
      this.finish(call, result);
      return;
    }
    if (!noEffect) call.uncertain = true;
    call.lastSaid = result.detail;
    if (!retryable || performance.now() >= call.deadlineMs) call.refusal = result;
    this.goOn(call);
  }

  onBroken(call: Call, sent: boolean): void {
    if (sent) call.uncertain = true;
    this.broken.set(call.address, performance.now() + AVOID_MS);
    if (!call.finished) this.goOn(call);
  }

  /** After an attempt without success: wait for the others, give up, or try again. */
  private goOn(call: Call): void {
    if (call.open > 0) return;
    // Only the process that may have taken it would know it again.
    if (call.uncertain && this.isCausalWrite(call.operation)) {
      this.giveUp(call, 'the server that took the write went silent');
      return;
    }
    if (call.refusal !== null) {
      const { operation, refusal: final, uncertain } = call;
      this.finish(call, uncertain ? afterDoubt(operation, final) : final);
      return;
    }
    const { least, most } = BACKOFF_MS;
    const ceiling = Math.min(most, least * 2 ** Math.min(call.attempts, 10));
    const now = performance.now();
    call.retryMs = now + ceiling * (0.5 + Math.random() / 2);
    this.wakeAt(call.retryMs, now);
  }

  private wakeAt(dueMs: number, now: number): void {
    const delayMs = Math.max(SWEEP_MS, Math.ceil(dueMs - now));
    // Not put off by one that is due before the next look.
    if (now + delayMs >= this.timerMs) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timerMs = now + delayMs;
    this.timer = setTimeout(() => this.sweep(), delayMs);
  }

  private sweep(): void {
    this.timer = null;
    this.timerMs = Infinity;
    const now = performance.now();
    let nextMs = Infinity;
    for (const call of this.calls) {
      if (now >= call.deadlineMs) {
        this.giveUp(call, 'no answer in time');
        continue;
      }
      const isDue = now >= call.retryMs || now - call.attemptMs >= ATTEMPT_MS;
      if (isDue && call.refusal === null) this.attempt(call, now);
      nextMs = Math.min(nextMs, dueOf(call));
    }
    if (nextMs < Infinity) this.wakeAt(nextMs, now);
  }

  private giveUp(call: Call, detail: string): void {
    const unknown = isWrite(call.operation) && (call.uncertain || call.open > 0);
    const why = call.lastSaid === '' ? detail : `${detail}; the last answer: ${call.lastSaid}`;
    this.finish(call, refusal(unknown ? Code.OutcomeUnknown : Code.Unavailable, why, null));
  }

  private finish(call: Call, result: Result): void {
    if (call.finished) return;
    call.finished = true;
    this.calls.delete(call);
    if (this.calls.size === 0) this.timer?.unref();
    call.outcome.done(result);
  }

  /**
   * Any replica serves a causal key: the same one while it can, since it knows best what this
   * client has seen. A write that may have arrived is repeated only where its number is known.
   */
  private addressOf(call: Call, bucket: BucketId, view: View | null): string | null {
    const { operation, open, address, attempts } = call;
    if (this.doors.length > 0 || view === null || !isCausal(operation, view)) {
      return this.addressFor(bucket, view, attempts, open > 0 ? address : '');
    }
    if (isWrite(operation) && open > 0) return address;
    const replicas = (view.rows[bucket]?.replicas ?? []).toSorted((left, right) => left - right);
    const up = replicas.flatMap((server) => {
      const member = view.members.get(server);
      return member?.state === MemberState.Up ? [member.address] : [];
    });
    const now = performance.now();
    const heard = up.filter((one) => (this.broken.get(one) ?? 0) < now);
    const choice = heard.length > 0 ? heard : up;
    return choice[(this.home + attempts) % choice.length] ?? null;
  }

  private isCausalWrite(operation: Operation): boolean {
    const { view } = this.views;
    return isWrite(operation) && view !== null && isCausal(operation, view);
  }

  private bucketOf(operation: Operation, view: View | null): BucketId {
    const { kind } = operation;
    if (kind === OperationKind.Scan || kind === OperationKind.Count) return operation.bucket;
    return view === null ? 0 : bucketOf(operation.key, view);
  }

  /**
   * The primary, if it is up; otherwise any server that is, in turn: it knows or will learn.
   * `silent` has not answered the attempt before: the way to it may be cut for us alone.
   */
  private addressFor(
    bucket: BucketId,
    view: View | null,
    attempts: number,
    silent: string,
  ): string | null {
    if (this.doors.length > 0) return this.doors[attempts % this.doors.length] ?? null;
    if (view === null) return null;
    const primary = view.members.get(view.rows[bucket]?.replicas[0] ?? 0);
    const isUp = primary?.state === MemberState.Up;
    if (isUp && primary.address !== silent && attempts % 3 !== 2) return primary.address;
    const members = Array.from(view.members.values());
    const up = members.filter(({ state }) => state === MemberState.Up);
    const others = up.filter(({ address }) => address !== silent);
    const choice = others.length > 0 ? others : up;
    return choice[this.turn++ % choice.length]?.address ?? null;
  }

  private link(address: string): FrameClient {
    let link = this.links.get(address);
    if (link === undefined) {
      link = new FrameClient(address, clientChannelOptions());
      this.links.set(address, link);
    }
    return link;
  }
}

/** When the call must be looked at, unless something happens before. */
function dueOf({ deadlineMs, refusal: final, retryMs, attemptMs }: Call): number {
  return final === null ? Math.min(deadlineMs, retryMs, attemptMs + ATTEMPT_MS) : deadlineMs;
}

function isCausal({ context, key }: Operation, { namespaces }: View): boolean {
  return context !== null && namespaces.get(namespaceOf(key))?.mode === Mode.Causal;
}

/** What an operation ends with that no server has answered. */
export function refusal(code: Code, detail: string, from: Result | null): Result {
  const { epoch, bucket, server } = from ?? { epoch: 0, bucket: 0, server: 0 };
  return new Result(code, false, null, 0, 0, epoch, bucket, server, detail, NO_RECORDS, false, 0);
}
