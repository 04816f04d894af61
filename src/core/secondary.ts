import type { Bucket } from './bucket.js';
import { EntryKind } from './entry.js';
import type { Host } from './host.js';
import type { Ordinal, Sequence } from './ids.js';
import { type Prepare, PrepareAck, PrepareRefused, RefusedBecause } from './message.js';

/**
 * A replica that follows: log in order, durably, then acknowledge; apply up to the commit point
 * (PacificA §2.3; the check of the previous entry is Raft's, §5.3, so that a resent or reordered
 * message can never leave a hole or an entry of another history).
 *
 * The caller has checked the sender and the ballot against the view.
 */
export function onPrepare(bucket: Bucket, from: Ordinal, message: Prepare, host: Host): void {
  if (message.ballot > bucket.promised) {
    bucket.promised = message.ballot;
    bucket.matched = bucket.commitPoint;
  }
  if (!follows(bucket, message)) {
    refuse(from, message, bucket.matched, RefusedBecause.Gap, host);
    return;
  }
  const end = message.previousSequence + message.entries.length;
  logEntries(bucket, message, host);
  if (message.settle) settle(bucket, end, message, host);
  if (end > bucket.matched) bucket.matched = end;
  commitUpTo(bucket, Math.min(message.commitPoint, bucket.matched), host);
  // Durable first (D2); duplicates of an unflushed message wait for the same flush.
  const { id, matched, commitPoint } = bucket;
  host.outbox.sendAfter(from, new PrepareAck(id, message.ballot, matched, commitPoint));
}

export function refuse(
  to: Ordinal,
  message: Prepare,
  have: Sequence,
  reason: RefusedBecause,
  host: Host,
): void {
  const { bucket, ballot } = message;
  const bucketEpoch = host.view.rows[bucket]?.epoch ?? 0;
  host.send(to, new PrepareRefused(bucket, ballot, bucketEpoch, have, reason));
}

/** Apply everything up to `sequence`, which is committed. */
export function commitUpTo(bucket: Bucket, sequence: Sequence, host: Host): void {
  while (bucket.commitPoint < sequence) {
    const entry = bucket.commitNext(host.store);
    if (entry.kind === EntryKind.Digest) host.onDigestEntry(bucket, entry.sequence);
  }
}

function follows(bucket: Bucket, message: Prepare): boolean {
  if (message.previousSequence < bucket.commitPoint) return true;
  return bucket.ballotAt(message.previousSequence) === message.previousBallot;
}

function logEntries(bucket: Bucket, message: Prepare, host: Host): void {
  for (const entry of message.entries) {
    if (entry.sequence <= bucket.commitPoint) continue;
    const held = bucket.prepared.get(entry.sequence);
    if (held !== undefined) {
      if (held.ballot === entry.ballot) continue;
      // Another history was never committed: an in-sync primary would have it.
      bucket.cutAfter(entry.sequence - 1);
    }
    bucket.append(entry);
    const { id, commitPoint } = bucket;
    host.outbox.persist({ type: 'entry', bucket: id, entry, commitPoint });
  }
}

/**
 * Cut what a former primary left beyond the end of the new one's log. Entries of this very ballot
 * are newer than the message, which was delayed; they stay.
 */
function settle(bucket: Bucket, end: Sequence, message: Prepare, host: Host): void {
  const next = bucket.prepared.get(end + 1);
  if (next === undefined || next.ballot === message.ballot) return;
  bucket.cutAfter(end);
  host.outbox.persist({ type: 'cut', bucket: bucket.id, sequence: end });
}
