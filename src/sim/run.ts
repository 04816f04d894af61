import type { Key, Ordinal } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import { bucketInPool } from '../core/hash.js';
import { CODES } from '../core/refusal.js';
import { ChangePhase, isGivenUp, isUp, primaryOf } from '../core/view.js';
import { checkChanges } from '../checkers/changes.js';
import { checkLists } from '../checkers/lists.js';
import { checkHistory, checkLastWrites } from '../checkers/register.js';
import { CausalHistory } from '../checkers/causal.js';
import {
  causalRest,
  checkTombstones,
  checkCausalReplicas,
  checkReplicas,
  type RecordsOf,
} from '../checkers/replicas.js';
import { checkAtomicity, checkCounters, checkTotal } from '../checkers/transactions.js';
import { keyIn, Mode } from '../core/namespace.js';
import { bucketOf } from '../core/pools.js';
import { BRIEF_NAMESPACE, BRIEF_TTL_MS, BriefClient } from './brief-client.js';
import { CAUSAL_NAMESPACE, CausalClient } from './causal-client.js';
import { Client, type Patience, type Script } from './client.js';
import { type Fault, Faults } from './faults.js';
import { History, type Violation } from '../checkers/history.js';
import { Prng } from '../checkers/prng.js';
import { HONEST, type Sabotage } from './sabotage/sabotage.js';
import { drawSettings, type Settings } from './settings.js';
import {
  BALANCE,
  byBucket,
  everything,
  openAccounts,
  type Playground,
  readAll,
  Values,
  work,
} from './workload.js';
import { World } from './world.js';

/** Clients go on for so long after the last fault, ms. */
const HEALING_MS = 3_000;
/** An operation that began after the last fault has a definite answer within this, ms. */
const ANSWERED_WITHIN_MS = 30_000;
/** What is still under way settles in this time, ms. */
const REST_MS = 3_000;
const BRIEF_CLIENTS = 2;

/** What one seed came to. */
export interface Outcome {
  readonly seed: number;
  readonly limits: Limits;
  readonly settings: Settings;
  readonly faults: readonly Fault[];
  readonly violations: readonly Violation[];
  /** Keys whose history took too long to judge. */
  readonly undecided: readonly Key[];
  readonly history: History;
  readonly namespaceOperations: number;
  /** Hash of all that happened; the same seed gives the same hash. */
  readonly hash: string;
  readonly events: number;
  readonly virtualMs: number;
}

/** Makes a run smaller than its seed does. */
export interface Limits {
  /** Numbers of the faults that happen; without it all do. */
  readonly faults?: readonly number[];
  /** When the faults end, ms. */
  readonly chaosMs?: number;
  readonly clients?: number;
  /** Clients of a causal namespace beside them, and then two of a strong one with a TTL. */
  readonly causal?: number;
  /** As it was before disks were lost and namespaces had replicas: seeds kept from then. */
  readonly early?: boolean;
}

/** Run one cluster from its seed, with faults, and judge what its clients saw. */
export function run(seed: number, sabotage: Sabotage = HONEST, limits: Limits = {}): Outcome {
  const restore = sabotage.install?.();
  try {
    return new Run(seed, sabotage, limits).toEnd();
  } finally {
    restore?.();
  }
}

function named(name: string, count: number): Key[] {
  return Array.from({ length: count }, (_, at) => `${name}${at}`);
}

class Run {
  private readonly settings: Settings;
  private readonly world: World;
  private readonly random: Prng;
  private readonly history = new History();
  private readonly clients: Client[] = [];
  private readonly play: Playground;
  private readonly violations: Violation[] = [];
  private healing = false;
  private readonly causal = new CausalHistory();
  private readonly sessions: CausalClient[] = [];
  private readonly briefs: BriefClient[] = [];

  constructor(
    private readonly seed: number,
    sabotage: Sabotage,
    private readonly limits: Limits,
  ) {
    this.random = new Prng(seed);
    const drawn = drawSettings(this.random.fork('settings'));
    const { chaosMs = drawn.chaosMs, clients = drawn.clients } = limits;
    this.settings = { ...drawn, chaosMs, clients };
    this.world = new World(this.settings, this.random.fork('world'), sabotage);
    const { settings, world } = this;
    const names = {
      keys: named('key', settings.keys),
      accounts: named('account', settings.accounts),
      lists: named('list', settings.lists),
      counters: named('counter', 1),
    };
    this.play = {
      ...names,
      buckets: byBucket(everything(names), settings.view),
      values: new Values(),
      over: () => world.clock.now > settings.chaosMs + HEALING_MS,
    };
  }

