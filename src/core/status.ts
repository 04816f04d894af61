import type { Epoch, Ordinal } from './ids.js';
import type { Heartbeat } from './message.js';
import type { Progress } from './progress.js';
import { learnersOf, type Member, MemberState, type View } from './view.js';

export interface MemberStatus {
  readonly member: Member;
  readonly buckets: number;
  readonly primaries: number;
  readonly records: number;
  readonly bytes: number;
  readonly primaryRecords: number;
  readonly silentMs: number;
}

export interface ViewChangeStatus {
  readonly phase: 'idle' | 'waiting' | 'moving';
  readonly replicasPlanned: number;
  readonly replicasMoved: number;
  readonly recordsPlanned: number;
  readonly recordsMoved: number;
  readonly bytesMoved: number;
  readonly replicasLeast: number;
  readonly elapsedMs: number;
  readonly fromEpoch: Epoch;
}

/** What the view leader tells an operator. */
export interface LeaderStatus {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly reason: string;
  readonly members: readonly MemberStatus[];
  readonly bucketCount: number;
  readonly replicaCount: number;
  readonly records: number;
  readonly underReplicated: number;
  readonly unavailable: number;
  readonly viewChange: ViewChangeStatus;
  readonly brake: string;
  readonly warnings: readonly string[];
}

export interface StatusInputs {
  readonly now: number;
  readonly brake: string;
  /** A plan is due: joins are being gathered. */
  readonly waiting: boolean;
  readonly reports: ReadonlyMap<Ordinal, Heartbeat>;
  readonly progress: Progress;
  readonly silentMs: (ordinal: Ordinal) => number;
}

export function statusOf(view: View, inputs: StatusInputs): LeaderStatus {
  const { replicaCount, bucketCount } = view.parameters;
  const members = memberStatuses(view, inputs);
  const up = (ordinal: Ordinal): boolean => view.members.get(ordinal)?.state === MemberState.Up;
  const wanted = (target: readonly Ordinal[]): number => Math.min(replicaCount, target.length);
  const records = members.reduce((sum, { primaryRecords }) => sum + primaryRecords, 0);
  const short = view.rows.filter(({ replicas, target }) => replicas.length < wanted(target));
  const lost = view.rows.filter(({ replicas }) => !replicas.some(up));
  const below = view.rows.filter(({ replicas, floor }) => replicas.length < floor);
  const { brake } = inputs;
  const warnings = [
    brake,
    lost.length > 0 ? `${lost.length} buckets have no live replica: start their servers` : '',
    below.length > 0 ? `${below.length} buckets take no writes: too few in-sync replicas` : '',
    view.rows.some(({ floor }) => floor < view.parameters.minInSync)
      ? 'some buckets take writes with fewer replicas than --min-in-sync: add servers'
      : '',
    ...storageWarnings(view, inputs),
  ].filter((text) => text !== '');
  return {
    clusterId: view.clusterId,
    epoch: view.epoch,
    reason: view.reason,
    members,
    bucketCount,
    replicaCount,
    records,
    underReplicated: short.length,
    unavailable: lost.length,
    viewChange: viewChange(view, inputs),
    brake,
    warnings,
  };
}

/** What the servers found when they checked what they store (D7). */
function storageWarnings(view: View, { reports }: StatusInputs): string[] {
  return Array.from(reports).flatMap(([server, { damaged, differences }]) => [
    ...damaged.map((bucket) => {
      const where = `records of bucket ${bucket} on server ${server} are damaged`;
      const alone = (view.rows[bucket]?.replicas.length ?? 0) < 2;
      return `${where}: ${alone ? 'it has the only in-sync copy' : 'it copies the bucket again'}`;
    }),
    ...differences.map(({ bucket, sequence, server: other }) => {
      const who = `server ${other} and its primary, server ${server}`;
      return `bucket ${bucket}: ${who}, hold other records at log entry ${sequence}`;
    }),
  ]);
}

function memberStatuses(view: View, { reports, silentMs }: StatusInputs): MemberStatus[] {
  return Array.from(view.members.values(), (member) => {
    const { ordinal, state } = member;
    const report = state === MemberState.Up ? reports.get(ordinal) : undefined;
    return {
      member,
      buckets: view.rows.filter(({ replicas }) => replicas.includes(ordinal)).length,
      primaries: view.rows.filter(({ replicas }) => replicas[0] === ordinal).length,
      records: report?.records ?? 0,
      bytes: report?.bytes ?? 0,
      primaryRecords: report?.primaryRecords ?? 0,
      silentMs: Math.round(silentMs(ordinal)),
    };
  });
}

function viewChange(view: View, inputs: StatusInputs): ViewChangeStatus {
  const { progress, reports, now, waiting } = inputs;
  const missing = view.rows.some((row) => learnersOf(row).length > 0);
  // The sum of the servers' message vectors: what they still have to send.
  let left = 0;
  for (const { transfers } of reports.values()) {
    for (const { recordsPlanned, recordsSent } of transfers) {
      left += Math.max(0, recordsPlanned - recordsSent);
    }
  }
  return {
    phase: missing ? 'moving' : waiting ? 'waiting' : 'idle',
    replicasPlanned: progress.planned,
    replicasMoved: progress.placed,
    recordsPlanned: progress.records + (missing ? left : 0),
    recordsMoved: progress.records,
    bytesMoved: progress.bytes,
    replicasLeast: progress.least,
    elapsedMs: progress.elapsedMs(now),
    fromEpoch: progress.fromEpoch,
  };
}
