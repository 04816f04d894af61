import { bucketInPool } from '../core/hash.js';
import type { BucketId, Key } from '../core/ids.js';
import {
  isRead,
  isRecordedAbort,
  Operation,
  OperationKind,
  type ReadSet,
  type Result,
} from '../core/operation.js';
import { CODES, Code } from '../core/refusal.js';
import { primaryOf, type View } from '../core/view.js';
import type { Call, History, Outcome } from '../checkers/history.js';
import { CLIENTS, LEADER_NODE, type Node } from './network.js';
import type { Prng } from '../checkers/prng.js';
import type { World } from './world.js';

/** What a client wants to do next: an operation without the fields that belong to its sending. */
export type Wish = Pick<
  Operation,
  'kind' | 'key' | 'value' | 'condition' | 'ifVersion' | 'writes'
> & {
  readonly reads?: ReadSet;
  /** Of a scan. */
  readonly bucket?: BucketId;
};

/** More than there are. */
const SCAN_LIMIT = 1000;

/** What a client does, one operation after the other; each yield returns the finished call. */
export type Script = Generator<Wish | 'think', void, Call | null>;

/** How patient clients are. Milliseconds. */
export interface Patience {
  readonly attemptMs: number;
  readonly deadlineMs: number;
  /** Probability that an operation is sent once only: then a refusal proves that it did nothing. */
  readonly once: number;
}

/**
 * A client: follows its script, knows the view as of when it last asked, and sends an operation to
 * the primary or to any server, again with the same number while it may.
 */
export class Client {
  idle = false;
  private readonly node: Node;
  private readonly id: string;
  private view: View | null = null;
  private sequence = 0;
  /** Counts what the client waits for: an attempt's answer, or the time to try again. */
  private turn = 0;

  constructor(
    private readonly world: World,
    private readonly history: History,
    private readonly index: number,
    private readonly random: Prng,
    private readonly script: Script,
    private readonly patience: () => Patience,
  ) {
    this.node = CLIENTS + index;
    this.id = `client ${index}`.padEnd(16, '.');
    this.advance(null);
  }

  private advance(finished: Call | null): void {
    const { value: wish, done } = this.script.next(finished);
    if (done === true || wish === undefined) {
      this.idle = true;
      return;
    }
    const { clock, settings } = this.world;
    if (wish === 'think') {
      clock.after(this.random.between(0, 2) * settings.thinkMs, () => this.advance(null));
      return;
    }
    this.perform(wish);
  }

  private perform(wish: Wish): void {
    const { world, random } = this;
    const patience = this.patience();
    const reads = isRead(wish.kind);
    if (!reads) this.sequence += 1;
    const { bucket = 0 } = wish;
    const row = this.view?.rows[this.bucketOf(wish.kind, wish.key, bucket)];
    const operation = new Operation(
      wish.kind,
      wish.key,
      wish.value,
      wish.condition,
      wish.ifVersion,
      this.id,
      reads ? 0 : this.sequence,
      reads ? 0 : Math.max(0, this.sequence - random.whole(0, 2)),
      wish.writes,
      bucket,
      wish.kind === OperationKind.Scan ? SCAN_LIMIT : 0,
      random.chance(0.5) ? (row?.epoch ?? 0) : 0,
      patience.attemptMs,
      0,
      wish.reads ?? null,
    );
    const call = this.history.begin(this.index, operation, world.clock.now);
    const once = random.chance(patience.once);
    const untilMs = world.clock.now + patience.deadlineMs;
    this.attempt(call, once ? 0 : untilMs, patience.attemptMs);
  }

  /** Send once, and again until `untilMs`. */
  private attempt(call: Call, untilMs: number, attemptMs: number): void {
    const { world, node, random } = this;
    call.sends += 1;
    this.turn += 1;
    const { turn } = this;
    if (this.view === null || (call.sends > 1 && random.chance(0.5))) this.askView();
    const to = this.chooseServer(call.operation);
    world.operate(node, to, call.operation, (result) => {
      this.onAnswer(call, turn, result, untilMs, attemptMs);
    });
    world.clock.after(attemptMs, () => {
      if (this.turn === turn) this.again(call, null, untilMs, attemptMs);
    });
  }

  private onAnswer(
    call: Call,
    turn: number,
    result: Result,
    untilMs: number,
    attemptMs: number,
  ): void {
    if (call.completedMs !== Infinity) return;
    if (result.code === Code.Ok) {
      this.finish(call, 'ok', result);
      return;
    }
    if (this.turn !== turn) return;
    if (CODES[result.code].retryable) {
      this.turn += 1;
      const waiting = this.turn;
      this.world.clock.after(this.random.between(1, 30), () => {
        if (this.turn === waiting) this.again(call, result, untilMs, attemptMs);
      });
      return;
    }
    this.giveUp(call, result);
  }

  private again(call: Call, refusal: Result | null, untilMs: number, attemptMs: number): void {
    if (this.world.clock.now < untilMs) this.attempt(call, untilMs, attemptMs);
    else this.giveUp(call, refusal);
  }

  /** A refusal proves that nothing happened if the request was sent once, or was recorded (D4). */
  private giveUp(call: Call, refusal: Result | null): void {
    if (call.isRead) {
      this.finish(call, 'nothing', refusal);
      return;
    }
    const proof =
      refusal !== null &&
      ((call.sends === 1 && CODES[refusal.code].noEffect) ||
        isRecordedAbort(call.operation, refusal.code));
    if (!proof) this.finish(call, 'unknown', refusal);
    else if (refusal.code === Code.ConditionNotMet) this.finish(call, 'refused', refusal);
    else this.finish(call, 'nothing', refusal);
  }

  private finish(call: Call, outcome: Outcome, result: Result | null): void {
    const { clock, trace } = this.world;
    this.turn += 1;
    this.history.finish(call, outcome, result, clock.now);
    trace.note(outcome, clock.now, this.index, result?.version ?? 0);
    this.advance(call);
  }

  private bucketOf(kind: OperationKind, key: Key, bucket: BucketId): BucketId {
    return kind === OperationKind.Scan ? bucket : bucketInPool(key, this.world.settings.view);
  }

  private chooseServer(operation: Operation): number {
    const { random, view, world } = this;
    const bucket = this.bucketOf(operation.kind, operation.key, operation.bucket);
    const primary = view === null ? undefined : primaryOf(view, bucket);
    if (primary !== undefined && random.chance(0.7)) return primary;
    return random.whole(1, world.hosts.length);
  }

  /** Ask the view leader or any server for the view. */
  private askView(): void {
    const { world, node, random } = this;
    const learn = (from: Node, view: View): void => {
      world.network.send(from, node, 'view', () => {
        if (view.epoch > (this.view?.epoch ?? 0)) this.view = view;
      });
    };
    if (random.chance(0.3)) {
      world.network.send(node, LEADER_NODE, 'askView', () => {
        if (world.leader.alive) learn(LEADER_NODE, world.leader.durable);
      });
      return;
    }
    world.toServer(node, random.whole(1, world.hosts.length), 'askView', (process) => {
      learn(process.node, process.machine.view);
    });
  }
}
