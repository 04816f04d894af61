// Links that stay cut, one way or both: one consistent view, no storm of epochs, and service.
import { describe, expect, test } from '@jest/globals';

import { History } from '../../src/checkers/history.js';
import { Prng } from '../../src/checkers/prng.js';
import { checkHistory } from '../../src/checkers/register.js';
import { DEFAULT_SERVER_SETTINGS } from '../../src/core/host.js';
import { isUp } from '../../src/core/view.js';
import { Client } from '../../src/sim/client.js';
import { CALM, LEADER_NODE } from '../../src/sim/network.js';
import { HONEST } from '../../src/sim/sabotage/sabotage.js';
import type { Settings } from '../../src/sim/settings.js';
import { byBucket, Values, work } from '../../src/sim/workload.js';
import { World } from '../../src/sim/world.js';

/** Default timings, four servers, sixteen buckets. */
const SETTINGS: Settings = {
  servers: 4,
  joinsLater: 0,
  clients: 4,
  keys: 16,
  accounts: 0,
  lists: 0,
  view: {
    bucketCount: 16,
    replicaCount: 3,
    minInSync: 2,
    policy: 'ring',
    shardCount: 0,
    shardSpread: 'even',
    leaseMs: 700,
    graceMs: 805,
    rebalanceRateBytes: 0,
    rateSteered: false,
    rebalancePaused: false,
  },
  server: DEFAULT_SERVER_SETTINGS,
  leader: {
    startupGraceMs: 10_000,
    joinWindowMs: 500,
    handoverWindowMs: 200,
    downAfterMs: 1000,
    replaceAfterMs: 30_000,
  },
  disk: { minFlushMs: 0.5, maxFlushMs: 3, stall: 0 },
  weather: CALM,
  orderedLinks: true,
  wireBytes: false,
  shortChunks: 0,
  drift: 1.01,
  checkpointEveryMs: 60_000,
  chaosMs: 0,
  faultEveryMs: 0,
  thinkMs: 15,
  attemptMs: 1000,
};
const START_MS = 5000;
const CUT_MS = 60_000;
/**
 * A client that happens to ask the server that is cut off waits a second for it, and may happen to
 * do so several times in turn.
 */
const MOST_MS = 6000;
/** By then the cluster has settled on what the cut leaves. */
const SETTLED_MS = 10_000;

class Scene {
  readonly history = new History();
  readonly world: World;
  private readonly clients: Client[] = [];
  private over = false;

  constructor(seed: number) {
    const random = new Prng(seed);
    this.world = new World(SETTINGS, random.fork('world'), HONEST);
    for (const host of this.world.hosts) host.start();
    this.pass(START_MS);
    const keys = Array.from({ length: SETTINGS.keys }, (_, at) => `key${at}`);
    const values = new Values();
    const over = (): boolean => this.over;
    const buckets = byBucket(keys, SETTINGS.view);
    const play = { keys, accounts: keys, lists: keys, counters: keys, buckets, values, over };
    const patience = { attemptMs: 1000, deadlineMs: 10_000, once: 0 };
    for (let index = 0; index < SETTINGS.clients; index += 1) {
      const own = random.fork(`client ${index}`);
      const single = plain(own, play);
      this.clients.push(new Client(this.world, this.history, index, own, single, () => patience));
    }
  }

  get epoch(): number {
    return this.world.view.epoch;
  }

  pass(ms: number): void {
    const { clock } = this.world;
    clock.run(clock.now + ms);
  }

  stop(): void {
    this.over = true;
    this.pass(15_000);
    expect(this.clients.every(({ idle }) => idle)).toBe(true);
  }

  /** Operations that began at `fromMs` or later and were not done, or took longer than `mostMs`. */
  late(fromMs: number, mostMs: number): string[] {
    const { now } = this.world.clock;
    return this.history.calls
      .filter(({ invokedMs }) => invokedMs >= fromMs && invokedMs < now - mostMs)
      .filter(({ completedMs, invokedMs }) => !(completedMs - invokedMs <= mostMs))
      .map((call) => call.describe());
  }
}

/** Single keys only: of `work`, what has no second key. */
function* plain(random: Prng, play: Parameters<typeof work>[1]): ReturnType<typeof work> {
  const script = work(random, play);
  let step = script.next(null);
  while (step.done !== true) {
    const wish = step.value;
    const single = wish === 'think' || (wish.writes === null && wish.reads === undefined);
    step = script.next(single ? yield wish : null);
  }
}

const [one, two] = [1, 2];
const LINKS: readonly (readonly [string, readonly (readonly [number, number])[]])[] = [
  ['to the view leader', [[one, LEADER_NODE]]],
  ['from the view leader', [[LEADER_NODE, one]]],
  [
    'to and from the view leader',
    [
      [one, LEADER_NODE],
      [LEADER_NODE, one],
    ],
  ],
  ['from one server to another', [[one, two]]],
  [
    'between two servers',
    [
      [one, two],
      [two, one],
    ],
  ],
];

describe('a link that stays cut', () => {
  test.each(LINKS)('%s', (_name, cuts) => {
    const scene = new Scene(7);
    scene.pass(3000);
    for (const [from, to] of cuts) scene.world.network.cut(from, to);
    scene.pass(SETTLED_MS);
    const { epoch, world } = scene;
    const settledMs = world.clock.now;
    scene.pass(CUT_MS - SETTLED_MS);
    // Replacing a server and rebuilding its replicas takes some epochs; a storm takes hundreds.
    expect(scene.epoch - epoch).toBeLessThan(30);
    const quiet = scene.epoch;
    scene.pass(10_000);
    expect(scene.epoch - quiet).toBeLessThan(3);
    expect(scene.late(settledMs, MOST_MS)).toEqual([]);
    expect(scene.history.calls.length).toBeGreaterThan(1000);

    for (const [from, to] of cuts) world.network.mend(from, to);
    scene.pass(20_000);
    const { view } = world;
    expect(Array.from(view.members.keys()).every((server) => isUp(view, server))).toBe(true);
    expect(view.rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
    for (const host of world.hosts) expect(host.process?.machine.view.epoch).toBe(view.epoch);
    scene.stop();
    expect(checkHistory(scene.history, []).violations).toEqual([]);
    expect(world.watch.violations).toEqual([]);
  });
});
