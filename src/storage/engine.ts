import type { Buffer } from 'node:buffer';

import { ClassicLevel } from 'classic-level';

import type { BucketId, Key } from '../core/ids.js';
import type { BucketMeta } from '../core/message.js';
import type { StoredRecord } from '../core/operation.js';
import type { RecordCounts, StateStore } from '../core/outbox.js';
import type { View } from '../core/view.js';
import { flushRows, markClosed, markOpen } from './engine-open.js';
import type { Database, StoredCounts } from './engine-open.js';
import {
  ALL_METAS,
  REPLAY_KEY,
  VIEW_KEY,
  bucketOf,
  countsRow,
  decodeBytes,
  decodeRecord,
  encodeBytes,
  metaKey,
  putPart,
  recordBytes,
  recordKey,
  recordRange,
} from './engine-rows.js';
import { digestMerged, scanMerged } from './engine-scan.js';
import type { Merging, ScanPage } from './engine-scan.js';
import { Layer, mergeLayers } from './overlay.js';
import { RowCache } from './row-cache.js';
import { VoidRows } from './void-rows.js';
import { decodeMeta, encodeMeta, readRecord, writeRecord } from './record-codec.js';
import { ByteWriter } from './bytes.js';
import { StorageError, toError } from './storage-error.js';

export interface EngineSettings {
  /**
   * Table files that are mapped into memory at once, in bytes, about. It reads through these
   * mappings, never into a cache of its own; the kernel drops their pages when it needs room.
   */
  readonly cacheBytes: number;
  /** Memory for records that were read or written lately. */
  readonly rowCacheBytes: number;
  /** Memory for rows before they go into a table file; twice as much may be in use. */
  readonly writeBufferBytes: number;
}

export const DEFAULT_ENGINE_SETTINGS: EngineSettings = {
  cacheBytes: 4 * 1024 * 1024 * 1024,
  rowCacheBytes: 32 * 1024 * 1024,
  writeBufferBytes: 16 * 1024 * 1024,
};

export interface EnginePorts {
  /** Called once. After it nothing more is written; the process must end. */
  readonly onFatal: (error: StorageError) => void;
}

/** How long writes are gathered, and how many bytes of them, before they go into the engine. */
const DRAIN_DELAY_MS = 4000;
const DRAIN_BYTES = 8 * 1024 * 1024;

/** Of one batch: the engine copies it twice before it is on the disk. */
const BATCH_BYTES = 1024 * 1024;
/** Rows of several buckets that are encoded in one turn of the event loop. */
const ROWS_AT_ONCE = 256;

const TABLE_BYTES = 4 * 1024 * 1024;
/** Files that the engine keeps open beside its tables. */
const OTHER_FILES = 10;

interface Waiter {
  /** Number of the layer that must be written. */
  readonly layer: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Changed in place: every write changes them. */
class Counts implements RecordCounts {
  constructor(
    public records: number,
    public bytes: number,
  ) {}
}

const NO_COUNTS: RecordCounts = { records: 0, bytes: 0 };

/**
 * The state of all buckets, in an LSM engine that lags behind. Writes go into a layer in memory and
 * are visible at once; one layer at a time is carried into the engine, in flushed batches. Each
 * flush covers only the engine's current write-ahead file: a checkpoint can trust older ones only
 * because every batch in them was flushed too.
 */
export class Engine implements StateStore {
  /** Takes writes. */
  private active = new Layer();
  /** Being written; older than `active`. */
  private draining = new Layer();
  /** Waits for more to write at once; null when it does not. */
  private timer: NodeJS.Timeout | null = null;
  private writing = false;
  /** Layers that were taken to be written, ever. */
  private layersTaken = 0;
  /** Their bytes. */
  private bytesTaken = 0;
  private waiting: Waiter[] = [];
  private readonly current = new Map<BucketId, Counts>();
  /** Records of each bucket in the engine itself, after the last batch. */
  private readonly storedRecords = new Map<BucketId, number>();
  /** No key of the bucket comes after this one: known while only `ingest` writes there. */
  private readonly lastKeys = new Map<BucketId, Key>();
  /** Rows of buckets that were cleared. */
  private readonly voided: VoidRows;
  private failure: StorageError | null = null;

