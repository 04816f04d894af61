// What a stream may hold of those who do not read, and what it does with bytes that are nonsense.
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type ClientHttp2Stream, connect } from 'node:http2';
import { Duplex, type Readable } from 'node:stream';

import { Client, type ServiceError, status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';

import { type Operation, Result } from '../../src/core/operation.js';
import { channelOptions, insecure } from '../../src/transport/channel.js';
import { MESSAGE_BYTES, STREAM_LIMITS } from '../../src/transport/limits.js';
import { servePeer } from '../../src/transport/link.js';
import { EXCHANGE, PEER_METHODS, type PeerHandlers, SEND } from '../../src/transport/methods.js';
import { Outflow } from '../../src/transport/outflow.js';
import { ExchangeServer } from '../../src/transport/stream.js';
import { beginRequest, readResponse, writeOperation } from '../../src/wire/frame.js';
import { HotWriter } from '../../src/wire/hot-writer.js';
import { ask, clientOf, exchange, get, listen, resultOf, sinkOf, undo, until } from './support.js';

const BIG = Buffer.alloc(1024 * 1024, 7);

function frameOf(count: number, firstId = 1): Buffer {
  const out = new HotWriter();
  beginRequest(out, '', 0);
  for (let id = firstId; id < firstId + count; id += 1)
    writeOperation(out, get('big'), id, 0, 1000);
  return out.take();
}

/** A client by hand: grpc-js would take in what nobody reads, this one leaves it to HTTP/2. */
function silentClient(address: string): ClientHttp2Stream {
  const session = connect(`http://${address}`);
  undo.push(() => session.destroy());
  session.on('error', () => undefined);
  const stream = session.request({
    ':method': 'POST',
    ':path': EXCHANGE.path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => undefined);
  return stream;
}

function send(stream: ClientHttp2Stream, frame: Buffer): void {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(frame.length, 1);
  stream.write(Buffer.concat([prefix, frame]));
}

/** Reads from now on; the ids of the results, and the length of each frame. */
function listenTo(stream: ClientHttp2Stream): { readonly ids: number[]; readonly sizes: number[] } {
  const heard = { ids: [] as number[], sizes: [] as number[] };
  let gathered = Buffer.alloc(0);
  stream.on('data', (bytes: Buffer) => {
    gathered = Buffer.concat([gathered, bytes]);
    while (gathered.length >= 5 && gathered.length >= 5 + gathered.readUInt32BE(1)) {
      const end = 5 + gathered.readUInt32BE(1);
      readResponse(gathered.subarray(5, end), (_, id) => heard.ids.push(id));
      heard.sizes.push(end);
      gathered = gathered.subarray(end);
    }
  });
  return heard;
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate);
}

describe('a client that does not read', () => {
  test('is cut off at its budget, and others go on', async () => {
    const refusals: ServiceError[] = [];
    const later: (() => void)[] = [];
    const serve = ({ key }: Operation, answer: (result: Result) => void): void => {
      if (key === 'big') later.push(() => answer(resultOf(1, BIG)));
      else answer(resultOf(1));
    };
    const onCall = (call: Readable): unknown =>
      call.on('error', (error: ServiceError) => refusals.push(error));
    const address = await listen(exchange(serve, onCall));
    const other = clientOf(address);
    expect(await ask(other, get('small'))).toBeInstanceOf(Result);
    const within = STREAM_LIMITS.waitingBytes / BIG.length - 1;

    const silent = silentClient(address);
    send(silent, frameOf(within));
    await until(() => later.length === within);
    for (const answer of later.splice(0)) answer();
    await turns(5);
    expect(refusals).toEqual([]);
    expect(await ask(other, get('small'))).toBeInstanceOf(Result);

    const greedy = silentClient(address);
    send(greedy, frameOf(within + 10));
    await until(() => later.length === within + 10);
    for (const answer of later.splice(0)) {
      answer();
      await turns(1);
    }
    expect(refusals).toMatchObject([
      { code: status.RESOURCE_EXHAUSTED, details: 'the answers on this stream are not read' },
    ]);
    // What it asks now is not carried out any more.
    send(greedy, frameOf(3));
    for (let asked = 0; asked < 20; asked += 1) {
      expect(await ask(other, get('small'))).toBeInstanceOf(Result);
    }
    expect(later).toEqual([]);

    // Once it reads it hears why; the one within its budget gets all that it asked for.
    const trailers = once(greedy, 'trailers');
    const rest = listenTo(greedy);
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': '8' });
    expect(rest.ids).toEqual(upTo(rest.ids.length));
    expect(rest.ids.length).toBeLessThan(10);
    const all = listenTo(silent);
    await until(() => all.ids.length === within);
    expect(all.ids).toEqual(upTo(within));
  });

  test('is not read from either, until it reads again', async () => {
    const frames = 40;
    let served = 0;
    let isPaused = (): boolean => false;
    const address = await listen(
      exchange(
        (_, answer) => answer(resultOf((served += 1), BIG)),
        (call) => (isPaused = () => call.isPaused()),
      ),
    );
    const silent = silentClient(address);
    for (let id = 1; id <= frames; id += 1) send(silent, frameOf(1, id));
    await until(() => isPaused());
    await turns(50);
    expect(isPaused()).toBe(true);
    expect(served * BIG.length).toBeGreaterThan(STREAM_LIMITS.pausedBytes - BIG.length);
    expect(served * BIG.length).toBeLessThan(2 * STREAM_LIMITS.pausedBytes);
    const heard = listenTo(silent);
    await until(() => heard.ids.length === frames);
    expect(heard.ids).toEqual(upTo(frames));
    expect(isPaused()).toBe(false);
  });
});

describe('frames', () => {
  test('of answers are never larger than a message may be, however much is asked at once', async () => {
    const address = await listen(exchange((_, answer) => answer(resultOf(1, BIG))));
    const client = clientOf(address);
    const count = 2 * (MESSAGE_BYTES / BIG.length);
    const asked = Array.from({ length: count }, () => ask(client, get('big')));
    for (const answer of await Promise.all(asked)) expect(answer).toMatchObject({ found: true });
  });

  test('are given to the stream two at a time, and what comes meanwhile shares the next', async () => {
    const written: { frame: Buffer; done: () => void }[] = [];
    const call = new Duplex({
      objectMode: true,
      read: () => undefined,
      write: () => undefined,
    });
    const write = (frame: Buffer, done: () => void): boolean => {
      written.push({ frame, done });
      return false;
    };
    Object.assign(call, { write });
    const answers: (() => void)[] = [];
    const serve = (_: unknown, answer: (result: Result) => void): unknown =>
      answers.push(() => answer(resultOf(1)));
    expect(new ExchangeServer(call as never, sinkOf(serve))).toBeDefined();
    call.push(frameOf(100));
    await until(() => answers.length === 100);
    for (const answer of answers) {
      answer();
      await turns(2);
    }
    expect(written).toHaveLength(STREAM_LIMITS.framesInFlight);
    const counts: number[] = [];
    const ids: number[] = [];
    while (written.length > 0) {
      const { frame, done } = written.shift()!;
      const before = ids.length;
      readResponse(frame, (_, id) => ids.push(id));
      counts.push(ids.length - before);
      done();
      await turns(2);
      expect(written.length).toBeLessThanOrEqual(STREAM_LIMITS.framesInFlight);
    }
    expect(counts).toEqual([1, 1, 98]);
    expect(ids).toEqual(upTo(100));
  });

  test('on their way are counted, and there is room again when one is written', () => {
    const written: (() => void)[] = [];
    let told = 0;
    const stream = { write: (_: Buffer, done: () => void) => written.push(done) > 0 };
    const outflow = new Outflow(stream, () => (told += 1));
    for (let frame = 1; frame <= STREAM_LIMITS.framesInFlight; frame += 1) {
      expect(outflow.room).toBe(true);
      outflow.write(Buffer.alloc(10 * frame));
    }
    expect(outflow.room).toBe(false);
    expect(outflow.bytes).toBe(30);
    written[0]?.();
    expect([outflow.room, outflow.bytes, told]).toEqual([true, 20, 1]);
    written[1]?.();
    expect([outflow.room, outflow.bytes, told]).toEqual([true, 0, 2]);
  });

  const nonsense = [
    ['bytes beyond the end', [26, 9, 1], [34, 9, 1]],
    // These are left to the generated code.
    ['an inner message that is cut', [26, 2, 66, 9], [34, 2, 50, 9]],
  ] as const;

  test.each(nonsense)('of nonsense end their stream only: %s', async (_, request, message) => {
    const address = await listen((listener) => {
      exchange((__, answer) => answer(resultOf(1)))(listener);
      const peer: PeerHandlers = {
        send: (call, done) =>
          servePeer(call, done, { clusterId: '', self: 0, receive: () => undefined }),
      };
      listener.server.addService(PEER_METHODS, peer);
    });
    const client = new Client(address, insecure(), channelOptions());
    undo.push(() => client.close());
    const ended: number[] = [];
    const requests = client.makeBidiStreamRequest(
      EXCHANGE.path,
      EXCHANGE.requestSerialize,
      EXCHANGE.responseDeserialize,
    );
    requests.on('error', ({ code }: ServiceError) => ended.push(code));
    requests.resume();
    requests.write(Buffer.from(request));
    const messages = client.makeClientStreamRequest(
      SEND.path,
      SEND.requestSerialize,
      SEND.responseDeserialize,
      (error) => ended.push(error?.code ?? 0),
    );
    messages.on('error', () => undefined);
    messages.write(Buffer.from(message));
    await until(() => ended.length === 2);
    expect(ended).toEqual([status.INVALID_ARGUMENT, status.INVALID_ARGUMENT]);
    expect(await ask(clientOf(address), get('k'))).toBeInstanceOf(Result);
  });
});
