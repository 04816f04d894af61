import {
  bytesOf,
  type CausalRecord,
  causalHalf,
  fromStored,
  isAfter,
  type Stamp,
  toStored,
} from './causal-record.js';
import type { KeyStamp } from './causal-message.js';
import type { BucketId, Key, Ordinal } from './ids.js';
import type { BucketMeta, CausalMeta } from './message.js';
import type { StateStore } from './outbox.js';
import { raise, type Vector } from './vector.js';

/** Own writes remembered for gossip; whoever lacks older ones compares digests. */
const REMEMBERED = 16_384;

/** A write that this server took. */
interface Own {
  readonly number: number;
  readonly key: Key;
}

/** What a bucket's causal half has become: one record of the log. */
export interface CausalChange {
  /** Merged, each by its stamp. */
  readonly records: readonly CausalRecord[];
  /** Removed, if that is still what the key holds. */
  readonly gone: readonly KeyStamp[];
  /** Joined with what is known. */
  readonly known: Vector;
  /** At least the server's Lamport clock: nothing that is known to it has a later one. */
  readonly clock: number;
  /** In place of what it was; null: unchanged. */
  readonly former: readonly Ordinal[] | null;
  /** Nothing is held any more. */
  readonly dropped: boolean;
}

/**
 * One replica of the causal half of a bucket: last-writer-wins records in the store, and here what
 * they amount to. It changes only by `apply`, so that a replay of the log makes it again.
 */
export class CausalBucket {
  /**
   * For each server: all that it took for this bucket up to that number is here, or something that
   * superseded it was (a tombstone that all had seen may be gone since).
   */
  readonly known = new Map<Ordinal, number>();
  /** They left the replica set, and have not said yet that all they took was handed on. */
  readonly former = new Set<Ordinal>();
  /** Changed since the last checkpoint. */
  dirty = false;
  private own: Own[] = [];
  /** Own writes that are not durable yet: nobody may see them, and the store does not have them. */
  private readonly unsafe = new Map<number, CausalRecord>();
  /** `own` has all own writes above this number. */
  private ownFrom: number;

  constructor(
    readonly id: BucketId,
    private readonly self: Ordinal,
  ) {
    this.ownFrom = 0;
  }

  /** Number of the last write that this server took, durable or not; 0: none. */
  get ownLast(): number {
    return this.known.get(this.self) ?? 0;
  }

  /** Number of the last one up to that number. */
  ownLastUpTo(number: number): number {
    const at = this.indexAfter(number);
    return at > 0 ? this.own[at - 1]!.number : Math.min(this.ownFrom, number);
  }

  get empty(): boolean {
    return this.known.size === 0;
  }

  /** What the records in the store amount to: own writes that are not durable are not there yet. */
  stored(): Map<Ordinal, number> {
    const vector = new Map(this.known);
    const [unsafe] = this.unsafe.keys();
    if (unsafe !== undefined) vector.set(this.self, unsafe - 1);
    return vector;
  }

  get(key: Key, store: StateStore): CausalRecord | null {
    const stored = store.get(causalHalf(this.id), key);
    return stored === undefined ? null : fromStored(stored);
  }

  /** The own writes up to that number are durable. */
  onDurable(upTo: number, store: StateStore): void {
    for (const [number, record] of this.unsafe) {
      if (number > upTo) break;
      this.unsafe.delete(number);
      this.write(record, store);
    }
  }

  /** The key still holds that write. */
  holds({ key, writer, number }: KeyStamp, store: StateStore): boolean {
    const held = this.get(key, store);
    return held?.writer === writer && held.number === number;
  }

  /** Own writes that are not in the store yet. */
  get taken(): Iterable<CausalRecord> {
    return this.unsafe.values();
  }

  knows({ writer, number }: Stamp): boolean {
    return number <= (this.known.get(writer) ?? 0);
  }

