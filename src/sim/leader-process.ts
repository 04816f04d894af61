import type { Ordinal } from '../core/ids.js';
import {
  type LeaderOutbox,
  type RegisterAnswer,
  type Registrant,
  ViewLeader,
} from '../core/leader.js';
import { type LeaderMessage, ViewUpdate } from '../core/message.js';
import type { Mode } from '../core/namespace.js';
import type { Steering } from '../core/operator.js';
import { isUp, type View, type ViewDelta } from '../core/view.js';
import type { ProcessClock } from './clock.js';
import { LEADER_NODE } from './network.js';
import type { Prng } from '../checkers/prng.js';
import type { World } from './world.js';

const TICK_MS = 50;

type Reply = Parameters<LeaderOutbox['send']>[1];

/** The view leader's disk: each view that was written whole. */
export class ViewDisk {
  newest: View | null = null;
}

/** One incarnation of the view leader: drives the machine as the real driver does. */
export class LeaderProcess implements LeaderOutbox {
  alive = true;
  /** For faults: called when an epoch is made. */
  onPublish: (() => void) | null = null;
  /** The newest durable view: what the world may know. */
  durable: View;
  private readonly machine: ViewLeader;
  private readonly connected = new Set<Ordinal>();
  /** Writes and what waits for them, in order. */
  private readonly queue: { readonly view: View | null; readonly done: () => void }[] = [];
  private writing = false;
  private pausedUntilMs = 0;
  private readonly backlog: (() => void)[] = [];

  constructor(
    private readonly world: World,
    private readonly disk: ViewDisk,
    private readonly processClock: ProcessClock,
    private readonly random: Prng,
  ) {
    this.machine = new ViewLeader(
      world.leaderSettings,
      disk.newest,
      world.clusterId,
      processClock.monotonicMs(),
    );
    this.durable = this.machine.view;
    this.tickAgain();
  }

  crash(): void {
    if (!this.alive) return;
    this.alive = false;
    // A write under way may have reached the disk although nobody was told.
    const underWay = this.writing ? this.queue[0]?.view : null;
    if (underWay && this.random.chance(0.5)) this.disk.newest = underWay;
  }

  pause(forMs: number): void {
    const { clock } = this.world;
    this.pausedUntilMs = Math.max(this.pausedUntilMs, clock.now + forMs);
    clock.after(forMs, () => {
      if (clock.now < this.pausedUntilMs) return;
      for (const action of this.backlog.splice(0)) if (this.alive) action();
    });
  }

  register(request: Registrant, reply: (answer: RegisterAnswer) => void): void {
    this.input((now) => {
      const answer = this.machine.register(request, now);
      this.machine.flush(now, this.processClock.wallMs(), this);
      this.afterWrites(() => {
        if (answer.ok) this.connected.add(answer.ordinal);
        reply(answer.ok ? { ...answer, view: this.durable } : answer);
      });
    });
  }

  /** It takes the server for up, or some bucket has it among its replicas. */
  dependsOn(server: Ordinal): boolean {
    // What is not durable may be forgotten.
    return [this.machine.view, this.durable].some(
      (view) => isUp(view, server) || view.rows.some(({ replicas }) => replicas.includes(server)),
    );
  }

  /** The operator gives a server up, by default if that loses nothing (D6). */
  remove(id: string, acceptLoss = false): void {
    this.input((now) => {
      this.machine.operator.remove(id, acceptLoss);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  /** The operator lets a server hand everything over, or no longer. */
  drain(id: string, undo: boolean): void {
    this.input((now) => {
      this.machine.operator.drain(id, undo);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  /** The operator spreads the servers over another number of shards, if that can be. */
  reshard(shardCount: number): void {
    this.input((now) => {
      this.machine.shards.reshard(shardCount);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  /** The operator says which servers are to hold the data, if that can be. */
  changeView(ids: readonly string[]): void {
    this.input((now) => {
      this.machine.operator.change(ids);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  createNamespace(name: string, mode: Mode, ttlMs: number, replicas: number): void {
    this.input((now) => {
      this.machine.namespaces.create(name, mode, ttlMs, replicas);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  steer(steering: Steering): void {
    this.input((now) => {
      this.machine.operator.steer(steering);
      this.machine.flush(now, this.processClock.wallMs(), this);
    });
  }

  receive(from: Ordinal, message: LeaderMessage): void {
    this.input((now) => {
      // A heartbeat stream belongs to a registration with this very process.
      if (!this.connected.has(from)) return;
      this.machine.step(from, message, now, this);
      this.world.clock.after(this.random.between(0, 1), () => {
        this.input((at) => this.machine.flush(at, this.processClock.wallMs(), this));
      });
    });
  }

  // LeaderOutbox

  publish(delta: ViewDelta, view: View): void {
    this.onPublish?.();
    this.queue.push({
      view,
      done: () => {
        this.durable = view;
        for (const server of this.connected) this.deliver(server, new ViewUpdate(null, delta));
      },
    });
    this.write();
  }

  send(to: Ordinal, message: Reply): void {
    this.afterWrites(() => this.deliver(to, message));
  }

  private deliver(to: Ordinal, message: Reply): void {
    if (message.type === 'refusal' && message.code === 'REGISTER_AGAIN') {
      this.world.tellToRegister(to);
      return;
    }
    if (message.type !== 'viewUpdate') return;
    const arriving = this.world.codec.peer(message);
    this.world.toServer(LEADER_NODE, to, message.type, (process) => process.receive(0, arriving));
  }

  private afterWrites(done: () => void): void {
    this.queue.push({ view: null, done });
    this.write();
  }

  /** One write after the other; nobody hears of a view before it is durable (V1). */
  private write(): void {
    if (this.writing) return;
    const next = this.queue[0];
    if (next === undefined) return;
    this.writing = true;
    const delayMs = next.view === null ? 0 : this.random.between(0.2, 10);
    this.world.clock.after(delayMs, () => {
      if (!this.alive) return;
      if (next.view !== null) this.disk.newest = next.view;
      this.queue.shift();
      this.writing = false;
      this.input(() => next.done());
      this.write();
    });
  }

  private input(action: (now: number) => void): void {
    if (!this.alive) return;
    if (this.world.clock.now < this.pausedUntilMs) {
      this.backlog.push(() => action(this.processClock.monotonicMs()));
    } else action(this.processClock.monotonicMs());
  }

  private tickAgain(): void {
    this.world.clock.after(this.random.between(TICK_MS / 2, TICK_MS * 1.5), () => {
      if (!this.alive) return;
      this.input((now) => {
        this.machine.tick(now);
        this.machine.flush(now, this.processClock.wallMs(), this);
      });
      this.tickAgain();
    });
  }
}
