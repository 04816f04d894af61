import type { sendUnaryData, ServerDuplexStream, ServiceError } from '@grpc/grpc-js';

import { preconditionError, unavailableError } from '../transport/status.js';
import { WireError } from '../wire/binary.js';
import { leaderMessageFromWire } from '../wire/convert-leader.js';
import { viewToWire, viewUpdateToWire } from '../wire/convert-view.js';
import type { ViewUpdate } from '../core/message.js';
import type { Mode } from '../core/namespace.js';
import { LeaderServiceService } from '../wire/gen/kvs/v1/leader.js';
import type {
  ChangeViewRequest,
  ChangeViewResponse,
  CreateNamespaceRequest,
  CreateNamespaceResponse,
  DeleteNamespaceRequest,
  DeleteNamespaceResponse,
  DrainServerRequest,
  DrainServerResponse,
  HeartbeatRequest,
  HeartbeatResponse,
  LeaderServiceServer,
  RegisterRequest,
  RegisterResponse,
  RemoveServerRequest,
  RemoveServerResponse,
  SteerRebalanceRequest,
  SteerRebalanceResponse,
} from '../wire/gen/kvs/v1/leader.js';
import type { LeaderDriver, LeaderReply } from './driver.js';
import type { RecoveryDesk } from './recovery-desk.js';
import { previewToWire, shardService } from './shard-service.js';
import { statusToWire } from './status.js';

/** The view leader's gRPC service. */
export function leaderService(
  desk: RecoveryDesk,
  heartbeatIntervalMs: number,
): LeaderServiceServer {
  /** The view leader, or a refusal while it has no view yet. */
  const ready = (refuse: (error: Partial<ServiceError>) => void): LeaderDriver | null => {
    if (desk.driver === null) refuse(unavailableError('RECOVERING', desk.waitsFor));
    return desk.driver;
  };
  return {
    ...shardService(ready),
    register: (call, done) => void register(desk, call.request, heartbeatIntervalMs, done),
    heartbeat: (call) => {
      const driver = ready((error) => call.emit('error', error));
      if (driver !== null) serveHeartbeats(call, driver);
    },
    getView: (_call, done) => {
      const driver = ready(done);
      if (driver !== null) done(null, { view: viewToWire(driver.view) });
    },
    watchView: (call) => {
      const driver = ready((error) => call.emit('error', error));
      if (driver === null) return;
      const stop = driver.watch((update) => call.write({ update: viewUpdateToWire(update) }));
      call.on('cancelled', stop);
      call.on('close', stop);
      call.on('error', stop);
    },
    removeServer: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void remove(driver, call.request, done);
    },
    changeView: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void changeView(driver, call.request, done);
    },
    drainServer: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void drain(driver, call.request, done);
    },
    deleteNamespace: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void deleteNamespace(driver, call.request, done);
    },
    createNamespace: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void createNamespace(driver, call.request, done);
    },
    steerRebalance: (call, done) => {
      const driver = ready(done);
      if (driver !== null) void steer(driver, call.request, done);
    },
    previewPlacement: (call, done) => {
      const driver = ready(done);
      if (driver === null) return;
      const { added, without } = call.request;
      previewToWire(driver.preview({ added, without, only: null }), (error, preview) => {
        if (preview === null) done(error);
        else done(null, preview);
      });
    },
    getStatus: (_call, done) => {
      const driver = ready(done);
      if (driver !== null) done(null, statusToWire(driver.status()));
    },
  };
}

async function remove(
  driver: LeaderDriver,
  { id, acceptDataLoss }: RemoveServerRequest,
  done: sendUnaryData<RemoveServerResponse>,
): Promise<void> {
  const removal = await driver.remove(id, acceptDataLoss);
  if (!removal.ok) done(preconditionError(removal.code, removal.message));
  else
    done(null, { epoch: driver.view.epoch, buckets: removal.buckets, bucketsLost: removal.lost });
}

async function changeView(
  driver: LeaderDriver,
  { servers, dryRun }: ChangeViewRequest,
  done: sendUnaryData<ChangeViewResponse>,
): Promise<void> {
  if (dryRun) {
    previewToWire(driver.preview({ added: 0, without: [], only: servers }), (error, preview) => {
      if (preview === null) done(error);
      else done(null, { epoch: driver.view.epoch, replicas: 0, preview });
    });
    return;
  }
  const answer = await driver.change(servers);
  if (!answer.ok) done(preconditionError(answer.code, answer.message));
  else done(null, { epoch: driver.view.epoch, replicas: answer.replicas, preview: undefined });
}

