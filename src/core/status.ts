import type { Epoch, Ordinal } from './ids.js';
import type { Heartbeat } from './message.js';
import type { Progress } from './progress.js';
import { replicasWanted } from './policies.js';
import { learnersOf, type Member, MemberState, type View } from './view.js';

export interface MemberStatus {
  readonly member: Member;
  readonly buckets: number;
  readonly primaries: number;
  readonly records: number;
  readonly bytes: number;
  readonly primaryRecords: number;
  readonly silentMs: number;
  /** Records of the running view change: to send to others and to get from them, and how many. */
  readonly recordsToSend: number;
  readonly recordsSent: number;
  readonly bytesSent: number;
  readonly recordsToGet: number;
  readonly recordsGot: number;
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
  /** Why nothing moves although something should; '' when that is not so. */
  readonly waitsFor: string;
  readonly paused: boolean;
  /** Bytes per second one server may send; 0 is unlimited. */
  readonly rateBytes: number;
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
  /** Why nothing can be placed; '' when it can. */
  readonly lacks: string;
  /** A plan is due: joins are being gathered. */
  readonly waiting: boolean;
  readonly reports: ReadonlyMap<Ordinal, Heartbeat>;
  readonly progress: Progress;
  readonly silentMs: (ordinal: Ordinal) => number;
}

export function statusOf(view: View, inputs: StatusInputs): LeaderStatus {
  const { parameters } = view;
  const { replicaCount, bucketCount } = parameters;
  const members = memberStatuses(view, inputs);
  const up = (ordinal: Ordinal): boolean => view.members.get(ordinal)?.state === MemberState.Up;
  const wanted = (target: readonly Ordinal[]): number => replicasWanted(parameters, target);
  const records = members.reduce((sum, { primaryRecords }) => sum + primaryRecords, 0);
  const short = view.rows.filter(({ replicas, target }) => replicas.length < wanted(target));
  const lost = view.rows.filter(({ replicas }) => !replicas.some(up));
  const below = view.rows.filter(({ replicas, floor }) => replicas.length < floor);
  const { brake } = inputs;
  const warnings = [
    brake,
    inputs.lacks,
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
      ...work(ordinal, reports),
    };
  });
}

/** A server's row and column of the message vectors. */
function work(
  server: Ordinal,
  reports: StatusInputs['reports'],
): Pick<
  MemberStatus,
  'recordsToSend' | 'recordsSent' | 'bytesSent' | 'recordsToGet' | 'recordsGot'
> {
  const sum = { recordsToSend: 0, recordsSent: 0, bytesSent: 0, recordsToGet: 0, recordsGot: 0 };
  for (const [from, { transfers }] of reports) {
    for (const { to, recordsPlanned, recordsSent, bytesSent } of transfers) {
      if (from === server) {
        sum.recordsToSend += recordsPlanned;
        sum.recordsSent += recordsSent;
        sum.bytesSent += bytesSent;
      }
      if (to !== server) continue;
      sum.recordsToGet += recordsPlanned;
      sum.recordsGot += recordsSent;
    }
  }
  return sum;
}

/** Why nothing moves. */
function waitsFor(view: View, { brake, waiting }: StatusInputs): string {
  const learning = view.rows.filter((row) => learnersOf(row).length > 0);
  if (brake !== '') return brake;
  if (learning.length === 0) return waiting ? 'joins are gathered' : '';
  const moves = learning.filter(({ replicas, target }) => replicas.length >= target.length);
  if (view.parameters.rebalancePaused && moves.length > 0) {
    return `rebalancing is paused: ${moves.length} buckets stay where they are`;
  }
  const isDown = (server: Ordinal): boolean => view.members.get(server)?.state !== MemberState.Up;
  const down = new Set(learning.flatMap((row) => learnersOf(row).filter(isDown)));
  if (down.size > 0) return `server ${Array.from(down).join(', ')} is down`;
  return '';
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
    waitsFor: waitsFor(view, inputs),
    paused: view.parameters.rebalancePaused,
    rateBytes: view.parameters.rebalanceRateBytes,
  };
}
