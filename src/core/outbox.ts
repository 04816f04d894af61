import type { CausalChange } from './causal-bucket.js';
import type { Entry } from './entry.js';
import type { BucketId, Key, Ordinal, Sequence } from './ids.js';
import type { BucketMeta, LeaderMessage, PeerMessage } from './message.js';
import type { Operation, Result, StoredRecord } from './operation.js';
import type { View, ViewDelta } from './view.js';

/**
 * One record of a server's log. Everything durable goes through this one log, in this order:
 * - entry: an entry of a bucket was logged; it replaces any logged tail from its sequence on
 * - cut: entries of the bucket after `sequence` are void
 * - installed: the records of the bucket in the state store are those of a snapshot with `meta`;
 *   what the log said about the bucket before is void
 * - dropped: the bucket is not held here any more
 * - causal: what the causal half of the bucket has become
 * - view, viewDelta: this view is to be adopted
 */
export type LogRecord =
  | {
      readonly type: 'entry';
      readonly bucket: BucketId;
      readonly entry: Entry;
      /** What was known to be committed when it was logged. */
      readonly commitPoint: Sequence;
    }
  | { readonly type: 'cut'; readonly bucket: BucketId; readonly sequence: Sequence }
  | { readonly type: 'installed'; readonly bucket: BucketId; readonly meta: BucketMeta }
  | { readonly type: 'dropped'; readonly bucket: BucketId }
  | { readonly type: 'causal'; readonly bucket: BucketId; readonly change: CausalChange }
  | { readonly type: 'view'; readonly view: View }
  /** Follows the view that was logged, or was in the checkpoint, before it. */
  | { readonly type: 'viewDelta'; readonly delta: ViewDelta };

/** Something is wrong with what is stored; people must hear of it (D7). */
export interface Alarm {
  /**
   * damaged: a record failed its checksum · mending: the bucket was forgotten, and is copied again
   * from another replica · differs: two replicas hold other records
   */
  readonly kind: 'damaged' | 'mending' | 'differs';
  readonly bucket: BucketId;
  readonly server: Ordinal;
  /** Where in the bucket's log the replicas were compared; otherwise 0. */
  readonly sequence: Sequence;
  readonly detail: string;
}

/** Thrown by a state store that finds a record of the bucket damaged (D7). */
export class DamagedBucket extends Error {
  override readonly name = 'DamagedBucket';
  constructor(
    readonly bucket: BucketId,
    message: string,
  ) {
    super(message);
  }
}

/** Told to the machine when work it asked for has been done. */
export type Completion =
  /** Answer to `scan`: records in key order after the given key. */
  | {
      readonly type: 'scanned';
      readonly token: number;
      readonly records: readonly StoredRecord[];
      readonly more: boolean;
    }
  /** Answer to `ingest`: the records are durable in the state store. */
  | { readonly type: 'ingested'; readonly token: number }
  /** Answer to `readLog`: committed entries from the asked sequence on; null when they are gone. */
  | {
      readonly type: 'logRead';
      readonly token: number;
      readonly entries: readonly Entry[] | null;
    }
  /** Answer to `digest`: the same for the same records. */
  | { readonly type: 'digested'; readonly token: number; readonly digest: string }
  /** Instead of any other answer: a record failed its checksum. */
  | {
      readonly type: 'damaged';
      readonly token: number;
      readonly bucket: BucketId;
      readonly why: string;
    };

/**
 * Where a server machine puts its effects. The driver carries them out in this order: `send`,
 * `answer` and `toLeader` at once; `persist` in one durable group; `sendAfter` when that group and
 * all before it are durable (a crash before that must not have promised anything).
 */
export interface Outbox {
  send(to: Ordinal, message: PeerMessage): void;
  persist(record: LogRecord): void;
  /** Leaves when everything persisted so far is durable. `to` may be the machine itself. */
  sendAfter(to: Ordinal, message: PeerMessage | SelfMessage): void;
  toLeader(message: LeaderMessage): void;
  answer(request: number, result: Result): void;
  /**
   * Send the operation to another server, and give its result to `onForwarded`; when that is lost,
   * the operation to `submitAgain`. A request below 0 is the machine's own.
   */
  forward(to: Ordinal, request: number, operation: Operation): void;
  /** Read up to `limitRecords` / `limitBytes` of a bucket after `after`, from the state store. */
  scan(token: number, bucket: BucketId, after: Key, limitRecords: number, limitBytes: number): void;
  /** Write snapshot records durably; `first` empties the bucket before. Quickest in key order. */
  ingest(token: number, bucket: BucketId, records: readonly StoredRecord[], first: boolean): void;
  /** Read committed entries of a bucket from the log. */
  readLog(token: number, bucket: BucketId, from: Sequence, limitBytes: number): void;
  /** Read all records of a bucket, as they are at the call, and digest keys, versions, values. */
  digest(token: number, bucket: BucketId): void;
  alarm(alarm: Alarm): void;
  /** End a batch of inputs after so many ms, also if there are none. */
  flushIn(ms: number): void;
}

/** Messages a machine sends to itself to learn that what it persisted is durable. */
export type SelfMessage =
  | { readonly type: 'adopt'; readonly view: View }
  | { readonly type: 'gaveUp'; readonly bucket: BucketId }
  | { readonly type: 'beat' }
  | { readonly type: 'causalDurable'; readonly number: number }
  | { readonly type: 'causalDropped'; readonly bucket: BucketId }
  | {
      readonly type: 'logged';
      readonly bucket: BucketId;
      readonly ballot: number;
      readonly upTo: Sequence;
    };

/**
 * The committed records of all buckets held here. Reads are synchronous. Writes may lag on the
 * disk: the log replays them after a crash (design: the log is the database).
 */
export interface StateStore {
  /** Throws DamagedBucket. */
  get(bucket: BucketId, key: Key): StoredRecord | undefined;
  put(bucket: BucketId, record: StoredRecord): void;
  remove(bucket: BucketId, key: Key): void;
  /** Forget every record of the bucket. */
  clear(bucket: BucketId): void;
  /** Records held and their size (key and value bytes), exact at every moment. */
  counts(bucket: BucketId): RecordCounts;
}

export interface RecordCounts {
  readonly records: number;
  readonly bytes: number;
}
