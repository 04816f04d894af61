import { connect as connectSocket } from 'node:net';

import { Server, ServerCredentials } from '@grpc/grpc-js';

import { Code } from '../core/refusal.js';
import { formatAddress, parseAddress } from './address.js';
import { Health } from './health.js';
import { addReflection } from './reflection.js';
import { KvsError } from './status.js';

/** Larger than any request within the limits of `core/refusal.ts`. */
export const MESSAGE_BYTES = 16 * 1024 * 1024;
const STREAMS = 1000;
const SESSION_MEGABYTES = 64;

/** One listening gRPC server with health, reflection and limits. */
export class Listener {
  readonly health: Health;
  readonly server: Server;

  constructor(private readonly services: readonly string[]) {
    this.server = new Server({
      'grpc.max_concurrent_streams': STREAMS,
      'grpc.max_receive_message_length': MESSAGE_BYTES,
      'grpc.max_send_message_length': MESSAGE_BYTES,
      'grpc-node.max_session_memory': SESSION_MEGABYTES,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5000,
    });
    this.health = new Health(services);
    this.health.addTo(this.server);
    addReflection(this.server, [
      ...this.services,
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
    ]);
  }

  /** Bind `HOST:PORT`; port 0 takes a free one. Resolves to the real address. */
  async listen(address: string): Promise<string> {
    const [host, port] = parseAddress(address, 0);
    // grpc-js binds with SO_REUSEADDR semantics of its own; ask first for a clear refusal.
    if (port !== 0 && (await answers(host, port))) throw inUse(address);
    const bound = await new Promise<number>((resolve, reject) => {
      const target = formatAddress(host, port);
      this.server.bindAsync(target, ServerCredentials.createInsecure(), (error, real) => {
        if (error === null) resolve(real);
        else reject(bindError(address, error));
      });
    });
    return formatAddress(host, bound);
  }

  /** Let calls in progress end, at most for `deadlineMs`; then cut them. */
  async stop(deadlineMs: number): Promise<void> {
    this.health.setServing(false);
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => {
        this.server.forceShutdown();
        resolve();
      }, deadlineMs);
      this.server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }
}

function bindError(address: string, error: Error): KvsError {
  if (/EADDRINUSE/.test(error.message)) return inUse(address);
  if (/EACCES/.test(error.message)) {
    const hint = 'choose a port above 1023';
    return KvsError.ofProcess('NO_ACCESS', `may not listen on ${address}`, hint, error);
  }
  return KvsError.ofCode(Code.Invalid, `cannot listen on ${address}: ${error.message}`);
}

function inUse(address: string): KvsError {
  return KvsError.ofProcess(
    'ADDRESS_IN_USE',
    `${address} is in use by another process`,
    'stop that process or choose another address with --listen',
  );
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
