import { randomBytes } from 'node:crypto';

import { type Context, NO_CONTEXT } from '../core/causal-record.js';
import type { BucketId, Key, Version } from '../core/ids.js';
import { isNamed, keyIn, Mode, type Namespace, plainKey } from '../core/namespace.js';
import type { Result } from '../core/operation.js';
import {
  ConditionKind,
  type ConditionalWrite,
  isRead,
  Operation,
  OperationKind,
  type ReadSet,
} from '../core/operation.js';
import { bucketOf } from '../core/pools.js';
import { Code, LIMITS } from '../core/refusal.js';
import { objection } from '../core/validate.js';
import { NO_VIEW, type View } from '../core/view.js';
import { KvsError } from '../transport/status.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';
import { Admin } from './admin.js';
import { CausalSession, contextOf } from './causal-session.js';
import { Numbering } from './numbering.js';
import { type Outcome, refusal, Router } from './router.js';
import { ViewSource } from './views.js';

export interface ClientOptions {
  /** `HOST[:PORT]` of the view leader, or several separated by commas. */
  readonly leader?: string;
  /** `HOST:PORT` of a server to use as the door; it forwards. Works without the view leader. */
  readonly server?: string;
  /** How long an operation may take in all, in ms. Default 5000, at most 60 000. */
  readonly timeoutMs?: number;
}

export type Bytes = string | Uint8Array;

/** A value as read. */
export interface Value {
  readonly value: Uint8Array;
  /** Commit order stamp; usable as a condition. */
  readonly version: Version;
  /** Epoch of the view under which it was read. */
  readonly epoch: number;
  readonly bucket: BucketId;
  /** Address of the server that holds the key. */
  readonly server: string;
}

/** One of several values read together. */
export type RecordRead = Pick<Value, 'value' | 'version'>;

/** What a write did. */
export interface Written {
  readonly version: Version;
  /** Version that was replaced; 0 when there was none, or when a retry was recognised. */
  readonly previous: Version;
  readonly epoch: number;
  readonly bucket: BucketId;
  readonly server: string;
}

export interface Deleted extends Written {
  /** The key existed. */
  readonly deleted: boolean;
}

export interface WriteOptions {
  /** Only if the key does not exist. */
  readonly ifAbsent?: boolean;
  /** Only if the key has this version; 0 means absent. */
  readonly ifVersion?: Version;
}

export interface SetOptions extends WriteOptions {
  /** In a namespace: how long the value lives, ms; none: as the namespace says. */
  readonly ttlMs?: number;
}

/** One key of a `setr`: a value to write, or `delete`. */
export interface SetrWrite extends WriteOptions {
  readonly key: Bytes;
  readonly value?: Bytes;
  readonly delete?: boolean;
}

export interface Committed {
  readonly txid: string;
  /** Every key written has this version. */
  readonly version: Version;
  /** Buckets that took part. */
  readonly participants: number;
  readonly epoch: number;
}

export interface ExportedRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly version: Version;
  /** Address of the server that said so. */
  readonly server: string;
}

/** Where a key lives. */
export interface Location {
  readonly key: Uint8Array;
  /** What is hashed, a character a byte: the key, after the number of its namespace. */
  readonly hashed: Key;
  readonly bucket: BucketId;
  /** Bucket epoch. */
  readonly epoch: number;
  readonly primary: string;
  readonly replicas: readonly string[];
}

/** What only some kinds of operations have. */
interface OperationParts {
  readonly ttlMs?: number;
  readonly writes?: readonly ConditionalWrite[];
  readonly bucket?: BucketId;
  readonly reads?: ReadSet;
  readonly context?: Context;
}

const CONFLICT_PAUSE_MS = { least: 5, most: 200 } as const;
const SCAN_LIMIT = LIMITS.scanRecords;
const SCANS_AT_ONCE = 8;
/** How long a namespace that is not there is waited for. */
const NAMESPACE_MS = 500;

/**
 * A typed client. Operations of one turn of the event loop share a frame; each awaits one promise.
 * Errors are `KvsError`: `code`, `outcome` (done, not-done, unknown), `hint`.
 *
 * @example
 * const kvs = await connect({ leader: '127.0.0.1:7400' });
 * await kvs.set('greeting', 'hello');
 */
export class KvsClient {
  /** For operators: take servers out, steer the rebalance. */
  readonly admin: Admin;
  private readonly id = randomBytes(16).toString('latin1');
  private readonly numbering = new Numbering();