  private constructor(
    private readonly database: Database,
    counts: StoredCounts,
    private readonly cache: RowCache,
    private readonly ports: EnginePorts,
  ) {
    this.voided = new VoidRows(database, (error) => this.fail(toError(error)));
    for (const [bucket, { records, bytes, clearing }] of counts) {
      this.current.set(bucket, new Counts(records, bytes));
      this.storedRecords.set(bucket, records);
      // A crash or a stop came before its rows were gone.
      if (clearing) this.voided.add(bucket);
    }
  }

  /** Throws StorageError; IN_USE when another process has it open. */
  static async open(
    directory: string,
    settings: EngineSettings,
    ports: EnginePorts,
  ): Promise<Engine> {
    const database: Database = new ClassicLevel(directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      compression: false,
      maxFileSize: TABLE_BYTES,
      maxOpenFiles: Math.ceil(settings.cacheBytes / TABLE_BYTES) + OTHER_FILES,
      writeBufferSize: settings.writeBufferBytes,
    });
    const counts = await markOpen(database, directory);
    return new Engine(database, counts, new RowCache(settings.rowCacheBytes), ports);
  }

  /** Rough size in memory of what is not in the engine yet. */
  get overlayBytes(): number {
    return this.active.bytes + this.draining.bytes;
  }

  /**
   * Rough size of all rows that were ever on their way into the engine: of a key that is written
   * again and again once for each layer.
   */
  get layeredBytes(): number {
    return this.bytesTaken + this.active.bytes;
  }

  /** Throws DamagedBucket. */
  get(bucket: BucketId, key: Key): StoredRecord | undefined {
    const known = this.cache.find(bucket, key);
    if (known !== undefined) return known ?? undefined;
    const found = this.read(bucket, key);
    this.cache.set(bucket, key, found);
    return found ?? undefined;
  }

  private read(bucket: BucketId, key: Key): StoredRecord | null {
    const found = this.inLayers(bucket, key);
    if (found !== undefined) return found;
    if ((this.storedRecords.get(bucket) ?? 0) === 0) return null;
    const rowKey = recordKey(bucket, key);
    const row = this.database.getSync(rowKey);
    return row === undefined ? null : decodeRecord(rowKey, row);
  }

  put(bucket: BucketId, record: StoredRecord): void {
    this.lastKeys.delete(bucket);
    this.replace(bucket, record, this.sizeOf(bucket, record.key));
    this.cache.set(bucket, record.key, record);
  }

  /** `old`: bytes of the record there is, or null. */
  private replace(bucket: BucketId, record: StoredRecord, old: number | null): void {
    const { key } = record;
    const counts = this.countsOf(bucket);
    if (old === null) counts.records += 1;
    counts.bytes += key.length + record.value.length - (old ?? 0);
    this.active.set(bucket, key, record);
    this.startDrain();
  }

  remove(bucket: BucketId, key: Key): void {
    const old = this.sizeOf(bucket, key);
    this.cache.set(bucket, key, null);
    if (old === null) return;
    const counts = this.countsOf(bucket);
    counts.records -= 1;
    counts.bytes -= old;
    this.active.set(bucket, key, null);
    this.startDrain();
  }

  clear(bucket: BucketId): void {
    this.cache.clear(bucket);
    this.active.clear(bucket);
    this.current.set(bucket, new Counts(0, 0));
    this.startDrain();
  }

  /** As they are now: the object changes with the next write. */
  counts(bucket: BucketId): RecordCounts {
    return this.current.get(bucket) ?? NO_COUNTS;
  }

  private countsOf(bucket: BucketId): Counts {
    let counts = this.current.get(bucket);
    if (counts === undefined) {
      counts = new Counts(0, 0);
      this.current.set(bucket, counts);
    }
    return counts;
  }

  /** Writes records durably; `first` empties the bucket before. Ordered with all other writes. */
  async ingest(bucket: BucketId, records: readonly StoredRecord[], first: boolean): Promise<void> {
    if (first) this.clear(bucket);
    let last = first ? '' : this.lastKeys.get(bucket);
    for (const record of records) {
      if (last !== undefined && record.key > last) {
        last = record.key;
        this.replace(bucket, record, null);
      } else this.replace(bucket, record, this.sizeOf(bucket, record.key));
      this.cache.forget(record.key);
    }
    if (last !== undefined) this.lastKeys.set(bucket, last);
    await this.settled();
  }

