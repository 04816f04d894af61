import type { Host } from './host.js';
import type { Ordinal } from './ids.js';
import { Heartbeat, type TransferCount } from './message.js';
import type { Primary } from './primary.js';
import type { Scrub } from './scrub.js';
import type { StorageServer } from './server.js';

/** Leases without a word after which a peer is reported as unheard. */
const UNHEARD_LEASES = 2;

interface Sent {
  records: number;
  bytes: number;
}

/**
 * Tells the view leader that this server lives, what it holds, and its row of the message vector:
 * how many records it has to send to each other server, and has sent (V4).
 */
export class Reporter {
  private beatMs = -Infinity;
  private leaving = false;
  /** A heartbeat waits for the disk. */
  private waiting = false;
  private readonly sentTo = new Map<Ordinal, Sent>();

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

  sent(to: Ordinal, records: number, bytes: number): void {
    const sent = this.sentTo.get(to) ?? { records: 0, bytes: 0 };
    sent.records += records;
    sent.bytes += bytes;
    this.sentTo.set(to, sent);
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
      const counts = host.store.counts(id);
      records += counts.records;
      bytes += counts.bytes;
    }
    let primaryRecords = 0;
    const left = new Map<Ordinal, number>();
    for (const { bucket, followers } of primaries) {
      const counts = host.store.counts(bucket.id);
      primaryRecords += counts.records;
      for (const { mode, ordinal, recordsSent } of followers.values()) {
        if (mode !== 'probe' && mode !== 'snapshot') continue;
        left.set(ordinal, (left.get(ordinal) ?? 0) + Math.max(0, counts.records - recordsSent));
      }
    }
    const { self, view } = host;
    const transfers = this.vector(left);
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
      ),
    );
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

  private vector(left: ReadonlyMap<Ordinal, number>): TransferCount[] {
    // Nothing to send to anyone: the next view change starts from zero.
    if (left.size === 0) this.sentTo.clear();
    const to = new Set([...left.keys(), ...this.sentTo.keys()]);
    return Array.from(to, (ordinal) => {
      const sent = this.sentTo.get(ordinal) ?? { records: 0, bytes: 0 };
      return {
        to: ordinal,
        recordsPlanned: sent.records + (left.get(ordinal) ?? 0),
        recordsSent: sent.records,
        bytesSent: sent.bytes,
      };
    });
  }
}
