import type { Prng } from '../checkers/prng.js';
import { LEADER_NODE, type Node } from './network.js';
import type { Settings } from './settings.js';
import type { World } from './world.js';

/** What was done to the cluster, and when. */
export interface Fault {
  /** 1 for the first of the run. */
  readonly number: number;
  readonly atMs: number;
  readonly what: string;
}

/** A broken server is waited for that long where it has the only copy of something, ms. */
const MISSED_MS = 5_000;

type Injector = (world: World, random: Prng) => string;

const crashOne: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const backMs = random.pick([1, 50, 400, 3_000]) * random.between(0.5, 1.5);
  host.crash();
  world.clock.after(backMs, () => host.start());
  return `kill -9 server on host ${host.node}, back in ${backMs.toFixed(0)} ms`;
};

const crashSeveral: Injector = (world, random) => {
  const all = random.chance(0.4);
  const victims = world.hosts.filter((host) => host.up && (all || random.chance(0.6)));
  const mostMs = random.pick([5, 100, 1_500]);
  for (const host of victims) {
    host.crash();
    world.clock.after(random.between(0, mostMs), () => host.start());
  }
  const names = victims.map(({ node }) => node).join(', ');
  return `kill -9 servers on hosts ${names} at once, back within ${mostMs} ms`;
};

const crashLeader: Injector = (world, random) => {
  const backMs = random.pick([5, 200, 3_000]);
  world.leader.crash();
  const { leader } = world;
  world.clock.after(backMs, () => {
    if (world.leader === leader) world.restartLeader();
  });
  return `kill -9 the view leader, back in ${backMs} ms`;
};

/** The worst moment for a view leader: an epoch is on its way to the disk. */
const crashLeaderAtEpoch: Injector = (world, random) => {
  const { leader } = world;
  const backMs = random.pick([5, 200]);
  leader.onPublish = () => {
    leader.onPublish = null;
    world.clock.after(random.between(0, 10), () => {
      leader.crash();
      world.clock.after(backMs, () => {
        if (world.leader === leader) world.restartLeader();
      });
    });
  };
  return `kill -9 the view leader as it makes its next epoch, back in ${backMs} ms`;
};

/** The worst moment for a server: it has just logged something of consequence. */
const crashAtRecord: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const type = random.pick(['dropped', 'installed', 'cut', 'viewDelta'] as const);
  const { process } = host;
  if (process === null) return `no server on host ${host.node} to kill`;
  process.onPersist = (record) => {
    if (record.type !== type) return;
    process.onPersist = null;
    world.clock.after(random.between(0, 4), () => {
      if (host.process !== process) return;
      host.crash();
      world.clock.after(random.pick([1, 300]), () => host.start());
    });
  };
  return `kill -9 server on host ${host.node} as it logs ${type}`;
};

/** Comes back with another share of the data: buckets move. */
const reweigh: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  host.weight = random.pick([0.25, 1, 4]);
  host.crash();
  world.clock.after(random.pick([1, 300]), () => host.start());
  return `restart server on host ${host.node} with weight ${host.weight}`;
};

/** An operator takes a server for dead and gives it up; it comes back all the same. */
const removeServer: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const afterMs = world.settings.leader.downAfterMs * random.between(0.5, 3);
  const backMs = afterMs + random.pick([10, 500, 3_000]);
  host.crash();
  world.clock.after(afterMs, () => world.leader.remove(host.disk.id));
  world.clock.after(backMs, () => host.start());
  return `kill -9 server on host ${host.node}, remove it, back in ${backMs.toFixed(0)} ms`;
};

/** An operator empties a server, and changes his mind. */
const drainServer: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const forMs = random.pick([50, 500, 3_000]);
  world.leader.drain(host.disk.id, false);
  world.clock.after(forMs, () => world.leader.drain(host.disk.id, true));
  return `drain server on host ${host.node} for ${forMs} ms`;
};

/** An operator meddles with a rebalance. */
const steerRebalance: Injector = (world, random) => {
  const forMs = random.pick([20, 300, 2_000]);
  if (random.chance(0.3)) {
    world.leader.steer({ cancel: true });
    return 'cancel the rebalance';
  }
  const rateBytes = random.pick([0, 2_000, 50_000]);
  world.leader.steer({ paused: true, rateBytes });
  world.clock.after(forMs, () => world.leader.steer({ paused: false }));
  return `pause the rebalance for ${forMs} ms, then ${rateBytes} bytes a second`;
};

