import { join } from 'node:path';

import type { Entry } from '../core/entry.js';
import type { BucketId, Sequence } from '../core/ids.js';
import type { BucketMeta } from '../core/message.js';
import type { LogRecord } from '../core/outbox.js';
import type { View } from '../core/view.js';
import { DataDirectory } from './data-directory.js';
import type { Identity } from './data-directory.js';
import { DEFAULT_ENGINE_SETTINGS, Engine } from './engine.js';
import type { EngineSettings } from './engine.js';
import type { LogFiles } from './files.js';
import { DEFAULT_LOG_SETTINGS, Log } from './log.js';
import type { LogSettings } from './log.js';
import { StorageError } from './storage-error.js';

export interface StorageSettings {
  readonly log: LogSettings;
  readonly engine: EngineSettings;
}

export const DEFAULT_STORAGE_SETTINGS: StorageSettings = {
  log: DEFAULT_LOG_SETTINGS,
  engine: DEFAULT_ENGINE_SETTINGS,
};

export interface StoragePorts {
  /** Called once, when the disk failed: the process must end (design: Replication, 6). */
  readonly onFatal: (error: StorageError) => void;
  /** See `LogPorts`. */
  readonly onDamage?: (error: StorageError) => void;
  readonly files?: LogFiles;
}

/**
 * A checkpoint is due when the log and the rows that it made have grown by this much together, or
 * the log by some times of what a checkpoint itself writes. Each carries all new rows into the
 * engine, so that rare ones leave more time for keys to be written again. A restart replays that
 * log: about 11 µs a record, and 9 more for each row that is not in memory yet.
 */
const CHECKPOINT_BYTES = 12 * 1024 * 1024;
const CHECKPOINT_SHARE = 4;

/** Replay lets the engine catch up when this much waits in memory. */
const REPLAY_OVERLAY_BYTES = 32 * 1024 * 1024;

/** Opens the storage of a server in `path`. Throws StorageError; see its codes. */
export async function openStorage(
  path: string,
  settings: StorageSettings,
  ports: StoragePorts,
): Promise<Storage> {
  let failed = false;
  const onFatal = (error: StorageError): void => {
    if (!failed) ports.onFatal(error);
    failed = true;
  };
  const opened: { close(): Promise<void> }[] = [];
  try {
    const directory = await DataDirectory.open(path, 'server');
    opened.push(directory);
    const store = await Engine.open(join(path, 'engine'), settings.engine, { onFatal });
    opened.push(store);
    const replayFrom = store.loadReplayFrom();
    const log = await Log.open(join(path, 'log'), settings.log, { ...ports, onFatal }, replayFrom);
    opened.push(log);
    checkSpan(path, log, replayFrom);
    return new Storage(directory, log, store, await store.loadMetas(), store.loadView());
  } catch (error) {
    for (const part of opened.toReversed()) await part.close();
    throw error;
  }
}

/** The log must hold everything that the engine may lack. */
function checkSpan(path: string, log: Log, replayFrom: number): void {
  if (replayFrom >= log.start && replayFrom <= log.end) return;
  throw new StorageError(
    'DAMAGED',
    `The log in ${path} spans ${log.start} to ${log.end}, but what the state engine lacks starts ` +
      `at ${replayFrom}: log files are missing. Nothing was changed. Restore them, or start with ` +
      'an empty data directory: the server copies from its replicas.',
  );
}

/** The durable storage of one server: the log is the database, the engine lags behind it. */
export class Storage {
  /** Position that a replay after a crash starts at. */
  private replayFrom: number;
  /** Bucket → last entry that the checkpoint has applied. */
  private readonly applied = new Map<BucketId, Sequence>();
  private checkpointedEnd: number;
  /** `Engine.layeredBytes` then. */
  private checkpointedRows = 0;
  private lastCheckpointBytes = 0;

