import { causalHalf } from './causal-record.js';
import type { Host } from './host.js';
import type { BucketId, Ordinal } from './ids.js';
import { type BucketCount, Heartbeat, type TransferCount } from './message.js';
import type { Primary } from './primary.js';
import type { Scrub } from './scrub.js';
import type { StorageServer } from './server.js';

/** The view leader hears at once of each bucket that its size changed, and of all so often. */
const CENSUS_MS = 5000;
const NOTHING = { records: 0, bytes: 0 };

/** Leases without a word after which a peer is reported as unheard. */
const UNHEARD_LEASES = 2;

/**
 * Tells the view leader that this server lives, what it holds, and its row of the message vector:
 * how many records it has to send to each other server, and has sent (V4).
 */
export class Reporter {
  private beatMs = -Infinity;
  private censusMs = -Infinity;
  /** What the view leader was told of the size of each bucket. */
  private readonly told = new Map<BucketId, BucketCount>();
  private leaving = false;
  /** A heartbeat waits for the disk. */
  private waiting = false;

  constructor(
    private readonly host: Host & Pick<StorageServer, 'held' | 'adoptedMs'>,
    private readonly incarnation: number,
    private readonly scrub: Scrub,
  ) {}

  /** From now on say that this server is about to stop. */
  leave(): void {
    this.leaving = true;
    this.hurry();
  }

  /** Report at the next tick: the view leader has something we lack. */
  hurry(): void {
    this.beatMs = -Infinity;
  }

  /**
   * A heartbeat proves life, not breath: it leaves when all that was logged before it is durable. A
   * server whose disk is stuck falls silent, and is taken out of the write path.
   */
  tick(): void {
    const { host } = this;
    if (this.waiting || host.now - this.beatMs < host.settings.heartbeatIntervalMs) return;
    this.beatMs = host.now;
    this.waiting = true;
    host.outbox.sendAfter(host.self, { type: 'beat' });
  }

  /** The disk has done what it was asked before. */
  onDurable(primaries: ReadonlySet<Primary>): void {
    const { host } = this;
    this.waiting = false;
    let records = 0;
    let bytes = 0;
    for (const id of host.held().keys()) {
      for (const half of [id, causalHalf(id)]) {
        const counts = host.store.counts(half);
        records += counts.records;
        bytes += counts.bytes;
      }
    }
    let primaryRecords = 0;
    for (const { bucket } of primaries) {
      primaryRecords += host.store.counts(bucket.id).records;
    }
    const census = this.census(primaries);
    const { self, view } = host;
    const transfers = this.vector(primaries);
    host.outbox.toLeader(
      new Heartbeat(
        self,
        this.incarnation,
        view.epoch,
        records,
        bytes,
        primaryRecords,
        transfers,
        this.leaving,
        this.unheard(primaries),
        this.scrub.damaged,
        this.scrub.differences,
        census,
      ),
    );
  }

  /**
   * How large the buckets are whose size the view leader does not know: what it hears of a bucket
   * and the sum of all are of the same moment. What got lost is told with all, some time later.
   */
  private census(primaries: ReadonlySet<Primary>): BucketCount[] {
    const { now, store } = this.host;
    if (now - this.censusMs >= CENSUS_MS) {
      this.censusMs = now;
      this.told.clear();
    }
    const news: BucketCount[] = [];
    for (const { bucket } of primaries) {
      const { records, bytes } = store.counts(bucket.id);
      const told = this.told.get(bucket.id);
      if (told?.records === records && told.bytes === bytes) continue;
      const count = { bucket: bucket.id, records, bytes };
      this.told.set(bucket.id, count);
      news.push(count);
    }
    return news;
  }

  /** Replicas of shared buckets whose beacons, or answers to ours, have not come for too long. */
  private unheard(primaries: ReadonlySet<Primary>): Ordinal[] {
    const { lease, now, self, view, adoptedMs } = this.host;
    const limitMs = UNHEARD_LEASES * view.parameters.leaseMs;
    // Since the view was adopted: before, there may have been nothing to say.
    if (now - adoptedMs < limitMs) return [];
    const mates = new Set<Ordinal>();
    for (const { replicas } of view.rows) {
      const [primary] = replicas;
      if (primary !== undefined && replicas.includes(self)) mates.add(primary);
    }
    for (const { followers } of primaries) {
      for (const { ordinal, learner } of followers.values()) if (!learner) mates.add(ordinal);
    }
    mates.delete(self);
    return Array.from(mates).filter((mate) => now - lease.heardMs(mate) >= limitMs);
  }

  /** Of what is not handed over yet. Most buckets have no learner, and cost nothing here. */
  private vector(primaries: ReadonlySet<Primary>): TransferCount[] {
    const counts = new Map<Ordinal, { -readonly [Field in keyof TransferCount]: number }>();
    for (const { bucket, followers } of primaries) {
      for (const { learner, mode, ordinal: to, recordsSent, bytesSent } of followers.values()) {
        if (!learner) continue;
        const fresh = { to, recordsPlanned: 0, recordsSent: 0, bytesPlanned: 0, bytesSent: 0 };
        const count = counts.get(to) ?? fresh;
        counts.set(to, count);
        // What comes by the log alone is not counted in records.
        const isWhole = mode === 'probe' || mode === 'snapshot';
        const { records, bytes } = isWhole ? this.host.store.counts(bucket.id) : NOTHING;
        count.recordsPlanned += Math.max(records, recordsSent);
        count.recordsSent += recordsSent;
        count.bytesPlanned += Math.max(bytes, bytesSent);
        count.bytesSent += bytesSent;
      }
    }
    return Array.from(counts.values());
  }
}
