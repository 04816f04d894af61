import { Buffer } from 'node:buffer';

import type { Entry } from '../core/entry.js';
import type { BucketId, Sequence } from '../core/ids.js';
import type { LogRecord } from '../core/outbox.js';
import { ByteWriter } from './bytes.js';
import { checksum } from './checksum.js';
import { FlushPace } from './flush-pace.js';
import { realFiles, writeFully, writeFullyNow } from './files.js';
import type { LogFiles } from './files.js';
import { LogIndex } from './log-index.js';
import { LogReader } from './log-reader.js';
import { createSegment, openSegments, scanOlder } from './log-scan.js';
import type { Segment } from './log-scan.js';
import { FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, frameMark } from './log-segment.js';
import { headOf, readRecord, writeRecord } from './record-codec.js';
import { StorageError, toError } from './storage-error.js';

export interface LogSettings {
  /** Size of a segment file. */
  readonly segmentBytes: number;
  /** Bytes kept for the catch-up of others, even when this server needs them no more. */
  readonly retainBytes: number;
}

export const DEFAULT_LOG_SETTINGS: LogSettings = {
  segmentBytes: 64 * 1024 * 1024,
  retainBytes: 256 * 1024 * 1024,
};

export interface LogPorts {
  /** Called once. After it nothing more becomes durable; the process must end. */
  readonly onFatal: (error: StorageError) => void;
  /** A part of the log that this server needs no more is damaged; it is not read again. */
  readonly onDamage?: (error: StorageError) => void;
  readonly files?: LogFiles;
}

/** A flush into blocks that were written before needs no change of the file's metadata. */
const ZEROS = Buffer.alloc(1024 * 1024);
/** So far ahead of the records the segment is written with zeros, beside the groups. */
const AHEAD_BYTES = 4 * ZEROS.length;
const CATCH_UP_WINDOW_BYTES = 64 * 1024;
const REPLAY_WINDOW_BYTES = 4 * 1024 * 1024;

/**
 * The one log of a server. Records are gathered and written in groups: one write and one flush are
 * under way at a time, and what is appended meanwhile is the next group.
 */
export class Log {
  /** Position after everything appended. Positions are bytes since the log was made. */
  end: number;
  private durableEnd: number;
  private gathering = new ByteWriter(64 * 1024);
  private writing = new ByteWriter(64 * 1024);
  /** Waiting for the group being gathered, and for the group being written. */
  private nextCallbacks: (() => void)[] = [];
  private callbacks: (() => void)[] = [];
  private notifying = false;
  /** A group is being written, or will be at the end of this turn of the event loop. */
  private busy = false;
  /** Called when nothing is left to be written, or nothing will be any more. */
  private onIdle: (() => void)[] = [];
  private failed = false;
  /** Groups that were taken to be written, ever. */
  private groupsTaken = 0;
  private readonly pace = new FlushPace();
  /** Bytes of the last segment that were written before, with records or zeros. */
  private touched: number;
  /** Zeros are being written from `touched` on; no record may go there meanwhile. */
  private filling: Promise<void> | null = null;
  /** The log before `indexedFrom` is indexed: see `readOlder`. */
  private older: Promise<void> | null = null;

  private constructor(
    private readonly directory: string,
    private readonly settings: LogSettings,
    private readonly ports: LogPorts,
    private readonly files: LogFiles,
    private readonly segments: Segment[],
    readonly index: LogIndex,
    /** What stands before it is not indexed yet. */
    private readonly indexedFrom: number,
  ) {
    this.end = this.last.end;
    this.durableEnd = this.end;
    this.touched = SEGMENT_HEADER_BYTES + this.last.end - this.last.base;
  }

  /**
   * Throws StorageError; a torn tail is cut, everything found before it is durable. This server
   * needs the log from `from` on; what is retained before it is read when somebody asks for it.
   */
  static async open(
    directory: string,
    settings: LogSettings,
    ports: LogPorts,
    from = 0,
  ): Promise<Log> {
    const files = ports.files ?? realFiles;
    await files.makeDirectory(directory);
    const index = new LogIndex();
    const segments = await openSegments(files, directory, index, from);
    if (segments.length === 0) {
      segments.push(await createSegment(files, directory, null, settings.segmentBytes));
    }
    return new Log(directory, settings, ports, files, segments, index, from);
  }

