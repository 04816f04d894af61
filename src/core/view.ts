import type { BucketId, Epoch, Ordinal } from './ids.js';
import type { Namespace } from './namespace.js';

/** The numbers are those of `MemberState` on the wire. */
export const MemberState = { Up: 1, Down: 2, Replaced: 3 } as const;
export type MemberState = (typeof MemberState)[keyof typeof MemberState];

export interface Member {
  readonly ordinal: Ordinal;
  /** The UUID in the server's data directory (V7). */
  readonly id: string;
  readonly address: string;
  readonly zone: string;
  readonly weight: number;
  readonly state: MemberState;
  readonly incarnation: number;
  /** It is to hold nothing; it serves until others do. */
  readonly drained: boolean;
  /** With the policy `shards`: to which it belongs, from 1 on; 0: none. */
  readonly shard: number;
  /** The epoch at which it was given up for good, with all that only it has; 0: it was not. */
  readonly givenUp: Epoch;
}

/** Who holds one bucket, and who should. Immutable; a change makes a new row. */
export interface BucketRow {
  /** The epoch at which `replicas` last changed. */
  readonly epoch: Epoch;
  /** In-sync replicas, primary first. Never empty once the cluster is founded (D6). */
  readonly replicas: readonly Ordinal[];
  /** What the placement policy wants, primary first. Members not in `replicas` are learners. */
  readonly target: readonly Ordinal[];
  /** In-sync replicas a write needs (D2). */
  readonly floor: number;
  /** What was held of the bucket before this epoch is void: its loss was accepted (D6). */
  readonly founded: Epoch;
  /** The target before the running view change gave it another one; else empty. */
  readonly before: readonly Ordinal[];
}

/** The numbers are those of `ViewChangePhase` on the wire. */
export const ChangePhase = { None: 0, Prime: 1, Move: 2, Done: 3 } as const;
export type ChangePhase = (typeof ChangePhase)[keyof typeof ChangePhase];

/**
 * The running view change, or the last one: a part of the view, so that its counts outlive the view
 * leader's process (V4). Counts are of what has been handed over.
 */
export interface ViewChange {
  /** The epoch that began it. */
  readonly number: Epoch;
  /** The epoch of the newest plan in it. */
  readonly planned: Epoch;
  /** prime: the servers count what they will send · move: they send · done: all counts match */
  readonly phase: ChangePhase;
  /** It goes back to the table before it. */
  readonly cancelled: boolean;
  readonly replicasPlanned: number;
  readonly replicasMoved: number;
  /** The fewest that any plan with the same loads could move. */
  readonly replicasLeast: number;
  /** The sums of the message vectors when it started. */
  readonly recordsExpected: number;
  readonly bytesExpected: number;
  /** Counted by those who sent, and by those who took. */
  readonly recordsSent: number;
  readonly recordsTaken: number;
  readonly bytesSent: number;
  /** Wall clock of the view leader, ms; for people. */
  readonly beganAtMs: number;
  /** 0 while it runs. */
  readonly endedAtMs: number;
}

/** Of a cluster in which nothing was ever moved. */
export const NO_CHANGE: ViewChange = {
  number: 0,
  planned: 0,
  phase: ChangePhase.None,
  cancelled: false,
  replicasPlanned: 0,
  replicasMoved: 0,
  replicasLeast: 0,
  recordsExpected: 0,
  bytesExpected: 0,
  recordsSent: 0,
  recordsTaken: 0,
  bytesSent: 0,
  beganAtMs: 0,
  endedAtMs: 0,
};

export interface ViewParameters {
  readonly bucketCount: number;
  readonly replicaCount: number;
  readonly minInSync: number;
  readonly policy: string;
  /** Of the policy `shards`; else 0. */
  readonly shardCount: number;
  /** How servers are spread over shards: `even` or `seeded`. */
  readonly shardSpread: string;
  /** See `lease.ts`. `graceMs` exceeds `leaseMs` by the clock drift bound. */
  readonly leaseMs: number;
  readonly graceMs: number;
  /** Bytes per second one server may send to learners; 0 is unlimited. */
  readonly rebalanceRateBytes: number;
  /** An operator set the rate: the view leader's setting does not replace it. */
  readonly rateSteered: boolean;
  /** Nothing is copied that is only to be moved; what was lost is rebuilt. */
  readonly rebalancePaused: boolean;
}

