import type { Violation } from '../checkers/history.js';
import { toBytes, toText } from '../checkers/history.js';
import type { Prng } from '../checkers/prng.js';
import { NO_CONTEXT } from '../core/causal-record.js';
import type { Key } from '../core/ids.js';
import { keyIn } from '../core/namespace.js';
import { ConditionKind, Operation, OperationKind, type Result } from '../core/operation.js';
import { Code } from '../core/refusal.js';
import { CLIENTS, type Node } from './network.js';
import type { World } from './world.js';

/** The strong namespace in which values live for a while. */
export const BRIEF_NAMESPACE = 2;
export const BRIEF_TTL_MS = 300;

/** After the last fault, ms. */
const PATIENCE_MS = 20_000;
/** A write that was not answered comes within this time, ms, or never. */
const DOUBT_MS = 60_000;

/** A value that may be there. */
interface Wrote {
  readonly value: string;
  readonly ttlMs: number;
  readonly begunMs: number;
}

/**
 * A client of a strong namespace whose values expire. It is the only one that writes its key, and
 * does one thing after the other, so that it knows what it must read: the last value, until its
 * time is over; then nothing, whoever answers.
 */
export class BriefClient {
  readonly violations: Violation[] = [];
  idle = false;
  operations = 0;
  private readonly node: Node;
  private readonly id: string;
  private readonly key: Key;
  private sequence = 0;
  /** The last value that is known to have been there; null: none. */
  private last: Wrote | null = null;
  /** Those that were not answered: they may come at any time. */
  private doubts: Wrote[] = [];
  /** The last one that was seen to be over. */
  private over: string | null = null;

  constructor(
    private readonly world: World,
    index: number,
    private readonly random: Prng,
    private readonly ended: () => boolean,
  ) {
    this.node = CLIENTS + 200 + index;
    this.id = `brief ${index}`.padEnd(16, '.');
    this.key = keyIn(BRIEF_NAMESPACE, `b${index}`);
    this.next();
  }

  private next(): void {
    const { world, random } = this;
    if (this.ended()) {
      this.outlive(world.clock.now + PATIENCE_MS);
      return;
    }
    world.clock.after(random.between(0, 4) * world.settings.thinkMs, () => {
      if (random.chance(0.25)) this.set();
      else this.get(() => this.next());
    });
  }

  /** Every value ends: nothing else is to be done. */
  private outlive(untilMs: number): void {
    this.get((result) => {
      const { clock } = this.world;
      if (result !== null && !result.found) this.idle = true;
      else if (clock.now < untilMs) clock.after(50, () => this.outlive(untilMs));
      else {
        this.violated(result === null ? 'not answered although all was healed' : 'never expired');
        this.idle = true;
      }
    });
  }

  private set(): void {
    const { world, random } = this;
    const ownMs = random.chance(0.5) ? random.whole(1, 1000) : 0;
    this.sequence += 1;
    const begunMs = world.clock.now;
    const value = `${this.id}${this.sequence}`;
    const wrote = { value, ttlMs: ownMs || BRIEF_TTL_MS, begunMs };
    this.send(OperationKind.Set, value, ownMs, (result) => {
      if (result === null) this.doubts.push(wrote);
      else this.last = wrote;
      this.next();
    });
  }

  private get(done: (result: Result | null) => void): void {
    this.send(OperationKind.Get, null, 0, (result) => {
      if (result !== null) this.judge(result.found ? toText(result.value) : null);
      done(result);
    });
  }

  private judge(value: string | null): void {
    const { last, world } = this;
    const { now } = world.clock;
    this.doubts = this.doubts.filter(({ begunMs }) => now - begunMs < DOUBT_MS);
    if (value === null) {
      if (last === null) return;
      this.over = last.value;
      const earlyMs = last.begunMs + last.ttlMs / world.settings.drift - now;
      // One in doubt may have replaced it, and be over.
      if (earlyMs > 0 && this.doubts.length === 0) {
        this.violated(`${last.value} was gone ${earlyMs} ms too early`);
      }
      return;
    }
    if (value === this.over) this.violated(`${value} came back after it had expired`);
    if (value === last?.value) return;
    const found = this.doubts.find((one) => one.value === value);
    if (found === undefined) this.violated(`${value} was read, which something replaced`);
    else this.last = found;
    this.doubts = this.doubts.filter((one) => one !== found);
  }

  private violated(what: string): void {
    this.violations.push({ promise: 'TTL', what: `${this.id}: ${what}`, keys: [this.key] });
  }

  /** Sent once: a write that was not answered may take effect, at any later time. */
  private send(
    kind: OperationKind,
    value: string | null,
    ttlMs: number,
    done: (result: Result | null) => void,
  ): void {
    const { world, random } = this;
    const { attemptMs } = world.settings;
    const sequence = kind === OperationKind.Get ? 0 : this.sequence;
    const bytes = value === null ? null : toBytes(value);
    const { None } = ConditionKind;
    const context = { ...NO_CONTEXT, epoch: world.view.epoch };
    const { id, key } = this;
    const parts = [null, 0, 0, 0, attemptMs, 0, null, context, ttlMs] as const;
    const operation = new Operation(kind, key, bytes, None, 0, id, sequence, sequence, ...parts);
    let open = true;
    const finish = (result: Result | null): void => {
      if (!open) return;
      open = false;
      this.operations += 1;
      const ok = result?.code === Code.Ok ? result : null;
      done(ok);
      world.trace.note('brief', world.clock.now, this.node, ok?.version ?? 0);
    };
    world.operate(this.node, random.whole(1, world.hosts.length), operation, finish);
    world.clock.after(attemptMs * 1.2, () => finish(null));
  }
}