/** An operator says which servers are to hold the data; some of the time all of them again. */
const changeView: Injector = (world, random) => {
  const chosen = world.hosts.filter(() => random.chance(0.6));
  world.leader.changeView(chosen.map(({ disk }) => disk.id));
  const afterMs = random.pick([100, 1_000, 4_000]);
  world.clock.after(afterMs, () => world.leader.changeView(world.hosts.map(({ disk }) => disk.id)));
  const names = chosen.map(({ node }) => node).join(', ');
  return `hosts ${names} are to hold the data for ${afterMs} ms`;
};

/** Where there are shards; otherwise it is refused. */
const reshard: Injector = (world, random) => {
  const shardCount = random.whole(1, Math.max(1, Math.floor(world.hosts.length / 2)));
  world.leader.reshard(shardCount);
  return `reshard to ${shardCount}`;
};

/** A record rots on one disk, while another replica is in sync and well. */
const damageRecord: Injector = (world, random) => {
  const bucket = random.whole(0, world.settings.view.bucketCount - 1);
  const replicas = world.view.rows[bucket]?.replicas ?? [];
  const hosts = replicas.flatMap((ordinal) => world.host(ordinal) ?? []);
  // One damage for each bucket: a second one, before the first is mended, may hit the last copy.
  const host = hosts.length < 2 || world.damaged.has(bucket) ? undefined : random.pick(hosts);
  const records = host?.disk.store.records(bucket) ?? [];
  if (host === undefined || records.length === 0) return 'no record to damage';
  const { key } = random.pick(records);
  world.damaged.add(bucket);
  host.disk.store.damage(bucket, key);
  return `${key} rots on host ${host.node}`;
};

/** Cut every link between two groups, in both directions or in one, for a while. */
function cutGroups(world: World, one: Node[], other: Node[], forMs: number, oneWay: boolean): void {
  const links = one.flatMap((from) => other.map((to) => [from, to] as const));
  for (const [from, to] of links) {
    world.network.cut(from, to);
    if (!oneWay) world.network.cut(to, from);
  }
  world.clock.after(forMs, () => {
    for (const [from, to] of links) {
      world.network.mend(from, to);
      world.network.mend(to, from);
    }
  });
}

/**
 * A disk breaks, maybe after a while in which nobody heard of what was written there. The cluster
 * moves on meanwhile; a new server comes, with an empty one.
 */
const loseDisk: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const aloneMs = random.pick([0, 200, 800]);
  const afterMs = world.settings.leader.downAfterMs * random.between(0, 2);
  const others = world.hosts.filter((other) => other !== host).map(({ node }) => node);
  if (aloneMs > 0) cutGroups(world, [host.node], others, aloneMs + afterMs, false);
  world.clock.after(aloneMs, () => {
    // One at a time: a minority.
    if (world.hosts.some(({ broken }) => broken)) return;
    host.breakDown();
    const untilMs = world.clock.now + afterMs + MISSED_MS;
    world.clock.after(afterMs, () => world.loseDisk(host, random, untilMs));
  });
  return `server on host ${host.node} alone for ${aloneMs} ms, killed, its disk lost`;
};

const partition: Injector = (world, random) => {
  const nodes = [LEADER_NODE, ...world.hosts.map(({ node }) => node)];
  const one = nodes.filter(() => random.chance(0.5));
  const other = nodes.filter((node) => !one.includes(node));
  const forMs = random.pick([100, 600, 2_500]);
  const oneWay = random.chance(0.3);
  cutGroups(world, one, other, forMs, oneWay);
  const arrow = oneWay ? 'to' : 'from';
  return `partition: [${one.join()}] cut ${arrow} [${other.join()}] for ${forMs} ms`;
};

const cutLink: Injector = (world, random) => {
  const nodes = [LEADER_NODE, ...world.hosts.map(({ node }) => node)];
  const from = random.pick(nodes);
  const to = random.pick(nodes);
  const forMs = random.pick([100, 600, 2_500]);
  const oneWay = random.chance(0.5);
  cutGroups(world, [from], [to], forMs, oneWay);
  return `link ${from} ${oneWay ? '→' : '↔'} ${to} cut for ${forMs} ms`;
};

const pauseServer: Injector = (world, random) => {
  const host = random.pick(world.hosts);
  const { leaseMs } = world.settings.view;
  const forMs = leaseMs * random.pick([0.5, 1.1, 1.5, 4, 20]);
  host.process?.pause(forMs);
  return `pause server on host ${host.node} for ${forMs.toFixed(0)} ms`;
};

