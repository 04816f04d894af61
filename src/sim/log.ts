import type { Entry } from '../core/entry.js';
import type { BucketId, Epoch, Sequence } from '../core/ids.js';
import type { BucketMeta } from '../core/message.js';
import type { LogRecord } from '../core/outbox.js';
import type { Clock } from './clock.js';
import type { Prng } from '../checkers/prng.js';

/** How long the disk takes. Milliseconds. */
export interface DiskSpeed {
  readonly minFlushMs: number;
  readonly maxFlushMs: number;
  /** Probability that a flush takes a hundred times longer. */
  readonly stall: number;
}

interface Waiter {
  readonly position: number;
  readonly action: () => void;
}

interface Indexed {
  readonly position: number;
  readonly entry: Entry;
}

/**
 * The log of one server: a durable part and a volatile tail. One flush at a time makes durable what
 * was there when it began. A crash keeps all that is durable and any part of the rest, cut off
 * anywhere: the torn record is not part of what a restart reads.
 */
export class SimulatedLog {
  /** Position of `records[0]`; positions count records. */
  private start = 0;
  private records: LogRecord[] = [];
  private durableEnd = 0;
  private waiters: Waiter[] = [];
  private flushing = false;
  /** Flushes begun before a crash do not count after it. */
  private crashes = 0;
  private readonly index = new Map<BucketId, Map<Sequence, Indexed>>();
  private views: { readonly position: number; readonly epoch: Epoch }[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly random: Prng,
    private readonly speed: DiskSpeed,
  ) {}

  get end(): number {
    return this.start + this.records.length;
  }

  append(record: LogRecord): void {
    this.note(record, this.end);
    this.records.push(record);
    this.flush();
  }

  /** Call back when everything appended so far is durable, in the order of the calls. */
  whenDurable(action: () => void): void {
    this.waiters.push({ position: this.end, action });
    this.flush();
  }

  /** Visit the retained records from `position` on. */
  replay(position: number, visit: (position: number, record: LogRecord) => void): void {
    for (let at = position; at < this.end; at++) visit(at, this.records[at - this.start]!);
  }

  /**
   * Durable entries of a bucket from `from` on, at most `limit`; null when they are not retained.
   */
  entriesFrom(bucket: BucketId, from: Sequence, limit: number): Entry[] | null {
    const entries = this.index.get(bucket);
    if (entries === undefined || entries.size === 0) return null;
    const found: Entry[] = [];
    for (let sequence = from; found.length < limit; sequence++) {
      const held = entries.get(sequence);
      if (held === undefined || held.position >= this.durableEnd) break;
      found.push(held.entry);
    }
    const last = Math.max(...entries.keys());
    return found.length === 0 && from <= last && !entries.has(from) ? null : found;
  }

  /** Where a replay onto the state of `metas` and a view of `epoch` must start. */
  replayFrom(metas: ReadonlyMap<BucketId, BucketMeta>, epoch: Epoch): number {
    let first = this.end;
    for (const view of this.views) if (view.epoch > epoch) first = Math.min(first, view.position);
    for (const [bucket, entries] of this.index) {
      const applied = metas.get(bucket)?.sequence ?? 0;
      for (const [sequence, { position }] of entries) {
        if (sequence > applied && position < first) first = position;
      }
    }
    return first;
  }

  /** Give up what precedes `position`. */
  truncateBefore(position: number): void {
    if (position <= this.start) return;
    this.records.splice(0, position - this.start);
    this.views = this.views.filter((view) => view.position >= position);
    this.start = position;
    for (const entries of this.index.values()) {
      for (const [sequence, held] of entries)
        if (held.position < position) entries.delete(sequence);
    }
  }

  /** The process died, or the power failed. `lie` durable records are lost on top. */
  crash(lie = 0): void {
    this.crashes += 1;
    this.flushing = false;
    this.waiters = [];
    const kept = Math.max(this.start, this.random.whole(this.durableEnd, this.end) - lie);
    this.records.length = kept - this.start;
    this.durableEnd = this.end;
    this.index.clear();
    this.views = [];
    this.replay(this.start, (position, record) => this.note(record, position));
  }

  private flush(): void {
    if (this.flushing || (this.durableEnd === this.end && this.waiters.length === 0)) return;
    this.flushing = true;
    const { random, crashes } = this;
    const { minFlushMs, maxFlushMs, stall } = this.speed;
    const end = this.end;
    let delayMs = this.durableEnd === end ? 0 : random.between(minFlushMs, maxFlushMs);
    if (random.chance(stall)) delayMs *= 100;
    this.clock.after(delayMs, () => {
      if (this.crashes !== crashes) return;
      this.flushing = false;
      this.durableEnd = end;
      const ready = this.waiters.filter(({ position }) => position <= end);
      this.waiters = this.waiters.filter(({ position }) => position > end);
      for (const { action } of ready) action();
      this.flush();
    });
  }

  private note(record: LogRecord, position: number): void {
    if (record.type === 'view' || record.type === 'viewDelta') {
      const epoch = record.type === 'view' ? record.view.epoch : record.delta.toEpoch;
      this.views.push({ position, epoch });
      return;
    }
    // All of it is in the store when it is logged: a checkpoint needs no more.
    if (record.type === 'causal') return;
    if (record.type === 'dropped' || record.type === 'installed') {
      this.index.delete(record.bucket);
      return;
    }
    let entries = this.index.get(record.bucket);
    if (entries === undefined) {
      entries = new Map();
      this.index.set(record.bucket, entries);
    }
    const keep = record.type === 'cut' ? record.sequence : record.entry.sequence - 1;
    for (const sequence of entries.keys()) if (sequence > keep) entries.delete(sequence);
    if (record.type === 'entry') {
      entries.set(record.entry.sequence, { position, entry: record.entry });
    }
  }
}
