import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { ClassicLevel } from 'classic-level';

import type { Namespace } from '../core/namespace.js';
import type {
  BucketRow,
  Member,
  View,
  ViewChange,
  ViewDelta,
  ViewParameters,
} from '../core/view.js';
import { EpochMark } from './epoch-mark.js';
import type { ViewStore } from './port.js';

const FORMAT = 5;
const HEAD = 'head';
/** In the directory of the store, which leaves files that it does not know alone. */
const MARK = 'EPOCH';

interface Head {
  readonly format: number;
  readonly clusterId: string;
  readonly epoch: number;
  readonly parameters: ViewParameters;
  readonly buckets: number;
  readonly change: ViewChange;
  readonly namespaces: readonly Namespace[];
  readonly reason: string;
  readonly atMs: number;
}

export class ViewStoreError extends Error {
  readonly exitCode = 1;
  readonly hint: string;

  constructor(
    readonly code: 'IN_USE' | 'DAMAGED' | 'NO_ACCESS',
    message: string,
    hint: string,
    cause?: unknown,
  ) {
    super(message, { cause });
    this.hint = hint;
  }
}

/**
 * The view in an embedded store: one row for each bucket and member, and a head with the epoch. A
 * new epoch is one atomic, flushed batch of what changed, so a crash leaves the old epoch or the
 * new one. Every row carries a checksum (D7).
 */
export class LocalViewStore implements ViewStore {
  private constructor(
    private readonly path: string,
    private readonly database: ClassicLevel<string, Buffer>,
    private readonly mark: EpochMark,
  ) {}

  static async open(path: string): Promise<LocalViewStore> {
    const options = { keyEncoding: 'utf8', valueEncoding: 'buffer' } as const;
    const database = new ClassicLevel<string, Buffer>(path, options);
    try {
      await database.open();
    } catch (error) {
      throw openError(path, error);
    }
    try {
      return new LocalViewStore(path, database, await EpochMark.open(join(path, MARK)));
    } catch (error) {
      await database.close();
      throw openError(path, { cause: error });
    }
  }

  async load(): Promise<View | null> {
    const members: Member[] = [];
    const rows: BucketRow[] = [];
    let head: Head | null = null;
    for await (const [key, value] of this.database.iterator()) {
      const row = this.checked(key, value);
      if (key === HEAD) head = row as Head;
      else if (key.startsWith('m')) members.push(row as Member);
      else rows[Number.parseInt(key.slice(1), 36)] = row as BucketRow;
    }
    const epochs = head?.epoch ?? 0;
    if (epochs < this.mark.epoch) {
      throw this.damaged(`it ends at epoch ${epochs}, but ${this.mark.epoch} was in use`);
    }
    if (head === null) {
      if (members.length + rows.length > 0) throw this.damaged('the head row is missing');
      return null;
    }
    if (head.format !== FORMAT) throw this.damaged(`its format is ${head.format}, not ${FORMAT}`);
    for (let bucket = 0; bucket < head.buckets; bucket += 1) {
      if (rows[bucket] === undefined) throw this.damaged(`the row of bucket ${bucket} is missing`);
    }
    const { clusterId, epoch, parameters, change, reason, atMs } = head;
    const namespaces = new Map(head.namespaces.map((one) => [one.number, one]));
    const said = { change, namespaces, reason, atMs };
    const byOrdinal = new Map(members.map((member) => [member.ordinal, member]));
    return { clusterId, epoch, parameters, members: byOrdinal, rows, ...said };
  }

  async append(delta: ViewDelta, view: View): Promise<void> {
    const { clusterId, epoch, parameters, change, reason, atMs } = view;
    const buckets = view.rows.length;
    const namespaces = Array.from(view.namespaces.values());
    const said = { change, namespaces, reason, atMs };
    const head: Head = { format: FORMAT, clusterId, epoch, parameters, buckets, ...said };
    const puts = [
      put(HEAD, head),
      ...delta.members.map((member) => put(`m${member.ordinal.toString(36)}`, member)),
      ...Array.from(delta.rows, ([bucket, row]) => put(`r${bucket.toString(36)}`, row)),
    ];
    await this.database.batch(puts, { sync: true });
    await this.mark.raise(epoch);
  }

  async close(): Promise<void> {
    await this.mark.close();
    await this.database.close();
  }

  private checked(key: string, value: Buffer): unknown {
    const body = value.subarray(4);
    if (value.length < 4 || value.readUInt32LE(0) !== crc32(body)) {
      throw this.damaged(`row ${key} fails its checksum`);
    }
    return JSON.parse(body.toString());
  }

  private damaged(what: string): ViewStoreError {
    return new ViewStoreError(
      'DAMAGED',
      `the view in ${this.path} is damaged: ${what}; nothing was changed`,
      'restore the directory from a copy; an empty one would found another cluster',
    );
  }
}

function put(key: string, row: unknown): { type: 'put'; key: string; value: Buffer } {
  const body = Buffer.from(JSON.stringify(row));
  const value = Buffer.allocUnsafe(4 + body.length);
  value.writeUInt32LE(crc32(body), 0);
  body.copy(value, 4);
  return { type: 'put', key, value };
}

function openError(path: string, error: unknown): ViewStoreError {
  // By its shape: it comes from native code, which has an Error of its own.
  const { cause } = error as { cause?: { code?: string; message?: string } };
  const code = cause?.code ?? '';
  if (code === 'LEVEL_LOCKED') {
    const hint = 'stop it, or name another --data-dir';
    return new ViewStoreError('IN_USE', `${path} is in use by another process`, hint, error);
  }
  const why = cause?.message ?? String(error);
  if (/ermission|not a directory|No such|exists/i.test(why)) {
    const hint = 'name a directory that this user may write with --data-dir';
    return new ViewStoreError('NO_ACCESS', `cannot open ${path}: ${why}`, hint, error);
  }
  const hint = 'restore the directory from a copy; an empty one would found another cluster';
  return new ViewStoreError('DAMAGED', `cannot open ${path}: ${why}`, hint, error);
}
