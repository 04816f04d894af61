import { randomBytes } from 'node:crypto';
import process from 'node:process';

import { Client, type ServerDuplexStream } from '@grpc/grpc-js';

import { Latencies } from '../../cli/workload/latencies.js';
import { NO_RECORDS, Operation, OperationKind, Result } from '../../core/operation.js';
import { Code } from '../../core/refusal.js';
import { channelOptions, insecure } from '../../transport/channel.js';
import { EXCHANGE, KEY_VALUE_METHODS, type KeyValueHandlers } from '../../transport/methods.js';
import { Listener } from '../../transport/server.js';
import { toBinary } from '../../wire/binary.js';
import {
  beginRequest,
  readRequest,
  readResponse,
  writeOperation,
  writeResult,
} from '../../wire/frame.js';
import { HotWriter } from '../../wire/hot-writer.js';
import { cpuMs } from '../cpu.js';
import type { Report } from '../report.js';
import { RECORDS, VALUE_BYTES } from './sample.js';

/** What a process is told to be: the server, or the client of one. */
export type EchoTask =
  | { readonly type: 'serve' }
  | {
      readonly type: 'ask';
      readonly address: string;
      /** Pid of the server. */
      readonly server: number;
      /** Operations of a frame, and in all frames on their way. */
      readonly frame: number;
      readonly inFlight: number;
      readonly warmMs: number;
      readonly forMs: number;
    };

const VERSION = 4_294_967_301;

type Call = ServerDuplexStream<Buffer, Buffer>;

const out = new HotWriter();

/** Answers each read at once, from nothing: the same frames and codec, and no store. */
async function serve(): Promise<string> {
  const value = randomBytes(VALUE_BYTES);
  const found = new Result(Code.Ok, true, value, VERSION, 0, 3, 512, 1, '', NO_RECORDS, false, 0);
  const exchange = (call: Call): void => {
    call.on('data', (frame: Buffer) => {
      readRequest(frame, (_, id) => writeResult(out, found, id));
      call.write(out.take());
    });
    call.on('end', () => call.end());
    call.on('error', () => undefined);
  };
  const listener = new Listener([]);
  // oxlint-disable-next-line typescript/consistent-type-assertions -- the one method that is called
  listener.server.addService(KEY_VALUE_METHODS, { exchange } as KeyValueHandlers);
  return listener.listen('127.0.0.1:0');
}

async function ask(task: EchoTask & { type: 'ask' }): Promise<Report> {
  const { address, server, frame, inFlight, warmMs, forMs } = task;
  const client = new Client(address, insecure(), channelOptions());
  const { path, requestSerialize, responseDeserialize } = EXCHANGE;
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const latencies = new Latencies();
  const sentMs: number[] = [];
  const clientId = toBinary(randomBytes(16));
  // Made once: what is measured is the stream and the codec.
  const operations = Array.from({ length: frame }, (_, at) => operationOf(at + 1, clientId));
  let counting = false;
  const send = (): void => {
    sentMs.push(performance.now());
    beginRequest(out, clientId, 0);
    for (const [at, operation] of operations.entries()) {
      writeOperation(out, operation, at + 1, operation.bucketEpoch, operation.timeoutMs);
    }
    stream.write(out.take());
  };
  stream.on('data', (answer: Buffer) => {
    let results = 0;
    readResponse(answer, () => (results += 1));
    if (counting) latencies.add(performance.now() - sentMs[0]!, results);
    sentMs.shift();
    send();
  });
  stream.on('error', () => undefined);
  for (let sent = 0; sent < inFlight; sent += frame) send();
  await pause(warmMs);
  const [serverMs, own, beganMs] = [cpuMs([server]), process.cpuUsage(), performance.now()];
  counting = true;
  await pause(forMs);
  counting = false;
  const seconds = (performance.now() - beganMs) / 1000;
  const { user, system } = process.cpuUsage(own);
  const serverCpuMs = cpuMs([server]) - serverMs;
  stream.cancel();
  client.close();
  return {
    seconds,
    reads: latencies.toCounts(),
    writes: [],
    errors: 0,
    firstError: '',
    clientCpuMs: (user + system) / 1000,
    serverCpuMs,
  };
}

function operationOf(id: number, client: string): Operation {
  const key = `key${String(id % RECORDS).padStart(13, '0')}`;
  const { Get } = OperationKind;
  return new Operation(Get, key, null, 0, 0, client, 0, 0, null, 0, 0, 3, 5000, 0);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

process.on('message', (task: EchoTask) => {
  const done = task.type === 'serve' ? serve() : ask(task);
  void done.then((said) => process.send?.(said));
});
process.on('disconnect', () => process.exit());
