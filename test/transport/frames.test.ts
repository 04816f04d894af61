import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Readable } from 'node:stream';

import { credentials } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';

import { Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Beacon, type PeerMessage } from '../../src/core/message.js';
import { PeerLink, servePeer } from '../../src/transport/link.js';
import { PEER_METHODS, type PeerHandlers } from '../../src/transport/methods.js';
import { Listener } from '../../src/transport/server.js';
import { clientChannelOptions } from '../../src/transport/channel.js';
import { FrameClient } from '../../src/transport/stream.js';
import { PeerServiceClient } from '../../src/wire/gen/kvs/v1/peer.js';
import { ask, clientOf, exchange, get, listen, resultOf, undo, until } from './support.js';

const CLIENT = 'a client of 16 b';

function set(key: string, value: Uint8Array, client = CLIENT): Operation {
  const { Set } = OperationKind;
  return new Operation(Set, key, value, 0, 0, client, 1, 0, null, 0, 0, 0, 1000, 0);
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
    const onCall = (call: Readable): unknown => call.on('data', () => (frames += 1));
    const address = await listen(exchange(serve, onCall));
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

  describe('while others are unanswered', () => {
    const FOR_EVER_MS = 1e6;
    const value = Buffer.from('v');

    /** A server that answers nothing, and a client; how many operations each frame had. */
    async function unanswered(
      holdMs?: number,
    ): Promise<{ client: FrameClient; sizes: number[]; write: (count: number) => void }> {
      const sizes: number[] = [];
      const onCall = (call: Readable): unknown => call.on('data', () => sizes.push(0));
      const serve = (): void => {
        sizes[sizes.length - 1]! += 1;
      };
      const address = await listen(exchange(serve, onCall));
      const client = new FrameClient(address, clientChannelOptions(), holdMs);
      undo.push(() => client.close());
      const write = (count: number): void => {
        for (let key = 0; key < count; key += 1) void ask(client, set(String(key), value));
      };
      write(10);
      await until(() => sizes.length === 1);
      return { client, sizes, write };
    }

    test('fewer writes wait for others, and leave together', async () => {
      const { sizes, write } = await unanswered(FOR_EVER_MS);
      write(4);
      for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
      write(6);
      await until(() => sizes.length > 1);
      expect(sizes).toEqual([10, 10]);
    });

    test('a read waits for nothing, and takes along what waits', async () => {
      const { client, sizes, write } = await unanswered(FOR_EVER_MS);
      write(4);
      for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
      const { Get } = OperationKind;
      void ask(client, new Operation(Get, 'k', null, 0, 0, CLIENT, 0, 0, null, 0, 0, 0, 1000, 0));
      await until(() => sizes.length > 1);
      expect(sizes).toEqual([10, 5]);
    });

    test('a write leaves after a while also alone', async () => {
      const { sizes, write } = await unanswered();
      write(1);
      await until(() => sizes.length > 1);
      expect(sizes).toEqual([10, 1]);
    });
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
    const client = new FrameClient(
      `127.0.0.1:${(silent.address() as AddressInfo).port}`,
      clientChannelOptions(),
    );
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
    const broken = ask(bad, set('k', new Uint8Array(1), `${CLIENT}!`));
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
