import type { Host } from './host.js';
import type { Key } from './ids.js';
import { isNamed, namespaceOf, RESERVED } from './namespace.js';
import type { StoredRecord } from './operation.js';
import type { Primary } from './primary.js';
import { walk } from './walk.js';

/** Every value of a named strong namespace begins with when it expires; see `Expiry.stamped`. */
const STAMP_BYTES = 8;
/** Deletions that one sweep of a bucket logs at a time. */
const SWEEP_DELETES = 512;
const AGAIN_MS = 1000;

/** The value of a record as its user knows it. */
export function bare({ key, value }: StoredRecord): Uint8Array {
  return isNamed(key) ? value.subarray(STAMP_BYTES) : value;
}

/** The record as its user knows it, but for the key. */
export function unstamped(record: StoredRecord): StoredRecord {
  if (!isNamed(record.key)) return record;
  const { key, version } = record;
  return { key, value: bare(record), version };
}

/**
 * When values of strong namespaces expire. The primary decides it by the bucket's own clock, and
 * says so by an entry that deletes the key: once that is committed, no replica has the value, and
 * no later primary can think otherwise (a clock that goes wrong makes values live longer or
 * shorter, but none comes back). The records of deleted namespaces go the same way.
 */
export class Expiry {
  /** Nothing is due before that, by the bucket's clock. */
  private dueMs = -Infinity;
  private sweeping = false;

  constructor(
    private readonly primary: Primary,
    private readonly host: Host,
  ) {}

  /**
   * The value as it is stored. Layout in a namespace: when it expires by the bucket's clock, ms
   * (float64, 0: never), then the value.
   */
  stamped(key: Key, value: Uint8Array, ttlMs = 0): Uint8Array {
    if (!isNamed(key)) return value;
    const lives = ttlMs > 0 ? ttlMs : (this.host.view.namespaces.get(namespaceOf(key))?.ttlMs ?? 0);
    const expiresMs = lives > 0 ? this.primary.clockMs + lives : 0;
    if (expiresMs > 0) this.dueMs = Math.min(this.dueMs, expiresMs);
    const stored = new Uint8Array(STAMP_BYTES + value.length);
    new DataView(stored.buffer).setFloat64(0, expiresMs);
    stored.set(value, STAMP_BYTES);
    return stored;
  }

  /** The time of the record is over, or its namespace is deleted. */
  isDue(record: StoredRecord): boolean {
    return isNamed(record.key) && this.primary.clockMs >= this.endOf(record);
  }

  /** Look through the bucket again: a namespace was deleted. */
  wake(): void {
    this.dueMs = -Infinity;
  }

  /** Find what is due, if anything may be. `end` logs the end of a key; false: not now. */
  sweep(end: (record: StoredRecord) => boolean): boolean {
    const { primary, host } = this;
    const idle = this.sweeping || !primary.holdsLease || !primary.writable;
    if (idle || primary.clockMs < this.dueMs) return false;
    this.sweeping = true;
    // What is in the log and not in the store is looked for once more.
    const { bucket } = primary;
    const isBusy = bucket.last > bucket.commitPoint || bucket.intents.size > 0;
    this.dueMs = isBusy ? primary.clockMs + AGAIN_MS : Infinity;
    let next = Infinity;
    let ended = 0;
    const page = (records: readonly StoredRecord[]): boolean => {
      if (!primary.holdsLease || !primary.writable) return false;
      for (const record of records) {
        const isOver = this.isDue(record) && ended < SWEEP_DELETES && end(record);
        if (isOver) ended += 1;
        else next = Math.min(next, this.endOf(record));
      }
      return true;
    };
    walk(host, bucket.id, RESERVED, page, (whole) => {
      this.sweeping = false;
      this.dueMs = Math.min(this.dueMs, whole ? next : -Infinity);
    });
    return true;
  }

  private endOf({ key, value }: StoredRecord): number {
    if (this.host.view.namespaces.get(namespaceOf(key))?.deleted === true) return -Infinity;
    const expiresMs = new DataView(value.buffer, value.byteOffset).getFloat64(0);
    return expiresMs > 0 ? expiresMs : Infinity;
  }
}
