import type { CausalBucket, CausalChange } from './causal-bucket.js';
import type { KeyStamp } from './causal-message.js';
import {
  type CausalRecord,
  causalHalf,
  fromStored,
  isAfter,
  isLive,
  type Stamp,
} from './causal-record.js';
import type { Host } from './host.js';
import type { BucketId, Key } from './ids.js';
import { namespaceOf, RESERVED } from './namespace.js';
import type { StoredRecord } from './operation.js';
import { covers, type Vector } from './vector.js';
import { walk } from './walk.js';

/** Buckets that are looked through at a time. */
const SWEEPS_AT_ONCE = 16;

/** A tombstone, or something that has expired and counts as one. */
interface Tomb {
  readonly stamp: Stamp;
  /** What all holders must know before it may go: then none of them takes anything older. */
  readonly need: Vector;
  /** What they knew when they did: what they had taken before must be here. */
  rest: Vector | null;
}

/** What the graves use of the causal half of the server. */
interface Office {
  /** Lamport's clock of this server now. */
  time(): number;
  change(bucket: CausalBucket, change: Partial<CausalChange>): void;
  /** Everybody who holds the bucket is known to know `vector`. */
  allKnow(bucket: BucketId, vector: Vector): boolean;
  /** What any of them is known to know. */
  knownByOthers(bucket: BucketId): Vector;
}

/**
 * What counts as deleted in causal namespaces, and how it leaves: a tombstone, and a record that
 * has expired, may go when every holder knows all that was known here when it was found, and what
 * they had taken until then is here: whatever it has to beat has met it then (D5). Each holder
 * finds what has expired by itself: the record says when. The records of deleted namespaces go at
 * once.
 */
export class CausalGraves {
  private readonly tombs = new Map<BucketId, Map<Key, Tomb>>();
  /** Nothing in the bucket expires before that clock. */
  private readonly due = new Map<BucketId, number>();

  constructor(
    private readonly host: Pick<Host, 'view' | 'store' | 'outbox' | 'expect'>,
    private readonly buckets: ReadonlyMap<BucketId, CausalBucket>,
    private readonly office: Office,
  ) {}

  /** There may be something that nobody told of: the process began, or a namespace was deleted. */
  search(bucket: BucketId): void {
    this.due.set(bucket, -Infinity);
  }

  /** Who holds the bucket has changed, or whom one waits for. */
  reconsider(bucket: BucketId): void {
    for (const tomb of this.tombs.get(bucket)?.values() ?? []) tomb.rest = null;
  }

  forget(bucket: BucketId): void {
    this.tombs.delete(bucket);
    this.due.delete(bucket);
  }

  onRecords(bucket: CausalBucket, records: readonly CausalRecord[]): void {
    let need: Vector | null = null;
    for (const record of records) {
      if (record.value === null) this.bury(bucket.id, record, (need ??= new Map(bucket.known)));
      this.note(bucket.id, record);
    }
  }

  /** Call about once a second. */
  tick(): void {
    let left = SWEEPS_AT_ONCE;
    for (const [id, at] of this.due) {
      const bucket = this.buckets.get(id);
      if (at > this.office.time() || bucket === undefined || left === 0) continue;
      left -= 1;
      this.sweep(bucket);
    }
    for (const bucket of this.buckets.values()) this.dropTombs(bucket);
  }

  private isDeleted(key: Key): boolean {
    return this.host.view.namespaces.get(namespaceOf(key))?.deleted === true;
  }

  /** The bucket is to be looked through when the record expires; if its namespace went, soon. */
  private note(id: BucketId, { key, expires }: CausalRecord): void {
    const at = this.isDeleted(key) ? -Infinity : expires > 0 ? expires : Infinity;
    if (at < (this.due.get(id) ?? Infinity)) this.due.set(id, at);
  }

  private bury(id: BucketId, { key, clock, writer, number }: KeyStamp, need: Vector): void {
    const tombs = this.tombs.get(id) ?? new Map<Key, Tomb>();
    this.tombs.set(id, tombs);
    const stamp = { clock, writer, number };
    const present = tombs.get(key);
    // One that lost against what is held came late.
    if (present !== undefined && !isAfter(stamp, present.stamp)) return;
    tombs.delete(key);
    tombs.set(key, { stamp, need, rest: null });
  }

  private sweep(bucket: CausalBucket): void {
    const { host, office } = this;
    this.due.delete(bucket.id);
    // These are not in the store yet.
    for (const record of bucket.taken) this.note(bucket.id, record);
    const page = (stored: readonly StoredRecord[]): boolean => {
      const time = office.time();
      const need = new Map(bucket.known);
      const gone: KeyStamp[] = [];
      for (const each of stored) {
        const record = fromStored(each);
        if (this.isDeleted(record.key)) gone.push(record);
        else if (isLive(record, time)) this.note(bucket.id, record);
        else if (bucket.holds(record, host.store)) this.bury(bucket.id, record, need);
      }
      if (gone.length > 0) office.change(bucket, { gone });
      return true;
    };
    walk(host, causalHalf(bucket.id), RESERVED, page, (whole) => {
      if (!whole) this.search(bucket.id);
    });
  }

  private dropTombs(bucket: CausalBucket): void {
    const tombs = this.tombs.get(bucket.id);
    // One that left may still have a write that a tombstone has to beat.
    if (tombs === undefined || bucket.former.size > 0) return;
    const gone: KeyStamp[] = [];
    // What is not durable here is not in the store yet, to be removed.
    const stored = bucket.stored();
    let rest: Vector | null = null;
    for (const [key, tomb] of tombs) {
      const { need } = tomb;
      // Later ones need no less.
      if (!covers(stored, need) || !this.office.allKnow(bucket.id, need)) break;
      tomb.rest ??= rest ??= this.office.knownByOthers(bucket.id);
      if (!covers(stored, tomb.rest)) break;
      tombs.delete(key);
      gone.push({ key, ...tomb.stamp });
    }
    // Who finds nothing later must know that it is over, by this clock.
    if (gone.length > 0) this.office.change(bucket, { gone, clock: this.office.time() });
    if (tombs.size === 0) this.tombs.delete(bucket.id);
  }
}
