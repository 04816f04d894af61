import { holdersOf } from './causal-gossip.js';
import type { CausalBucket, CausalChange } from './causal-bucket.js';
import { bytesOf, type CausalRecord, causalHalf, fromStored, isAfter } from './causal-record.js';
import {
  CausalDigest,
  type CausalMessage,
  CausalPull,
  CausalRecords,
  CausalStamps,
  type KeyStamp,
} from './causal-message.js';
import { murmur3 } from './hash.js';
import type { BucketId, Key, Ordinal } from './ids.js';
import type { Host } from './host.js';
import { RESERVED } from './namespace.js';
import type { StoredRecord } from './operation.js';
import type { StateStore } from './outbox.js';
import { NOTHING_SEEN, type Vector } from './vector.js';
import { isGivenUp } from './view.js';
import { walk } from './walk.js';

const LEAVES = 64;
const PART_RECORDS = 256;
const PART_BYTES = 512 * 1024;
/** Messages without an answer before a comparison begins anew. */
const ATTEMPTS = 5;

/** A comparison that this server began. */
interface Round {
  readonly with: Ordinal;
  readonly round: number;
  /** Known when the records were read. */
  readonly known: Vector;
  held: readonly KeyStamp[];
  theirs: CausalStamps | null;
  wanted: Key[];
  given: Key[];
  /** What they hold, and we saw and dropped. */
  gone: KeyStamp[];
  /** So many of each are done, with the part that is out. */
  wantedTo: number;
  givenTo: number;
  goneTo: number;
  part: number;
  asked: CausalMessage | null;
  sentMs: number;
  attempts: number;
}

/** What the comparison does to the causal half of the server. */
interface SyncOffice {
  /** Lamport's clock of this server. */
  clock(): number;
  change(bucket: CausalBucket, change: Partial<CausalChange>): void;
  /** The bucket now has all that the other server had. */
  onSynced(bucket: CausalBucket, from: Ordinal): void;
}

/**
 * Compares the records of two servers and exchanges what differs: a hash tree of two levels over
 * each bucket (Merkle trees as in Dynamo, DeCandia et al. 2007, §4.7, with the version vectors of
 * both ends). Of what only one end holds, the other one's vector tells whether it never saw it, or
 * saw it and dropped it: only the former is copied, so that nothing that was deleted comes back.
 */
export class CausalSync {
  private readonly rounds = new Map<BucketId, Round>();
  private lastRound = 0;

  constructor(
    private readonly host: Pick<Host, 'now' | 'view' | 'store' | 'outbox' | 'settings' | 'expect'>,
    private readonly office: SyncOffice,
  ) {}

  /** Get what `from` has and we lack, and give it what it lacks. */
  start(bucket: CausalBucket, from: Ordinal): void {
    if (this.rounds.has(bucket.id)) return;
    const { host } = this;
    this.lastRound += 1;
    const round: Round = {
      with: from,
      round: this.lastRound,
      known: bucket.stored(),
      held: [],
      theirs: null,
      wanted: [],
      given: [],
      gone: [],
      wantedTo: 0,
      givenTo: 0,
      goneTo: 0,
      part: 0,
      asked: null,
      sentMs: host.now,
      attempts: 0,
    };
    this.rounds.set(bucket.id, round);
    this.readAll(bucket.id, (held) => {
      if (this.rounds.get(bucket.id) !== round) return;
      round.held = held;
      this.ask(round, new CausalDigest(bucket.id, round.round, digestsOf(held)));
    });
  }

  stop(bucket: BucketId): void {
    this.rounds.delete(bucket);
  }

  /** The server is not one to ask any more. */
  stopWith(server: Ordinal): void {
    for (const [bucket, round] of this.rounds) if (round.with === server) this.stop(bucket);
  }

  tick(): void {
    const { now, settings } = this.host;
    for (const [bucket, round] of this.rounds) {
      if (round.asked === null || now - round.sentMs < settings.resendMs) continue;
      if (round.attempts >= ATTEMPTS) this.rounds.delete(bucket);
      else this.ask(round, round.asked);
    }
  }

  onDigest(from: Ordinal, message: CausalDigest, bucket: CausalBucket): void {
    const known = bucket.stored();
    const clock = this.office.clock();
    const former = Array.from(bucket.former);
    this.readAll(bucket.id, (held) => {
      const own = digestsOf(held);
      const differs = own.map((digest, leaf) => digest !== (message.leaves[leaf] ?? 0));
      const leaves = differs.flatMap((isDifferent, leaf) => (isDifferent ? [leaf] : []));
      const stamps = held.filter(({ key }) => differs[leafOf(key)]);
      this.host.outbox.sendAfter(
        from,
        new CausalStamps(bucket.id, message.round, known, clock, former, leaves, stamps),
      );
    });
  }

  onStamps(from: Ordinal, message: CausalStamps, bucket: CausalBucket): void {
    const round = this.roundOf(from, message);
    if (round === null || round.theirs !== null) return;
    const { store } = this.host;
    round.theirs = message;
    const theirs = new Set<Key>();
    for (const stamp of message.stamps) {
      theirs.add(stamp.key);
      const held = bucket.get(stamp.key, store);
      if (held === null && bucket.knows(stamp)) round.gone.push(stamp);
      else if (held === null || isAfter(stamp, held)) round.wanted.push(stamp.key);
      else if (isAfter(held, stamp)) round.given.push(stamp.key);
    }
    const leaves = new Set(message.leaves);
    const gone: KeyStamp[] = [];
    for (const { key } of round.held) {
      if (!leaves.has(leafOf(key)) || theirs.has(key)) continue;
      const held = bucket.get(key, store);
      if (held === null) continue;
      // They saw it, or what came after it, and then a deletion that everybody had seen.
      if (held.number <= (message.known.get(held.writer) ?? 0)) gone.push(held);
      else round.given.push(key);
    }
    if (gone.length > 0) this.office.change(bucket, { gone, clock: message.clock });
    this.pull(round, bucket);
  }

