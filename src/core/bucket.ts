import { DedupTable } from './dedup.js';
import { type Entry, EntryKind, type EntryWrite, withoutWrites } from './entry.js';
import type { Ballot, BucketId, ClientId, Sequence, Version } from './ids.js';
import type { BucketMeta } from './message.js';
import type { StateStore } from './outbox.js';
import { PrepareList } from './prepare-list.js';

/** A transaction's identity as a map key. */
export function transactionKey(client: ClientId, clientSequence: number): string {
  return `${clientSequence}:${client}`;
}

const EMPTY = new Uint8Array(0);

/**
 * One replica of one bucket: the committed state (records in the store, the rest here) and the
 * prepared tail of the log. What a role may do with it is in `primary.ts`, `secondary.ts` and
 * `learner.ts`.
 */
export class Bucket {
  /** The highest ballot this replica answers to; older messages are refused (V1). */
  promised: Ballot = 0;
  /** Entries up to here are known to be equal to those of the primary with `promised`. */
  matched: Sequence = 0;
  /** Ballot of the entry at the commit point. */
  commitBallot: Ballot = 0;
  /** The highest version given out in this bucket's log, prepared entries included. */
  version: Version = 0;
  /**
   * Up to this entry the state store may hold effects of later ones: a crash keeps some writes that
   * the replay of the log then repeats.
   */
  blurredUpTo: Sequence = 0;
  readonly prepared = new PrepareList(0);
  /** See `BucketMeta`. */
  life = 0;
  /** The clock at the commit point. */
  private committedMs = 0;
  readonly dedup = new DedupTable();
  /** Unresolved intents by transaction, as the entries that made them. */
  readonly intents = new Map<string, Entry>();
  /** Decisions not yet confirmed by every participant. */
  readonly decisions = new Map<string, Entry>();
  /** Changed since the last checkpoint. */
  dirty = false;

  constructor(readonly id: BucketId) {}

  /**
   * The bucket's own clock: the milliseconds that it had a primary, as its primaries' monotonic
   * clocks counted them. A step of a wall clock does not age what the bucket remembers (D4).
   */
  get clockMs(): number {
    return Math.max(this.committedMs, this.prepared.get(this.last)?.atMs ?? 0);
  }

  get commitPoint(): Sequence {
    return this.prepared.base;
  }

  get last(): Sequence {
    return this.prepared.last;
  }

  /** True when this replica never held anything. */
  get empty(): boolean {
    return this.last === 0;
  }

  /** Ballot of the entry at `sequence`, or undefined if it is committed and gone, or not here. */
  ballotAt(sequence: Sequence): Ballot | undefined {
    if (sequence === this.commitPoint) return this.commitBallot;
    return this.prepared.get(sequence)?.ballot;
  }

  append(entry: Entry): void {
    this.prepared.append(entry);
    if (entry.version > this.version) this.version = entry.version;
  }

  /** Commit the next prepared entry: apply its effects to the state. */
  commitNext(store: StateStore): Entry {
    const entry = this.prepared.shift();
    this.commitBallot = entry.ballot;
    if (entry.atMs > this.committedMs) this.committedMs = entry.atMs;
    this.dirty = true;
    this.apply(entry, store);
    return entry;
  }

  /** Effects of one committed entry. The same on every replica and on every replay. */
  private apply(entry: Entry, store: StateStore): void {
    switch (entry.kind) {
      case EntryKind.Set:
        store.put(this.id, {
          key: entry.key,
          value: entry.value ?? EMPTY,
          version: entry.version,
        });
        this.recordResult(entry, true, 0);
        break;
      case EntryKind.Delete:
        store.remove(this.id, entry.key);
        this.recordResult(entry, true, 0);
        break;
      case EntryKind.Intent:
        this.intents.set(transactionKey(entry.client, entry.clientSequence), entry);
        break;
      case EntryKind.Resolve:
        this.resolve(entry, store);
        break;
      case EntryKind.Decision:
        this.decisions.set(transactionKey(entry.client, entry.clientSequence), entry);
        this.recordOutcome(entry);
        break;
      case EntryKind.Forget:
        this.decisions.delete(transactionKey(entry.client, entry.clientSequence));
        break;
      case EntryKind.Digest:
        break;
      case EntryKind.Commit:
        this.applyWrites(entry.transaction?.writes ?? [], entry.version, store);
        if ((entry.transaction?.participants.length ?? 0) > 1) {
          const key = transactionKey(entry.client, entry.clientSequence);
          this.decisions.set(key, withoutWrites(entry));
        }
        this.recordOutcome(entry);
        break;
    }
  }

  private resolve(entry: Entry, store: StateStore): void {
    const key = transactionKey(entry.client, entry.clientSequence);
    const intent = this.intents.get(key);
    this.intents.delete(key);
    const commit = entry.transaction?.commit ?? false;
    if (commit && intent?.transaction) {
      this.applyWrites(intent.transaction.writes, entry.version, store);
    }
    this.recordResult(entry, commit, intent?.transaction?.participants.length ?? 0);
  }

  private recordOutcome(entry: Entry): void {
    const { commit = false, participants = [] } = entry.transaction ?? {};
    this.recordResult(entry, commit, participants.length);
  }

  private applyWrites(writes: readonly EntryWrite[], version: Version, store: StateStore): void {
    for (const { key, value } of writes) {
      if (value === null) store.remove(this.id, key);
      else store.put(this.id, { key, value, version });
    }
  }

  private recordResult(entry: Entry, committed: boolean, participants: number): void {
    const { client, clientSequence, settledBelow, atMs, version, previous } = entry;
    this.dedup.record(client, clientSequence, settledBelow, atMs, {
      version,
      previous,
      found: entry.kind === EntryKind.Delete && previous > 0,
      committed,
      participants,
    });
  }

  /** The committed state beside the records, for a checkpoint or a snapshot. */
  meta(): BucketMeta {
    return {
      sequence: this.commitPoint,
      ballot: this.commitBallot,
      // The prepared tail may have given out higher versions; replaying it gives them again.
      version: this.version,
      clockMs: this.committedMs,
      life: this.life,
      dedup: this.dedup.rows(),
      intents: Array.from(this.intents.values()),
      decisions: Array.from(this.decisions.values()),
      causal: null,
    };
  }

  /** Become the state of `meta` (null: nothing held); the prepared tail is void. */
  load(meta: BucketMeta | null): void {
    this.prepared.reset(meta?.sequence ?? 0);
    this.commitBallot = meta?.ballot ?? 0;
    this.version = meta?.version ?? 0;
    this.matched = this.commitPoint;
    this.dedup.load(meta?.dedup ?? []);
    this.committedMs = meta?.clockMs ?? 0;
    this.life = meta?.life ?? 0;
    this.intents.clear();
    this.decisions.clear();
    for (const entry of meta?.intents ?? []) {
      this.intents.set(transactionKey(entry.client, entry.clientSequence), entry);
    }
    for (const entry of meta?.decisions ?? []) {
      this.decisions.set(transactionKey(entry.client, entry.clientSequence), entry);
    }
    this.dirty = true;
  }

  /** Void what follows `sequence`. */
  cutAfter(sequence: Sequence): void {
    this.prepared.cutAfter(sequence);
    if (this.matched > sequence) this.matched = sequence;
  }
}
