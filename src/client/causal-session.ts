import { type Context, NO_CONTEXT } from '../core/causal-record.js';
import type { Key } from '../core/ids.js';
import { keyIn } from '../core/namespace.js';
import { OperationKind, type Result } from '../core/operation.js';
import { joined } from '../core/vector.js';
import { Code } from '../core/refusal.js';
import { KvsError } from '../transport/status.js';
import { contextFromWire, contextToWire } from '../wire/convert-causal.js';
import { Context as WireContext } from '../wire/gen/kvs/v1/kv.js';
import type { Bytes, Deleted, SetOptions, Value, Written } from './client.js';

/** Has an operation carried out in a causal namespace. */
export type AskCausal = (
  kind: OperationKind,
  key: Key,
  value: Uint8Array | null,
  parts: { readonly context: Context; readonly ttlMs: number },
) => Promise<Result>;

/**
 * A session in a causal namespace: it sees its own writes, never goes backwards, and never sees an
 * effect without its cause, whichever server answers (D5). One session does one thing after the
 * other; what it has seen is a few bytes for each server, and can be carried elsewhere as a token.
 *
 * @example
 * const cart = await kvs.session('carts');
 * await cart.set('anna', 'apples');
 * const later = await kvs.session('carts', cart.token);
 */
export class CausalSession {
  constructor(
    readonly namespace: string,
    private readonly number: number,
    private readonly ask: AskCausal,
    private readonly written: (result: Result) => Written,
    private context: Context,
  ) {}

  /** What the session has seen, for `KvsClient.session`. */
  get token(): string {
    return Buffer.from(WireContext.encode(contextToWire(this.context)).finish()).toString('base64');
  }

  /** Null when the key does not exist, as far as the session must know. */
  async get(key: Bytes): Promise<Value | null> {
    const result = await this.carryOut(OperationKind.Get, key, null);
    if (!result.found) return null;
    const { version, epoch, bucket, server } = this.written(result);
    return { value: result.value ?? new Uint8Array(0), version, epoch, bucket, server };
  }

  /** Durable on the replica that answers; the others get it as soon as they can be reached. */
  async set(
    key: Bytes,
    value: Bytes,
    { ttlMs = 0 }: Pick<SetOptions, 'ttlMs'> = {},
  ): Promise<Written> {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    return this.written(await this.carryOut(OperationKind.Set, key, bytes, ttlMs));
  }

  async delete(key: Bytes): Promise<Deleted> {
    const result = await this.carryOut(OperationKind.Delete, key, null);
    return { deleted: result.found, ...this.written(result) };
  }

  private async carryOut(
    kind: OperationKind,
    key: Bytes,
    value: Uint8Array | null,
    ttlMs = 0,
  ): Promise<Result> {
    const name = keyIn(this.number, Buffer.from(key).toString('latin1'));
    const result = await this.ask(kind, name, value, { context: this.context, ttlMs });
    if (result.context !== null) this.context = bothOf(this.context, result.context);
    return result;
  }
}

/** Operations that were begun together do not know of each other. */
function bothOf(left: Context, right: Context): Context {
  return {
    clock: Math.max(left.clock, right.clock),
    epoch: Math.max(left.epoch, right.epoch),
    seen: joined(left.seen, right.seen),
  };
}

/** What a session had seen, from its token; '' for a new session. */
export function contextOf(token: string): Context {
  if (token === '') return NO_CONTEXT;
  try {
    return contextFromWire(WireContext.decode(Buffer.from(token, 'base64')));
  } catch (error) {
    throw KvsError.ofCode(Code.Invalid, `the session's token cannot be read: ${String(error)}`);
  }
}
