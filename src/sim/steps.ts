import { Prng } from '../checkers/prng.js';
import { checkChanges } from '../checkers/changes.js';
import { History, type Violation } from '../checkers/history.js';
import { checkHistory, checkLastWrites } from '../checkers/register.js';
import { checkReplicas } from '../checkers/replicas.js';
import { DEFAULT_SERVER_SETTINGS } from '../core/host.js';
import { ChangePhase } from '../core/view.js';
import { Client, type Script } from './client.js';
import { CALM, LEADER_NODE, type Node } from './network.js';
import { HONEST, type Sabotage } from './sabotage/sabotage.js';
import type { Settings } from './settings.js';
import { byBucket, Values, work } from './workload.js';
import { World } from './world.js';

/** Small and quick, so that one view change has some hundred steps. */
function settingsOf(policy: string): Settings {
  const leaseMs = 160;
  return {
    servers: policy === 'shards' ? 4 : 3,
    joinsLater: 1,
    clients: 2,
    keys: 24,
    accounts: 0,
    lists: 0,
    view: {
      bucketCount: 8,
      replicaCount: 2,
      minInSync: 2,
      policy,
      shardCount: policy === 'shards' ? 2 : 0,
      shardSpread: 'even',
      leaseMs,
      graceMs: 200,
      rebalanceRateBytes: 0,
      rateSteered: false,
      rebalancePaused: false,
    },
    server: {
      ...DEFAULT_SERVER_SETTINGS,
      heartbeatIntervalMs: 100,
      resendMs: 60,
      transfersAtOnce: 1,
      digestEveryMs: 60_000,
    },
    leader: {
      startupGraceMs: 600,
      joinWindowMs: 50,
      handoverWindowMs: 20,
      downAfterMs: 300,
      replaceAfterMs: 60_000,
    },
    disk: { minFlushMs: 0.5, maxFlushMs: 3, stall: 0 },
    weather: CALM,
    orderedLinks: true,
    wireBytes: false,
    shortChunks: 0,
    drift: 1.01,
    checkpointEveryMs: 1000,
    chaosMs: 0,
    faultEveryMs: 0,
    thinkMs: 15,
    attemptMs: 400,
  };
}

const START_MS = 2000;
const MOVED_MS = 20_000;
const REST_MS = 2000;
/** Back at once, and after it was taken out. */
const AWAYS_MS = [5, 500];
const SEED = 7;

/** Messages that a view change goes forward by. Those of clients and leases are not. */
const STEPS: ReadonlySet<string> = new Set([
  'register',
  'registered',
  'heartbeat',
  'viewUpdate',
  'learnProbe',
  'learnState',
  'snapshotChunk',
  'snapshotAck',
  'prepare',
  'prepareAck',
  'reconfigure',
]);

/** One message on its way, as the run without a crash saw it. */
export interface Step {
  readonly number: number;
  readonly kind: string;
  readonly from: Node;
  readonly to: Node;
}

/** One run with one crash. */
export interface StepOutcome {
  readonly step: Step;
  readonly victim: Node;
  readonly awayMs: number;
  readonly violations: readonly Violation[];
}

class Scene {
  readonly steps: Step[] = [];
  private readonly world: World;
  private readonly history = new History();
  private readonly clients: Client[] = [];
  private over = false;

  constructor(policy: string, sabotage: Sabotage) {
    const settings = settingsOf(policy);
    const random = new Prng(SEED);
    this.world = new World(settings, random.fork('world'), sabotage);
    const { hosts, clock } = this.world;
    for (const host of hosts.slice(0, settings.servers)) host.start();
    clock.run(START_MS);
    const keys = Array.from({ length: settings.keys }, (_, at) => `key${at}`);
    const play = {
      keys,
      accounts: keys,
      lists: keys,
      counters: keys,
      buckets: byBucket(keys, settings.view),
      values: new Values(),
      over: () => this.over,
    };
    const patience = { attemptMs: settings.attemptMs, deadlineMs: MOVED_MS, once: 0 };
    for (let index = 0; index < settings.clients; index += 1) {
      const own = random.fork(`client ${index}`);
      const script = singles(work(own, play));
      this.clients.push(new Client(this.world, this.history, index, own, script, () => patience));
    }
    clock.run(START_MS * 2);
  }

