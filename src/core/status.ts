import type { CountedChange } from './counted-change.js';
import type { Epoch, Ordinal } from './ids.js';
import type { Heartbeat, TransferCount } from './message.js';
import { poolsOf, replicasWanted } from './pools.js';
import { ChangePhase, learnersOf, type Member, MemberState, onlyMoves, type View } from './view.js';

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
  readonly phase: 'idle' | 'waiting' | 'counting' | 'moving';
  readonly number: Epoch;
  readonly cancelled: boolean;
  readonly replicasPlanned: number;
  readonly replicasMoved: number;
  readonly recordsPlanned: number;
  readonly recordsMoved: number;
  readonly bytesPlanned: number;
  readonly bytesMoved: number;
  readonly replicasLeast: number;
  readonly elapsedMs: number;
  /** At the present rate and speed; 0 when nothing is left, -1 when that cannot be told. */
  readonly secondsLeft: number;
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
  /** Of namespaces with a number of their own: another `bucketCount` buckets for each. */
  readonly poolReplicas: readonly number[];
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
  readonly change: CountedChange;
  readonly wallMs: number;
  readonly silentMs: (ordinal: Ordinal) => number;
}

export function statusOf(view: View, inputs: StatusInputs): LeaderStatus {
  const { parameters } = view;
  const { replicaCount, bucketCount } = parameters;
  const members = memberStatuses(view, inputs);
  const up = (ordinal: Ordinal): boolean => view.members.get(ordinal)?.state === MemberState.Up;
  const records = members.reduce((sum, { primaryRecords }) => sum + primaryRecords, 0);
  const wanted = replicasWanted(view);
  const short = view.rows.filter(
    ({ replicas, target }, bucket) => replicas.length < wanted(bucket, target.length),
  );
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
    poolReplicas: poolsOf(view)
      .slice(1)
      .map((pool) => pool.replicaCount),
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

function memberStatuses(view: View, { reports, silentMs, change }: StatusInputs): MemberStatus[] {
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
      ...work(ordinal, reports, change),
    };
  });
}

/** What a server handed over and took, and its row and column of the message vectors. */
function work(
  server: Ordinal,
  reports: StatusInputs['reports'],
  change: CountedChange,
): Pick<
  MemberStatus,
  'recordsToSend' | 'recordsSent' | 'bytesSent' | 'recordsToGet' | 'recordsGot'
> {
  const handedOver = change.of(server);
  const sum = {
    recordsToSend: handedOver.recordsSent,
    recordsSent: handedOver.recordsSent,
    bytesSent: handedOver.bytesSent,
    recordsToGet: handedOver.recordsTaken,
    recordsGot: handedOver.recordsTaken,
  };
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
function obstacle(view: View, { brake, waiting, change, reports }: StatusInputs): string {
  const learning = view.rows.filter((row) => learnersOf(row).length > 0);
  if (brake !== '') return brake;
  if (learning.length === 0) return waiting ? 'joins are gathered' : '';
  const moves = learning.filter(onlyMoves);
  if (view.parameters.rebalancePaused && moves.length > 0) {
    return `rebalancing is paused: ${moves.length} buckets stay where they are`;
  }
  if (view.change.phase === ChangePhase.Prime) {
    const who = Array.from(change.uncounted(reports));
    if (who.length > 0) return `server ${who.join(', ')} counts what it has to send`;
  }
  const isDown = (server: Ordinal): boolean => view.members.get(server)?.state !== MemberState.Up;
  const down = new Set(learning.flatMap((row) => learnersOf(row).filter(isDown)));
  if (down.size > 0) return `server ${Array.from(down).join(', ')} is down`;
  return '';
}

function viewChange(view: View, inputs: StatusInputs): ViewChangeStatus {
  const { reports, waiting, wallMs } = inputs;
  const { change, parameters } = view;
  const missing = view.rows.some((row) => learnersOf(row).length > 0);
  const vectors = Array.from(reports.values()).flatMap(({ transfers }) => transfers);
  const sum = (of: (count: TransferCount) => number): number =>
    missing ? vectors.reduce((all, count) => all + of(count), 0) : 0;
  const bytesMoved = change.bytesSent + sum(({ bytesSent }) => bytesSent);
  const elapsedMs = Math.max(0, (change.endedAtMs || wallMs) - change.beganAtMs);
  const status = {
    number: change.number,
    cancelled: change.cancelled,
    replicasPlanned: change.replicasPlanned,
    replicasMoved: change.replicasMoved,
    recordsPlanned: change.recordsSent + sum(({ recordsPlanned }) => recordsPlanned),
    recordsMoved: change.recordsSent + sum(({ recordsSent }) => recordsSent),
    bytesPlanned: change.bytesSent + sum(({ bytesPlanned }) => bytesPlanned),
    bytesMoved,
    replicasLeast: change.replicasLeast,
    elapsedMs: change.number === 0 ? 0 : Math.round(elapsedMs),
    waitsFor: obstacle(view, inputs),
    paused: parameters.rebalancePaused,
    rateBytes: parameters.rebalanceRateBytes,
  };
  const counting = change.phase === ChangePhase.Prime;
  const phase = missing ? (counting ? 'counting' : 'moving') : waiting ? 'waiting' : 'idle';
  return { ...status, phase, secondsLeft: missing ? secondsLeft(status) : 0 };
}

/** As fast as it went so far. */
function secondsLeft(status: Omit<ViewChangeStatus, 'phase' | 'secondsLeft'>): number {
  const { replicasPlanned, replicasMoved, bytesPlanned, bytesMoved, elapsedMs, waitsFor } = status;
  if (waitsFor !== '' || elapsedMs === 0) return -1;
  // Small buckets cost their hand-over, large ones their bytes: whichever is further behind.
  const done = Math.min(
    replicasMoved / Math.max(1, replicasPlanned),
    bytesPlanned === 0 ? 1 : bytesMoved / bytesPlanned,
  );
  return done === 0 ? -1 : ((1 - done) * elapsedMs) / done / 1000;
}