async function createNamespace(
  driver: LeaderDriver,
  { name, mode, ttlMs, replicas }: CreateNamespaceRequest,
  done: sendUnaryData<CreateNamespaceResponse>,
): Promise<void> {
  const answer = await driver.namespaces((all) =>
    all.create(name, mode as number as Mode, ttlMs, replicas),
  );
  if (answer.ok) {
    const { namespace } = answer;
    const told = { ...namespace, mode: namespace.mode as number };
    done(null, { epoch: driver.view.epoch, namespace: told });
  } else done(preconditionError(answer.code, answer.message));
}

async function deleteNamespace(
  driver: LeaderDriver,
  { name }: DeleteNamespaceRequest,
  done: sendUnaryData<DeleteNamespaceResponse>,
): Promise<void> {
  const answer = await driver.namespaces((all) => all.delete(name));
  if (answer.ok) done(null, { epoch: driver.view.epoch });
  else done(preconditionError(answer.code, answer.message));
}

async function drain(
  driver: LeaderDriver,
  { id, undo }: DrainServerRequest,
  done: sendUnaryData<DrainServerResponse>,
): Promise<void> {
  const answer = await driver.drain(id, undo);
  if (!answer.ok) done(preconditionError(answer.code, answer.message));
  else done(null, { epoch: driver.view.epoch, buckets: answer.buckets });
}

async function steer(
  driver: LeaderDriver,
  { paused, rateBytes, cancel }: SteerRebalanceRequest,
  done: sendUnaryData<SteerRebalanceResponse>,
): Promise<void> {
  const steered = await driver.steer({
    cancel,
    ...(paused !== undefined && { paused }),
    ...(rateBytes !== undefined && { rateBytes }),
  });
  if (!steered.ok) {
    done(preconditionError(steered.code, steered.message));
    return;
  }
  const { epoch, parameters } = driver.view;
  const { rebalancePaused, rebalanceRateBytes } = parameters;
  done(null, { epoch, paused: rebalancePaused, rateBytes: rebalanceRateBytes });
}

async function register(
  desk: RecoveryDesk,
  request: RegisterRequest,
  heartbeatIntervalMs: number,
  done: sendUnaryData<RegisterResponse>,
): Promise<void> {
  const driver = desk.driver ?? (await desk.offer(request));
  if (driver === null) {
    done(unavailableError('RECOVERING', desk.waitsFor));
    return;
  }
  const answer = await driver.register(request);
  if (!answer.ok) {
    done(preconditionError(answer.code, answer.message));
    return;
  }
  const { ordinal, clusterId, view } = answer;
  done(null, { ordinal, clusterId, heartbeatIntervalMs, view: viewToWire(view) });
}

function serveHeartbeats(
  call: ServerDuplexStream<HeartbeatRequest, HeartbeatResponse>,
  driver: LeaderDriver,
): void {
  let server = 0;
  const reply = (message: LeaderReply): void => void call.write(replyToWire(message));
  call.on('data', (request: HeartbeatRequest) => {
    try {
      const message = leaderMessageFromWire(request);
      if (message.type === 'heartbeat' && server === 0) {
        server = message.ordinal;
        driver.connect(server, reply);
      }
      if (server !== 0) driver.receive(server, message);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      reply({ type: 'refusal', code: 'INVALID', message: error.message });
    }
  });
  const gone = (): void => driver.disconnect(server, reply);
  call.on('end', () => {
    gone();
    call.end();
  });
  call.on('cancelled', gone);
  call.on('error', gone);
}

/** What many servers are told is made and encoded once. */
const told = new WeakMap<ViewUpdate, HeartbeatResponse>();
const encoded = new WeakMap<HeartbeatResponse, Buffer>();

/** The service as it is generated, but for that. */
export const LEADER_SERVICE: typeof LeaderServiceService = {
  ...LeaderServiceService,
  heartbeat: {
    ...LeaderServiceService.heartbeat,
    responseSerialize: (response: HeartbeatResponse): Buffer => {
      const known = encoded.get(response);
      if (known !== undefined) return known;
      const bytes = LeaderServiceService.heartbeat.responseSerialize(response);
      if (response.message?.$case === 'update') encoded.set(response, bytes);
      return bytes;
    },
  },
};

function updateToWire(update: ViewUpdate): HeartbeatResponse {
  let response = told.get(update);
  if (response === undefined) {
    response = { message: { $case: 'update', value: viewUpdateToWire(update) } };
    told.set(update, response);
  }
  return response;
}

function replyToWire(reply: LeaderReply): HeartbeatResponse {
  switch (reply.type) {
    case 'viewUpdate':
      return updateToWire(reply);
    case 'refusal':
      return { message: { $case: 'refused', value: { code: reply.code, message: reply.message } } };
  }
}
