import type { Gauge } from 'prom-client';

import type { Ordinal } from '../core/ids.js';
import type { View } from '../core/view.js';
import { DEFAULT_SERVER_SETTINGS } from '../core/host.js';
import { ViewUpdate } from '../core/message.js';
import type { Alarm } from '../core/outbox.js';
import { Recovery } from '../core/recovery.js';
import type { Storage } from '../storage/storage.js';
import { deferred } from '../transport/deferred.js';
import { HttpListener } from '../transport/http.js';
import { servePeer } from '../transport/link.js';
import type { Logger } from '../transport/log.js';
import { KEY_VALUE_METHODS, PEER_METHODS, type PeerHandlers } from '../transport/methods.js';
import { Listener } from '../transport/server.js';
import { viewToWire } from '../wire/convert-view.js';
import { LeaderServiceService } from '../wire/gen/kvs/v1/leader.js';
import type { View as WireView } from '../wire/gen/kvs/v1/view.js';
import { Door } from './door.js';
import { Driver, monotonicMs } from './driver.js';
import { leaderRelay } from './leader-relay.js';
import { LeaderLink, type Registration, type RegistrationRefused } from './leader-link.js';
import { PeerNetwork } from './network.js';
import { keyValueService } from './service.js';

export interface ServerOptions {
  /** `HOST[:PORT]` of the view leader, or several separated by commas. */
  readonly leader: string;
  readonly listen: string;
  /** What others dial; by default the real listen address. */
  readonly advertise?: string;
  readonly http: string;
  readonly dataDir: string;
  readonly zone: string;
  readonly weight: number;
  /** Between two buckets whose replicas are compared. */
  readonly scrubIntervalMs: number;
  /** Files of the state that are in memory at once, about. */
  readonly cacheBytes: number;
  readonly log: Logger;
}

export interface RunningServer {
  readonly listen: string;
  readonly http: string;
  /** UUID of the data directory. */
  readonly id: string;
  stop(): Promise<void>;
  readonly failed: Promise<Error>;
}

const LEAVE_MS = 3000;
const STOP_MS = 1000;

/** Puts the parts of one server together and takes them apart. */
export class ServerProcess {
  private readonly listener = new Listener([
    'kvs.v1.KeyValueService',
    'kvs.v1.PeerService',
    'kvs.v1.LeaderService',
  ]);
  private http: HttpListener | null = null;
  private driver: Driver | null = null;
  private network: PeerNetwork | null = null;
  private link: LeaderLink | null = null;
  private readonly door = new Door(
    () => this.storage.identity,
    (peer) => this.onReached(peer),
  );
  private serving = false;
  private damages = 0;
  private differences = 0;

  constructor(
    private readonly options: ServerOptions,
    private readonly leaders: readonly string[],
    private readonly storage: Storage,
    private readonly fail: (error: Error) => void,
  ) {}

  async start(): Promise<{ listen: string; http: string; id: string }> {
    const { storage, options } = this;
    const ready = (): boolean => this.serving;
    this.http = new HttpListener({ ready, metrics: this.metrics() });
    const http = await this.http.listen(options.http);
    this.addServices();
    const listen = await this.listener.listen(options.listen);
    await this.join(options.advertise ?? listen);
    this.serving = true;
    this.listener.health.setServing(true);
    return { listen, http, id: storage.identity.id };
  }

  /** Leave the write path, hand primaries over, then close. */
  async stop(): Promise<void> {
    this.serving = false;
    this.listener.health.setServing(false);
    const { driver } = this;
    if (driver !== null) await driver.leave(LEAVE_MS);
    await this.listener.stop(STOP_MS);
    await driver?.stop();
    await this.abandon();
  }

  async abandon(): Promise<void> {
    this.link?.close();
    this.network?.close();
    await this.http?.stop();
    this.listener.server.forceShutdown();
    await this.storage.close();
  }

  /** A known member serves with its last view at once; a new one waits for the view leader. */
  private async join(address: string): Promise<void> {
    const { identity, view } = this.storage;
    const recovered = await this.recover();
    const known = recovered.view ?? view;
    const { promise: joined, resolve: settle } = deferred<RegistrationRefused | null>();
    let joining: Promise<void> = Promise.resolve();
    const run = (ordinal: number, clusterId: string, heartbeatIntervalMs: number): Driver => {
      this.driver ??= this.makeDriver(recovered, ordinal, clusterId, heartbeatIntervalMs);
      return this.driver;
    };
    this.link = new LeaderLink(
      this.leaders,
      () => ({
        id: identity.id,
        address,
        zone: this.options.zone,
        weight: this.options.weight,
        incarnation: identity.incarnation,
        clusterId: this.storage.identity.clusterId,
        ...this.viewKnown(known),
      }),
      this.options.log,
      (registration: Registration) => {
        const { ordinal, clusterId, heartbeatIntervalMs } = registration;
        const join = async (): Promise<void> => {
          await this.storage.join(clusterId, ordinal);
          const driver = run(ordinal, clusterId, heartbeatIntervalMs);
          driver.receiveView(new ViewUpdate(registration.view, null));
          settle(null);
        };
        joining = join().catch(this.fail);
      },
      (update) => this.driver?.receiveView(update),
      (refused) => {
        settle(refused);
        this.fail(refused);
      },
    );
    if (identity.ordinal !== 0 && known !== null) {
      run(identity.ordinal, identity.clusterId, DEFAULT_SERVER_SETTINGS.heartbeatIntervalMs);
      settle(null);
    }
    this.link.start();
    const refused = await joined;
    await joining;
    if (refused !== null) throw refused;
  }