  /**
   * Records of a bucket strictly after `after` ('' from the start) in key order, as they were at
   * the call: up to `limitRecords`, about `limitBytes` of keys and values, at least one. Rejects
   * with DamagedBucket.
   */
  scan(bucket: BucketId, after: Key, limitRecords: number, limitBytes: number): Promise<ScanPage> {
    const { rows, newer } = this.records(bucket, after);
    return scanMerged(rows, newer, limitRecords, limitBytes);
  }

  /** A digest of all records of a bucket as they were at the call. Rejects with DamagedBucket. */
  digest(bucket: BucketId): Promise<string> {
    const { rows, newer } = this.records(bucket, '');
    return digestMerged(bucket, rows, newer, this.counts(bucket).records);
  }

  private records(bucket: BucketId, after: Key): Merging {
    const overlay = mergeLayers([this.draining, this.active], bucket, after);
    // An iterator sees the engine as it is when it is made.
    const { lt } = recordRange(bucket);
    const none = overlay.cleared || this.voided.has(bucket);
    const rows = none
      ? null
      : this.database.iterator({ gt: recordKey(bucket, after), lt, highWaterMarkBytes: 65_536 });
    return { rows, newer: overlay.records };
  }

  /** Resolves when everything written before the call is in the engine; rejects on failure. */
  settled(): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.active.empty && !this.writing) return Promise.resolve();
    const layer = this.layersTaken + (this.active.empty ? 0 : 1);
    return new Promise((resolve, reject) => {
      this.waiting.push({ layer, resolve, reject });
      this.startDrain();
    });
  }

  /**
   * Makes durable: all rows written before the call, then in one batch `metas` (null deletes), the
   * view, and `replayFrom`, the position of the log that a replay onto this state must start at.
   * Resolves to the size of that batch.
   */
  async checkpoint(
    metas: ReadonlyMap<BucketId, BucketMeta | null>,
    view: View | null,
    replayFrom: number,
  ): Promise<number> {
    const batch = this.database.batch();
    let bytes = 0;
    const put = (key: Buffer, row: Buffer): void => {
      batch.put(key, row);
      bytes += row.length;
    };
    let rows = 0;
    for (const [bucket, meta] of metas) {
      const key = metaKey(bucket);
      if (meta === null) batch.del(key);
      else put(key, encodeBytes(key, encodeMeta(meta)));
      if (++rows % ROWS_AT_ONCE === 0) await new Promise(setImmediate);
    }
    const state = new ByteWriter();
    state.number(replayFrom);
    put(REPLAY_KEY, encodeBytes(REPLAY_KEY, state.written()));
    if (view !== null) {
      const out = new ByteWriter();
      writeRecord(out, { type: 'view', view });
      put(VIEW_KEY, encodeBytes(VIEW_KEY, out.written()));
    }
    await this.settled();
    try {
      await batch.write({ sync: true });
    } catch (error) {
      throw this.fail(toError(error));
    }
    return bytes;
  }

  async loadMetas(): Promise<Map<BucketId, BucketMeta>> {
    const metas = new Map<BucketId, BucketMeta>();
    for await (const [key, row] of this.database.iterator(ALL_METAS)) {
      metas.set(bucketOf(key), decodeMeta(decodeBytes(key, row)));
    }
    return metas;
  }

  loadView(): View | null {
    const row = this.database.getSync(VIEW_KEY);
    if (row === undefined) return null;
    const record = readRecord(decodeBytes(VIEW_KEY, row));
    return record.type === 'view' ? record.view : null;
  }

  /** As of the last checkpoint; 0 when there was none. */
  loadReplayFrom(): number {
    const row = this.database.getSync(REPLAY_KEY);
    return row === undefined ? 0 : decodeBytes(REPLAY_KEY, row).readDoubleBE();
  }

  /** Writes what is in memory, then closes. */
  async close(): Promise<void> {
    try {
      await this.settled();
      await this.voided.stop();
      await flushRows(this.database);
      await markClosed(this.database);
    } finally {
      await this.database.close();
    }
  }

  private inLayers(bucket: BucketId, key: Key): StoredRecord | null | undefined {
    const found = this.active.find(bucket, key);
    return found === undefined ? this.draining.find(bucket, key) : found;
  }

  /** Bytes of the record there is, or null. Damage does not matter: it is being replaced. */
  private sizeOf(bucket: BucketId, key: Key): number | null {
    const found = this.cache.find(bucket, key) ?? this.inLayers(bucket, key);
    if (found !== undefined) return found === null ? null : key.length + found.value.length;
    if ((this.storedRecords.get(bucket) ?? 0) === 0) return null;
    const rowKey = recordKey(bucket, key);
    const row = this.database.getSync(rowKey);
    return row === undefined ? null : recordBytes(rowKey, row);
  }

  /** Larger batches cost less: each carries the counts of all buckets that it touches. */
  private startDrain(): void {
    if (this.writing || this.failure !== null) return;
    if (this.urgent) {
      this.writing = true;
      // At the end of this turn of the event loop, so that the batch holds all that it writes.
      setImmediate(() => void this.drainLayers());
    } else this.timer ??= setTimeout(() => void this.drainLayers(), DRAIN_DELAY_MS);
  }

  private get urgent(): boolean {
    return this.active.bytes >= DRAIN_BYTES || (this.waiting.length > 0 && !this.active.empty);
  }

  private async drainLayers(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.writing = true;
    try {
      do {
        this.draining = this.active;
        this.active = new Layer();
        this.layersTaken++;
        this.bytesTaken += this.draining.bytes;
        await this.writeLayer(this.draining);
        this.draining = new Layer();
        this.wake();
      } while (this.urgent);
    } catch (error) {
      this.fail(toError(error));
      return;
    }
    this.writing = false;
    if (!this.active.empty) this.startDrain();
  }

  private wake(): void {
    const ready = this.waiting.filter(({ layer }) => layer <= this.layersTaken);
    this.waiting = this.waiting.filter(({ layer }) => layer > this.layersTaken);
    for (const waiter of ready) waiter.resolve();
  }

  /** Writes the layer durably, as batches of a limited size. */
  private async writeLayer(layer: Layer): Promise<void> {
    // The counts are those of this layer: taken before anything can be written after it.
    const all = Array.from(layer.buckets, ([bucket, { records }]) => {
      return { bucket, records, counts: { ...this.counts(bucket) } };
    });
    await this.voidRows(layer);
    const voided = all.filter(({ bucket }) => this.voided.has(bucket));
    for (const { bucket, records } of voided) if (records.size > 0) await this.voided.empty(bucket);
    // Of one that stays void its counts say so already.
    const parts = all.filter(({ bucket }) => !this.voided.has(bucket));
    for (let next = 0; next < parts.length;) {
      const from = next;
      // A batch of the engine itself: a list of operations is copied twice more on the way there.
      const batch = this.database.batch();
      let bytes = 0;
      let rows = 0;
      for (; next < parts.length && bytes < BATCH_BYTES; next++) {
        const part = parts[next]!;
        if (rows + part.records.size > ROWS_AT_ONCE && rows > 0) {
          await new Promise(setImmediate);
          rows = 0;
        }
        bytes += await putPart(batch, part);
        rows += part.records.size;
      }
      await batch.write({ sync: true });
      for (const { bucket, counts } of parts.slice(from, next)) {
        this.storedRecords.set(bucket, counts.records);
      }
    }
  }

  /** From here on the rows of cleared buckets are overlooked, by a start after a crash, too. */
  private async voidRows(layer: Layer): Promise<void> {
    const cleared = [...layer.buckets]
      .filter(([bucket, part]) => part.cleared && (this.storedRecords.get(bucket) ?? 0) > 0)
      .map(([bucket]) => bucket);
    if (cleared.length === 0) return;
    const marks = cleared.map((bucket) => countsRow(bucket, NO_COUNTS, true));
    await this.database.batch(marks, { sync: true });
    for (const bucket of cleared) {
      this.storedRecords.set(bucket, 0);
      this.voided.add(bucket);
    }
  }

  private fail(cause: Error): StorageError {
    if (this.failure !== null) return this.failure;
    const message =
      `Writing the state engine failed: ${cause.message}. What was acknowledged is in the log. ` +
      'Check the disk (space, health), then start the server again.';
    this.failure = new StorageError('FAILED', message, { cause });
    for (const waiter of this.waiting) waiter.reject(this.failure);
    this.waiting = [];
    this.ports.onFatal(this.failure);
    return this.failure;
  }
}
