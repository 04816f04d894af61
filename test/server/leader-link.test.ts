import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import { afterEach, expect, test } from '@jest/globals';
import { pino } from 'pino';

import { LeaderLink } from '../../src/server/leader-link.js';
import { Listener } from '../../src/transport/server.js';
import { viewToWire } from '../../src/wire/convert-view.js';
import { LeaderServiceService } from '../../src/wire/gen/kvs/v1/leader.js';
import { rowOf, viewOf } from '../core/cluster.js';

const undo: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

/** A view leader that takes everybody in. */
async function leader(): Promise<number> {
  const listener = new Listener([]);
  undo.push(() => listener.server.forceShutdown());
  const methods = Object.keys(LeaderServiceService);
  const refuseAll = Object.fromEntries(methods.map((name) => [name, () => undefined]));
  listener.server.addService(LeaderServiceService, {
    ...refuseAll,
    register: (_: unknown, done: (error: null, response: unknown) => void) => {
      const view = viewToWire(viewOf(1, rowOf(1, [1]), [1]));
      done(null, { ordinal: 1, clusterId: 'c', heartbeatIntervalMs: 100, view });
    },
  } as never);
  const address = await listener.listen('127.0.0.1:0');
  return Number(address.split(':').at(-1));
}

/** In front of it: what the first connections say is lost. */
async function lossy(port: number, lost: number): Promise<{ server: Server; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    if (sockets.length <= lost) return;
    const onward = connect(port, '127.0.0.1');
    onward.on('error', () => undefined);
    undo.push(() => onward.destroy());
    socket.pipe(onward).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undo.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { server, sockets };
}

test('an attempt to register whose packets were lost is begun anew, on another connection', async () => {
  const { server, sockets } = await lossy(await leader(), 1);
  const { port } = server.address() as AddressInfo;
  const registered = new Promise<number>((resolve, reject) => {
    const link = new LeaderLink(
      [`127.0.0.1:${port}`],
      () => ({
        id: 'id',
        address: 'a',
        zone: '',
        weight: 1,
        incarnation: 1,
        clusterId: '',
        epoch: 0,
        view: undefined,
      }),
      pino({ level: 'silent' }),
      ({ ordinal }) => resolve(ordinal),
      () => undefined,
      reject,
    );
    undo.push(() => link.close());
    link.start();
  });
  expect(await registered).toBe(1);
  expect(sockets.length).toBeGreaterThan(1);
});