  constructor(
    private readonly views: ViewSource,
    private readonly router: Router,
    private readonly timeoutMs: number,
    /** Its keys are meant; null: those without a namespace. */
    private readonly space: Namespace | null = null,
  ) {
    this.admin = new Admin(views);
  }

  /**
   * The same client for the keys of a namespace. In a causal one each operation stands alone: what
   * belongs together is asked in a `session`. Closing either closes both.
   */
  async namespace(name: string): Promise<KvsClient> {
    return new KvsClient(this.views, this.router, this.timeoutMs, await this.namespaceOf(name));
  }

  /**
   * Linearizable read; null when the key does not exist. `confirm`: every other replica confirms
   * the primary first, so that no clock is trusted; costs a round between the servers.
   */
  get(key: Bytes, options: { readonly confirm?: boolean } = NOTHING): Promise<Value | null> {
    const kind = options.confirm === true ? OperationKind.ConfirmedGet : OperationKind.Get;
    return this.ask(this.operation(kind, this.keyOf(key), null, NOTHING), this.toValue);
  }

  set(key: Bytes, value: Bytes, options: SetOptions = NOTHING): Promise<Written> {
    const operation = this.operation(OperationKind.Set, this.keyOf(key), bytes(value), options);
    return this.ask(operation, this.toWritten);
  }

  delete(key: Bytes, options: WriteOptions = NOTHING): Promise<Deleted> {
    const operation = this.operation(OperationKind.Delete, this.keyOf(key), null, options);
    return this.ask(operation, this.toDeleted);
  }

  /**
   * All writes or none, on every replica. A conflict with another commit is retried, with jitter,
   * until the time is over.
   */
  async setr(writes: readonly SetrWrite[]): Promise<Committed> {
    const list = writes.map((write) => conditionalWrite(write, this.keyOf(write.key)));
    const deadline = performance.now() + this.timeoutMs;
    for (let attempt = 1; ; attempt += 1) {
      const left = deadline - performance.now();
      const key = list[0]?.key ?? '';
      const operation = this.operation(OperationKind.SetR, key, null, { writes: list });
      const result = await this.outcome(operation);
      if (result.code !== Code.Conflict || left <= CONFLICT_PAUSE_MS.most) {
        throwUnlessOk(result);
        const { version, participants, epoch } = result;
        return { txid: this.transactionId(operation), version, participants, epoch };
      }
      const { least, most } = CONFLICT_PAUSE_MS;
      const ceiling = Math.min(most, least * 2 ** Math.min(attempt, 10));
      await new Promise((resolve) => setTimeout(resolve, ceiling * Math.random()));
    }
  }

  /**
   * Several keys as they were at one instant: no write that came between is half seen. In the order
   * of `keys`; null for a key that did not exist.
   */
  async getr(keys: readonly Bytes[]): Promise<(RecordRead | null)[]> {
    const names = keys.map((key) => this.keyOf(key));
    const reads = { keys: names, holdMs: 0 };
    const operation = this.operation(OperationKind.GetR, names[0] ?? '', null, { reads });
    const { records } = await this.ask(operation, asItIs);
    const found = new Map(records.map(({ key, value, version }) => [key, { value, version }]));
    return names.map((name) => found.get(name) ?? null);
  }

  /**
   * A session in a causal namespace. `token`: what an earlier session had seen, as its `token`
   * told; without it the session has seen nothing.
   */
  async session(namespace: string, token = ''): Promise<CausalSession> {
    const { number, mode } = await this.namespaceOf(namespace);
    const told = contextOf(token);
    // A server that does not know the namespace yet waits for the view that has it.
    const context = { ...told, epoch: Math.max(told.epoch, this.views.view?.epoch ?? 0) };
    if (mode !== Mode.Causal) {
      throw KvsError.ofCode(Code.Invalid, `namespace ${namespace} is strong: it needs no session`);
    }
    return new CausalSession(
      namespace,
      number,
      (kind, key, value, parts) => this.ask(this.operation(kind, key, value, parts), asItIs),
      this.toWritten,
      context,
    );
  }

  /** Every record whose key starts with `prefix`, in no particular order. */
  async *export(prefix: Bytes = ''): AsyncGenerator<ExportedRecord> {
    const buckets = await this.buckets();
    const start = this.keyOf(prefix);
    const pages: Promise<ExportedRecord[]>[] = [];
    let next = 0;
    for (const _ of buckets) {
      while (next < buckets.length && pages.length < SCANS_AT_ONCE) {
        const page = this.scanBucket(buckets[next++]!, start);
        // Awaited in order; a failure of a later one must not be an unhandled rejection meanwhile.
        page.catch(() => undefined);
        pages.push(page);
      }
      yield* (await pages.shift()) ?? [];
    }
  }

