import type { Ordinal } from './ids.js';
import { type BucketRow, learnersOf } from './view.js';

/** A row after a change; `sets` tells that its replica set changed, so its epoch must. */
export interface RowChange {
  readonly replicas: readonly Ordinal[];
  readonly target: readonly Ordinal[];
  readonly floor: number;
  readonly sets: boolean;
  /** Without it, it stays. */
  readonly before?: readonly Ordinal[];
}

type IsUp = (ordinal: Ordinal) => boolean;

/**
 * Take servers that are down out of a replica set. Never the last copies: when all are down, all
 * stay, and the bucket waits for them (D6). A learner that went down also changes the epoch: a
 * proposal to admit it, made before, must not succeed later.
 */
export function withoutDown(row: BucketRow, isUp: IsUp): RowChange | null {
  const up = row.replicas.filter(isUp);
  if (up.length === 0 || up.length === row.replicas.length) return null;
  return { replicas: up, target: row.target, floor: row.floor, sets: true };
}

/**
 * Whether somebody who is up could take a copy in the place of `server`. Where all of them hold its
 * buckets anyhow, its own copies are better than none: it is only waited for.
 */
export function isReplaceable(
  rows: Iterable<Pick<BucketRow, 'target'>>,
  server: Ordinal,
  up: ReadonlySet<Ordinal>,
): boolean {
  let isWanted = false;
  for (const { target } of rows) {
    if (!target.includes(server)) continue;
    isWanted = true;
    if (target.filter((other) => up.has(other)).length < up.size) return true;
  }
  return !isWanted;
}

/** Whether a proposal to admit `server` to this row could be under way. */
export function learns(row: BucketRow, server: Ordinal): boolean {
  return learnersOf(row).includes(server);
}

/** Give a row a new target. What it had before the view change is kept, to go back to. */
export function withTarget(row: BucketRow, target: readonly Ordinal[]): RowChange | null {
  if (equal(row.target, target)) return null;
  const lost = learnersOf(row).some((learner) => !target.includes(learner));
  const before = row.before.length > 0 ? row.before : row.target;
  return { replicas: row.replicas, target, floor: row.floor, sets: lost, before };
}

/**
 * The compare-and-set of a hand-over: `admit` has caught up. Replicas that the target does not
 * name leave in the same change, as far as the set stays as large as the target, and as writes
 * need it (D2).
 */
export function withAdmitted(
  row: BucketRow,
  admit: Ordinal,
  minInSync: number,
  isUp: IsUp,
): RowChange {
  const { target } = row;
  const kept = row.replicas.filter((ordinal) => target.includes(ordinal));
  const extra = row.replicas.filter((ordinal) => !target.includes(ordinal));
  const wanted = target.filter((ordinal) => kept.includes(ordinal) || ordinal === admit);
  const room = Math.max(target.length, row.floor) - wanted.length;
  const present = row.replicas[0];
  // While something is missing, the present primary goes on: it is the one that brings others up.
  const staying = extra
    .toSorted((a, b) => Number(b === present) - Number(a === present))
    .slice(0, Math.max(0, room));
  const members = [...wanted, ...staying];
  const first = members[0] === target[0] && isUp(target[0] ?? 0) ? members[0] : present;
  const primary = first !== undefined && members.includes(first) ? first : members.find(isUp);
  const replicas = headedBy(members, primary);
  const floor = Math.max(row.floor, Math.min(minInSync, replicas.length));
  return { replicas, target, floor, sets: true };
}

/** Once everything is in place: let others go, and let the wanted primary lead. */
export function tidied(row: BucketRow, isUp: IsUp): RowChange | null {
  const { target, replicas } = row;
  const head = target[0];
  if (head === undefined || !target.every((ordinal) => replicas.includes(ordinal))) return null;
  // With fewer, it would take no writes (D2): those that were to leave stay.
  if (target.length < Math.min(row.floor, replicas.length)) return null;
  if (!isUp(head)) return null;
  if (replicas.length === target.length && replicas[0] === head) return null;
  return { replicas: target, target, floor: row.floor, sets: true };
}

function headedBy(members: readonly Ordinal[], primary: Ordinal | undefined): Ordinal[] {
  if (primary === undefined) return [...members];
  return [primary, ...members.filter((ordinal) => ordinal !== primary)];
}

function equal(a: readonly Ordinal[], b: readonly Ordinal[]): boolean {
  return a.length === b.length && a.every((ordinal, index) => ordinal === b[index]);
}
