import { type Context, NO_CONTEXT } from '../core/causal-record.js';
import type { Key } from '../core/ids.js';
import { keyIn } from '../core/namespace.js';
import { ConditionKind, Operation, OperationKind, type Result } from '../core/operation.js';
import { Code } from '../core/refusal.js';
import { type CausalHistory } from '../checkers/causal.js';
import { toBytes, toText } from '../checkers/history.js';
import type { Prng } from '../checkers/prng.js';
import { CLIENTS, type Node } from './network.js';
import type { World } from './world.js';

/** The namespace that causal clients work in. */
export const CAUSAL_NAMESPACE = 1;

const { None } = ConditionKind;
/** After the last fault, ms. */
const PATIENCE_MS = 20_000;

/**
 * A client of a causal namespace: session after session, reading, writing and deleting a few keys,
 * now at one server, now at another, with the context that each answer brings.
 */
export class CausalClient {
  idle = false;
  private readonly node: Node;
  private readonly id: string;
  private sequence = 0;
  private session: number;
  private context: Context = NO_CONTEXT;
  private home = 1;

  constructor(
    private readonly world: World,
    private readonly history: CausalHistory,
    private readonly index: number,
    private readonly random: Prng,
    private readonly keys: readonly Key[],
    private readonly over: () => boolean,
  ) {
    this.node = CLIENTS + 100 + index;
    this.id = `causal ${index}`.padEnd(16, '.');
    this.session = index;
    this.home = random.whole(1, world.hosts.length);
    this.next();
  }

  private next(): void {
    const { random, world, history } = this;
    if (this.over()) {
      this.readOn(this.keys, world.clock.now + PATIENCE_MS);
      return;
    }
    if (random.chance(0.05)) {
      history.end(this.session);
      this.session += 1000;
      this.context = NO_CONTEXT;
    }
    if (random.chance(0.1)) this.home = random.whole(1, world.hosts.length);
    world.clock.after(random.between(0, 2) * world.settings.thinkMs, () => this.act());
  }

  /** When all is healed the session can read everything, wherever it asks (D5). */
  private readOn([key, ...more]: readonly Key[], untilMs: number): void {
    if (key === undefined) {
      this.idle = true;
      return;
    }
    const { world, history, random } = this;
    this.send(OperationKind.Get, key, null, random.whole(1, world.hosts.length), (result) => {
      if (result !== null) {
        history.read(this.session, key, result.found ? toText(result.value) : null, result.version);
        this.readOn(more, world.clock.now + PATIENCE_MS);
      } else if (world.clock.now < untilMs) this.readOn([key, ...more], untilMs);
      else {
        history.unanswered(key);
        this.idle = true;
      }
    });
  }

  private act(): void {
    const { random, history } = this;
    const key = random.pick(this.keys);
    const to = random.chance(0.8) ? this.home : random.whole(1, this.world.hosts.length);
    const draw = random.real();
    const now = this.context.clock;
    if (draw < 0.5) {
      this.send(OperationKind.Get, key, null, to, (result) => {
        if (result !== null) {
          const value = result.found ? toText(result.value) : null;
          history.read(this.session, key, value, result.version, now);
        }
        this.next();
      });
      return;
    }
    this.sequence += 1;
    const value = draw < 0.85 ? `${this.index}:${this.sequence}` : null;
    const ttlMs = value !== null && random.chance(0.2) ? random.whole(1, 1000) : 0;
    const write = history.begin(this.session, key, value, ttlMs);
    const kind = value === null ? OperationKind.Delete : OperationKind.Set;
    this.send(
      kind,
      key,
      value,
      to,
      (result) => {
        if (result !== null) history.answered(write, result.version, result.server);
        this.next();
      },
      ttlMs,
    );
  }

  /** Sent once: a write that was not answered may have taken effect. */
  private send(
    kind: OperationKind,
    key: Key,
    value: string | null,
    to: number,
    done: (result: Result | null) => void,
    ttlMs = 0,
  ): void {
    const { world } = this;
    const { attemptMs } = world.settings;
    const isRead = kind === OperationKind.Get;
    const operation = new Operation(
      kind,
      keyIn(CAUSAL_NAMESPACE, key),
      value === null ? null : toBytes(value),
      None,
      0,
      this.id,
      isRead ? 0 : this.sequence,
      isRead ? 0 : this.sequence,
      null,
      0,
      0,
      0,
      attemptMs,
      0,
      null,
      this.context,
      ttlMs,
    );
    let open = true;
    const finish = (result: Result | null): void => {
      if (!open) return;
      open = false;
      const ok = result?.code === Code.Ok ? result : null;
      this.context = ok?.context ?? this.context;
      done(ok);
      world.trace.note('causal', world.clock.now, this.index, ok?.version ?? 0);
    };
    world.operate(this.node, to, operation, finish);
    world.clock.after(attemptMs * 1.2, () => finish(null));
  }
}
