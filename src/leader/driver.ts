import { performance } from 'node:perf_hooks';

import {
  type LeaderOutbox,
  type LeaderRefusal,
  type LeaderSettings,
  type LeaderStatus,
  type RegisterAnswer,
  type Registrant,
  ViewLeader,
} from '../core/leader.js';
import type { Ordinal } from '../core/ids.js';
import { type LeaderMessage, ViewUpdate } from '../core/message.js';
import type { NamespaceAnswer, Namespaces } from '../core/namespaces.js';
import type { Changing, Draining, Removal, Steered, Steering } from '../core/operator.js';
import type { PreviewAnswer, Supposition } from '../core/preview.js';
import type { ShardAnswer, Shards } from '../core/shards.js';
import type { View, ViewDelta } from '../core/view.js';
import type { ViewStore } from '../viewstore/port.js';

const TICK_MS = 50;

/** What a connected server is told. */
export type LeaderReply = ViewUpdate | LeaderRefusal;

/**
 * Runs the view leader's machine on the real clock and its store. A new epoch is written to the
 * store first; only then does anybody hear of it (V1).
 */
export class LeaderDriver implements LeaderOutbox {
  private readonly machine: ViewLeader;
  private readonly servers = new Map<Ordinal, (reply: LeaderReply) => void>();
  private readonly watchers = new Set<(update: ViewUpdate) => void>();
  /** The newest durable view: what the world may know. */
  private durable: View;
  private writing: Promise<void> = Promise.resolve();
  private readonly ticker: NodeJS.Timeout;
  private flushing: Promise<void> | null = null;
  private stopped = false;

  constructor(
    settings: LeaderSettings,
    recovered: View | null,
    clusterId: string,
    private readonly store: ViewStore,
    private readonly fatal: (error: Error) => void,
    private readonly onEpoch: (view: View) => void,
  ) {
    this.machine = new ViewLeader(settings, recovered, clusterId, performance.now());
    this.durable = this.machine.view;
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  /** The newest durable view. */
  get view(): View {
    return this.durable;
  }

  /** Register a server; resolves when what that changed is durable. */
  async register(request: Registrant): Promise<RegisterAnswer> {
    const answer = await this.durably(this.machine.register(request, performance.now()));
    return answer.ok ? { ...answer, view: this.durable } : answer;
  }

  /** Remove a server; resolves when that is durable. */
  async remove(id: string, acceptLoss: boolean): Promise<Removal> {
    return this.durably(this.machine.operator.remove(id, acceptLoss));
  }

  /** Drain a server, or stop draining it; resolves when that is durable. */
  async drain(id: string, undo: boolean): Promise<Draining> {
    return this.durably(this.machine.operator.drain(id, undo));
  }

  /** Say which servers hold the data; resolves when that is durable. */
  async change(ids: readonly string[]): Promise<Changing> {
    return this.durably(this.machine.operator.change(ids));
  }

  /** Steer the rebalance; resolves when that is durable. */
  async steer(steering: Steering): Promise<Steered> {
    return this.durably(this.machine.operator.steer(steering));
  }

  /** Change what belongs to which shard; resolves when that is durable. */
  async shards(change: (shards: Shards) => ShardAnswer): Promise<ShardAnswer> {
    return this.durably(change(this.machine.shards));
  }

  /** Change what namespaces there are; resolves when that is durable. */
  async namespaces(change: (namespaces: Namespaces) => NamespaceAnswer): Promise<NamespaceAnswer> {
    return this.durably(change(this.machine.namespaces));
  }

  previewReshard(shardCount: number): PreviewAnswer {
    return this.machine.previewReshard(shardCount);
  }

  preview(supposed: Supposition): PreviewAnswer {
    return this.machine.preview(supposed);
  }

  /** A server's stream is there: replies go to `reply` until `disconnect`. */
  connect(server: Ordinal, reply: (reply: LeaderReply) => void): void {
    this.servers.set(server, reply);
  }

  disconnect(server: Ordinal, reply: (reply: LeaderReply) => void): void {
    if (this.servers.get(server) === reply) this.servers.delete(server);
  }

  receive(from: Ordinal, message: LeaderMessage): void {
    this.machine.step(from, message, performance.now(), this);
    void this.flushSoon();
  }

  /** Requests that arrive together, or while an epoch is being written, share one epoch. */
  private flushSoon(): Promise<void> {
    const flush = async (): Promise<void> => {
      await this.writing;
      await new Promise((resolve) => setImmediate(resolve));
      this.flushing = null;
      if (!this.stopped) this.flush();
    };
    this.flushing ??= flush();
    return this.flushing;
  }

  /** The current view, then each change, until the returned function is called. */
  watch(watcher: (update: ViewUpdate) => void): () => void {
    watcher(new ViewUpdate(this.durable, null));
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  status(): LeaderStatus {
    return this.machine.status(performance.now());
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.ticker);
    await this.writing;
  }

  // LeaderOutbox

  publish(delta: ViewDelta, view: View): void {
    this.writing = this.write(this.writing, delta, view);
  }

  private async write(former: Promise<void>, delta: ViewDelta, view: View): Promise<void> {
    await former;
    try {
      await this.store.append(delta, view);
    } catch (error) {
      this.stopped = true;
      this.fatal(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.durable = view;
    const update = new ViewUpdate(null, delta);
    for (const reply of this.servers.values()) reply(update);
    for (const watcher of this.watchers) watcher(update);
    this.onEpoch(view);
  }

  send(to: Ordinal, message: LeaderReply): void {
    // May name an epoch that is still being written.
    const deliver = async (): Promise<void> => {
      await this.writing;
      this.servers.get(to)?.(message);
    };
    void deliver();
  }

  /** The answer, once what it stands for is durable. */
  private async durably<T>(answer: T): Promise<T> {
    await this.flushSoon();
    await this.writing;
    return answer;
  }

  private tick(): void {
    if (this.stopped) return;
    this.machine.tick(performance.now());
    this.flush();
  }

  private flush(): void {
    this.machine.flush(performance.now(), Date.now(), this);
  }
}
