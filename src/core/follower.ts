import type { Ballot, Ordinal, Sequence } from './ids.js';
import type { BucketMeta, SnapshotChunk } from './message.js';

/**
 * What the primary knows of one server it replicates to, in the manner of Raft's progress (etcd-io
 * raft, tracker): `match` is proven equal and durable there, `next` is what to send.
 */
export class Follower {
  /**
   * replicate: gets every new entry · probe: asked what it holds · log: entries are read back from
   * the log · snapshot: chunks are under way
   */
  mode: 'replicate' | 'probe' | 'log' | 'snapshot' = 'replicate';
  match: Sequence = 0;
  next: Sequence;
  /** Ballot of entry `next - 1` where that is committed and no longer in memory. */
  previousBallot: Ballot = 0;
  /** Commits wait for it: a secondary, or a learner from before it is proposed for admission. */
  counted: boolean;
  /** Log end when a learner began to count; it is in sync once it has matched this. */
  countedFrom: Sequence = 0;
  /** The commit point last told; -1 when nothing was told under this ballot yet. */
  toldCommit: Sequence = -1;
  /** How far it says that it has applied the log. */
  applied: Sequence = 0;
  sentMs = -Infinity;
  proposedMs = -Infinity;
  /** When a gap was last answered by sending again. */
  rewoundMs = -Infinity;
  resendMs: number;
  /** Holds one of the server's transfer permits: from the probe until it gets every new entry. */
  permit = false;
  /** Probes since it last answered one. */
  probes = 0;
  /** A log read is outstanding. */
  reading = false;
  /** The number under which the learner offered to take a snapshot. */
  snapshotUnder = 0;
  transfer: Transfer | null = null;
  /** What was sent to it in this catch-up, as this end counts, and as the other does (V4). */
  recordsSent = 0;
  recordsTaken = 0;
  bytesSent = 0;

  /** A catch-up begins anew. */
  resetCounts(): void {
    this.recordsSent = 0;
    this.recordsTaken = 0;
    this.bytesSent = 0;
  }

  constructor(
    readonly ordinal: Ordinal,
    readonly learner: boolean,
    commitPoint: Sequence,
    resendMs: number,
  ) {
    this.next = commitPoint + 1;
    this.counted = !learner;
    this.resendMs = resendMs;
    if (learner) this.mode = 'probe';
  }
}

/** A snapshot being sent: the chunk not yet acknowledged, and where to go on. */
export interface Transfer {
  readonly transfer: number;
  /** Log entries after this one complete the snapshot. */
  readonly base: Sequence;
  readonly baseBallot: Ballot;
  /** State at the base, until the first chunk carries it. */
  meta: BucketMeta | null;
  chunk: SnapshotChunk | null;
  index: number;
  after: string;
  attempts: number;
  /** Held back by the rate limit. */
  waiting: boolean;
}