const pauseLeader: Injector = (world, random) => {
  const forMs = random.pick([50, 500, 3_000]);
  world.leader.pause(forMs);
  return `pause the view leader for ${forMs} ms`;
};

const slowLink: Injector = (world, random) => {
  const nodes = [LEADER_NODE, ...world.hosts.map(({ node }) => node)];
  const from = random.pick(nodes);
  const to = random.pick(nodes);
  const extraMs = random.pick([5, 50, 500]);
  const forMs = random.pick([300, 2_000]);
  world.network.slowDown(from, to, extraMs);
  world.clock.after(forMs, () => world.network.slowDown(from, to, 0));
  return `link ${from} → ${to} slower by ${extraMs} ms for ${forMs} ms`;
};

const lossBurst: Injector = (world, random) => {
  const { weather } = world.settings;
  const loss = random.pick([0.1, 0.4, 0.9]);
  const forMs = random.pick([50, 300, 1_000]);
  world.network.weather = { ...weather, loss };
  world.clock.after(forMs, () => {
    if (world.network.weather.loss === loss) world.network.weather = weather;
  });
  return `${loss * 100} % of messages lost for ${forMs} ms`;
};

const stepWall: Injector = (world, random) => {
  const { running } = world;
  if (running.length === 0) return 'no wall clock to set';
  const process = random.pick(running);
  const byMs = Math.floor(random.between(-7_200_000, 7_200_000));
  process.processClock.stepWall(byMs);
  return `wall clock on host ${process.node} set by ${byMs} ms`;
};

const INJECTORS: readonly Injector[] = [
  crashOne,
  crashSeveral,
  crashLeader,
  crashLeaderAtEpoch,
  crashAtRecord,
  reweigh,
  removeServer,
  drainServer,
  steerRebalance,
  changeView,
  reshard,
  partition,
  cutLink,
  pauseServer,
  pauseLeader,
  slowLink,
  lossBurst,
  stepWall,
];

/**
 * Damage is mended as long as nothing takes the other replicas away: the last copy of a record is
 * beyond help. So it comes in runs of its own, of clusters that nothing else troubles.
 */
const ROT: readonly Injector[] = [damageRecord, stepWall];

function rots({ disk, weather }: Settings, random: Prng): boolean {
  const calm = disk.stall === 0 && weather.tail === 0 && weather.loss <= 0.001;
  return calm && random.chance(0.5);
}

/**
 * Makes trouble until `untilMs`. Each run draws the kinds of trouble it knows (swarm testing: Groce
 * et al. 2012), so that some runs see much of one kind.
 */
export class Faults {
  readonly injected: Fault[] = [];
  private readonly kinds: readonly Injector[];
  /** Each fault draws from a stream of its own, so that the others stay when it is left out. */
  private readonly draws: Prng;
  private over = false;

  constructor(
    private readonly world: World,
    private readonly random: Prng,
    private readonly settings: Settings,
    /** Which of the faults happen, by their number; null: all. */
    private readonly only: ReadonlySet<number> | null,
    /** See `Limits`. */
    early: boolean,
  ) {
    this.draws = random.fork('each fault');
    const known = rots(settings, random) ? ROT : INJECTORS;
    const kinds = known.filter(() => random.chance(0.5));
    const drawn = kinds.length > 0 ? kinds : known;
    const loses = !early && known !== ROT && random.fork('disks').chance(0.3);
    this.kinds = loses ? [...drawn, loseDisk, loseDisk] : drawn;
    this.next();
  }

  /** The healing phase: no faults any more, everything restarted. */
  end(): void {
    const { world } = this;
    this.over = true;
    world.network.calm();
    world.shortChunks = 0;
    world.leader.onPublish = null;
    if (!world.leader.alive) world.restartLeader();
    for (const host of world.hosts) {
      host.disk.retains = true;
      host.start();
      world.leader.drain(host.disk.id, true);
    }
    world.leader.steer({ paused: false });
  }

  private next(number = 1): void {
    const { world, random, settings, only } = this;
    world.clock.after(random.between(0.1, 1.9) * settings.faultEveryMs, () => {
      if (this.over) return;
      this.next(number + 1);
      if (only?.has(number) === false) return;
      const own = this.draws.fork(String(number));
      const what = own.pick(this.kinds)(world, own);
      this.injected.push({ number, atMs: world.clock.now, what });
      world.trace.note('fault', world.clock.now, number, 0);
    });
  }
}
