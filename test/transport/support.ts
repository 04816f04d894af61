// Servers and clients of operations for the tests of the transport.
import { afterEach } from '@jest/globals';

import { NO_RECORDS, Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { clientChannelOptions } from '../../src/transport/channel.js';
import { KEY_VALUE_METHODS, type KeyValueHandlers } from '../../src/transport/methods.js';
import { Listener } from '../../src/transport/server.js';
import {
  ExchangeServer,
  FrameClient,
  type LinkBroken,
  type OperationSink,
} from '../../src/transport/stream.js';

/** What is to be undone after the test, last first. */
export const undo: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

/** A listener that ends with the test. */
export async function listen(
  prepare: (listener: Listener) => void,
  at = '127.0.0.1:0',
): Promise<string> {
  const listener = new Listener([]);
  undo.push(() => listener.stop(0));
  prepare(listener);
  return listener.listen(at);
}

export function resultOf(version: number, value: Uint8Array | null = null): Result {
  const found = value !== null;
  return new Result(Code.Ok, found, value, version, 0, 0, 0, 0, '', NO_RECORDS, false, 0);
}

export function get(key: string): Operation {
  return new Operation(OperationKind.Get, key, null, 0, 0, '', 0, 0, null, 0, 0, 0, 1000, 0);
}

export function clientOf(address: string): FrameClient {
  const client = new FrameClient(address, clientChannelOptions());
  undo.push(() => client.close());
  return client;
}

type Call = ConstructorParameters<typeof ExchangeServer>[0];

/** Serves each operation with `serve`; `onCall` sees each stream. */
export function exchange(
  serve: (operation: Operation, answer: (result: Result) => void) => void,
  onCall: (call: Call) => void = () => undefined,
): (listener: Listener) => void {
  return ({ server }) => {
    server.addService(KEY_VALUE_METHODS, {
      exchange: (call) => {
        onCall(call);
        return new ExchangeServer(call, sinkOf(serve));
      },
    } as Partial<KeyValueHandlers> as KeyValueHandlers);
  };
}

export function sinkOf(
  serve: (operation: Operation, answer: (result: Result) => void) => void,
): OperationSink {
  return {
    submit: (operations, ids, answers) => {
      for (const [at, operation] of operations.entries()) {
        serve(operation, (result) => answers.answer(ids[at]!, result));
      }
    },
  };
}

export function ask(client: FrameClient, operation: Operation): Promise<Result | LinkBroken> {
  const { bucketEpoch, timeoutMs } = operation;
  return new Promise((done) =>
    client.submit({ operation, bucketEpoch, timeoutMs, onResult: done, onBroken: done }),
  );
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
