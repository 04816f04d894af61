import { type Client, Metadata, type ServiceError, status } from '@grpc/grpc-js';

import type { Epoch } from '../core/ids.js';
import { Code } from '../core/refusal.js';
import { applyDelta, type View } from '../core/view.js';
import { parseAddresses } from '../transport/address.js';
import { clientChannelOptions, insecure, leaderChannelOptions } from '../transport/channel.js';
import { codeOf, KvsError, reasonOf } from '../transport/status.js';
import { viewFromWire, viewUpdateFromWire } from '../wire/convert-view.js';
import { KeyValueServiceClient } from '../wire/gen/kvs/v1/kv.js';
import { type GetStatusResponse, LeaderServiceClient } from '../wire/gen/kvs/v1/leader.js';

const LEADER_PORT = 7400;
const RETRY_MS = 100;
const CALL_MS = 1000;

/** The arguments of a unary call after its request. */
export type Deliver<R> = [
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, response: R) => void,
];

/**
 * Keeps the newest view: followed from the view leader while that lives, asked of a server when an
 * answer shows that there is a newer one. It never goes back to an older epoch (V1).
 */
export class ViewSource {
  view: View | null = null;
  readonly doors: readonly string[];
  private readonly leaders: readonly string[];
  private readonly listeners = new Set<(view: View) => void>();
  private readonly clients = new Map<string, Client>();
  private closed = false;
  private following = false;
  private refreshing = false;
  private lastProblem = '';
  private stopFollowing: () => void = () => undefined;

  constructor(
    leader: string,
    server: string,
    private readonly timeoutMs: number,
  ) {
    this.leaders = leader === '' ? [] : parseAddresses(leader, LEADER_PORT);
    this.doors = server === '' ? [] : parseAddresses(server, null);
    if (this.leaders.length + this.doors.length === 0) {
      throw KvsError.ofCode(Code.Invalid, 'neither a view leader nor a server is named');
    }
  }

