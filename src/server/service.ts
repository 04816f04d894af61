import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';

import { ConditionKind, Operation, OperationKind, type Result } from '../core/operation.js';
import { Code, LIMITS } from '../core/refusal.js';
import type { KeyValueHandlers } from '../transport/methods.js';
import { ExchangeServer } from '../transport/stream.js';
import { serviceError } from '../transport/status.js';
import { asBuffer, toBinary, WireError } from '../wire/binary.js';
import { conditionFromWire, recordToWire, writeFromWire } from '../wire/convert-operation.js';
import { viewToWire } from '../wire/convert-view.js';
import type { Door } from './door.js';
import { Gateway } from './gateway.js';

const DEFAULT_TIMEOUT_MS = 5000;

/** Fields that a unary write may carry to make its retries safe. */
interface Numbered {
  readonly client: Uint8Array;
  readonly clientSequence: number;
}

/** The key-value service: frames for the library, unary calls for everyone else. */
export function keyValueService(door: Door): KeyValueHandlers {
  const gateway = new Gateway(door);
  const place = (result: Result): { epoch: number; bucket: number; server: string } => ({
    epoch: result.epoch,
    bucket: result.bucket,
    server: door.view?.members.get(result.server)?.address ?? '',
  });
  /** Build the operation, have it carried out, and answer or refuse the call. */
  const serve = <Q, A>(
    call: ServerUnaryCall<Q, A>,
    done: sendUnaryData<A>,
    build: (request: Q, timeoutMs: number) => Operation,
    answer: (result: Result, operation: Operation) => A,
  ): void => {
    try {
      const operation = build(call.request, timeoutOf(call));
      gateway.submit(operation, (result) => {
        if (result.code === Code.Ok) done(null, answer(result, operation));
        else done(serviceError(result.code, result.detail));
      });
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      done(serviceError(Code.Invalid, error.message));
    }
  };
  const number = (request: Numbered): ReturnType<Gateway['number']> => {
    const { client, clientSequence } = request;
    if (client.length === 0) return gateway.number();
    if (client.length !== 16 || clientSequence === 0) {
      throw new WireError('a client id has 16 bytes and goes with a request number from 1 on');
    }
    return { client: toBinary(client), clientSequence, settledBelow: 0 };
  };
  return {
    exchange: (call) => void new ExchangeServer(call, door),
    get: (call, done) =>
      serve(
        call,
        done,
        ({ key, confirm }, timeoutMs) => {
          const kind = confirm ? OperationKind.ConfirmedGet : OperationKind.Get;
          return operationOf(kind, toBinary(key), timeoutMs, READ, {});
        },
        (result) => ({
          found: result.found,
          value: asBuffer(result.value),
          version: result.version,
          ...place(result),
        }),
      ),
    set: (call, done) =>
      serve(
        call,
        done,
        (request, timeoutMs) => {
          const { value, ifVersion } = request;
          const condition = conditionFromWire(request.condition);
          const key = toBinary(request.key);
          const parts = { value, condition, ifVersion };
          return operationOf(OperationKind.Set, key, timeoutMs, number(request), parts);
        },
        (result) => ({ version: result.version, previous: result.previous, ...place(result) }),
      ),
    delete: (call, done) =>
      serve(
        call,
        done,
        (request, timeoutMs) => {
          const { ifVersion } = request;
          const condition = conditionFromWire(request.condition);
          const key = toBinary(request.key);
          const parts = { condition, ifVersion };
          return operationOf(OperationKind.Delete, key, timeoutMs, number(request), parts);
        },
        (result) => ({
          deleted: result.found,
          version: result.version,
          previous: result.previous,
          ...place(result),
        }),
      ),
    setR: (call, done) =>
      serve(
        call,
        done,
        (request, timeoutMs) => {
          const writes = request.writes.map(writeFromWire);
          const key = writes[0]?.key ?? '';
          return operationOf(OperationKind.SetR, key, timeoutMs, number(request), { writes });
        },
        ({ version, participants, epoch }, { client, clientSequence }) => {
          const id = Buffer.from(client, 'latin1').toString('hex');
          return { txid: `${id}-${clientSequence}`, version, participants, epoch };
        },
      ),
    getR: (call, done) =>
      serve(
        call,
        done,
        (request, timeoutMs) => {
          const reads = { keys: request.keys.map(toBinary), holdMs: 0 };
          return operationOf(OperationKind.GetR, reads.keys[0] ?? '', timeoutMs, READ, { reads });
        },
        ({ records, epoch }) => ({ records: records.map(recordToWire), epoch }),
      ),
    getServerView: (_call, done) => {
      const { view } = door;
      if (view !== null) done(null, { view: viewToWire(view) });
      else done(serviceError(Code.Unavailable, 'this server has no view yet'));
    },
  };
}

const READ = { client: '', clientSequence: 0, settledBelow: 0 };

/** What only some kinds of operations have. */
type Parts = Partial<Pick<Operation, 'value' | 'condition' | 'ifVersion' | 'writes' | 'reads'>>;

function operationOf(
  kind: OperationKind,
  key: string,
  timeoutMs: number,
  numbered: ReturnType<Gateway['number']>,
  parts: Parts,
): Operation {
  const { client, clientSequence, settledBelow } = numbered;
  return new Operation(
    kind,
    key,
    parts.value ?? null,
    parts.condition ?? ConditionKind.None,
    parts.ifVersion ?? 0,
    client,
    clientSequence,
    settledBelow,
    parts.writes ?? null,
    0,
    0,
    0,
    timeoutMs,
    0,
    parts.reads ?? null,
  );
}

/** What the caller's deadline leaves, within the limits. */
function timeoutOf(call: ServerUnaryCall<unknown, unknown>): number {
  const deadline = call.getDeadline();
  const at = deadline instanceof Date ? deadline.getTime() : deadline;
  if (!Number.isFinite(at)) return DEFAULT_TIMEOUT_MS;
  return Math.min(LIMITS.timeoutMs, Math.max(1, at - Date.now()));
}