/** Everything that must be agreed, at one epoch. Immutable. */
export interface View {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly parameters: ViewParameters;
  readonly members: ReadonlyMap<Ordinal, Member>;
  /** One row per bucket; empty until the cluster is founded. */
  readonly rows: readonly BucketRow[];
  readonly change: ViewChange;
  /** By number, without the one that has no name. */
  readonly namespaces: ReadonlyMap<number, Namespace>;
  /** Why this epoch was made, for people. */
  readonly reason: string;
  /** Wall clock of the view leader, ms; for people. */
  readonly atMs: number;
}

/** Before the first view: an epoch that every real one exceeds. */
export const NO_VIEW: View = {
  clusterId: '',
  epoch: 0,
  parameters: {
    bucketCount: 0,
    replicaCount: 0,
    minInSync: 0,
    policy: '',
    shardCount: 0,
    shardSpread: 'even',
    leaseMs: 0,
    graceMs: 0,
    rebalanceRateBytes: 0,
    rateSteered: false,
    rebalancePaused: false,
  },
  members: new Map(),
  rows: [],
  change: NO_CHANGE,
  namespaces: new Map(),
  reason: '',
  atMs: 0,
};

/** What changed between two epochs. */
export interface ViewDelta {
  readonly clusterId: string;
  readonly fromEpoch: Epoch;
  readonly toEpoch: Epoch;
  readonly parameters: ViewParameters | null;
  readonly members: readonly Member[];
  readonly rows: ReadonlyMap<BucketId, BucketRow>;
  readonly change: ViewChange | null;
  /** All of them; null: as before. */
  readonly namespaces: ReadonlyMap<number, Namespace> | null;
  readonly reason: string;
  readonly atMs: number;
}

/** The view after `delta`, or null when the delta does not start at this view. */
export function applyDelta(view: View, delta: ViewDelta): View | null {
  if (delta.clusterId !== view.clusterId || delta.fromEpoch !== view.epoch) return null;
  const members = new Map(view.members);
  for (const member of delta.members) members.set(member.ordinal, member);
  const rows = view.rows.slice();
  for (const [bucket, row] of delta.rows) rows[bucket] = row;
  return {
    clusterId: view.clusterId,
    epoch: delta.toEpoch,
    parameters: delta.parameters ?? view.parameters,
    members,
    rows,
    change: delta.change ?? view.change,
    namespaces: delta.namespaces ?? view.namespaces,
    reason: delta.reason,
    atMs: delta.atMs,
  };
}

/** The primary of a bucket, or undefined before the cluster is founded. */
export function primaryOf(view: View, bucket: BucketId): Ordinal | undefined {
  return view.rows[bucket]?.replicas[0];
}

/** Nobody waits for it any more, and it is not heard any more. */
export function isGivenUp(view: View, server: Ordinal): boolean {
  return (view.members.get(server)?.givenUp ?? 0) > 0;
}

export function isUp(view: View, server: Ordinal): boolean {
  return view.members.get(server)?.state === MemberState.Up;
}

/** The bucket has all its replicas, and is only to be moved. */
export function onlyMoves(row: BucketRow): boolean {
  return row.replicas.length >= row.target.length;
}

/** Learners of a row: targets that are not replicas yet. */
export function learnersOf(row: BucketRow): Ordinal[] {
  return row.target.filter((ordinal) => !row.replicas.includes(ordinal));
}

/** Servers that may get buckets. */
export function candidates(members: readonly Member[]): Member[] {
  return members.filter(({ state, drained }) => state !== MemberState.Replaced && !drained);
}