  /** Wait for a newer view, at most so long. */
  changes(mostMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const present = this.view;
      const timer = setTimeout(() => end(false), mostMs);
      const stop = this.watch((view) => {
        if (view !== present) end(true);
      });
      const end = (changed: boolean): void => {
        clearTimeout(timer);
        stop();
        resolve(changed);
      };
    });
  }

  /** The newest view; waits for the first one. */
  async current(): Promise<View> {
    const deadline = performance.now() + this.timeoutMs;
    for (let turn = 0; this.view === null; turn += 1) {
      await this.fetch(turn);
      if (this.view !== null) break;
      if (this.closed || performance.now() + RETRY_MS >= deadline) throw this.unreachable();
      await pause(RETRY_MS);
    }
    this.follow();
    return this.view;
  }

  /** A server at `address` answered from a newer view: get it there if the leader is silent. */
  newer(epoch: Epoch, address: string): void {
    if (this.refreshing || this.closed || (this.view?.epoch ?? 0) >= epoch) return;
    this.refreshing = true;
    void this.fromServer(address).finally(() => {
      this.refreshing = false;
    });
  }

  watch(onView: (view: View) => void): () => void {
    this.listeners.add(onView);
    if (this.view !== null) onView(this.view);
    return () => this.listeners.delete(onView);
  }

  async status(): Promise<GetStatusResponse> {
    for (const address of this.relays) {
      const answer = await this.call<GetStatusResponse>(
        address,
        (done, metadata, options) =>
          this.leaderClient(address).getStatus({}, metadata, options, done),
        this.timeoutMs,
      );
      if (answer !== null) return answer;
    }
    throw this.unreachable();
  }

  /** Who has the view leader's service: it itself, or a server that hands calls on to it. */
  private get relays(): readonly string[] {
    return [...this.leaders, ...this.doors];
  }

  /**
   * Have the view leader do something; whoever of them answers first in turn. `hint`: what to do
   * next when it is refused.
   */
  async askLeader<R>(
    start: (leader: LeaderServiceClient, deliver: Deliver<R>) => unknown,
    hint: string,
  ): Promise<R> {
    for (const address of this.relays) {
      const answer = await new Promise<{ response: R } | ServiceError>((resolve) => {
        const options = { deadline: Date.now() + this.timeoutMs };
        const done = (error: ServiceError | null, response: R): void =>
          resolve(error ?? { response });
        start(this.leaderClient(address), [new Metadata(), options, done]);
      });
      if (!(answer instanceof Error)) return answer.response;
      if (answer.code === status.FAILED_PRECONDITION) {
        throw KvsError.ofProcess(codeOf(answer), answer.details, hint, answer);
      }
      this.lastProblem = `${address}: ${reasonOf(answer)}`;
    }
    throw this.unreachable();
  }

  close(): void {
    this.closed = true;
    this.stopFollowing();
    for (const client of this.clients.values()) client.close();
  }

  /** Ask the leaders and the doors once, in turn. */
  private async fetch(turn: number): Promise<void> {
    const leader = this.leaders[turn % Math.max(1, this.leaders.length)];
    const door = this.doors[turn % Math.max(1, this.doors.length)];
    await Promise.all([
      leader === undefined ? undefined : this.fromLeader(leader),
      door === undefined ? undefined : this.fromServer(door),
    ]);
  }

  private async fromLeader(address: string): Promise<void> {
    const answer = await this.call<{ view?: unknown }>(address, (done, metadata, options) =>
      this.leaderClient(address).getView({}, metadata, options, done),
    );
    this.offer(answer);
  }

  private async fromServer(address: string): Promise<void> {
    const answer = await this.call<{ view?: unknown }>(address, (done, metadata, options) =>
      this.serverClient(address).getServerView({}, metadata, options, done),
    );
    this.offer(answer);
  }

  private offer(answer: { view?: unknown } | null): void {
    if (answer?.view === undefined) return;
    const view = viewFromWire(answer.view as Parameters<typeof viewFromWire>[0]);
    // A view without rows: the cluster is being founded.
    if (view.rows.length > 0) this.take(view);
    else this.lastProblem = 'the cluster has no servers yet';
  }

  private take(view: View): void {
    if (this.view !== null && view.epoch <= this.view.epoch) return;
    this.view = view;
    for (const listener of this.listeners) listener(view);
  }

  /** Follow the first leader that answers; start again when the stream ends. */
  private follow(turn = 0): void {
    const address = this.leaders[turn % Math.max(1, this.leaders.length)];
    if (this.closed || address === undefined || (this.following && turn === 0)) return;
    this.following = true;
    const stream = this.leaderClient(address).watchView({});
    this.stopFollowing = () => stream.cancel();
    stream.on('data', (response) => {
      const update = response.update && viewUpdateFromWire(response.update);
      if (update === undefined) return;
      const next =
        update.view ?? (this.view && update.delta ? applyDelta(this.view, update.delta) : null);
      if (next !== null) this.take(next);
    });
    // Errors and ends are the same here: the leader is away, or another one leads.
    stream.on('error', () => undefined);
    stream.on('close', () => {
      if (this.closed) return;
      const again = setTimeout(() => this.follow(turn + 1), RETRY_MS * 5);
      again.unref();
    });
  }

  private call<T>(
    address: string,
    start: (
      done: (error: ServiceError | null, response: T) => void,
      metadata: Metadata,
      options: { deadline: number },
    ) => unknown,
    timeoutMs = Math.min(CALL_MS, this.timeoutMs),
  ): Promise<T | null> {
    return new Promise((resolve) => {
      const deadline = Date.now() + timeoutMs;
      start(
        (error, response) => {
          if (error !== null) this.lastProblem = `${address}: ${reasonOf(error)}`;
          resolve(error === null ? response : null);
        },
        new Metadata(),
        { deadline },
      );
    });
  }

  private leaderClient(address: string): LeaderServiceClient {
    return this.clientFor(`leader ${address}`, () => {
      return new LeaderServiceClient(address, insecure(), leaderChannelOptions());
    });
  }

  private serverClient(address: string): KeyValueServiceClient {
    return this.clientFor(`server ${address}`, () => {
      return new KeyValueServiceClient(address, insecure(), clientChannelOptions());
    });
  }

  private clientFor<C extends Client>(name: string, make: () => C): C {
    const known = this.clients.get(name);
    if (known !== undefined) return known as C;
    const client = make();
    this.clients.set(name, client);
    return client;
  }

  private unreachable(): KvsError {
    const asked = [
      this.leaders.length > 0 ? `view leader ${this.leaders.join(', ')}` : '',
      this.doors.length > 0 ? `server ${this.doors.join(', ')}` : '',
    ].filter((part) => part !== '');
    return KvsError.ofCode(
      Code.Unavailable,
      `no view from ${asked.join(' or ')} in time (${this.lastProblem})`,
    );
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
