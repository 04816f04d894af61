import type { Bucket } from './bucket.js';
import type { Host } from './host.js';
import type { Epoch, Ordinal } from './ids.js';
import {
  type BucketMeta,
  type LearnProbe,
  LearnState,
  SnapshotAck,
  type SnapshotChunk,
} from './message.js';

/**
 * The receiving end of catching up: a replica that is not in sync says what it holds, then takes
 * log entries (through `secondary.ts`) or a snapshot. It is not eligible for anything before the
 * view leader has admitted it.
 *
 * A snapshot overwrites what is here, so a stray chunk would be fatal: chunks count only under the
 * number that the last probe was answered with, each number serves once, and a restart forgets it.
 */
export class Learner {
  private offered = 0;
  private from: Ordinal = 0;
  private meta: BucketMeta | null = null;
  private phase: 'idle' | 'voiding' | 'installing' = 'idle';
  /** Chunks asked of the store, and chunks it has made durable. */
  private asked = 0;
  private done = 0;
  /** Records of the snapshot installed last, and the view change in which that was. */
  private taken = 0;
  private takenIn: Epoch = 0;

  constructor(private readonly bucket: Bucket) {}

  /** True while the records here are a part of a snapshot: nothing else may touch them. */
  get busy(): boolean {
    return this.phase !== 'idle';
  }

  onProbe(from: Ordinal, message: LearnProbe, transfer: number, host: Host): void {
    const { id, commitPoint, commitBallot } = this.bucket;
    this.promise(message.ballot);
    this.phase = 'idle';
    this.offered = transfer;
    this.from = from;
    const taken = this.takenIn === host.view.change.number ? this.taken : 0;
    host.outbox.sendAfter(
      from,
      new LearnState(id, message.ballot, commitPoint, commitBallot, transfer, taken),
    );
  }

  onChunk(message: SnapshotChunk, host: Host): void {
    if (message.transfer !== this.offered) return;
    this.promise(message.ballot);
    if (this.phase === 'idle' && message.index === 0) this.begin(message, host);
    if (this.phase !== 'installing') return;
    if (message.index < this.done) this.acknowledge(message, host);
    if (message.index !== this.asked) return;
    this.asked += 1;
    if (message.index === 0) this.meta = message.meta;
    const token = host.expect(() => this.onIngested(message, host));
    host.outbox.ingest(token, this.bucket.id, message.records, message.index === 0);
  }

  /** The bucket was voided durably: the first chunk, which was held back, may be written. */
  onVoided(message: SnapshotChunk, host: Host): void {
    host.store.clear(this.bucket.id);
    if (this.phase !== 'voiding' || message.transfer !== this.offered) return;
    this.phase = 'installing';
    this.onChunk(message, host);
  }

  /**
   * First chunk: what the log says of this bucket is void from here on, and durably so before the
   * store is overwritten. Otherwise a crash half way would leave old log and new records together.
   */
  private begin(message: SnapshotChunk, host: Host): void {
    const { bucket } = this;
    this.asked = 0;
    this.done = 0;
    if (bucket.empty) {
      this.phase = 'installing';
      return;
    }
    this.phase = 'voiding';
    bucket.load(null);
    this.taken = 0;
    host.outbox.persist({ type: 'dropped', bucket: bucket.id });
    host.outbox.sendAfter(host.self, message);
  }

  private onIngested(message: SnapshotChunk, host: Host): void {
    if (this.phase !== 'installing' || message.transfer !== this.offered) return;
    this.done += 1;
    if (!message.last) {
      this.acknowledge(message, host);
      return;
    }
    const { meta } = this;
    if (meta === null) return;
    this.phase = 'idle';
    this.offered = 0;
    this.meta = null;
    // Not what was sent: it stays void, and the sender begins anew.
    const { records } = host.store.counts(this.bucket.id);
    if (!this.isWhole(message, records)) {
      this.acknowledge(message, host, records);
      return;
    }
    const installed = { ...meta, life: message.transfer };
    this.bucket.load(installed);
    host.outbox.persist({ type: 'installed', bucket: this.bucket.id, meta: installed });
    const { bucket, ballot, transfer, index } = message;
    this.taken = records;
    this.takenIn = host.view.change.number;
    host.outbox.sendAfter(this.from, new SnapshotAck(bucket, ballot, transfer, index, records));
  }

  /** What is held now is what was sent. */
  private isWhole({ total }: SnapshotChunk, records: number): boolean {
    return records === total;
  }

  private acknowledge(message: SnapshotChunk, host: Host, taken = 0): void {
    const { bucket, ballot, transfer, index } = message;
    host.send(this.from, new SnapshotAck(bucket, ballot, transfer, index, taken));
  }

  private promise(ballot: number): void {
    if (ballot <= this.bucket.promised) return;
    this.bucket.promised = ballot;
    this.bucket.matched = this.bucket.commitPoint;
  }
}
