import { EntryKind } from './entry.js';
import type { Host } from './host.js';
import type { BucketId, Ordinal, Sequence } from './ids.js';
import { type Difference, DigestReport } from './message.js';
import type { Primary } from './primary.js';

/** The last comparison of one bucket, at its primary. */
interface Round {
  sequence: Sequence;
  /** Null: not computed yet. */
  own: string | null;
  readonly others: Map<Ordinal, string>;
  /** Differed in the round before: a second time is no accident of catching up. */
  suspects: Set<Ordinal>;
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
  /** Buckets to compare once more before the others. */
  private readonly again = new Set<BucketId>();
  private nextMs: number;
  /** The bucket digested last. */
  private last: BucketId = -1;

  constructor(private readonly host: Host) {
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
    this.damage.delete(bucket);
    this.rounds.delete(bucket);
  }

  tick(primaries: ReadonlySet<Primary>): void {
    const { now, settings } = this.host;
    if (now < this.nextMs) return;
    this.nextMs = now + settings.digestEveryMs;
    const primary = this.choose(primaries);
    if (primary === undefined) return;
    this.last = primary.bucket.id;
    this.again.delete(this.last);
    if (!primary.ready || !primary.writable) return;
    const { version } = primary.bucket;
    primary.serving.log(EntryKind.Digest, version, 0, NO_REQUEST, '', null, null);
  }

  /** A digest entry was applied here: the records are now what it wants digested. */
  onEntry(bucket: BucketId, sequence: Sequence): void {
    const { host } = this;
    const token = host.expect((completion) => {
      if (completion.type === 'digested') this.onDigested(bucket, sequence, completion.digest);
    });
    host.outbox.digest(token, bucket);
  }

  onReport(from: Ordinal, { bucket, sequence, digest }: DigestReport): void {
    const round = this.round(bucket, sequence);
    if (round === null || from === this.host.self) return;
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
    if (round === null) return;
    round.own = digest;
    this.compare(bucket, round);
  }

  /** The round of that entry; null for one that is over. */
  private round(bucket: BucketId, sequence: Sequence): Round | null {
    const present = this.rounds.get(bucket);
    if (present !== undefined && present.sequence > sequence) return null;
    if (present?.sequence === sequence) return present;
    const suspects = present?.suspects ?? new Set();
    const round: Round = { sequence, own: null, others: new Map(), suspects };
    this.rounds.set(bucket, round);
    return round;
  }

  private compare(bucket: BucketId, round: Round): void {
    const { own, others, suspects, sequence } = round;
    if (own === null) return;
    for (const [server, digest] of others) {
      others.delete(server);
      const name = `${bucket}/${server}`;
      if (digest === own) {
        suspects.delete(server);
        this.different.delete(name);
        continue;
      }
      if (!suspects.has(server)) {
        suspects.add(server);
        this.again.add(bucket);
        continue;
      }
      if (this.different.has(name)) continue;
      this.different.set(name, { bucket, sequence, server });
      const { self } = this.host;
      const detail = `server ${server} and its primary, server ${self}, hold other records`;
      this.host.outbox.alarm({ kind: 'differs', bucket, server, sequence, detail });
    }
  }

  private choose(primaries: ReadonlySet<Primary>): Primary | undefined {
    let next: Primary | undefined;
    for (const primary of primaries) {
      const { id } = primary.bucket;
      if (this.again.has(id)) return primary;
      if (next === undefined || this.turn(id) < this.turn(next.bucket.id)) next = primary;
    }
    return next;
  }

  /** Buckets after the last one come first. */
  private turn(bucket: BucketId): number {
    return bucket > this.last ? bucket - this.last : bucket + 2 ** 20;
  }
}