  toEnd(): Outcome {
    const faults = this.begin();
    try {
      this.live(faults);
      this.judge();
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.violations.push({ promise: 'bug', what, keys: [] });
    }
    this.violations.push(...this.world.watch.violations);
    const { seed, limits, settings, violations, undecided, history, world } = this;
    const { hash, events } = world.trace;
    const virtualMs = world.clock.now;
    const { injected } = faults;
    return {
      seed,
      limits,
      settings,
      faults: injected,
      violations,
      undecided,
      history,
      namespaceOperations: this.namespaceOperations(),
      hash,
      events,
      virtualMs,
    };
  }

  private readonly undecided: Key[] = [];

  private namespaceOperations(): number {
    const { causal, briefs } = this;
    const brief = briefs.reduce((sum, { operations }) => sum + operations, 0);
    return causal.reads + causal.writes.length + brief;
  }

  private begin(): Faults {
    const { world, settings, random, play } = this;
    const starts = random.fork('starts');
    for (const [at, host] of world.hosts.entries()) {
      const joins = at >= settings.servers ? settings.chaosMs / 2 : 0;
      world.clock.after(joins + starts.between(0, 300), () => host.start());
    }
    for (let index = 0; index < settings.clients; index++) {
      const own = random.fork(`client ${index}`);
      this.addClient(own, index === 0 ? openAccounts(own, play) : work(own, play));
    }
    this.beginCausal();
    const only = this.limits.faults === undefined ? null : new Set(this.limits.faults);
    return new Faults(world, random.fork('faults'), settings, only, this.limits.early === true);
  }

  private beginCausal(): void {
    const { world, random, play, causal, limits, settings } = this;
    world.onCausal = (server, { records }) => {
      for (const record of records) if (record.writer === server) causal.took(record);
    };
    const { causal: clients = 0 } = limits;
    if (clients === 0) return;
    // With shards that is refused: there all servers of a shard hold its data.
    const isCounted = settings.view.policy !== 'shards' && limits.early !== true;
    const replicas = isCounted ? random.fork('replicas').whole(0, 3) : 0;
    const create = (): void => {
      if (world.view.namespaces.size >= BRIEF_NAMESPACE) return;
      world.leader.createNamespace('causal', Mode.Causal, 0, replicas);
      if (world.view.namespaces.size >= CAUSAL_NAMESPACE) {
        world.leader.createNamespace('brief', Mode.Strong, BRIEF_TTL_MS, replicas);
      }
      world.clock.after(100, create);
    };
    create();
    const drawn = random.fork('causal');
    const keys = named('c', drawn.whole(1, 8));
    for (let index = 0; index < clients; index++) {
      const own = drawn.fork(`client ${index}`);
      this.sessions.push(new CausalClient(world, causal, index, own, keys, play.over));
    }
    for (let index = 0; index < BRIEF_CLIENTS; index++) {
      this.briefs.push(new BriefClient(world, index, drawn.fork(`brief ${index}`), play.over));
    }
  }

  private addClient(random: Prng, script: Script): void {
    const { world, history, clients } = this;
    const patience = (): Patience => this.patience();
    clients.push(new Client(world, history, clients.length, random, script, patience));
  }

  private patience(): Patience {
    const { attemptMs } = this.settings;
    if (this.healing) return { attemptMs, deadlineMs: ANSWERED_WITHIN_MS, once: 0 };
    return { attemptMs, deadlineMs: attemptMs * 4, once: 0.3 };
  }

  private live(faults: Faults): void {
    const { world, settings } = this;
    world.clock.run(settings.chaosMs);
    faults.end();
    this.healing = true;
    world.clock.run(world.clock.now + HEALING_MS);
    this.untilIdle();
    world.clock.run(world.clock.now + REST_MS);
    this.addClient(this.random.fork('reader'), readAll(everything(this.play)));
    this.untilIdle();
    this.untilMoved();
    world.clock.run(world.clock.now + REST_MS);
    this.untilBuried();
  }

