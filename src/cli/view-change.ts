import type { GetStatusResponse, ViewChangeStatus } from '../wire/gen/kvs/v1/leader.js';
import { Exit } from './exit-code.js';
import { count, plural, size } from './output.js';
import { Progress } from './progress.js';
import type { Session } from './session.js';

const LOOK_EVERY_MS = 200;
/** Columns of a full bar. */
const BAR = 20;

export function changeFields(change: ViewChangeStatus): Record<string, unknown> {
  return {
    phase: change.phase,
    replicas_planned: change.replicasPlanned,
    replicas_moved: change.replicasMoved,
    records_planned: change.recordsPlanned,
    records_moved: change.recordsMoved,
    bytes_moved: change.bytesMoved,
    replicas_least: change.replicasLeast,
    seconds: change.elapsedMs / 1000,
    from_epoch: change.number,
    cancelled: change.cancelled,
    bytes_planned: change.bytesPlanned,
    eta: change.secondsLeft < 0 ? null : change.secondsLeft,
    waits_for: change.waitsFor,
    paused: change.paused,
    rate_bytes: change.rateBytes,
  };
}

/** How far a view change is, for people. */
export function changeLine(change: ViewChangeStatus): string {
  if (change.phase === 'idle') return change.paused ? 'none; rebalancing is paused' : 'none';
  const { replicasPlanned, replicasMoved, recordsPlanned, recordsMoved } = change;
  const share = replicasMoved / Math.max(1, replicasPlanned);
  const { phase, cancelled, secondsLeft, waitsFor } = change;
  const replicas = `${count(replicasMoved)} of ${plural(replicasPlanned, 'replica')}`;
  return [
    `${cancelled ? 'going back' : phase} ${bar(share)} ${replicas} (${Math.floor(share * 100)} %)`,
    `, ${count(recordsMoved)} of ${plural(recordsPlanned, 'record')}, ${size(change.bytesMoved)}`,
    `, ${(change.elapsedMs / 1000).toFixed(1)} s`,
    secondsLeft < 0 ? '' : `, ${secondsLeft.toFixed(0)} s left`,
    waitsFor === '' ? '' : `; waits: ${waitsFor}`,
  ].join('');
}

/** A share of 1 as a bar. */
export function bar(share: number): string {
  return '█'.repeat(Math.round(share * BAR)).padEnd(BAR, '·');
}

/** Shows what `look` says of the status until that is null, or Ctrl-C. */
export async function follow(
  session: Session,
  label: string,
  look: (answer: GetStatusResponse) => string | null,
): Promise<void> {
  const { surroundings, target } = session;
  const progress = new Progress(surroundings.stderr, label);
  for (;;) {
    const text = look(await surroundings.status(target));
    if (text === null) break;
    progress.update(() => text);
    if (surroundings.interrupted.aborted) {
      session.exitCode = Exit.Interrupted;
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  progress.end();
}
