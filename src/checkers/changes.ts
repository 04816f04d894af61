import { ChangePhase, type View } from '../core/view.js';
import type { Violation } from './history.js';

/** V4: at rest every view change is done, its counts match, and every replica is there. */
export function checkChanges({ change, rows }: View): Violation[] {
  const found: Violation[] = [];
  const report = (what: string): void => void found.push({ promise: 'V4', what, keys: [] });
  const { number, phase, recordsSent, recordsTaken } = change;
  if (phase === ChangePhase.Prime || phase === ChangePhase.Move) {
    report(`view change ${number} does not end: ${JSON.stringify(change)}`);
  }
  if (recordsSent !== recordsTaken) {
    report(`view change ${number}: ${recordsSent} records sent, ${recordsTaken} taken`);
  }
  for (const [bucket, { replicas, target, before }] of rows.entries()) {
    const lacks = target.filter((server) => !replicas.includes(server));
    if (lacks.length > 0) report(`bucket ${bucket} should be on servers ${lacks.join(', ')}, too`);
    const ended = phase !== ChangePhase.Prime && phase !== ChangePhase.Move;
    if (ended && before.length > 0) report(`bucket ${bucket} keeps the table before a change`);
  }
  return found;
}
