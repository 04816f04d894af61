import type { Bucket } from './bucket.js';
import { EntryKind } from './entry.js';
import type { Host } from './host.js';
import type { Ballot, BucketId, Ordinal, Sequence } from './ids.js';
import { type Difference, DigestReport } from './message.js';
import type { Primary } from './primary.js';

/** The last comparison of one bucket, at its primary. */
interface Round {
  readonly sequence: Sequence;
  /** The ballot that logged the entry: all replicas of its row were in sync before it. */
  readonly ballot: Ballot;
  /** Null: not computed yet. */
  own: string | null;
  readonly others: Map<Ordinal, string>;
}

/** A heartbeat names at most so many of each. */
const REPORTED = 32;

const NO_REQUEST = { client: '', clientSequence: 0, settledBelow: 0 };

/**
 * Checks what is stored (D7). One bucket after the other, at a quiet rate, its primary logs a
 * digest entry. Each replica that applies it reads all records of the bucket as they are at that
 * entry, which verifies every checksum, and digests them; the primary compares.
 *
 * Damage, found this way or by a read, is mended by the bucket: the view leader takes the replica
 * out, it forgets the bucket and learns it again from one that is in sync. A difference is an
 * alarm: nobody knows which replica is right.
 */
export class Scrub {
  private readonly damage = new Map<BucketId, string>();
  private readonly rounds = new Map<BucketId, Round>();
  private readonly different = new Map<string, Difference>();
  private nextMs: number;
  /** The bucket digested last. */
  private last: BucketId = -1;

  constructor(
    private readonly host: Host,
    private readonly primaryOf: (bucket: BucketId) => Primary | null | undefined,
  ) {
    this.nextMs = host.now + host.settings.digestEveryMs;
  }

  /** Buckets of which a record failed its checksum here, and which are not mended yet. */
  get damaged(): BucketId[] {
    return Array.from(this.damage.keys()).slice(0, REPORTED);
  }

  isDamaged(bucket: BucketId): boolean {
    return this.damage.has(bucket);
  }

  /** Differences that the last comparisons of our buckets found. */
  get differences(): Difference[] {
    const { rows } = this.host.view;
    const present = Array.from(this.different.values()).filter(({ bucket, server }) => {
      const replicas = rows[bucket]?.replicas;
      return replicas?.[0] === this.host.self && replicas.includes(server);
    });
    return present.slice(0, REPORTED);
  }

  /** A record of the bucket failed its checksum. */
  onDamage(bucket: BucketId, why: string): void {
    if (this.damage.has(bucket)) return;
    this.damage.set(bucket, why);
    const { self } = this.host;
    this.host.outbox.alarm({ kind: 'damaged', bucket, server: self, sequence: 0, detail: why });
  }

  /** The records of the bucket are gone from here; it is learned again. */
  onForgotten(bucket: BucketId): void {
    this.rounds.delete(bucket);
    if (!this.damage.delete(bucket)) return;
    const detail = 'what was damaged is dropped, the bucket is copied again from another replica';
    const { self, outbox } = this.host;
    outbox.alarm({ kind: 'mending', bucket, server: self, sequence: 0, detail });
  }

  tick(primaries: ReadonlySet<Primary>): void {
    const { now, settings } = this.host;
    if (now < this.nextMs) return;
    this.nextMs = now + settings.digestEveryMs;
    const primary = this.choose(primaries);
    if (primary === undefined) return;
    this.last = primary.bucket.id;
    if (!primary.ready || !primary.writable) return;
    const { bucket, ballot, serving } = primary;
    const { Digest } = EntryKind;
    const { sequence } = serving.log(Digest, bucket.version, 0, NO_REQUEST, '', null, null);
    this.rounds.set(bucket.id, { sequence, ballot, own: null, others: new Map() });
  }

  /** A digest entry was applied here: the records are now what it wants digested. */
  onEntry({ id: bucket, blurredUpTo }: Bucket, sequence: Sequence): void {
    const { host } = this;
    if (sequence <= blurredUpTo) return;
    const token = host.expect((completion) => {
      if (completion.type === 'digested') this.onDigested(bucket, sequence, completion.digest);
    });
    host.outbox.digest(token, bucket);
  }

  onReport(from: Ordinal, { bucket, sequence, digest }: DigestReport): void {
    const round = this.round(bucket, sequence);
    if (round === undefined || from === this.host.self) return;
    round.others.set(from, digest);
    this.compare(bucket, round);
  }

  private onDigested(bucket: BucketId, sequence: Sequence, digest: string): void {
    const { host } = this;
    const replicas = host.view.rows[bucket]?.replicas ?? [];
    if (!replicas.includes(host.self)) return;
    if (replicas[0] !== host.self) {
      host.sendToPrimary(bucket, new DigestReport(bucket, sequence, digest));
      return;
    }
    const round = this.round(bucket, sequence);
    if (round === undefined) return;
    round.own = digest;
    this.compare(bucket, round);
  }

  /** The round of that entry, if the replica set is still the one that it was logged for. */
  private round(bucket: BucketId, sequence: Sequence): Round | undefined {
    const round = this.rounds.get(bucket);
    if (round?.sequence !== sequence) return undefined;
    return this.primaryOf(bucket)?.ballot === round.ballot ? round : undefined;
  }

  private compare(bucket: BucketId, { own, others, sequence }: Round): void {
    if (own === null) return;
    for (const [server, digest] of others) {
      others.delete(server);
      const name = `${bucket}/${server}`;
      if (digest === own) this.different.delete(name);
      else if (!this.different.has(name)) {
        this.different.set(name, { bucket, sequence, server });
        const { self } = this.host;
        const detail = `server ${server} and its primary, server ${self}, hold other records`;
        this.host.outbox.alarm({ kind: 'differs', bucket, server, sequence, detail });
      }
    }
  }

  private choose(primaries: ReadonlySet<Primary>): Primary | undefined {
    let next: Primary | undefined;
    for (const primary of primaries) {
      const { id } = primary.bucket;
      if (next === undefined || this.turn(id) < this.turn(next.bucket.id)) next = primary;
    }
    return next;
  }

  /** Buckets after the last one come first. */
  private turn(bucket: BucketId): number {
    return bucket > this.last ? bucket - this.last : bucket + 2 ** 20;
  }
}
