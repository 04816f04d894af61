import type { BucketId, Epoch, Sequence } from '../core/ids.js';
import type { RecordHead } from './record-codec.js';

/** Where the log last replaced or dropped a bucket as a whole. */
interface Replacement {
  readonly position: number;
  /** Of an installed bucket: its meta's sequence. Null when it was dropped. */
  readonly sequence: Sequence | null;
}

interface BucketIndex {
  /** Sequence of `positions[0]`; null when the log says nothing about the bucket. */
  first: Sequence | null;
  positions: number[];
  /** Null once a checkpoint knows of it. */
  replaced: Replacement | null;
  /** Entries up to this one still stand in an older part of the log; null: none does. */
  older: Sequence | null;
}

/** Bucket → sequence → position of the entry that holds it, for the retained log. */
export class LogIndex {
  private readonly buckets = new Map<BucketId, BucketIndex>();
  /** Of the views and deltas that no checkpoint has, in the order of their epochs. */
  private views: { readonly position: number; readonly epoch: Epoch }[] = [];

  /** Takes in the record at `position`; records come in log order. */
  note(head: RecordHead, position: number): void {
    if (head.type === 'view' || head.type === 'viewDelta') {
      if (head.sequence > (this.views.at(-1)?.epoch ?? -1)) {
        this.views.push({ position, epoch: head.sequence });
      }
      return;
    }
    const bucket = this.bucket(head.bucket);
    switch (head.type) {
      case 'entry':
        this.noteEntry(head.bucket, head.sequence, position);
        break;
      case 'cut':
        if (bucket.older !== null && head.sequence < bucket.older) bucket.older = head.sequence;
        if (bucket.first !== null) cutAfter(bucket, head.sequence);
        break;
      case 'installed':
        bucket.first = head.sequence + 1;
        bucket.positions = [];
        bucket.replaced = { position, sequence: head.sequence };
        bucket.older = null;
        break;
      case 'dropped':
        bucket.first = null;
        bucket.positions = [];
        bucket.replaced = { position, sequence: null };
        bucket.older = null;
        break;
    }
  }

  /** The same for an entry, which most records are. */
  noteEntry(id: BucketId, sequence: Sequence, position: number): void {
    const bucket = this.bucket(id);
    voidOlder(bucket, sequence);
    cutFrom(bucket, sequence);
    bucket.positions.push(position);
  }

  /**
   * Positions of the entries from `from` on. Empty when the log ends before it; null when the
   * entries are not retained.
   */
  positionsFrom(bucket: BucketId, from: Sequence): readonly number[] | null {
    const index = this.buckets.get(bucket);
    if (index === undefined || index.first === null || from < index.first) return null;
    return index.positions.slice(from - index.first);
  }

  /** Forgets what stands before `position`, since its segment is gone. */
  forgetBefore(position: number): void {
    for (const index of this.buckets.values()) {
      if (index.first === null) continue;
      const kept = index.positions.findIndex((at) => at >= position);
      const gone = kept === -1 ? index.positions.length : kept;
      if (gone === 0) continue;
      index.positions = index.positions.slice(gone);
      index.first += gone;
      index.older = null;
    }
  }

  /** Takes in what the part of the log before this one's says. Once. */
  adopt(older: LogIndex): void {
    for (const [id, { first, positions }] of older.buckets) {
      const index = this.bucket(id);
      if (index.older === null || first === null) continue;
      const end = Math.min(first + positions.length, index.older + 1);
      if (index.first !== null && index.first !== end) continue;
      index.positions = [...positions.slice(0, Math.max(0, end - first)), ...index.positions];
      index.first = Math.min(first, end);
    }
  }

  /** Buckets that were replaced or dropped as a whole, and the position of the last time. */
  *replacements(): Generator<readonly [BucketId, number]> {
    for (const [bucket, { replaced }] of this.buckets) {
      if (replaced !== null) yield [bucket, replaced.position];
    }
  }

  /** A checkpoint has the bucket as of `sequence`; null: it is not held. */
  settle(bucket: BucketId, sequence: Sequence | null): void {
    const index = this.buckets.get(bucket);
    const replaced = index?.replaced;
    if (index === undefined || replaced === undefined || replaced === null) return;
    const known = replaced.sequence === null || (sequence ?? -1) >= replaced.sequence;
    if (known) index.replaced = null;
  }

  /**
   * Least position that a replay after a crash must start at, when the checkpoint holds each
   * bucket as of `applied` and the view of `epoch`; `limit` when nothing before it is needed.
   * What stands before `from` needs no replay.
   */
  replayFrom(
    limit: number,
    from: number,
    applied: ReadonlyMap<BucketId, Sequence>,
    epoch: Epoch,
  ): number {
    let position = limit;
    const need = (at: number | undefined): void => {
      if (at !== undefined && at >= from && at < position) position = at;
    };
    // A delta needs what it follows: everything from the first one on.
    this.views = this.views.filter((view) => view.epoch > epoch);
    need(this.views[0]?.position);
    for (const [bucket, index] of this.buckets) {
      need(index.replaced?.position);
      if (index.first === null) continue;
      const next = (applied.get(bucket) ?? 0) + 1;
      need(index.positions[Math.max(0, next - index.first)]);
    }
    return position;
  }

  private bucket(id: BucketId): BucketIndex {
    let index = this.buckets.get(id);
    if (index === undefined) {
      index = { first: null, positions: [], replaced: null, older: Infinity };
      this.buckets.set(id, index);
    }
    return index;
  }
}

/** An entry at `sequence` voids what an older part of the log has from there on, or after a gap. */
function voidOlder(index: BucketIndex, sequence: Sequence): void {
  if (index.older === null) return;
  const end = index.first === null ? sequence : index.first + index.positions.length;
  if (sequence > end) index.older = null;
  else if (sequence <= index.older) index.older = sequence - 1;
}

/** Leaves the index ready for an entry at `sequence`: what it had from there on is void. */
function cutFrom(index: BucketIndex, sequence: Sequence): void {
  const end = index.first === null ? -1 : index.first + index.positions.length;
  if (index.first === null || sequence < index.first || sequence > end) {
    index.first = sequence;
    index.positions = [];
    return;
  }
  const kept = sequence - index.first;
  if (kept < index.positions.length) index.positions.length = kept;
}

function cutAfter(index: BucketIndex, sequence: Sequence): void {
  const end = (index.first ?? 0) + index.positions.length;
  if (sequence + 1 < end) cutFrom(index, sequence + 1);
}
