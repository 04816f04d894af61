import type { ServerSettings } from '../core/host.js';
import type { LeaderSettings } from '../core/leader.js';
import type { ViewParameters } from '../core/view.js';
import type { DiskSpeed } from './log.js';
import type { Weather } from './network.js';
import type { Prng } from '../checkers/prng.js';

/** Everything that a seed decides about a run before it starts. Milliseconds. */
export interface Settings {
  /** Servers there from the start, and one that may join later. */
  readonly servers: number;
  readonly joinsLater: number;
  readonly clients: number;
  readonly keys: number;
  readonly accounts: number;
  readonly lists: number;
  readonly view: ViewParameters;
  readonly server: ServerSettings;
  readonly leader: {
    readonly startupGraceMs: number;
    readonly joinWindowMs: number;
    readonly handoverWindowMs: number;
    readonly downAfterMs: number;
    readonly replaceAfterMs: number;
  };
  readonly disk: DiskSpeed;
  readonly weather: Weather;
  readonly orderedLinks: boolean;
  /** Messages between processes are the bytes of the real wire. */
  readonly wireBytes: boolean;
  /** How often a chunk of a snapshot loses a record on the way, while there are faults. */
  readonly shortChunks: number;
  /** No process clock runs faster than virtual time by more than this factor. */
  readonly drift: number;
  readonly checkpointEveryMs: number;
  readonly chaosMs: number;
  /** A fault begins about this often. */
  readonly faultEveryMs: number;
  readonly thinkMs: number;
  readonly attemptMs: number;
}

/** Clocks may differ by less than grace / lease - 1; see `lease.ts`. */
const GRACE = 1.25;

export function drawSettings(random: Prng): Settings {
  const servers = random.whole(1, 5);
  const leaseMs = random.pick([60, 160, 400]);
  const downAfterMs = leaseMs * random.whole(1, 4) + 100;
  const replicaCount = random.whole(1, 3);
  const policy = random.pick(servers < 2 ? ['ring'] : ['ring', 'ring', 'modulo', 'shards']);
  return {
    servers,
    joinsLater: random.whole(0, servers < 5 ? 1 : 0),
    clients: random.whole(2, 6),
    keys: random.whole(1, 6),
    accounts: random.whole(2, 4),
    lists: random.whole(2, 3),
    view: {
      bucketCount: random.pick([1, 2, 3, 4, 8, 16]),
      replicaCount,
      minInSync: random.whole(1, Math.min(2, replicaCount)),
      policy,
      shardCount: policy === 'shards' ? random.whole(1, Math.floor(servers / 2)) : 0,
      shardSpread: random.pick(['even', 'seeded']),
      leaseMs,
      graceMs: leaseMs * GRACE,
      rebalanceRateBytes: random.pick([0, 0, 2_000, 50_000]),
      rateSteered: false,
      rebalancePaused: false,
    },
    server: {
      heartbeatIntervalMs: random.pick([20, 50, 100]),
      resendMs: random.pick([20, 60, 200]),
      gossipPaceMs: random.fork('gossip pace').pick([3, 10]),
      intentAgeMs: random.pick([50, 200, 500]),
      transfersAtOnce: random.pick([1, 4, 16]),
      chunkBytes: random.pick([1, 64, 4096]),
      digestEveryMs: random.pick([100, 1_000, 60_000]),
      parkedAtOnce: random.pick([4, 10_000]),
    },
    leader: {
      startupGraceMs: downAfterMs * 2,
      joinWindowMs: random.pick([20, 300]),
      handoverWindowMs: random.pick([0, 20, 200]),
      downAfterMs,
      replaceAfterMs: random.pick([500, 2_000, 60_000]),
    },
    disk: {
      minFlushMs: 0.1,
      maxFlushMs: random.pick([0.5, 3, 20]),
      stall: random.pick([0, 0.001, 0.01]),
    },
    weather: {
      minDelayMs: 0.1,
      maxDelayMs: random.pick([0.5, 2, 10]),
      tail: random.pick([0, 0.001, 0.02]),
      loss: random.pick([0, 0, 0.001, 0.02, 0.1]),
      duplication: random.pick([0, 0, 0.01, 0.1]),
    },
    orderedLinks: random.chance(0.5),
    wireBytes: random.chance(0.15),
    shortChunks: random.chance(0.1) ? 0.3 : 0,
    drift: 1 + (GRACE - 1) * 0.9,
    checkpointEveryMs: random.pick([200, 1_000, 5_000, 60_000]),
    chaosMs: random.whole(3_000, 12_000),
    faultEveryMs: random.pick([200, 600, 2_000, 100_000]),
    thinkMs: random.pick([4, 15, 60]),
    attemptMs: random.pick([100, 400, 1_500]),
  };
}

/** What the view leader is started with. */
export function leaderSettingsOf(settings: Settings): LeaderSettings {
  const { view, leader } = settings;
  return { parameters: view, ...leader };
}