  onPull(from: Ordinal, message: CausalPull, bucket: CausalBucket): void {
    const { records, known, clock, wanted, round, part, gone } = message;
    const { host } = this;
    if (records.length > 0 || gone.length > 0 || known !== null) {
      this.office.change(bucket, { records, gone, known: known ?? NOTHING_SEEN, clock });
    }
    const { records: found, keys } = portionOf(bucket, wanted, host.store);
    host.outbox.sendAfter(from, new CausalRecords(bucket.id, round, part, keys, found));
  }

  onRecords(from: Ordinal, message: CausalRecords, bucket: CausalBucket): void {
    const round = this.roundOf(from, message);
    const theirs = round?.theirs ?? null;
    if (round === null || theirs === null || message.part !== round.part) return;
    const { records } = message;
    round.wantedTo += message.keys;
    const isLast = round.wantedTo >= round.wanted.length && isShown(round);
    const { known, clock, former } = theirs;
    if (!isLast) {
      this.office.change(bucket, { records });
      round.part += 1;
      this.pull(round, bucket);
      return;
    }
    // One that leaves has not heard who else has left for good.
    const { view } = this.host;
    const row = view.rows[bucket.id];
    const isFormer = (server: Ordinal): boolean =>
      row !== undefined && !holdersOf(row).has(server) && !isGivenUp(view, server);
    const isHolder = row?.replicas.includes(from) === true;
    const both = isHolder ? [...new Set([...bucket.former, ...former])].filter(isFormer) : null;
    this.office.change(bucket, { records, known, clock, former: both });
    this.rounds.delete(bucket.id);
    this.office.onSynced(bucket, from);
  }

  private pull(round: Round, bucket: CausalBucket): void {
    const { part, wanted, given, wantedTo, givenTo } = round;
    const next = given.slice(givenTo, givenTo + PART_RECORDS);
    const { records, keys: taken } = portionOf(bucket, next, this.host.store);
    round.givenTo += taken;
    const gone = round.gone.slice(round.goneTo, round.goneTo + PART_RECORDS);
    round.goneTo += gone.length;
    const known = isShown(round) ? round.known : null;
    const keys = wanted.slice(wantedTo, wantedTo + PART_RECORDS);
    round.attempts = 0;
    const clock = this.office.clock();
    const pull = new CausalPull(bucket.id, round.round, part, keys, records, known, clock, gone);
    this.ask(round, pull);
  }

  private ask(round: Round, message: CausalMessage): void {
    round.asked = message;
    round.sentMs = this.host.now;
    round.attempts += 1;
    this.host.outbox.sendAfter(round.with, message);
  }

  private roundOf(
    from: Ordinal,
    { bucket, round: number }: { readonly bucket: BucketId; readonly round: number },
  ): Round | null {
    const round = this.rounds.get(bucket);
    return round?.with === from && round.round === number ? round : null;
  }

  /** The stamps of all records of a bucket. */
  private readAll(bucket: BucketId, done: (held: readonly KeyStamp[]) => void): void {
    const held: KeyStamp[] = [];
    const page = (records: readonly StoredRecord[]): boolean => {
      for (const record of records) held.push(stampOf(record));
      return true;
    };
    walk(this.host, causalHalf(bucket), RESERVED, page, (whole) => {
      if (whole) done(held);
      else this.stop(bucket);
    });
  }
}

/** They have been told all that we had to tell. */
function isShown({ given, givenTo, gone, goneTo }: Round): boolean {
  return givenTo >= given.length && goneTo >= gone.length;
}

function stampOf(stored: StoredRecord): KeyStamp {
  const { key, clock, writer, number } = fromStored(stored);
  return { key, clock, writer, number };
}

/** What the first of the keys hold, as much as one message takes, and how many keys that were. */
function portionOf(
  bucket: CausalBucket,
  keys: readonly Key[],
  store: StateStore,
): { readonly records: CausalRecord[]; readonly keys: number } {
  const records: CausalRecord[] = [];
  let bytes = 0;
  let done = 0;
  for (const key of keys) {
    if (bytes >= PART_BYTES) break;
    done += 1;
    const record = bucket.get(key, store);
    if (record === null) continue;
    records.push(record);
    bytes += bytesOf(record);
  }
  return { records, keys: done };
}

function leafOf(key: Key): number {
  return murmur3(key, 1) % LEAVES;
}

/** For each leaf a sum of the hashes of its stamps: the order of the records does not matter. */
function digestsOf(held: readonly KeyStamp[]): number[] {
  const digests = Array.from({ length: LEAVES }, () => 0);
  for (const { key, clock, writer, number } of held) {
    const leaf = leafOf(key);
    const text = `${key}/${clock}/${writer}/${number}`;
    const hash = murmur3(text, 2) + (murmur3(text, 3) & 0xffff) * 2 ** 32;
    digests[leaf] = ((digests[leaf] ?? 0) + hash) % 2 ** 48;
  }
  return digests;
}
