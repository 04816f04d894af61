import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Client, credentials } from '@grpc/grpc-js';

import { Latencies } from '../../cli/workload/latencies.js';
import { GetRequest, SetRequest } from '../../wire/gen/kvs/v1/kv.js';
import { cpuMs } from '../cpu.js';
import { type Figures, figuresOf } from '../report.js';
import { VALUE_BYTES } from './sample.js';
import { output } from './spawned.js';

export const UNARY_KEY = 'key0000000000042';
const CONNECTIONS = 4;
const STREAMS = 16;
/** What serves unary calls is cold code until then. */
const WARM_UNARY_SECONDS = 4;
/** So many calls are in flight. */
export const UNARY_IN_FLIGHT = CONNECTIONS * STREAMS;

const PATHS = {
  kvs: { read: '/kvs.v1.KeyValueService/Get', write: '/kvs.v1.KeyValueService/Set' },
  etcd: { read: '/etcdserverpb.KV/Range', write: '/etcdserverpb.KV/Put' },
} as const;

/**
 * The same client in C calls either system, one call an operation, always for the same key. Key
 * and value have the same field numbers in both protocols, so the very bytes are the same.
 */
export async function unary(
  system: 'kvs' | 'etcd',
  work: 'read' | 'write',
  address: string,
  servers: readonly number[],
  seconds: number,
): Promise<Figures> {
  const path = PATHS[system][work];
  const key = Buffer.from(UNARY_KEY);
  const message =
    work === 'read'
      ? GetRequest.encode(GetRequest.fromPartial({ key }))
      : SetRequest.encode(SetRequest.fromPartial({ key, value: randomBytes(VALUE_BYTES) }));
  const body = Buffer.from(message.finish());
  // h2load looks at HTTP's status only, which is 200 for refusals too.
  await call(address, path, body);
  const directory = mkdtempSync(join(tmpdir(), 'kvs-peers-'));
  try {
    const file = join(directory, 'body');
    const length = Buffer.alloc(5);
    length.writeUInt32BE(body.length, 1);
    writeFileSync(file, Buffer.concat([length, body]));
    const url = `http://${address}${path}`;
    await h2load(url, file, WARM_UNARY_SECONDS, join(directory, 'warm'));
    const log = join(directory, 'log');
    const [serversMs, clientMs] = [cpuMs(servers), childrenCpuMs()];
    await h2load(url, file, seconds, log);
    const latencies = new Latencies();
    let errors = 0;
    for (const line of readFileSync(log, 'utf8').trimEnd().split('\n')) {
      const [, status, microseconds] = line.split('\t');
      if (status === '200') latencies.add(Number(microseconds) / 1000);
      else errors += 1;
    }
    return figuresOf([
      {
        seconds,
        reads: latencies.toCounts(),
        writes: [],
        errors,
        firstError: errors > 0 ? 'an answer without status 200' : '',
        serverCpuMs: cpuMs(servers) - serversMs,
        clientCpuMs: childrenCpuMs() - clientMs,
      },
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function h2load(url: string, body: string, seconds: number, log: string): Promise<void> {
  const inFlight = [`--clients=${CONNECTIONS}`, `--max-concurrent-streams=${STREAMS}`];
  const headers = ['--header=content-type: application/grpc', '--header=te: trailers'];
  const length = [`--duration=${Math.round(seconds * 1000)}ms`, `--data=${body}`];
  await output('h2load', [...inFlight, ...headers, ...length, `--log-file=${log}`, url]);
}

/** One call, which must succeed. */
async function call(address: string, path: string, body: Buffer): Promise<void> {
  const client = new Client(address, credentials.createInsecure());
  try {
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(path, same, same, body, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  } finally {
    client.close();
  }
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

/** CPU of the children of this process that have ended, in ms. */
function childrenCpuMs(): number {
  const text = readFileSync('/proc/self/stat', 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}