  /** For registration: the newest view that is durable here. */
  private viewKnown(recovered: View | null): { epoch: number; view: WireView | undefined } {
    const view = this.driver?.machine.view ?? recovered;
    if (view === null || view.epoch === 0) return { epoch: 0, view: undefined };
    return { epoch: view.epoch, view: viewToWire(view) };
  }

  private async recover(): Promise<ReturnType<Recovery['finish']>> {
    const { storage } = this;
    const recovery = new Recovery(
      storage.metas,
      storage.view,
      storage.store,
      storage.identity.ordinal,
    );
    for (const [bucket, position] of storage.replacements()) recovery.replacedAt(bucket, position);
    await storage.replay((position, record) => recovery.replay(position, record));
    return recovery.finish();
  }

  private makeDriver(
    recovered: ReturnType<Recovery['finish']>,
    ordinal: number,
    clusterId: string,
    heartbeatIntervalMs: number,
  ): Driver {
    const { incarnation } = this.storage.identity;
    const sender = { clusterId, from: ordinal, incarnation };
    const network = new PeerNetwork(
      sender,
      () => driver.machine.newestView,
      (message) => this.link?.send(message),
    );
    const digestEveryMs = this.options.scrubIntervalMs;
    const settings = { ...DEFAULT_SERVER_SETTINGS, heartbeatIntervalMs, digestEveryMs };
    const { storage, fail } = this;
    const driver = new Driver(
      { ordinal, incarnation },
      settings,
      recovered,
      storage,
      network,
      fail,
      (alarm) => this.onAlarm(alarm),
    );
    this.network = network;
    this.door.open(driver);
    this.options.log.info({ ordinal, cluster: clusterId }, 'serving');
    driver.start();
    return driver;
  }

  /** Another server has reached us: we may reach it, and the view leader. */
  private onReached(peer: Ordinal): void {
    this.network?.retry(peer);
    this.link?.retry();
  }

  private onAlarm({ kind, bucket, server, sequence, detail }: Alarm): void {
    const where = { bucket, server, sequence };
    if (kind === 'differs') {
      this.differences += 1;
      this.options.log.error(where, `replicas differ: ${detail}`);
      return;
    }
    if (kind === 'mending') {
      this.options.log.warn({ bucket }, detail);
      return;
    }
    this.damages += 1;
    this.options.log.error({ bucket }, `${detail}; the view leader is asked for another replica`);
  }

  private addServices(): void {
    const { server } = this.listener;
    server.addService(KEY_VALUE_METHODS, keyValueService(this.door));
    const peer: PeerHandlers = { send: (call, done) => servePeer(call, done, this.door) };
    server.addService(PEER_METHODS, peer);
    server.addService(
      LeaderServiceService,
      leaderRelay(() => this.link?.leader ?? null),
    );
  }

  private metrics(): () => Promise<string> {
    let gauges: Promise<() => Promise<string>> | null = null;
    return async () => {
      gauges ??= this.gauges();
      return (await gauges)();
    };
  }

  /** Their library is loaded when somebody asks: a server starts sooner without it. */
  private async gauges(): Promise<() => Promise<string>> {
    const { Gauge: GaugeOf, Registry } = await import('prom-client');
    const registry = new Registry();
    const registers = [registry];
    const gauge = (name: string, help: string): Gauge => new GaugeOf({ name, help, registers });
    const epoch = gauge('kvs_epoch', 'Number of the view held');
    const open = gauge('kvs_operations_outstanding', 'Operations not answered yet');
    const log = gauge('kvs_log_bytes_since_checkpoint', 'Log bytes that a restart replays');
    const damages = gauge('kvs_damages', 'Times that a bucket was found damaged here');
    const differences = gauge('kvs_differences', 'Times that a replica differed from us');
    const uptime = gauge('kvs_uptime_seconds', 'Seconds since the process started');
    return () => {
      epoch.set(this.driver?.machine.view.epoch ?? 0);
      open.set(this.driver?.outstanding ?? 0);
      log.set(this.storage.bytesSinceCheckpoint);
      damages.set(this.damages);
      differences.set(this.differences);
      uptime.set(monotonicMs() / 1000);
      return registry.metrics();
    };
  }
}
