import type { CausalMessage } from './causal-message.js';
import type { CausalRecord } from './causal-record.js';
import type { Entry } from './entry.js';
import type { Ballot, BucketId, ClientId, Epoch, Ordinal, Sequence, Version } from './ids.js';
import type { ConditionalWrite, StoredRecord } from './operation.js';
import type { Code } from './refusal.js';
import type { View, ViewDelta } from './view.js';

/** Server to server: entries of one bucket, in order, after (`previousSequence`, its ballot). */
export class Prepare {
  readonly type = 'prepare';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    readonly previousSequence: Sequence,
    readonly previousBallot: Ballot,
    readonly commitPoint: Sequence,
    /** The sender's log ends with these entries: cut what follows them. */
    readonly settle: boolean,
    readonly entries: readonly Entry[],
  ) {}
}

/** Every entry up to `upTo` is durable at the sender and equal to the primary's. */
export class PrepareAck {
  readonly type = 'prepareAck';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    readonly upTo: Sequence,
    /** How far the sender has applied the log. */
    readonly commitPoint: Sequence,
  ) {}
}

export const RefusedBecause = { Stale: 1, Behind: 2, Gap: 3 } as const;
export type RefusedBecause = (typeof RefusedBecause)[keyof typeof RefusedBecause];

/**
 * Stale: the sender's ballot is old. Behind: the refuser's view is. Gap: entries are missing after
 * `have`, up to which the logs are equal.
 */
export class PrepareRefused {
  readonly type = 'prepareRefused';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    readonly bucketEpoch: Epoch,
    readonly have: Sequence,
    readonly reason: RefusedBecause,
  ) {}
}

/** From a primary to each of its secondaries: may I go on answering alone? See `lease.ts`. */
export class Beacon {
  readonly type = 'beacon';
  constructor(
    readonly epoch: Epoch,
    /** Sender's monotonic clock, ms. */
    readonly sentMs: number,
  ) {}
}

export class BeaconAnswer {
  readonly type = 'beaconAnswer';
  constructor(
    readonly epoch: Epoch,
    readonly sentMs: number,
  ) {}
}

/** Primary to learner: what do you hold? */
export class LearnProbe {
  readonly type = 'learnProbe';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
  ) {}
}

export class LearnState {
  readonly type = 'learnState';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    readonly commitPoint: Sequence,
    readonly commitBallot: Ballot,
    /** Number under which the learner will take one snapshot, should it need one. */
    readonly transfer: number,
    /** Records that it took by a snapshot in the running view change. */
    readonly taken: number,
  ) {}
}

export interface DedupResult {
  readonly version: Version;
  readonly previous: Version;
  readonly found: boolean;
  /** False for an aborted setr. */
  readonly committed: boolean;
  readonly participants: number;
}

/** One client's row of the deduplication table, as it is stored and sent. */
export interface DedupRow {
  readonly client: ClientId;
  /** Requests below this number are settled. */
  readonly floor: number;
  readonly atMs: number;
  readonly results: readonly (readonly [clientSequence: number, result: DedupResult])[];
}

/** What the causal half of a bucket knows beside its records. */
export interface CausalMeta {
  readonly known: readonly (readonly [Ordinal, number])[];
  readonly former: readonly Ordinal[];
  /** Writes that the store did not have yet. */
  readonly unsafe: readonly CausalRecord[];
  /** Of the last causal write that the server had taken, in any bucket, and its clock. */
  readonly number: number;
  readonly clock: number;
}

/** What a bucket knows beside its records: the rest of a checkpoint or snapshot. */
export interface BucketMeta {
  /** Last applied entry. */
  readonly sequence: Sequence;
  readonly ballot: Ballot;
  readonly version: Version;
  /** The bucket's clock at the commit point. */
  readonly clockMs: number;
  /** The transfer that the replica came from; 0: it began empty. Not sent. */
  readonly life: number;
  readonly dedup: readonly DedupRow[];
  readonly intents: readonly Entry[];
  readonly decisions: readonly Entry[];
  /** Of a causal half, which has nothing else; else null. */
  readonly causal: CausalMeta | null;
}

export class SnapshotChunk {
  readonly type = 'snapshotChunk';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    /** As the learner offered it in its `LearnState`. */
    readonly transfer: number,
    readonly index: number,
    readonly last: boolean,
    readonly records: readonly StoredRecord[],
    /** On chunk 0 only. */
    readonly meta: BucketMeta | null,
    /** Records of this chunk and of those before it: what the learner must hold then (V4). */
    readonly total: number,
  ) {}
}

export class SnapshotAck {
  readonly type = 'snapshotAck';
  constructor(
    readonly bucket: BucketId,
    readonly ballot: Ballot,
    readonly transfer: number,
    readonly index: number,
    /** Of the last chunk: how many records the learner holds; it has installed them if all. */
    readonly taken: number,
  ) {}
}

