/** Small number the view leader gives to a server; never reused within a cluster. */
export type Ordinal = number;
/** Index of a bucket, `0 … bucketCount - 1`. */
export type BucketId = number;
/** Number of a view. Only grows (V1). */
export type Epoch = number;
/** Position in one bucket's log; the first entry has 1. */
export type Sequence = number;
/** Commit order stamp of a value, as users see it. Grows within a bucket. */
export type Version = number;
/** A key as a binary string: one character (0–255) per byte, so that it can be a map key. */
export type Key = string;
/** A client's 16 random bytes as a binary string. */
export type ClientId = string;

/**
 * The right to order a bucket's log: the bucket epoch, then the incarnation of its primary, in one
 * comparable number. A restarted primary outranks its former self without asking anyone.
 */
export type Ballot = number;

const INCARNATIONS = 2 ** 20;

/** The largest incarnation a ballot has room for. */
export const MAX_INCARNATION = INCARNATIONS - 1;

export function makeBallot(epoch: Epoch, incarnation: number): Ballot {
  return epoch * INCARNATIONS + incarnation;
}

export function ballotEpoch(ballot: Ballot): Epoch {
  return Math.floor(ballot / INCARNATIONS);
}
