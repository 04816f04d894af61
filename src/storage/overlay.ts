import type { BucketId, Key } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';

/** Bookkeeping of one entry beside its bytes; an estimate. */
const ENTRY_BYTES = 128;

/** Writes of one bucket that the engine does not hold yet. */
export class BucketLayer {
  /** What the engine and older layers hold of the bucket is void. */
  cleared = false;
  /** Null: removed. */
  readonly records = new Map<Key, StoredRecord | null>();
}

/** A batch of writes on their way into the engine. */
export class Layer {
  readonly buckets = new Map<BucketId, BucketLayer>();
  /** Rough size in memory. */
  bytes = 0;

  get empty(): boolean {
    return this.buckets.size === 0;
  }

  /** The record; null when it is removed; undefined when this layer says nothing about it. */
  find(bucket: BucketId, key: Key): StoredRecord | null | undefined {
    const layer = this.buckets.get(bucket);
    if (layer === undefined) return undefined;
    const found = layer.records.get(key);
    return found === undefined && layer.cleared ? null : found;
  }

  set(bucket: BucketId, key: Key, record: StoredRecord | null): void {
    const { records } = this.bucket(bucket);
    const old = records.get(key);
    if (old === undefined) this.bytes += ENTRY_BYTES + key.length;
    this.bytes += (record?.value.length ?? 0) - (old?.value.length ?? 0);
    records.set(key, record);
  }

  clear(bucket: BucketId): void {
    const layer = this.bucket(bucket);
    for (const [key, record] of layer.records) {
      this.bytes -= ENTRY_BYTES + key.length + (record?.value.length ?? 0);
    }
    layer.records.clear();
    layer.cleared = true;
  }

  private bucket(id: BucketId): BucketLayer {
    let layer = this.buckets.get(id);
    if (layer === undefined) {
      layer = new BucketLayer();
      this.buckets.set(id, layer);
    }
    return layer;
  }
}

/** What `layers`, oldest first, say together about a bucket after `after`, in key order. */
export function mergeLayers(
  layers: readonly Layer[],
  bucket: BucketId,
  after: Key,
): { readonly cleared: boolean; readonly records: [Key, StoredRecord | null][] } {
  let cleared = false;
  const merged = new Map<Key, StoredRecord | null>();
  for (const layer of layers) {
    const part = layer.buckets.get(bucket);
    if (part === undefined) continue;
    if (part.cleared) {
      cleared = true;
      merged.clear();
    }
    for (const [key, record] of part.records) if (key > after) merged.set(key, record);
  }
  const records = [...merged].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return { cleared, records };
}
