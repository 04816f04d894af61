import type { BucketId, Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';

/** What a row costs beside its bytes; an estimate. */
const ROW_BYTES = 200;
/** Buckets have numbers of sixteen bits in the engine. */
const BUCKETS = 65_536;

class Row {
  constructor(
    readonly bucket: BucketId,
    readonly life: number,
    /** Null: the key is known to be absent. */
    public record: StoredRecord | null,
  ) {}
}

/**
 * Records that were read or written lately, so that neither a read nor the size of what a write
 * replaces costs a look into the engine. Two halves: what is used moves into the young one; when
 * that is full, the old one is forgotten as a whole. What is found here is what the newest write
 * made of the key.
 */
export class RowCache {
  private young = new Map<Key, Row>();
  private old = new Map<Key, Row>();
  private youngBytes = 0;
  /** How often each bucket was cleared: rows of before are void. */
  private readonly lives = new Uint32Array(BUCKETS);

  /** `limitBytes`: of both halves together, about. */
  constructor(private readonly limitBytes: number) {}

  /** The record; null when the key is absent; undefined when that is not known here. */
  find(bucket: BucketId, key: Key): StoredRecord | null | undefined {
    const row = this.young.get(key) ?? this.fromOld(key);
    if (row === undefined) return undefined;
    return row.bucket === bucket && row.life === this.lives[bucket] ? row.record : undefined;
  }

  set(bucket: BucketId, key: Key, record: StoredRecord | null): void {
    const life = this.lives[bucket] ?? 0;
    const row = this.young.get(key);
    if (row !== undefined && row.bucket === bucket && row.life === life) {
      this.youngBytes += (record?.value.length ?? 0) - (row.record?.value.length ?? 0);
      row.record = record;
      this.turnOver();
    } else this.add(key, new Row(bucket, life, record));
  }

  /** What was known of the key may be so no more; it is not asked for soon. */
  forget(key: Key): void {
    this.young.delete(key);
    this.old.delete(key);
  }

  clear(bucket: BucketId): void {
    this.lives[bucket] = (this.lives[bucket] ?? 0) + 1;
  }

  private fromOld(key: Key): Row | undefined {
    const row = this.old.get(key);
    if (row !== undefined) this.add(key, row);
    return row;
  }

  private add(key: Key, row: Row): void {
    this.young.set(key, row);
    this.youngBytes += ROW_BYTES + key.length + (row.record?.value.length ?? 0);
    this.turnOver();
  }

  /** When the young half is full, it is the old one. */
  private turnOver(): void {
    if (this.youngBytes < this.limitBytes / 2) return;
    this.old = this.young;
    this.young = new Map();
    this.youngBytes = 0;
  }
}
