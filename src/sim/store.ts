import type { BucketId, Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import { DamagedBucket, type RecordCounts, type StateStore } from '../core/outbox.js';
import type { Prng } from '../checkers/prng.js';

type Records = Map<BucketId, Map<Key, StoredRecord>>;

/** One write that a checkpoint has not made durable. `record` null removes, `key` null clears. */
interface Write {
  readonly bucket: BucketId;
  readonly key: Key | null;
  readonly record: StoredRecord | null;
  /** Belongs to an ingest, which is flushed as a whole. */
  readonly synced: boolean;
}

function apply(records: Records, { bucket, key, record }: Write): void {
  if (key === null) {
    records.delete(bucket);
    return;
  }
  let held = records.get(bucket);
  if (held === undefined) {
    held = new Map();
    records.set(bucket, held);
  }
  if (record === null) held.delete(key);
  else held.set(key, record);
}

function copy(records: Records): Records {
  return new Map(Array.from(records, ([bucket, held]) => [bucket, new Map(held)]));
}

/**
 * The state store of one server. Reads see every write at once; the disk lags. A crash keeps the
 * last checkpoint, every ingest, and of the other writes any number of the oldest.
 */
export class SimulatedStore implements StateStore {
  private live: Records = new Map();
  private disk: Records = new Map();
  private pending: Write[] = [];
  private ingesting = false;
  private readonly damaged = new Set<string>();

  constructor(private readonly random: Prng) {}

  get(bucket: BucketId, key: Key): StoredRecord | undefined {
    this.verify(bucket, key);
    return this.live.get(bucket)?.get(key);
  }

  /** From now on the record fails its checksum, until it is written again. */
  damage(bucket: BucketId, key: Key): void {
    this.damaged.add(`${bucket}/${key}`);
  }

  /** All that the digest of a bucket depends on, as of now; the result throws what it met. */
  digest(bucket: BucketId): () => string {
    const records = this.records(bucket);
    const hurt = records.find(({ key }) => this.damaged.has(`${bucket}/${key}`));
    const text = records.map(({ key, value, version }) => `${key}@${version}=${value.join()}`);
    return () => {
      if (hurt !== undefined) throw new DamagedBucket(bucket, `${hurt.key} is damaged`);
      return text.join(';');
    };
  }

  /** Throws DamagedBucket. */
  private verify(bucket: BucketId, key: Key): void {
    if (!this.damaged.has(`${bucket}/${key}`)) return;
    throw new DamagedBucket(bucket, `${key} is damaged`);
  }

  put(bucket: BucketId, record: StoredRecord): void {
    this.write({ bucket, key: record.key, record, synced: this.ingesting });
  }

  remove(bucket: BucketId, key: Key): void {
    this.write({ bucket, key, record: null, synced: this.ingesting });
  }

  clear(bucket: BucketId): void {
    this.write({ bucket, key: null, record: null, synced: this.ingesting });
  }

  counts(bucket: BucketId): RecordCounts {
    let bytes = 0;
    const held = this.live.get(bucket);
    if (held === undefined) return { records: 0, bytes: 0 };
    for (const { key, value } of held.values()) bytes += key.length + value.length;
    return { records: held.size, bytes };
  }

  /** Records of a bucket in key order after `after`, at most `limit`. */
  scan(bucket: BucketId, after: Key, limit: number): { records: StoredRecord[]; more: boolean } {
    const all = this.records(bucket).filter(({ key }) => key > after);
    for (const { key } of all.slice(0, limit)) this.verify(bucket, key);
    return { records: all.slice(0, limit), more: all.length > limit };
  }

  /** All records of a bucket in key order. */
  records(bucket: BucketId): StoredRecord[] {
    const all = Array.from(this.live.get(bucket)?.values() ?? []);
    return all.toSorted((left, right) => (left.key < right.key ? -1 : 1));
  }

  ingest(bucket: BucketId, records: readonly StoredRecord[], first: boolean): void {
    this.ingesting = true;
    if (first) this.clear(bucket);
    for (const record of records) this.put(bucket, record);
    this.ingesting = false;
  }

  /** Writes so far; `checkpoint` takes it once that many are durable. */
  get writes(): number {
    return this.pending.length;
  }

  checkpoint(writes: number): void {
    for (const write of this.pending.splice(0, writes)) apply(this.disk, write);
  }

  crash(): void {
    const survive = this.random.whole(0, this.pending.length);
    for (const [at, write] of this.pending.entries()) {
      if (at < survive || write.synced) apply(this.disk, write);
    }
    this.pending = [];
    this.live = copy(this.disk);
  }

  private write(write: Write): void {
    apply(this.live, write);
    const { bucket, key } = write;
    for (const name of this.damaged) {
      if (key === null ? name.startsWith(`${bucket}/`) : name === `${bucket}/${key}`) {
        this.damaged.delete(name);
      }
    }
    this.pending.push(write);
  }
}
