import type { CausalRecord, Stamp } from './causal-record.js';
import type { BucketId, Epoch, Key, Ordinal } from './ids.js';
import type { Vector } from './vector.js';

/**
 * Gossip: what the sender took for the bucket with numbers above `since`, up to `upTo`. Where its
 * write was superseded by one of another server, that one is here in its place.
 */
export class CausalPush {
  readonly type = 'causalPush';
  constructor(
    readonly bucket: BucketId,
    readonly since: number,
    readonly upTo: number,
    /** The sender holds the bucket no more: it takes no other writes for it. */
    readonly leaving: boolean,
    readonly records: readonly CausalRecord[],
    /** The sender's pushes are numbered in the order in which they leave. */
    readonly push: number,
  ) {}
}

/** What the sender knows durably of the bucket. */
export class CausalAck {
  readonly type = 'causalAck';
  constructor(
    readonly bucket: BucketId,
    readonly known: Vector,
    /** Of the sender's view, and of its row. */
    readonly epoch: Epoch,
    readonly bucketEpoch: Epoch,
    /** Servers that left, and may still have something for the sender. */
    readonly former: readonly Ordinal[],
    /** The receiver is to say what it knows. */
    readonly asks: boolean,
    /** The push that this answers; 0: it was said unasked. */
    readonly push: number,
  ) {}
}

/**
 * All that the sender took up to `upTo` is known to the receiver, in every bucket that they shared
 * in the view with that epoch: spares a message for each bucket. It counts as soon as the receiver
 * knows what was still on its way, of each of these buckets up to that number.
 */
export class CausalMark {
  readonly type = 'causalMark';
  constructor(
    readonly epoch: Epoch,
    readonly upTo: number,
    readonly underWay: ReadonlyMap<BucketId, number>,
  ) {}
}

/** To one that is behind by more than the sender remembers: compare with me. */
export class CausalBehind {
  readonly type = 'causalBehind';
  constructor(readonly bucket: BucketId) {}
}

/** Anti-entropy, 1: a digest of each leaf of the sender's records of the bucket. */
export class CausalDigest {
  readonly type = 'causalDigest';
  constructor(
    readonly bucket: BucketId,
    readonly round: number,
    readonly leaves: readonly number[],
  ) {}
}

/** The stamp of a key. */
export interface KeyStamp extends Stamp {
  readonly key: Key;
}

/** 2: what the sender holds in the leaves that differ, and what it knows. */
export class CausalStamps {
  readonly type = 'causalStamps';
  constructor(
    readonly bucket: BucketId,
    readonly round: number,
    readonly known: Vector,
    /** The sender's: what it knows may have been deleted, and the tombstone dropped. */
    readonly clock: number,
    readonly former: readonly Ordinal[],
    readonly leaves: readonly number[],
    readonly stamps: readonly KeyStamp[],
  ) {}
}

/** 3: keys that the sender wants, and what it has that the other lacks. */
export class CausalPull {
  readonly type = 'causalPull';
  constructor(
    readonly bucket: BucketId,
    readonly round: number,
    readonly part: number,
    readonly wanted: readonly Key[],
    readonly records: readonly CausalRecord[],
    /** What the sender knew at 1; on the last part only. */
    readonly known: Vector | null,
    readonly clock: number,
    /** What the receiver holds, and the sender saw and dropped: it was deleted. */
    readonly gone: readonly KeyStamp[],
  ) {}
}

/** 4: the wanted records, durable here and there when the next part is asked for. */
export class CausalRecords {
  readonly type = 'causalRecords';
  constructor(
    readonly bucket: BucketId,
    readonly round: number,
    readonly part: number,
    /** So many of the wanted keys were looked up: the message is not to grow too large. */
    readonly keys: number,
    readonly records: readonly CausalRecord[],
  ) {}
}

export type CausalMessage =
  | CausalPush
  | CausalAck
  | CausalMark
  | CausalBehind
  | CausalDigest
  | CausalStamps
  | CausalPull
  | CausalRecords;

const KINDS: ReadonlySet<string> = new Set<CausalMessage['type']>([
  'causalPush',
  'causalAck',
  'causalMark',
  'causalBehind',
  'causalDigest',
  'causalStamps',
  'causalPull',
  'causalRecords',
]);

export function isCausal(message: { readonly type: string }): message is CausalMessage {
  return KINDS.has(message.type);
}