  /** A server joins. As the message of step `crashAt` arrives, `victim` dies for a while. */
  change(crashAt: number, victim: Node, awayMs: number): Violation[] {
    const { world } = this;
    const { network, hosts, clock } = world;
    const begun = world.view.change.number;
    network.onArrival = (kind, from, to) => {
      if (!STEPS.has(kind) || world.view.change.phase === ChangePhase.Done) return;
      const number = this.steps.length;
      this.steps.push({ number, kind, from, to });
      if (number === crashAt) this.kill(victim, awayMs);
    };
    hosts.at(-1)?.start();
    const untilMs = clock.now + MOVED_MS;
    const { change } = world.view;
    const moved = (): boolean => {
      const { number, phase } = world.view.change;
      return number > begun && phase === ChangePhase.Done && this.settled();
    };
    while (clock.now < untilMs && !moved()) clock.run(clock.now + 50);
    network.onArrival = null;
    return this.judge(change.number);
  }

  private kill(victim: Node, awayMs: number): void {
    const { world } = this;
    const { clock, leader } = world;
    if (victim === LEADER_NODE) {
      leader.crash();
      clock.after(awayMs, () => world.restartLeader());
      return;
    }
    const host = world.hosts[victim - 1];
    host?.crash();
    clock.after(awayMs, () => host?.start());
  }

  /** Everybody is back, and in sync. */
  private settled(): boolean {
    const { hosts, leader, view } = this.world;
    const present = leader.alive && hosts.every(({ process }) => process !== null);
    return (
      present && view.rows.every((row) => row.target.every((one) => row.replicas.includes(one)))
    );
  }

  private judge(before: number): Violation[] {
    const { world, history, clients } = this;
    const { clock } = world;
    const violations = [...checkChanges(world.view)];
    if (world.view.change.number <= before) {
      violations.push({ promise: 'V4', what: 'there was no view change', keys: [] });
    }
    clock.run(clock.now + REST_MS);
    this.over = true;
    const untilMs = clock.now + MOVED_MS;
    while (clock.now < untilMs && clients.some(({ idle }) => !idle)) clock.run(clock.now + 100);
    if (clients.some(({ idle }) => !idle)) {
      violations.push({ promise: 'liveness', what: 'a client waits for its answer', keys: [] });
    }
    clock.run(clock.now + REST_MS);
    violations.push(
      ...checkHistory(history, []).violations,
      ...checkLastWrites(history),
      ...checkReplicas(
        world.view,
        (server, bucket) => world.host(server)?.disk.store.records(bucket) ?? [],
      ),
      ...world.watch.violations,
    );
    return violations;
  }
}

/** Of a client's script what needs one key only. */
function* singles(script: Script): Script {
  let step = script.next(null);
  while (step.done !== true) {
    const wish = step.value;
    const single = wish === 'think' || (wish.writes === null && wish.reads === undefined);
    step = script.next(single ? yield wish : null);
  }
}

/**
 * A server joins under load, once for each step of the view change and each process that this step
 * concerns: as the message arrives, that process dies, and comes back. Enumerated, not sampled.
 */
export function* crashAtEveryStep(
  policy: string,
  sabotage: Sabotage = HONEST,
): Generator<StepOutcome> {
  const restore = sabotage.install?.();
  try {
    const calm = new Scene(policy, sabotage);
    const violations = calm.change(-1, LEADER_NODE, 0);
    const first = calm.steps[0];
    if (first === undefined) throw new Error('bug: a view change without a step');
    yield { step: first, victim: LEADER_NODE, awayMs: 0, violations };
    for (const step of calm.steps) {
      for (const victim of new Set([LEADER_NODE, step.from, step.to])) {
        for (const awayMs of AWAYS_MS) {
          const scene = new Scene(policy, sabotage);
          yield { step, victim, awayMs, violations: scene.change(step.number, victim, awayMs) };
        }
      }
    }
  } finally {
    restore?.();
  }
}
