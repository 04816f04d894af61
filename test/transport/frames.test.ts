import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

import { credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';

import { NO_RECORDS, Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Beacon, type PeerMessage } from '../../src/core/message.js';
import { Code } from '../../src/core/refusal.js';
import { PeerLink, servePeer } from '../../src/transport/link.js';
import { Listener } from '../../src/transport/server.js';
import {
  KEY_VALUE_METHODS,
  type KeyValueHandlers,
  PEER_METHODS,
  type PeerHandlers,
} from '../../src/transport/methods.js';
import {
  ExchangeServer,
  FrameClient,
  type LinkBroken,
  type OperationSink,
} from '../../src/transport/stream.js';
import { PeerServiceClient } from '../../src/wire/gen/kvs/v1/peer.js';

const undo: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

/** A listener that ends with the test. */
async function listen(prepare: (listener: Listener) => void, at = '127.0.0.1:0'): Promise<string> {
  const listener = new Listener([]);
  undo.push(() => listener.stop(0));
  prepare(listener);
  return listener.listen(at);
}

function resultOf(version: number): Result {
  return new Result(Code.Ok, false, null, version, 0, 0, 0, 0, '', NO_RECORDS, false, 0);
}

function get(key: string): Operation {
  return new Operation(OperationKind.Get, key, null, 0, 0, '', 0, 0, null, 0, 0, 0, 1000, 0);
}

function set(key: string, value: Uint8Array): Operation {
  const { Set } = OperationKind;
  return new Operation(Set, key, value, 0, 0, 'a client 16 bytes', 1, 0, null, 0, 0, 0, 1000, 0);
}

function clientOf(address: string): FrameClient {
  const client = new FrameClient(address);
  undo.push(() => client.close());
  return client;
}

/** Serves each operation with `serve`; counts frames. */
function exchange(
  serve: (operation: Operation, answer: (result: Result) => void) => void,
  onFrame: () => void = () => undefined,
): (listener: Listener) => void {
  return ({ server }) => {
    server.addService(KEY_VALUE_METHODS, {
      exchange: (call) => {
        call.on('data', onFrame);
        const sink: OperationSink = {
          submit: (operations, ids, answers) => {
            for (const [at, operation] of operations.entries()) {
              serve(operation, (result) => answers.answer(ids[at]!, result));
            }
          },
        };
        return new ExchangeServer(call, sink);
      },
    } as Partial<KeyValueHandlers> as KeyValueHandlers);
  };
}

function ask(client: FrameClient, operation: Operation): Promise<Result | LinkBroken> {
  const { bucketEpoch, timeoutMs } = operation;
  return new Promise((done) =>
    client.submit({ operation, bucketEpoch, timeoutMs, onResult: done, onBroken: done }),
  );
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('operations', () => {
  test('of one turn share a frame, and each gets its own answer', async () => {
    let frames = 0;
    const later: (() => void)[] = [];
    const serve = (operation: Operation, answer: (result: Result) => void): void => {
      // Answered in another order than asked.
      later.push(() => answer(resultOf(Number(operation.key))));
      if (later.length === 100) for (const say of later.toReversed()) say();
    };
    const address = await listen(exchange(serve, () => (frames += 1)));
    const client = clientOf(address);
    const asked = Array.from({ length: 100 }, (_, index) => {
      return ask(client, get(String(index)));
    });
    const answers = await Promise.all(asked);
    expect(answers.map((answer) => (answer instanceof Result ? answer.version : -1))).toEqual(
      Array.from({ length: 100 }, (_, index) => index),
    );
    expect(frames).toBe(1);
  });

  test('without a server end as never sent, or as sent when the link broke after that', async () => {
    const nobody = clientOf('127.0.0.1:1');
    const refused = await ask(nobody, get('k'));
    expect(refused).toEqual({ sent: false, why: 'no connection to 127.0.0.1:1' });

    const listener = new Listener([]);
    undo.push(() => listener.server.forceShutdown());
    let arrived = false;
    exchange(() => (arrived = true))(listener);
    const client = clientOf(await listener.listen('127.0.0.1:0'));
    const answer = ask(client, get('k'));
    await until(() => arrived);
    listener.server.forceShutdown();
    expect(await answer).toMatchObject({ sent: true });
  });

  test('that wait for a connection end when their client is closed', async () => {
    // Takes connections and never says a word.
    const silent = createServer();
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const sockets: Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    undo.push(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const client = new FrameClient(`127.0.0.1:${(silent.address() as AddressInfo).port}`);
    const answer = ask(client, get('k'));
    await once(silent, 'connection');
    client.close();
    expect(await answer).toEqual({ sent: false, why: 'the link was closed' });
  });

  test('go on after the server came back at its address', async () => {
    const first = new Listener([]);
    undo.push(() => first.server.forceShutdown());
    exchange((_, answer) => answer(resultOf(1)))(first);
    const address = await first.listen('127.0.0.1:0');
    const client = clientOf(address);
    expect(await ask(client, get('k'))).toMatchObject({ version: 1 });
    first.server.forceShutdown();
    await ask(client, get('k'));
    await listen(
      exchange((_, answer) => answer(resultOf(2))),
      address,
    );
    let answer = await ask(client, get('k'));
    while (!(answer instanceof Result)) answer = await ask(client, get('k'));
    expect(answer.version).toBe(2);
  });

  test('of any size within the limits fit, and a frame that is nonsense ends its stream only', async () => {
    const sizes: number[] = [];
    const address = await listen(
      exchange((operation, answer) => {
        sizes.push(operation.value?.length ?? 0);
        answer(resultOf(1));
      }),
    );
    const bad = clientOf(address);
    // A client id of the wrong length.
    const broken = ask(bad, set('k', new Uint8Array(1)));
    expect(await broken).toMatchObject({ sent: true, why: expect.stringMatching(/16 bytes/) });
    const client = clientOf(address);
    const big = new Uint8Array(1024 * 1024);
    const { Set } = OperationKind;
    const id = '0123456789abcdef';
    const whole = new Operation(Set, 'k', big, 0, 0, id, 1, 0, null, 0, 0, 0, 1000, 0);
    const answers = Array.from({ length: 8 }, () => ask(client, whole));
    for (const answer of await Promise.all(answers)) expect(answer).toBeInstanceOf(Result);
    expect(sizes).toEqual(Array.from({ length: 8 }, () => big.length));
  });
});

describe('messages between servers', () => {
  interface Heard {
    readonly from: number;
    readonly message: PeerMessage;
  }

  const SENDER = { clusterId: 'cluster', from: 3, incarnation: 1 };

  function peers(heard: Heard[], clusterId = 'cluster'): (listener: Listener) => void {
    return ({ server }) => {
      const service: PeerHandlers = {
        send: (call, done) =>
          servePeer(call, done, {
            clusterId,
            self: 5,
            receive: (from, messages) => {
              for (const message of messages) heard.push({ from, message });
            },
          }),
      };
      server.addService(PEER_METHODS, service);
    };
  }

  test('arrive in order, with the name of their sender', async () => {
    const heard: Heard[] = [];
    const link = new PeerLink(await listen(peers(heard)), SENDER, 5);
    undo.push(() => link.close());
    for (let epoch = 1; epoch <= 2000; epoch += 1) link.send(new Beacon(epoch, epoch));
    await until(() => heard.length === 2000);
    expect(heard.map(({ from, message }) => [from, (message as Beacon).epoch])).toEqual(
      Array.from({ length: 2000 }, (_, index) => [3, index + 1]),
    );
  });

  test('of another cluster, or to another server, are refused', async () => {
    const heard: Heard[] = [];
    const address = await listen(peers(heard));
    const client = new PeerServiceClient(address, credentials.createInsecure());
    undo.push(() => client.close());
    const refusalOf = (hello: { clusterId: string; to: number }): Promise<string> =>
      new Promise((resolve) => {
        const stream = client.send((error) => resolve(error?.details ?? 'accepted'));
        stream.on('error', () => undefined);
        stream.write({ ...SENDER, ...hello, messages: [] });
      });
    expect(await refusalOf({ clusterId: 'other', to: 5 })).toMatch(/cluster cluster, not other/);
    // Its place may have been taken by a new server.
    expect(await refusalOf({ clusterId: 'cluster', to: 4 })).toMatch(/this is server 5, not 4/);
    expect(heard).toEqual([]);
  });

  test('flow again after the peer came back', async () => {
    const before: Heard[] = [];
    const first = new Listener([]);
    undo.push(() => first.server.forceShutdown());
    peers(before)(first);
    const address = await first.listen('127.0.0.1:0');
    const link = new PeerLink(address, SENDER, 5);
    undo.push(() => link.close());
    link.send(new Beacon(1, 1));
    await until(() => before.length > 0);
    first.server.forceShutdown();
    const after: Heard[] = [];
    await listen(peers(after), address);
    let epoch = 1;
    await until(() => {
      link.send(new Beacon((epoch += 1), 1));
      return after.length > 0;
    });
    expect(after[0]).toMatchObject({ from: 3, message: { type: 'beacon' } });
  });
});

describe('a listener', () => {
  test('on a port in use says so and what to do', async () => {
    const address = await listen(() => undefined);
    await expect(new Listener([]).listen(address)).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      exitCode: 1,
      hint: expect.stringMatching(/--listen/),
    });
  });

  test('on nonsense says what an address looks like', async () => {
    await expect(new Listener([]).listen('a:b:c')).rejects.toMatchObject({
      code: 'INVALID',
      exitCode: 2,
    });
  });
});