/** To the primary: what the sender's records digest to at that entry. */
export class DigestReport {
  readonly type = 'digestReport';
  constructor(
    readonly bucket: BucketId,
    readonly sequence: Sequence,
    readonly digest: string,
  ) {}
}

/** Identity of a transaction: the client and its request number. */
export interface TransactionId {
  readonly client: ClientId;
  readonly clientSequence: number;
}

/** Coordinator to a participant's primary: can you commit these writes? */
export class VoteRequest {
  readonly type = 'voteRequest';
  constructor(
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly settledBelow: number,
    readonly coordinatorBucket: BucketId,
    readonly bucket: BucketId,
    readonly participants: readonly BucketId[],
    readonly writes: readonly ConditionalWrite[],
  ) {}
}

export class Vote {
  readonly type = 'vote';
  constructor(
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly coordinatorBucket: BucketId,
    readonly bucket: BucketId,
    readonly yes: boolean,
    /** Of a yes: the least version the commit may have. */
    readonly version: Version,
    /** Of a no. */
    readonly code: Code,
    readonly detail: string,
  ) {}
}

export class Decide {
  readonly type = 'decide';
  constructor(
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly coordinatorBucket: BucketId,
    readonly bucket: BucketId,
    readonly commit: boolean,
    readonly version: Version,
  ) {}
}

export class DecideAck {
  readonly type = 'decideAck';
  constructor(
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly coordinatorBucket: BucketId,
    readonly bucket: BucketId,
  ) {}
}

/** A participant with an unresolved intent asks the coordinator's bucket. */
export class DecisionQuery {
  readonly type = 'decisionQuery';
  constructor(
    readonly client: ClientId,
    readonly clientSequence: number,
    readonly coordinatorBucket: BucketId,
    readonly bucket: BucketId,
    readonly participants: readonly BucketId[],
  ) {}
}

/** A view, whole or as a delta; from the view leader, or from a peer that is ahead. */
export class ViewUpdate {
  readonly type = 'viewUpdate';
  constructor(
    readonly view: View | null,
    readonly delta: ViewDelta | null,
  ) {}
}

export type PeerMessage =
  | Prepare
  | PrepareAck
  | PrepareRefused
  | Beacon
  | BeaconAnswer
  | LearnProbe
  | LearnState
  | SnapshotChunk
  | SnapshotAck
  | VoteRequest
  | Vote
  | Decide
  | DecideAck
  | DecisionQuery
  | DigestReport
  | CausalMessage
  | ViewUpdate;

/**
 * One element of the message vector: of the buckets that are not handed over yet, what this server
 * has to send to another one in all, and what it has sent.
 */
export interface TransferCount {
  readonly to: Ordinal;
  readonly recordsPlanned: number;
  readonly recordsSent: number;
  readonly bytesPlanned: number;
  readonly bytesSent: number;
}

/** How large a bucket is, as its primary counts. */
export interface BucketCount {
  readonly bucket: BucketId;
  readonly records: number;
  /** Of keys and values. */
  readonly bytes: number;
}

/** A replica that held other records than its primary at the entry with that sequence. */
export interface Difference {
  readonly bucket: BucketId;
  readonly sequence: Sequence;
  readonly server: Ordinal;
}

/** Server to view leader, every heartbeat interval. */
export class Heartbeat {
  readonly type = 'heartbeat';
  constructor(
    readonly ordinal: Ordinal,
    readonly incarnation: number,
    /** The newest epoch held durably. */
    readonly epoch: Epoch,
    readonly records: number,
    readonly bytes: number,
    readonly primaryRecords: number,
    readonly transfers: readonly TransferCount[],
    /** The server is about to stop: take it out of the write path now. */
    readonly leaving: boolean,
    /** Servers that this one replicates with and has not heard for some time. */
    readonly unheard: readonly Ordinal[],
    /** Buckets of which records failed their checksum here (D7). */
    readonly damaged: readonly BucketId[],
    /** Of buckets whose primary the server is. */
    readonly differences: readonly Difference[],
    /** Of the same buckets; empty in most heartbeats. */
    readonly census: readonly BucketCount[],
  ) {}
}

/** In place of a server: the proposal admits nobody, it only asks for a new bucket epoch. */
export const NOBODY: Ordinal = 0;

/** Primary to view leader: compare-and-set on the bucket's epoch; `admit` has caught up. */
export class Reconfigure {
  readonly type = 'reconfigure';
  constructor(
    readonly bucket: BucketId,
    readonly bucketEpoch: Epoch,
    readonly admit: Ordinal,
    /** As this server counted, and as the learner did. */
    readonly recordsSent: number,
    readonly recordsTaken: number,
    readonly bytesSent: number,
  ) {}
}

export type LeaderMessage = Heartbeat | Reconfigure;