  /** Position of the oldest record that is retained. */
  get start(): number {
    return this.segments[0]?.base ?? this.end;
  }

  /** Gathers the record for the next group. */
  append(record: LogRecord): void {
    if (this.failed) return;
    const out = this.gathering;
    const back = out.at;
    const at = out.skip(FRAME_HEADER_BYTES);
    writeRecord(out, record);
    const length = out.at - at - FRAME_HEADER_BYTES;
    const mark = frameMark(this.last.salt, this.end, length, back);
    out.patchU32(at, length);
    out.patchU32(at + 4, back);
    out.patchU32(at + 8, mark);
    const payload = out.buffer.subarray(at + FRAME_HEADER_BYTES, out.at);
    out.patchU32(at + 12, checksum(payload, mark));
    if (record.type === 'entry') {
      this.index.noteEntry(record.bucket, record.entry.sequence, this.end);
    } else this.index.note(headOf(record), this.end);
    this.end += out.at - at;
    this.schedule();
  }

  /** Number of the group whose end makes everything appended so far durable; 0: it is. */
  get pendingGroup(): number {
    if (this.gathering.at > 0) return this.groupsTaken + 1;
    return this.durableEnd < this.end ? this.groupsTaken : 0;
  }

  /**
   * Calls back when everything appended so far is durable; at once, before returning, when it
   * already is. Callbacks run in the order they were given, and never after a failure.
   */
  whenDurable(callback: () => void): void {
    if (this.failed) return;
    if (this.gathering.at > 0) this.nextCallbacks.push(callback);
    else if (this.durableEnd < this.end || this.notifying) this.callbacks.push(callback);
    else callback();
  }

  /**
   * Durable entries of a bucket from `from` on, at least one if there is one, about `limitBytes` of
   * them. Empty when none is durable yet; null when they are not retained any more.
   */
  async readEntries(bucket: BucketId, from: Sequence, limitBytes: number): Promise<Entry[] | null> {
    let positions = this.index.positionsFrom(bucket, from);
    if (positions === null && this.start < this.indexedFrom) {
      await (this.older ??= this.readOlder());
      positions = this.index.positionsFrom(bucket, from);
    }
    if (positions === null) return null;
    const reader = this.reader(Math.min(CATCH_UP_WINDOW_BYTES, Math.max(limitBytes, 4096)));
    const entries: Entry[] = [];
    // As of the call.
    const { durableEnd } = this;
    let bytes = 0;
    for (const position of positions) {
      if (position >= durableEnd || bytes >= limitBytes) break;
      const payload = reader.inWindow(position) ?? (await reader.payload(position));
      if (payload === null) return null;
      const record = readRecord(payload);
      if (record.type === 'entry') entries.push(record.entry);
      bytes += payload.length;
    }
    return entries;
  }

  /**
   * Calls `visitor` with every durable record from the one at `from` on, in order. When it returns
   * a promise, the next call waits for it.
   */
  async visit(
    from: number,
    visitor: (position: number, record: LogRecord) => Promise<void> | undefined,
  ): Promise<void> {
    const reader = this.reader(REPLAY_WINDOW_BYTES);
    for (let position = from; position < this.durableEnd;) {
      const payload = reader.inWindow(position) ?? (await reader.payload(position));
      if (payload === null) throw new StorageError('FAILED', 'the log was cut while it was read');
      const wait = visitor(position, readRecord(payload));
      position += FRAME_HEADER_BYTES + payload.length;
      if (wait !== undefined) await wait;
    }
  }

  /** Deletes the segments that end before `position`, but keeps `retainBytes` of the log. */
  async truncateBefore(position: number): Promise<void> {
    const limit = Math.min(position, this.end - this.settings.retainBytes);
    for (;;) {
      const [oldest, next] = this.segments;
      if (oldest === undefined || next === undefined || next.base > limit) return;
      this.segments.shift();
      this.index.forgetBefore(next.base);
      await this.files.remove(oldest.path);
      await oldest.file.close();
    }
  }

  /** Makes everything appended durable, then closes the files. */
  async close(): Promise<void> {
    if (this.busy) await new Promise<void>((resolve) => this.onIdle.push(resolve));
    await this.filling;
    for (const segment of this.segments) await segment.file.close();
  }

  private get last(): Segment {
    const last = this.segments.at(-1);
    if (last === undefined) throw new StorageError('FAILED', 'the log has no segment');
    return last;
  }

