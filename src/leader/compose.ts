import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { Gauge, Registry } from 'prom-client';

import { MemberState, type View } from '../core/view.js';
import { ViewRecovery } from '../core/view-recovery.js';
import { deferred } from '../transport/deferred.js';
import { HttpListener } from '../transport/http.js';
import type { Logger } from '../transport/log.js';
import { Listener } from '../transport/server.js';
import { KvsError } from '../transport/status.js';
import { LocalViewStore } from '../viewstore/local.js';
import { LeaderDriver } from './driver.js';
import { RecoveryDesk } from './recovery-desk.js';
import { LEADER_SERVICE, leaderService } from './service.js';

export interface ViewLeaderOptions {
  readonly listen: string;
  readonly http: string;
  readonly dataDir: string;
  readonly buckets: number;
  readonly replicas: number;
  readonly policy: string;
  /** Of the policy `shards`; else 0. */
  readonly shards: number;
  readonly shardSpread: string;
  readonly minInSync: number;
  readonly heartbeatIntervalMs: number;
  readonly downAfterMs: number;
  readonly replaceAfterMs: number;
  /** Shorter than `downAfterMs`, a take-over rarely waits for it. */
  readonly leaseMs: number;
  /** No monotonic clock runs faster than another by more than this. */
  readonly maxDriftPercent: number;
  readonly rebalanceRateBytes: number;
  /** Rebuild the view from the servers' copies: the view leader lost its own. */
  readonly recover: boolean;
  /** Servers, by id, that the recovery need not wait for: they are gone for good. */
  readonly recoverWithout: readonly string[];
  readonly log: Logger;
}

export interface RunningViewLeader {
  readonly listen: string;
  readonly http: string;
  /** Cluster id. */
  readonly id: string;
  stop(): Promise<void>;
  readonly failed: Promise<Error>;
}

const JOIN_WINDOW_MS = 500;
const HANDOVER_WINDOW_MS = 1000;
const STARTUP_GRACE_MS = 10_000;
const STOP_MS = 1000;

/** Start a view leader; resolves when it serves. Throws typed errors. */
export async function startViewLeader(options: ViewLeaderOptions): Promise<RunningViewLeader> {
  const { log } = options;
  await makeDirectory(options.dataDir);
  const store = await LocalViewStore.open(join(options.dataDir, 'view'));
  const listener = new Listener(['kvs.v1.LeaderService']);
  try {
    const recovered = await store.load();
    const { promise: failed, resolve: fail } = deferred<Error>();
    const settings = {
      parameters: {
        bucketCount: options.buckets,
        replicaCount: options.replicas,
        minInSync: options.minInSync,
        policy: options.policy,
        shardCount: options.shards,
        shardSpread: options.shardSpread,
        leaseMs: options.leaseMs,
        graceMs: Math.ceil(options.leaseMs * (1 + options.maxDriftPercent / 100)),
        rebalanceRateBytes: options.rebalanceRateBytes,
        rateSteered: false,
        rebalancePaused: false,
      },
      downAfterMs: options.downAfterMs,
      replaceAfterMs: options.replaceAfterMs,
      startupGraceMs: Math.max(STARTUP_GRACE_MS, 2 * options.downAfterMs),
      joinWindowMs: JOIN_WINDOW_MS,
      handoverWindowMs: HANDOVER_WINDOW_MS,
    };
    const begin = (view: View | null): LeaderDriver =>
      new LeaderDriver(settings, view, randomUUID(), store, fail, (made) =>
        log.info({ epoch: made.epoch }, made.reason),
      );
    const recovery = recoveryOf(options, recovered);
    const desk = new RecoveryDesk(recovery, store, begin, log, recovered);
    const service = leaderService(desk, options.heartbeatIntervalMs);
    listener.server.addService(LEADER_SERVICE, service);
    const http = new HttpListener({
      ready: () => desk.driver !== null,
      metrics: metricsOf(desk),
    });
    const httpAddress = await http.listen(options.http);
    const address = await listener.listen(options.listen).catch(async (error: unknown) => {
      await http.stop();
      await desk.driver?.stop();
      throw error;
    });
    listener.health.setServing(true);
    if (recovery !== null) log.warn(desk.waitsFor);
    return {
      listen: address,
      http: httpAddress,
      id: desk.driver?.view.clusterId ?? '',
      failed,
      stop: async () => {
        await listener.stop(STOP_MS);
        await http.stop();
        await desk.driver?.stop();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** What `--recover` asks for; refused when there is a view that it would replace. */
function recoveryOf(options: ViewLeaderOptions, stored: View | null): ViewRecovery | null {
  if (!options.recover) return null;
  if (stored === null) return new ViewRecovery(new Set(options.recoverWithout));
  throw KvsError.ofProcess(
    'NOTHING_TO_RECOVER',
    `${options.dataDir} holds the view of epoch ${stored.epoch}; nothing was changed`,
    'start without --recover',
  );
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const hint = 'name a directory that this user may write with --data-dir';
    throw KvsError.ofProcess('NO_ACCESS', `cannot use ${path}: ${why}`, hint, error);
  }
}

function metricsOf(desk: RecoveryDesk): () => Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  const epoch = gauge('kvs_epoch', 'Number of the current view');
  const up = gauge('kvs_servers_up', 'Servers that are up');
  const records = gauge('kvs_records', 'Distinct records');
  const short = gauge('kvs_buckets_under_replicated', 'Buckets with fewer replicas than wanted');
  return () => {
    const status = desk.driver?.status();
    if (status === undefined) return registry.metrics();
    const live = status.members.filter(({ member }) => member.state === MemberState.Up);
    epoch.set(status.epoch);
    up.set(live.length);
    records.set(status.records);
    short.set(status.underReplicated);
    return registry.metrics();
  };
}