  /** D5: in the end every tombstone goes. */
  private untilBuried(): void {
    const { world, recordsOf } = this;
    const untilMs = world.clock.now + ANSWERED_WITHIN_MS;
    const isLeft = (): boolean => checkTombstones(world.view, recordsOf).length > 0;
    while (world.clock.now < untilMs && isLeft()) world.clock.run(world.clock.now + 100);
  }

  private readonly recordsOf: RecordsOf = (server, bucket) =>
    this.world.host(server)?.disk.store.records(bucket) ?? [];

  /** V4: a view change ends when nobody disturbs it any more. */
  private untilMoved(): void {
    const { world } = this;
    const untilMs = world.clock.now + ANSWERED_WITHIN_MS;
    const runs = (): boolean =>
      world.view.change.phase === ChangePhase.Prime || world.view.change.phase === ChangePhase.Move;
    while (world.clock.now < untilMs && runs()) world.clock.run(world.clock.now + 100);
    const { view } = world;
    if (this.allUp()) this.violations.push(...checkChanges(view));
  }

  /** A disk that gets stuck now and then takes its server out, and that is nobody's fault. */
  private allUp(): boolean {
    const { view } = this.world;
    const members = Array.from(view.members.keys());
    return members.every((server) => isUp(view, server) || isGivenUp(view, server));
  }

  private untilIdle(): void {
    const { clock } = this.world;
    const untilMs = clock.now + ANSWERED_WITHIN_MS * 2;
    const all = [...this.clients, ...this.sessions, ...this.briefs];
    while (clock.now < untilMs && all.some(({ idle }) => !idle)) clock.run(clock.now + 100);
  }

  private judge(): void {
    const { history, violations, play, settings } = this;
    const { accounts, lists, counters } = play;
    violations.push(...this.checkAnswered());
    violations.push(...checkLastWrites(history));
    const { violations: found, undecided } = checkHistory(history, accounts);
    violations.push(...found);
    this.undecided.push(...undecided);
    const rest = this.recordsAtRest();
    violations.push(...checkAtomicity(history, rest));
    const open = accounts.some((key) => rest.has(key));
    const expected = open ? settings.accounts * BALANCE : 0;
    violations.push(...checkTotal(accounts, rest, expected));
    violations.push(...checkLists(history, lists), ...checkCounters(history, counters, rest));
    const { world, causal, recordsOf } = this;
    violations.push(...checkCausalReplicas(world.view, recordsOf));
    if (this.allUp()) violations.push(...checkTombstones(world.view, recordsOf));
    causal.checkRest(causalRest(world.view, recordsOf));
    causal.forgive((key, writer, number) => this.isLost(key, writer, number));
    violations.push(...causal.violations);
    for (const brief of this.briefs) violations.push(...brief.violations);
    violations.push(...checkReplicas(world.view, recordsOf));
  }

  /** D1, D3: after the last fault every operation gets its answer, and soon. */
  private checkAnswered(): Violation[] {
    const { settings, history } = this;
    return history.calls
      .filter((call) => call.invokedMs > settings.chaosMs)
      .filter(({ result }) => result === null || CODES[result.code].retryable)
      .map((call) => {
        const what = `not answered ${ANSWERED_WITHIN_MS} ms after the last fault`;
        return { promise: 'liveness', what: `${what}: ${call.describe()}`, keys: call.keys };
      });
  }

  /** A causal write that only a server had whose disk was lost. */
  private isLost(key: Key, writer: Ordinal, number: number): boolean {
    const { world } = this;
    if (!world.lost.has(writer)) return false;
    const bucket = bucketOf(keyIn(CAUSAL_NAMESPACE, key), world.view);
    const known = world.running.map(({ machine }) => machine.causal.known(bucket).get(writer) ?? 0);
    return number > Math.max(0, ...known);
  }

  /** All records, as the primary of each bucket holds them. */
  private recordsAtRest(): Map<Key, StoredRecord> {
    const { world, settings } = this;
    const rest = new Map<Key, StoredRecord>();
    for (const key of everything(this.play)) {
      const bucket = bucketInPool(key, settings.view);
      const primary = primaryOf(world.view, bucket);
      const host = primary === undefined ? undefined : world.host(primary);
      const record = host?.disk.store.get(bucket, key);
      if (record !== undefined) rest.set(key, record);
    }
    return rest;
  }
}