  constructor(
    private readonly directory: DataDirectory,
    private readonly log: Log,
    readonly store: Engine,
    /** As of the last checkpoint. */
    readonly metas: ReadonlyMap<BucketId, BucketMeta>,
    /** As of the last checkpoint. */
    readonly view: View | null,
  ) {
    this.replayFrom = store.loadReplayFrom();
    this.checkpointedEnd = this.replayFrom;
    for (const [bucket, meta] of metas) this.applied.set(bucket, meta.sequence);
  }

  get identity(): Identity {
    return this.directory.identity;
  }

  join(clusterId: string, ordinal: number): Promise<void> {
    return this.directory.join(clusterId, ordinal);
  }

  /** Buckets that the log replaced or dropped as a whole since the checkpoint: where, last. */
  replacements(): Iterable<readonly [BucketId, number]> {
    return this.log.index.replacements();
  }

  /** Every record that the checkpoint may lack, in order. May be called again. */
  async replay(visitor: (position: number, record: LogRecord) => void): Promise<void> {
    await this.log.visit(this.replayFrom, (position, record) => {
      visitor(position, record);
      const isBehind = this.store.overlayBytes > REPLAY_OVERLAY_BYTES;
      return isBehind ? this.store.settled() : undefined;
    });
  }

  /** See `Log.append`. */
  append(record: LogRecord): void {
    this.log.append(record);
  }

  /** See `Log.whenDurable`: at once when nothing is pending. */
  whenDurable(callback: () => void): void {
    this.log.whenDurable(callback);
  }

  /** See `Log.pendingGroup`. */
  get pendingGroup(): number {
    return this.log.pendingGroup;
  }

  /** See `Log.readEntries`: durable entries; null when they are not retained. */
  readEntries(bucket: BucketId, from: Sequence, limitBytes: number): Promise<Entry[] | null> {
    return this.log.readEntries(bucket, from, limitBytes);
  }

  /** Bytes appended since the last checkpoint was asked for: what a restart may have to replay. */
  get bytesSinceCheckpoint(): number {
    return this.log.end - this.checkpointedEnd;
  }

  /** Enough was appended to be worth a checkpoint. */
  get checkpointDue(): boolean {
    const { bytesSinceCheckpoint } = this;
    const rows = this.store.layeredBytes - this.checkpointedRows;
    if (bytesSinceCheckpoint + rows < CHECKPOINT_BYTES) return false;
    return bytesSinceCheckpoint > this.lastCheckpointBytes * CHECKPOINT_SHARE;
  }

  /**
   * Makes the state durable in the engine and frees the log before it. `metas` holds every bucket
   * that changed since the last call, as of now (null: not held); `view` is the adopted one. One
   * call at a time.
   */
  async checkpoint(
    metas: ReadonlyMap<BucketId, BucketMeta | null>,
    view: View | null,
  ): Promise<void> {
    const { end, index } = this.log;
    for (const [bucket, meta] of metas) {
      if (meta === null) this.applied.delete(bucket);
      else this.applied.set(bucket, meta.sequence);
      index.settle(bucket, meta?.sequence ?? null);
    }
    // As of the call: what is logged while the checkpoint runs can only need less.
    const epoch = view?.epoch ?? -1;
    const replayFrom = index.replayFrom(end, this.replayFrom, this.applied, epoch);
    this.checkpointedEnd = end;
    this.checkpointedRows = this.store.layeredBytes;
    // The engine must never be ahead of the log: a crash could otherwise bring back its effects
    // without their entries.
    await new Promise<void>((resolve) => this.log.whenDurable(resolve));
    this.lastCheckpointBytes = await this.store.checkpoint(metas, view, replayFrom);
    this.replayFrom = replayFrom;
    await this.log.truncateBefore(replayFrom);
  }

  /** Writes everything to the disk and lets other processes open the directory. */
  async close(): Promise<void> {
    try {
      await this.log.close();
      await this.store.close();
    } finally {
      await this.directory.close();
    }
  }
}
