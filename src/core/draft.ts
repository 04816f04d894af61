import type { BucketId, Epoch, Ordinal } from './ids.js';
import type { Namespace } from './namespace.js';
import {
  applyDelta,
  type BucketRow,
  ChangePhase,
  type Member,
  MemberState,
  type View,
  type ViewChange,
  type ViewDelta,
  type ViewParameters,
} from './view.js';
import type { RowChange } from './view-change.js';

/** Reasons that one epoch names; more would not be read. */
const REASONS = 5;

/**
 * The next view while it is being made: the present one and what changed since. Readers see the
 * changes at once; `publish` makes one epoch of them.
 */
export class Draft {
  private readonly changedMembers = new Map<Ordinal, Member>();
  private readonly changedRows = new Map<BucketId, BucketRow>();
  /** Rows whose replica set changed, or must be fenced from what was said before. */
  private readonly newSets = new Set<BucketId>();
  /** Buckets that begin anew. */
  private readonly founded = new Set<BucketId>();
  private newParameters: ViewParameters | null = null;
  private newChange: ViewChange | null = null;
  private newNamespaces: ReadonlyMap<number, Namespace> | null = null;
  private changes = 0;
  private reasons: string[] = [];
  private dueMs = Infinity;

  constructor(private base: View) {}

  /** The newest view that is published, or about to be. */
  get view(): View {
    return this.base;
  }

  get parameters(): ViewParameters {
    return this.newParameters ?? this.base.parameters;
  }

  get change(): ViewChange {
    return this.newChange ?? this.base.change;
  }

  /** The epoch that the draft will have. */
  get nextEpoch(): Epoch {
    return this.base.epoch + 1;
  }

  /** Grows with each change of a member or of a row. */
  get revision(): number {
    return this.changes;
  }

  /** False before the cluster has buckets, those of the draft not counted. */
  get isFounded(): boolean {
    return this.base.rows.length > 0;
  }

  get changesRows(): boolean {
    return this.changedRows.size > 0;
  }

  /** The bucket gets a new epoch with the next view. */
  changesSet(bucket: BucketId): boolean {
    return this.newSets.has(bucket);
  }

  row(bucket: BucketId): BucketRow | undefined {
    return this.changedRows.get(bucket) ?? this.base.rows[bucket];
  }

  rows(): [BucketId, BucketRow][] {
    const { rows } = this.base;
    const all = rows.map((row, bucket): [BucketId, BucketRow] => [bucket, row]);
    // New ones come in the order of their buckets.
    for (const [bucket, row] of this.changedRows) all[bucket] = [bucket, row];
    return all;
  }

  member(ordinal: Ordinal): Member | undefined {
    return this.changedMembers.get(ordinal) ?? this.base.members.get(ordinal);
  }

  members(): Member[] {
    const ordinals = new Set([...this.base.members.keys(), ...this.changedMembers.keys()]);
    return Array.from(ordinals).flatMap((ordinal) => this.member(ordinal) ?? []);
  }

  memberById(id: string): Member | undefined {
    return this.members().find((member) => member.id === id);
  }

  nextOrdinal(): Ordinal {
    return this.members().reduce((most, { ordinal }) => Math.max(most, ordinal), 0) + 1;
  }

  isUp(ordinal: Ordinal): boolean {
    return this.member(ordinal)?.state === MemberState.Up;
  }

  setMember(member: Member, reason: string): void {
    this.changes += 1;
    this.changedMembers.set(member.ordinal, member);
    this.because(reason);
    this.dueMs = -Infinity;
  }

  setParameters(parameters: ViewParameters, reason: string): void {
    this.newParameters = parameters;
    this.because(reason);
    this.dueMs = -Infinity;
  }

  get namespaces(): ReadonlyMap<number, Namespace> {
    return this.newNamespaces ?? this.base.namespaces;
  }

  setNamespaces(namespaces: ReadonlyMap<number, Namespace>, reason: string): void {
    this.newNamespaces = namespaces;
    this.because(reason);
    this.dueMs = -Infinity;
  }

  /** Of the view change; it leaves with the next epoch, and hurries none. */
  setChange(change: ViewChange, dueMs = -Infinity): void {
    this.newChange = change;
    this.dueMs = Math.min(this.dueMs, dueMs);
  }

  /** `dueMs`: the change may wait until then for others to share its epoch; by default not. */
  setRow(
    bucket: BucketId,
    row: Pick<BucketRow, 'epoch' | 'founded' | 'before'>,
    change: RowChange,
    reason: string,
    dueMs = -Infinity,
  ): void {
    const { replicas, target, floor, sets, before = row.before } = change;
    const { epoch, founded } = row;
    this.changes += 1;
    this.changedRows.set(bucket, { epoch, replicas, target, floor, founded, before });
    if (sets) this.newSets.add(bucket);
    if (reason !== '') this.because(reason);
    this.dueMs = Math.min(this.dueMs, dueMs);
  }

  /** What was held of the bucket is void from the next epoch on. */
  foundAnew(bucket: BucketId): void {
    this.founded.add(bucket);
  }

  /** Why this epoch, for people. */
  because(reason: string): void {
    this.reasons.push(reason);
  }

  /** Make the changes the next view, if they are due. */
  publish(now: number, wallMs: number): ViewDelta | null {
    if (now < this.dueMs) return null;
    this.dueMs = Infinity;
    const { clusterId, epoch } = this.base;
    const toEpoch = epoch + 1;
    for (const bucket of this.newSets) {
      const row = this.changedRows.get(bucket);
      if (row === undefined) continue;
      const founded = this.founded.has(bucket) ? toEpoch : row.founded;
      this.changedRows.set(bucket, { ...row, epoch: toEpoch, founded });
    }
    const delta: ViewDelta = {
      clusterId,
      fromEpoch: epoch,
      toEpoch,
      parameters: this.newParameters,
      members: Array.from(this.changedMembers.values()),
      rows: new Map(this.changedRows),
      change: this.newChange === null ? null : dated(this.newChange, wallMs),
      namespaces: this.newNamespaces,
      reason: summary(this.reasons),
      atMs: wallMs,
    };
    const next = applyDelta(this.base, delta);
    if (next === null) throw new Error('bug: a delta does not follow its own view');
    this.base = next;
    this.changedMembers.clear();
    this.changedRows.clear();
    this.newSets.clear();
    this.founded.clear();
    this.newParameters = null;
    this.newChange = null;
    this.newNamespaces = null;
    this.reasons = [];
    return delta;
  }
}

/** With the time of its beginning, and of its end if it has ended. */
function dated(change: ViewChange, atMs: number): ViewChange {
  const { phase, beganAtMs, endedAtMs } = change;
  const began = beganAtMs === 0 ? atMs : beganAtMs;
  const ended = phase === ChangePhase.Done && endedAtMs === 0 ? atMs : endedAtMs;
  return { ...change, beganAtMs: began, endedAtMs: ended };
}

function summary(reasons: readonly string[]): string {
  const counted = new Map<string, number>();
  for (const reason of reasons) counted.set(reason, (counted.get(reason) ?? 0) + 1);
  return Array.from(counted, ([reason, times]) => (times > 1 ? `${reason} (${times})` : reason))
    .slice(0, REASONS)
    .join('; ');
}