  private reader(windowBytes: number): LogReader {
    const segmentAt = (position: number): Segment | undefined =>
      this.segments.findLast((segment) => segment.base <= position);
    return new LogReader(segmentAt, windowBytes);
  }

  private async readOlder(): Promise<void> {
    const { onDamage = () => undefined } = this.ports;
    const older = await scanOlder(this.segments, this.indexedFrom, onDamage);
    older.forgetBefore(this.start);
    this.index.adopt(older);
  }

  /**
   * A turn of the event loop gathers, and what it has to say to others leaves before the group is
   * written: a flush may block, and theirs runs beside ours.
   */
  private schedule(): void {
    if (this.busy) return;
    this.busy = true;
    setImmediate(() => setImmediate(() => this.writeGroup()));
  }

  private writeGroup(): void {
    [this.gathering, this.writing] = [this.writing, this.gathering];
    this.callbacks = this.nextCallbacks;
    this.nextCallbacks = [];
    this.groupsTaken += 1;
    const groupEnd = this.end;
    const group = this.writing.written();
    const offset = SEGMENT_HEADER_BYTES + this.last.end - this.last.base;
    const startMs = performance.now();
    if (offset + group.length > this.touched || !this.pace.mayBlock(group.length)) {
      void this.writeInPool(group, offset, groupEnd, startMs);
      return;
    }
    try {
      writeFullyNow(this.last.file, group, offset);
    } catch (error) {
      this.fail(toError(error));
      return;
    }
    this.pace.took(performance.now() - startMs, true);
    this.finish(groupEnd);
  }

  private async writeInPool(
    group: Buffer,
    offset: number,
    groupEnd: number,
    startMs: number,
  ): Promise<void> {
    try {
      await this.filling;
      let at = offset;
      if (offset + group.length > this.last.capacity) {
        const capacity = Math.max(this.settings.segmentBytes, SEGMENT_HEADER_BYTES + group.length);
        this.segments.push(await createSegment(this.files, this.directory, this.last, capacity));
        at = SEGMENT_HEADER_BYTES;
        this.touched = at;
      }
      await writeFully(this.last.file, [group], at);
      this.touched = Math.max(this.touched, at + group.length);
    } catch (error) {
      this.fail(toError(error));
      return;
    }
    this.pace.took(performance.now() - startMs, false);
    this.finish(groupEnd);
  }

  private finish(groupEnd: number): void {
    this.last.end = groupEnd;
    this.durableEnd = groupEnd;
    this.writing.at = 0;
    this.notify();
    this.busy = false;
    if (this.filling === null && this.zerosWanted > 0) this.filling = this.fill();
    if (this.gathering.at > 0) this.schedule();
    else this.wakeIdle();
  }

  /** How many zeros to write next; 0: there are enough. */
  private get zerosWanted(): number {
    const { last, touched } = this;
    const end = SEGMENT_HEADER_BYTES + last.end - last.base;
    if (this.failed || touched - end > AHEAD_BYTES) return 0;
    return Math.min(ZEROS.length, last.capacity - touched);
  }

  /** Writes zeros ahead of the records, a piece at a time. */
  private async fill(): Promise<void> {
    try {
      for (let size = this.zerosWanted; size > 0; size = this.zerosWanted) {
        const { last, touched } = this;
        await writeFully(last.file, [ZEROS.subarray(0, size)], touched);
        if (this.last === last) this.touched = touched + size;
      }
    } catch {
      // Nothing is lost: where the disk is full or broken, the next group finds out and says so.
    }
    this.filling = null;
  }

  private wakeIdle(): void {
    for (const wake of this.onIdle.splice(0)) wake();
  }

  private notify(): void {
    this.notifying = true;
    // One that is given by another joins the end of the list, which the loop then reaches.
    for (const callback of this.callbacks) callback();
    this.callbacks = [];
    this.notifying = false;
  }

  /** A second flush may falsely succeed: nothing is tried again (design: Replication, 6). */
  private fail(cause: Error): void {
    if (this.failed) return;
    this.failed = true;
    this.busy = false;
    this.wakeIdle();
    this.callbacks = [];
    this.nextCallbacks = [];
    const message =
      `Writing ${this.last.path} failed: ${cause.message}. What was acknowledged is kept. ` +
      'Check the disk (space, health), then start the server again.';
    this.ports.onFatal(new StorageError('FAILED', message, { cause }));
  }
}
