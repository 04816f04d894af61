import {
  type ClientDuplexStream,
  connectivityState,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';

import type { ViewUpdate } from '../core/message.js';
import { type LeaderMessage } from '../core/message.js';
import { GIVEN_UP } from '../core/leader.js';
import type { View } from '../core/view.js';
import { insecure, leaderChannelOptions } from '../transport/channel.js';
import { reasonOf } from '../transport/status.js';
import { leaderMessageToWire } from '../wire/convert-leader.js';
import { viewFromWire, viewUpdateFromWire } from '../wire/convert-view.js';
import {
  type HeartbeatRequest,
  type HeartbeatResponse,
  LeaderServiceClient,
  type RegisterRequest,
  type RegisterResponse,
} from '../wire/gen/kvs/v1/leader.js';

/** How long the view leader may take: at first, and later. */
const CALL_MS = { least: 300, most: 2000 } as const;
const RETRY_MS = 200;
const RETRY_CAP_MS = 2000;
/** How often a server that waits for its view leader says so. */
const SAY_EVERY_MS = 5000;

/** What the view leader told a server at registration. */
export interface Registration {
  readonly ordinal: number;
  readonly clusterId: string;
  readonly heartbeatIntervalMs: number;
  readonly view: View;
}

/** The view leader refuses this server for a reason that waiting does not mend. */
export class RegistrationRefused extends Error {
  readonly exitCode = 1;
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/**
 * The server's side of its conversation with the view leader: register, then one heartbeat stream,
 * again and again as long as the process lives. Losing the view leader is not an error (V3).
 */
export class LeaderLink {
  private readonly clients: LeaderServiceClient[];
  private turn = 0;
  private stream: ClientDuplexStream<HeartbeatRequest, HeartbeatResponse> | null = null;
  private closed = false;
  /** This process has been a member. */
  private registered = false;
  private waiting: NodeJS.Timeout | null = null;
  /** Number of the attempt to register, and when it began. */
  private attempt = 0;
  private attemptMs = -Infinity;

  constructor(
    private readonly addresses: readonly string[],
    /** What to register with; asked anew for each attempt. */
    private readonly describe: () => RegisterRequest,
    private readonly log: Logger,
    private readonly onRegistered: (registration: Registration) => void,
    private readonly onUpdate: (update: ViewUpdate) => void,
    private readonly onRefused: (refusal: RegistrationRefused) => void,
  ) {
    this.clients = addresses.map(clientTo);
  }

  /** The view leader that answered last, or is asked next. */
  get leader(): LeaderServiceClient | null {
    return this.clients[this.turn % this.clients.length] ?? null;
  }

  /** Start; runs until `close`. */
  start(): void {
    this.connect(0, performance.now());
  }

  /**
   * The network is back, whatever came of the last attempt to register: another one begins. What
   * that was about may be lost.
   */
  retry(): void {
    const now = performance.now();
    if (this.closed || this.stream !== null || now - this.attemptMs < RETRY_MS) return;
    this.connect(0, now);
  }

  /** Dropped when there is no stream: every message is said again. */
  send(message: LeaderMessage): void {
    this.stream?.write(leaderMessageToWire(message));
  }

  close(): void {
    this.closed = true;
    if (this.waiting !== null) clearTimeout(this.waiting);
    this.stream?.cancel();
    for (const client of this.clients) client.close();
  }

  private connect(failures: number, saidMs: number): void {
    if (this.closed || this.clients.length === 0) return;
    const client = this.freshClient();
    if (this.waiting !== null) clearTimeout(this.waiting);
    this.waiting = null;
    this.attempt += 1;
    this.attemptMs = performance.now();
    const { attempt } = this;
    const callMs = Math.min(CALL_MS.most, CALL_MS.least * 2 ** Math.min(failures, 8));
    const options = { deadline: Date.now() + callMs };
    client.register(this.describe(), options as never, (error, response) => {
      if (this.closed || attempt !== this.attempt) return;
      if (error !== null) this.onFailure(error, failures, saidMs);
      else this.onResponse(client, response);
    });
  }

  /** One that is not connected may still wait for an answer to a packet that was lost. */
  private freshClient(): LeaderServiceClient {
    const at = this.turn % this.clients.length;
    const known = this.clients[at]!;
    const { READY, IDLE } = connectivityState;
    const state = known.getChannel().getConnectivityState(false);
    if (state === READY || state === IDLE) return known;
    known.close();
    const client = clientTo(this.addresses[at]!);
    this.clients[at] = client;
    return client;
  }

  private onFailure(error: ServiceError, failures: number, saidMs: number): void {
    if (error.code === status.FAILED_PRECONDITION || error.code === status.INVALID_ARGUMENT) {
      const code = String(error.metadata.get('kvs-code')[0] ?? 'REFUSED');
      if (!this.registered || code === GIVEN_UP) {
        this.onRefused(new RegistrationRefused(code, error.details));
        return;
      }
      // Whoever answers there now is not our view leader: what we hold is served on (V3).
      this.log.error(`refused by the view leader, serving on without it: ${error.details}`);
    }
    const now = performance.now();
    let said = saidMs;
    if (failures === 0 || now - saidMs >= SAY_EVERY_MS) {
      const leaders = this.addresses.join(', ');
      this.log.warn(`waiting for the view leader at ${leaders}: ${reasonOf(error)}`);
      said = now;
    }
    this.turn += 1;
    const pause = Math.min(RETRY_CAP_MS, RETRY_MS * 2 ** Math.min(failures, 8));
    const jittered = pause * (0.5 + Math.random() / 2);
    this.waiting = setTimeout(() => this.connect(failures + 1, said), jittered);
  }

  private onResponse(client: LeaderServiceClient, response: RegisterResponse): void {
    if (response.view === undefined) return;
    this.registered = true;
    const { ordinal, clusterId, heartbeatIntervalMs } = response;
    this.onRegistered({
      ordinal,
      clusterId,
      heartbeatIntervalMs,
      view: viewFromWire(response.view),
    });
    this.beat(client);
  }

  private beat(client: LeaderServiceClient): void {
    const stream = client.heartbeat();
    this.stream = stream;
    let ended = false;
    const again = (why: string): void => {
      if (ended || this.closed) return;
      ended = true;
      this.stream = null;
      this.log.warn(`the heartbeat stream ended: ${why}; registering again`);
      stream.cancel();
      this.waiting = setTimeout(() => this.connect(0, performance.now()), RETRY_MS);
    };
    stream.on('data', (response: HeartbeatResponse) => {
      const { message } = response;
      if (message?.$case === 'update') this.onUpdate(viewUpdateFromWire(message.value));
      else if (message?.$case === 'refused') again(message.value.message);
    });
    stream.on('error', (error: ServiceError) => again(reasonOf(error)));
    stream.on('end', () => again('closed by the view leader'));
  }
}

function clientTo(address: string): LeaderServiceClient {
  return new LeaderServiceClient(address, insecure(), leaderChannelOptions());
}