  /** `fresh`: a write that is being taken, or a drop: it reaches the store when it is durable. */
  apply(change: CausalChange, store: StateStore, fresh: boolean): void {
    const { records, gone, known, former, dropped } = change;
    this.dirty = true;
    if (dropped) {
      if (!fresh) store.clear(causalHalf(this.id));
      this.known.clear();
      this.former.clear();
      this.own = [];
      this.ownFrom = 0;
      return;
    }
    for (const record of records) this.merge(record, store, fresh);
    for (const stamp of gone) {
      if (this.holds(stamp, store)) store.remove(causalHalf(this.id), stamp.key);
    }
    for (const [server, number] of known) {
      // Own writes that were dropped with the bucket and came back: they are not remembered.
      if (server === this.self && !fresh && number > this.ownLast) this.ownFrom = number;
      raise(this.known, server, number);
    }
    if (former === null) return;
    this.former.clear();
    for (const server of former) this.former.add(server);
  }

  /** As the checkpoint left it. What was taken before is not remembered one by one. */
  load({ known, former, unsafe }: CausalMeta, store: StateStore): void {
    for (const record of unsafe) this.write(record, store);
    for (const [server, number] of known) this.known.set(server, number);
    for (const server of former) this.former.add(server);
  }

  /** The process starts: gossip goes on from digests. */
  begin(): void {
    this.own = [];
    this.ownFrom = this.ownLast;
  }

  /**
   * The own writes above `since`: of each key once, what it holds now. Null when they do not tell
   * enough: compare digests.
   */
  ownSince(since: number, most: Portion, store: StateStore): OwnWrites | null {
    if (since < this.ownFrom) return null;
    const records: CausalRecord[] = [];
    const keys = new Set<Key>();
    let upTo = since;
    let bytes = 0;
    for (let at = this.indexAfter(since); at < this.own.length; at += 1) {
      if (records.length >= most.records || bytes >= most.bytes) break;
      const { number, key } = this.own[at]!;
      if (this.unsafe.has(number)) break;
      upTo = number;
      if (keys.has(key)) continue;
      keys.add(key);
      const record = this.get(key, store);
      // A tombstone that all had seen; whoever needs this entry had not, and may hold what it beat.
      if (record === null) return null;
      records.push(record);
      bytes += bytesOf(record);
    }
    return { upTo, records };
  }

  meta(number: number, clock: number): CausalMeta {
    const known = Array.from(this.known);
    const unsafe = Array.from(this.unsafe.values());
    return { known, former: Array.from(this.former), unsafe, number, clock };
  }

  private indexAfter(number: number): number {
    let low = 0;
    let high = this.own.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.own[middle]!.number > number) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  private merge(record: CausalRecord, store: StateStore, fresh: boolean): void {
    // Known already: it is here, or was superseded; that is how what was deleted stays dead.
    if (this.knows(record)) return;
    if (!fresh) {
      this.write(record, store);
      return;
    }
    this.remember(record);
    this.unsafe.set(record.number, record);
  }

  private write(record: CausalRecord, store: StateStore): void {
    const held = this.get(record.key, store);
    if (held === null || isAfter(record, held)) store.put(causalHalf(this.id), toStored(record));
  }

  private remember({ number, key }: CausalRecord): void {
    this.own.push({ number, key });
    if (this.own.length < 2 * REMEMBERED) return;
    const forgotten = this.own.splice(0, REMEMBERED);
    this.ownFrom = forgotten.at(-1)?.number ?? this.ownFrom;
  }
}

/** As a part of a checkpoint. */
export function metaOf(causal: CausalMeta): BucketMeta {
  const nothing = { sequence: 0, ballot: 0, version: 0, clockMs: 0, life: 0 };
  return { ...nothing, dedup: [], intents: [], decisions: [], causal };
}

/** Lamport's clock of a server after the change. */
export function latest(clock: number, change: CausalChange): number {
  let now = Math.max(clock, change.clock);
  for (const record of change.records) if (record.clock > now) now = record.clock;
  return now;
}

/** The most that one message takes; the last record may go beyond. */
export interface Portion {
  readonly records: number;
  readonly bytes: number;
}

/** What is to be sent of a server's own writes. */
export interface OwnWrites {
  readonly upTo: number;
  readonly records: readonly CausalRecord[];
}
