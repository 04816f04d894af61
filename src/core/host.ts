import type { Bucket } from './bucket.js';
import type { Primary } from './primary.js';
import type { BucketId, Ordinal, Sequence } from './ids.js';
import type { Lease } from './lease.js';
import type { PeerMessage } from './message.js';
import type { Operation, Result } from './operation.js';
import type { Completion, Outbox, StateStore } from './outbox.js';
import type { Code } from './refusal.js';
import type { BucketRow, View } from './view.js';

/** Timings of a server machine that are not part of the view. Milliseconds. */
export interface ServerSettings {
  readonly heartbeatIntervalMs: number;
  /** Unacknowledged messages are sent again after this long. */
  readonly resendMs: number;
  /**
   * A causal write leaves for the other replicas at once, but batches of them not more often: they
   * are not to be woken for each. See docs/decisions/0019.
   */
  readonly gossipPaceMs: number;
  /** An intent older than this makes its participant ask for the decision. */
  readonly intentAgeMs: number;
  /** Snapshots one server sends at a time. */
  readonly transfersAtOnce: number;
  /** Bytes of records in one snapshot chunk; of what is moved it depends on the rate. */
  readonly chunkBytes: number;
  /** One bucket is compared between its replicas every so often. */
  readonly digestEveryMs: number;
  /** Operations that may wait on one server (U3). */
  readonly parkedAtOnce: number;
}

export const DEFAULT_SERVER_SETTINGS: ServerSettings = {
  heartbeatIntervalMs: 250,
  resendMs: 200,
  gossipPaceMs: 10,
  intentAgeMs: 500,
  transfersAtOnce: 8,
  chunkBytes: 64 * 1024,
  digestEveryMs: 10_000,
  parkedAtOnce: 100_000,
};

/** What the roles of one bucket may use of the server machine around them. */
export interface Host {
  readonly self: Ordinal;
  readonly settings: ServerSettings;
  readonly store: StateStore;
  readonly lease: Lease;
  readonly view: View;
  /** Monotonic ms of the step being taken. */
  readonly now: number;
  /** The same, in ms of the wall clock as it was when the process began: it never steps. */
  readonly wallMs: number;
  /** Effects of the step being taken. */
  readonly outbox: Outbox;
  /** Send to a server, this one included. */
  send(to: Ordinal, message: PeerMessage): void;
  /** Send to the primary of a bucket as this server's view has it. */
  sendToPrimary(bucket: BucketId, message: PeerMessage): void;
  /** Keep an operation until `resubmit`, or refuse it with `code` when its time is over. */
  park(request: number, operation: Operation, bucket: BucketId, code: Code, why: string): void;
  /** Try the parked operations of a bucket again. */
  resubmit(bucket: BucketId): void;
  /** Route an operation as if it had just arrived. */
  route(request: number, operation: Operation): void;
  /** Route an operation that may have taken effect already, or may still. */
  reroute(request: number, operation: Operation): void;
  answer(request: number, result: Result): void;
  /** Records of the bucket are damaged here: another replica may serve the operation soon. */
  onDamaged(request: number, operation: Operation, bucket: BucketId): void;
  /** A digest entry was applied. */
  onDigestEntry(bucket: Bucket, sequence: Sequence): void;
  refuse(request: number, bucket: BucketId, code: Code, detail: string): void;
  /** Hand an operation of a bucket with that row to another server. */
  forward(to: Ordinal, request: number, operation: Operation, row: BucketRow): void;
  /** Whether the causal half of the bucket is on the learner; if not, it is hastened. */
  causalReady(bucket: BucketId, learner: Ordinal): boolean;
  /** Send beacons at the next tick, due or not. */
  hastenBeacons(): void;
  /** Call the bucket's primary role at the end of this batch of inputs. */
  markDirty(primary: Primary): void;
  /** A token for asynchronous work; `done` gets its completion. */
  expect(done: (completion: Completion) => void): number;
  /** Let a server that is behind have this server's view, within reason. */
  shareView(to: Ordinal): void;
  /** Bytes that may go to learners now; negative when the rate is used up. */
  transferBudget(): number;
  /** Bytes of one chunk of what is only to be moved. */
  transferChunk(): number;
  /** Take bytes of the budget before they are read; what was too much is given back. */
  charge(bytes: number): void;
  /** A permit among the concurrent transfers, or false. */
  beginTransfer(): boolean;
  endTransfer(): void;
}