  /** Records of the namespace; expired and deleted ones do not count. */
  async count(): Promise<number> {
    const buckets = await this.buckets();
    const prefix = this.keyOf('');
    let records = 0;
    const countOn = async (): Promise<void> => {
      for (let bucket = buckets.pop(); bucket !== undefined; bucket = buckets.pop()) {
        const { version } = await this.ask(
          this.operation(OperationKind.Count, prefix, null, { bucket }),
          asItIs,
        );
        records += version;
      }
    };
    await Promise.all(Array.from({ length: SCANS_AT_ONCE }, countOn));
    return records;
  }

  /** What the view leader says of the cluster. */
  status(): Promise<GetStatusResponse> {
    return this.views.status();
  }

  /** The newest view known, from the view leader or a server. */
  view(): Promise<View> {
    return this.views.current();
  }

  /** Follow the view; the callback gets each new one. Returns the way to stop. */
  watchView(onView: (view: View) => void): () => void {
    return this.views.watch(onView);
  }

  async locate(key: Bytes): Promise<Location> {
    const view = await this.views.current();
    const name = this.keyOf(key);
    const bucket = bucketOf(name, view);
    const row = view.rows[bucket];
    const addresses = (row?.replicas ?? []).map((ordinal) => view.members.get(ordinal)?.address);
    const replicas = addresses.map((address) => address ?? '?');
    return {
      key: Buffer.from(plainKey(name), 'latin1'),
      hashed: name,
      bucket,
      epoch: row?.epoch ?? 0,
      primary: replicas[0] ?? '?',
      replicas,
    };
  }

  /** Operations not answered yet end with an error whose outcome says what is known. */
  close(): void {
    this.router.close();
    this.views.close();
  }

  /** Those in which keys of this key space are. */
  private async buckets(): Promise<BucketId[]> {
    const view = await this.views.current();
    const first = bucketOf(this.keyOf(''), view);
    const { bucketCount } = view.parameters;
    const start = first - (first % bucketCount);
    return Array.from({ length: bucketCount }, (_, at) => start + at);
  }

  private async scanBucket(bucket: BucketId, prefix: Key): Promise<ExportedRecord[]> {
    const records: ExportedRecord[] = [];
    let after = this.keyOf('');
    for (;;) {
      const operation = this.operation(OperationKind.Scan, after, null, { bucket });
      const result = await this.ask(operation, asItIs);
      for (const { key, value, version } of result.records) {
        // In key order: beyond are those of other namespaces.
        if (!key.startsWith(this.keyOf('')) || isNamed(key) !== (this.space !== null)) {
          return records;
        }
        if (!key.startsWith(prefix)) continue;
        const name = Buffer.from(plainKey(key), 'latin1');
        records.push({ key: name, value, version, server: this.at(result) });
      }
      if (!result.more) return records;
      after = result.records.at(-1)?.key ?? after;
    }
  }

  private async namespaceOf(name: string): Promise<Namespace> {
    const find = async (): Promise<Namespace | undefined> => {
      const { namespaces } = await this.views.current();
      const all = Array.from(namespaces.values());
      return all.find((namespace) => namespace.name === name && !namespace.deleted);
    };
    // Made a moment ago, maybe: then the next view has it.
    let found = await find();
    if (found === undefined && (await this.views.changes(NAMESPACE_MS))) found = await find();
    if (found !== undefined) return found;
    throw KvsError.ofCode(Code.Invalid, `there is no namespace ${name}`);
  }

  private operation(
    kind: OperationKind,
    key: Key,
    value: Uint8Array | null,
    options: WriteOptions & OperationParts,
  ): Operation {
    const reads = isRead(kind);
    const [condition, ifVersion] = conditionOf(options);
    return new Operation(
      kind,
      key,
      value,
      condition,
      ifVersion,
      this.id,
      reads ? 0 : this.numbering.next(),
      this.numbering.settledBelow,
      options.writes ?? null,
      options.bucket ?? 0,
      kind === OperationKind.Scan ? SCAN_LIMIT : 0,
      0,
      this.timeoutMs,
      0,
      options.reads ?? null,
      options.context ?? this.spaceContext(),
      options.ttlMs ?? 0,
    );
  }

