import type { Ballot, BucketId, ClientId, Key, Sequence, Version } from './ids.js';
import { sizeOf } from './operation.js';

/** The numbers are those of `EntryKind` on the wire and on the disk. */
export const EntryKind = {
  Set: 1,
  Delete: 2,
  Intent: 3,
  Resolve: 4,
  Decision: 5,
  Forget: 6,
  /** Changes nothing: every replica digests its records as they are here. */
  Digest: 7,
  /**
   * A decision to commit that carries out what is written in this bucket. One of this bucket alone
   * may also be a refusal.
   */
  Commit: 8,
} as const;

export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** One key's change inside a transaction; `value` null deletes. */
export interface EntryWrite {
  readonly key: Key;
  readonly value: Uint8Array | null;
}

/**
 * What an intent, resolve, decision, forget or commit carries beside its (client, number), which is
 * the transaction's identity.
 */
export interface TransactionBody {
  readonly coordinatorBucket: BucketId;
  /** Buckets that take part; of an intent, a decision and a commit. */
  readonly participants: readonly BucketId[];
  /** Of an intent: what to write if it commits. Of a commit: what it writes in its own bucket. */
  readonly writes: readonly EntryWrite[];
  /** Of a resolve, a decision and a commit. */
  readonly commit: boolean;
  /** Of a decision or a commit that aborts: why, for people. */
  readonly detail: string;
}

/**
 * One entry of a bucket's log. It states effects, never conditions, so that replay needs no
 * judgement. One class with a fixed shape, since every write makes one.
 */
export class Entry {
  constructor(
    readonly kind: EntryKind,
    readonly sequence: Sequence,
    /** The ballot under which the entry was first logged; kept when it is prepared again. */
    readonly ballot: Ballot,
    readonly version: Version,
    /** Of a set and a delete: the version it replaces; 0 when the key was absent. */
    readonly previous: Version,
    /** The bucket's clock (`Bucket.clockMs`); ages the deduplication table, orders nothing. */
    readonly atMs: number,
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly settledBelow: number,
    readonly key: Key,
    readonly value: Uint8Array | null,
    readonly transaction: TransactionBody | null,
  ) {}
}

/** Roughly what an entry weighs in a message: the bytes of its values and keys. */
export function entryBytes({ key, value, transaction }: Entry): number {
  const bytes = key.length + (value?.length ?? 0);
  return transaction === null ? bytes : bytes + sizeOf(transaction.writes);
}

/** What is to be remembered of a commit whose writes are carried out. */
export function withoutWrites(entry: Entry): Entry {
  const { transaction } = entry;
  return new Entry(
    entry.kind,
    entry.sequence,
    entry.ballot,
    entry.version,
    entry.previous,
    entry.atMs,
    entry.client,
    entry.clientSequence,
    entry.settledBelow,
    entry.key,
    entry.value,
    transaction === null ? null : { ...transaction, writes: [] },
  );
}
