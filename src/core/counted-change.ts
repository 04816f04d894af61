import type { Draft } from './draft.js';
import type { Ordinal } from './ids.js';
import type { Heartbeat, Reconfigure, TransferCount } from './message.js';
import { ChangePhase, learnersOf, NO_CHANGE, onlyMoves, type ViewChange } from './view.js';

/** Records handed over by one server, and to it, since this process counts. */
export interface HandedOver {
  recordsSent: number;
  bytesSent: number;
  recordsTaken: number;
}

/**
 * The counted view change (V4). A plan *primes* the servers: each counts what it will send to each
 * other server, its row of the message vectors. Their sums *start* the change, and nothing that is
 * only to be moved leaves before. Each hand-over says what its donor sent and what its receiver
 * holds, which must be equal. *Done* comes when nothing is missing and the counts match.
 *
 * All this is in the view: whoever of the cluster crashes, the change goes on from there.
 */
export class CountedChange {
  private readonly handedOver = new Map<Ordinal, HandedOver>();

  constructor(private readonly draft: Draft) {}

  get runs(): boolean {
    const { phase } = this.draft.change;
    return phase === ChangePhase.Prime || phase === ChangePhase.Move;
  }

  /** What `server` has sent and taken in this change, as far as this process saw it. */
  of(server: Ordinal): HandedOver {
    let sum = this.handedOver.get(server);
    if (sum === undefined) {
      sum = { recordsSent: 0, bytesSent: 0, recordsTaken: 0 };
      this.handedOver.set(server, sum);
    }
    return sum;
  }

  /** There is a new plan. A change that runs takes it in. */
  plan(): void {
    this.extend(ChangePhase.Prime, false);
  }

  /** The rows have their former targets again: what has moved goes back, counted as well. */
  cancel(): void {
    const { change } = this.draft;
    if (!this.runs) return;
    const cancelled = { ...change, cancelled: true, replicasPlanned: change.replicasMoved };
    this.draft.setChange(cancelled);
    this.extend(ChangePhase.Prime, true);
  }

  /** Replicas are missing, which no plan moves: servers that come back catch up. */
  repair(): void {
    if (!this.runs) this.extend(ChangePhase.Move, false);
    else if (this.missing() > this.draft.change.replicasPlanned - this.draft.change.replicasMoved) {
      this.extend(this.draft.change.phase, this.draft.change.cancelled);
    }
  }

  /** Start, once every primary with something to send has counted under the newest plan. */
  start(reports: ReadonlyMap<Ordinal, Heartbeat>): void {
    const { draft } = this;
    const { change } = draft;
    if (change.phase !== ChangePhase.Prime || this.uncounted(reports).size > 0) return;
    const counts = Array.from(reports.values()).flatMap(({ transfers }) => transfers);
    const sum = (of: (count: TransferCount) => number): number =>
      counts.reduce((all, count) => all + of(count), 0);
    const recordsExpected = change.recordsSent + sum(({ recordsPlanned }) => recordsPlanned);
    const bytesExpected = change.bytesSent + sum(({ bytesPlanned }) => bytesPlanned);
    draft.setChange({ ...change, phase: ChangePhase.Move, recordsExpected, bytesExpected });
    draft.because(`view change ${change.number} starts: ${recordsExpected} records`);
  }

  /** Whose count is missing. */
  uncounted(reports: ReadonlyMap<Ordinal, Heartbeat>): Set<Ordinal> {
    const { draft } = this;
    const { planned } = draft.change;
    const missing = new Set<Ordinal>();
    for (const [, row] of draft.rows()) {
      const [primary] = row.replicas;
      if (primary === undefined || !draft.isUp(primary)) continue;
      if (!onlyMoves(row) || learnersOf(row).length === 0) continue;
      if ((reports.get(primary)?.epoch ?? 0) < planned) missing.add(primary);
    }
    return missing;
  }

  /** A learner was admitted. Both ends have counted the same (V4). */
  moved(donor: Ordinal, request: Reconfigure, dueMs: number): void {
    const { draft } = this;
    if (!this.runs) this.extend(ChangePhase.Move, false);
    const { change } = draft;
    const { admit, recordsSent, recordsTaken, bytesSent } = request;
    draft.setChange(
      {
        ...change,
        replicasMoved: change.replicasMoved + 1,
        recordsSent: change.recordsSent + recordsSent,
        recordsTaken: change.recordsTaken + recordsTaken,
        bytesSent: change.bytesSent + bytesSent,
      },
      dueMs,
    );
    this.of(donor).recordsSent += recordsSent;
    this.of(donor).bytesSent += bytesSent;
    this.of(admit).recordsTaken += recordsTaken;
  }

  /** Nothing is missing any more: the change is done, and the tables before it are forgotten. */
  finish(): void {
    const { draft } = this;
    const { change } = draft;
    const { recordsSent, recordsTaken } = change;
    if (this.missing() > 0 || recordsSent !== recordsTaken) return;
    for (const [bucket, row] of draft.rows()) {
      if (row.before.length > 0) draft.setRow(bucket, row, { ...row, sets: false, before: [] }, '');
    }
    if (!this.runs) return;
    draft.setChange({ ...change, phase: ChangePhase.Done });
    const what = change.cancelled ? 'is taken back' : 'is done';
    draft.because(`view change ${change.number} ${what}: ${recordsSent} records`);
  }

  /** Replicas that are wanted and not there. */
  missing(): number {
    return this.draft.rows().reduce((sum, [, row]) => sum + learnersOf(row).length, 0);
  }

  private extend(phase: ChangePhase, cancelled: boolean): void {
    const { draft, runs } = this;
    const missing = this.missing();
    if (missing === 0) return;
    if (!runs) this.handedOver.clear();
    const before: ViewChange = runs ? draft.change : { ...NO_CHANGE, number: draft.nextEpoch };
    draft.setChange({
      ...before,
      planned: phase === ChangePhase.Prime ? draft.nextEpoch : before.planned,
      phase,
      cancelled,
      replicasPlanned: before.replicasMoved + missing,
      replicasLeast: before.replicasMoved + this.leastMoves(),
    });
  }

  /** The fewest replicas that any plan with these counts per server has to move. */
  private leastMoves(): number {
    const lacking = new Map<Ordinal, number>();
    const count = (ordinals: readonly Ordinal[], by: number): void => {
      for (const ordinal of ordinals) lacking.set(ordinal, (lacking.get(ordinal) ?? 0) + by);
    };
    for (const [, row] of this.draft.rows()) {
      count(row.target, 1);
      count(row.replicas, -1);
    }
    return Array.from(lacking.values()).reduce((sum, lack) => sum + Math.max(0, lack), 0);
  }
}