  /** With keys of a namespace goes what view the client has. */
  private spaceContext(): Context | null {
    if (this.space === null) return null;
    return { ...NO_CONTEXT, epoch: this.views.view?.epoch ?? 0 };
  }

  private keyOf(key: Bytes): Key {
    return keyIn(this.space?.number ?? 0, binary(key));
  }

  /** One promise an operation, and nothing else that waits. Rejects unless the code is Ok. */
  private ask<T>(operation: Operation, read: (result: Result) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.begin(operation, new Completion(this.numbering, operation, read, resolve, reject));
    });
  }

  /** The same for whoever wants to see refusals. */
  private outcome(operation: Operation): Promise<Result> {
    return new Promise((resolve) => {
      const done = (result: Result): void => {
        this.numbering.settle(operation.clientSequence);
        resolve(result);
      };
      this.begin(operation, { done });
    });
  }

  private begin(operation: Operation, outcome: Outcome): void {
    const problem = objection(operation, NO_VIEW);
    if (problem === null) this.router.submit(operation, outcome);
    else outcome.done(refusal(problem.code, problem.detail, null));
  }

  private readonly toValue = (result: Result): Value | null => {
    if (!result.found) return null;
    const { value, version, epoch, bucket } = result;
    return { value: value ?? new Uint8Array(0), version, epoch, bucket, server: this.at(result) };
  };

  private readonly toWritten = (result: Result): Written => {
    const { previous, version, epoch, bucket } = result;
    return { previous, version, epoch, bucket, server: this.at(result) };
  };

  private readonly toDeleted = (result: Result): Deleted => {
    return { deleted: result.found, ...this.toWritten(result) };
  };

  /** Address of the server that answered. */
  private at({ server }: Result): string {
    return this.views.view?.members.get(server)?.address ?? `server ${server}`;
  }

  private transactionId(operation: Operation): string {
    const id = Buffer.from(operation.client, 'latin1').toString('hex');
    return `${id}-${operation.clientSequence}`;
  }
}

/** The promise of one operation. */
class Completion<T> implements Outcome {
  constructor(
    private readonly numbering: Numbering,
    private readonly operation: Operation,
    private readonly read: (result: Result) => T,
    private readonly resolve: (value: T) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  done(result: Result): void {
    this.numbering.settle(this.operation.clientSequence);
    if (result.code === Code.Ok) this.resolve(this.read(result));
    else this.reject(KvsError.ofCode(result.code, result.detail));
  }
}

const NOTHING = {};

function asItIs(result: Result): Result {
  return result;
}

/** Connect: resolves when a view is known, rejects with a `KvsError` when none is in time. */
export async function connect(options: ClientOptions): Promise<KvsClient> {
  const timeoutMs = Math.min(options.timeoutMs ?? 5000, LIMITS.timeoutMs);
  const views = new ViewSource(options.leader ?? '', options.server ?? '', timeoutMs);
  try {
    await views.current();
  } catch (error) {
    views.close();
    throw error;
  }
  return new KvsClient(views, new Router(views, views.doors), timeoutMs);
}

function throwUnlessOk(result: Result): void {
  if (result.code !== Code.Ok) throw KvsError.ofCode(result.code, result.detail);
}

function conditionOf(options: WriteOptions): [ConditionKind, Version] {
  if (options.ifAbsent === true) return [ConditionKind.IfAbsent, 0];
  if (options.ifVersion === undefined) return [ConditionKind.None, 0];
  return [ConditionKind.IfVersion, options.ifVersion];
}

function conditionalWrite(write: SetrWrite, key: Key): ConditionalWrite {
  const [condition, ifVersion] = conditionOf(write);
  if (write.delete !== true && write.value === undefined) {
    throw KvsError.ofCode(Code.Invalid, 'a write of the setr has neither a value nor delete');
  }
  const value = write.delete === true ? null : bytes(write.value ?? '');
  return { key, value, condition, ifVersion };
}

/** Bytes as a binary string; a string is taken as UTF-8. */
function binary(key: Bytes): Key {
  if (typeof key === 'string' && isAscii(key)) return key;
  return Buffer.from(key).toString('latin1');
}

/** Most keys are: their UTF-8 is themselves. */
function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    if (text.charCodeAt(index) > 0x7f) return false;
  }
  return true;
}

function bytes(value: Bytes): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value) : value;
}
