import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { readFully, writeFully } from './files.js';
import type { LogFile, LogFiles } from './files.js';
import { LogIndex } from './log-index.js';
import {
  FRAME_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  damagedLog,
  decodeHeader,
  encodeHeader,
  endOfContent,
  findLaterGroup,
  frameLength,
} from './log-segment.js';
import type { SegmentHeader } from './log-segment.js';
import { readHead } from './record-codec.js';
import type { StorageError } from './storage-error.js';

/** An open segment file. */
export interface Segment extends SegmentHeader {
  readonly path: string;
  readonly file: LogFile;
  /** Size of the file in bytes. */
  readonly capacity: number;
  /** Position after the last frame. */
  end: number;
}

const NAME = /^(\d{8,})\.log$/;
const UNFINISHED = /\.log\.new$/;

/**
 * Makes the segment that follows `previous` (null: the first). It appears under its name only when
 * its header is durable, so a segment with a bad header is damaged, not half made.
 */
export async function createSegment(
  files: LogFiles,
  directory: string,
  previous: Segment | null,
  capacity: number,
): Promise<Segment> {
  const number = (previous?.number ?? 0) + 1;
  const base = previous?.end ?? 0;
  const salt = previous?.salt ?? randomBytes(4).readUInt32BE();
  const path = join(directory, `${String(number).padStart(8, '0')}.log`);
  const file = await files.open(`${path}.new`, 'wx+');
  await file.truncate(capacity);
  await writeFully(file, [encodeHeader({ number, base, salt })], 0);
  await file.sync();
  await files.rename(`${path}.new`, path);
  await files.syncDirectory(directory);
  return { number, base, salt, path, file, capacity, end: base };
}

/** Bytes of the log in memory while it is scanned. */
const WINDOW_BYTES = 1024 * 1024;

/**
 * Opens the segments of a log in order, fills `index` from the record at `from` on, and finds the
 * end. What stands before `from` is not read: see `scanOlder`. Cuts a torn tail off the last
 * segment. Throws StorageError DAMAGED, changing nothing, when anything else is not as it was
 * written (D7).
 */
export async function openSegments(
  files: LogFiles,
  directory: string,
  index: LogIndex,
  from: number,
): Promise<Segment[]> {
  const names = await files.list(directory);
  const numbers = names
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b);
  const segments: Segment[] = [];
  try {
    for (const number of numbers) {
      const path = join(directory, `${String(number).padStart(8, '0')}.log`);
      const segment = await openSegment(files, path, number);
      segments.push(segment);
      checkOrder(segment, number, segments.at(-2));
    }
    for (const [at, segment] of segments.entries()) {
      await findEnd(segment, segments[at + 1], index, from);
    }
    for (const name of names) {
      if (UNFINISHED.test(name)) await files.remove(join(directory, name));
    }
    return segments;
  } catch (error) {
    for (const segment of segments) await segment.file.close();
    throw error;
  }
}

/** `end` is not known yet. */
async function openSegment(files: LogFiles, path: string, number: number): Promise<Segment> {
  const file = await files.open(path, 'r+');
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const read = await readFully(file, bytes, 0);
    const header = decodeHeader(bytes.subarray(0, read), path);
    if (header.number !== number) {
      throw damagedLog(path, 0, `the header says that it is segment ${header.number}`);
    }
    return { ...header, path, file, capacity: size, end: header.base };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function findEnd(
  segment: Segment,
  next: Segment | undefined,
  index: LogIndex,
  from: number,
): Promise<void> {
  if (next !== undefined && next.base <= from) {
    segment.end = next.base;
    return;
  }
  // A start beyond the file is none: the end that is found then tells that files are missing.
  const start = from <= lastPosition(segment) ? Math.max(from, segment.base) : segment.base;
  segment.end = await scanFrames(segment, start, lastPosition(segment), index);
  if (next === undefined) await settleTail(segment);
  else if (segment.end !== next.base) {
    const what = 'a record is not valid, and later segments follow';
    throw damagedLog(segment.path, offsetIn(segment, segment.end), what);
  }
}

/**
 * What the retained log says before `until`, for the catch-up of others: this server needs it no
 * more. A part that is not as it was written is passed over with all before it, and told. Segments
 * may go while they are read.
 */
export async function scanOlder(
  retained: readonly Segment[],
  until: number,
  onDamage: (error: StorageError) => void,
): Promise<LogIndex> {
  let index = new LogIndex();
  for (const segment of retained.slice()) {
    if (segment.base >= until) break;
    const limit = Math.min(segment.end, until);
    let end: number;
    try {
      end = await scanFrames(segment, segment.base, limit, index);
    } catch (error) {
      if (retained.includes(segment)) throw error;
      index = new LogIndex();
      continue;
    }
    if (end === limit) continue;
    index = new LogIndex();
    onDamage(damagedLog(segment.path, offsetIn(segment, end), 'a record is not valid'));
  }
  return index;
}

/** The segments must follow each other without a gap: what is missing is never dropped silently. */
function checkOrder(segment: Segment, number: number, previous: Segment | undefined): void {
  if (previous === undefined) return;
  const { path, salt } = segment;
  if (previous.salt !== salt) throw damagedLog(path, 0, 'it belongs to another log');
  if (previous.number + 1 !== number) {
    throw damagedLog(path, 0, `segment ${previous.number + 1}, before it, is missing`);
  }
}

/**
 * Notes every frame from `from` on in the index, up to the first that is not valid or not wholly
 * before `limit`; returns its position.
 */
async function scanFrames(
  segment: Segment,
  from: number,
  limit: number,
  index: LogIndex,
): Promise<number> {
  let window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, Math.max(limit - from, 0)));
  let at = from;
  for (;;) {
    const wanted = Math.min(window.length, limit - at);
    const read = await readFully(segment.file, window.subarray(0, wanted), offsetIn(segment, at));
    const bytes = window.subarray(0, read);
    const noted = noteFrames(bytes, at, segment.salt, index);
    at += noted;
    if (noted > 0) continue;
    // Either the end, or a frame that is longer than the window, by its own word.
    const size = read < FRAME_HEADER_BYTES ? 0 : FRAME_HEADER_BYTES + bytes.readUInt32BE(0);
    if (size <= read || size > limit - at) return at;
    window = Buffer.allocUnsafeSlow(size);
  }
}

/** Bytes of the frames at the start of `bytes`, which stand at `position`. */
function noteFrames(bytes: Buffer, position: number, salt: number, index: LogIndex): number {
  let offset = 0;
  for (;;) {
    const length = frameLength(bytes, offset, position + offset, salt);
    if (length === 0) return offset;
    const start = offset + FRAME_HEADER_BYTES;
    index.note(readHead(bytes.subarray(start, start + length)), position + offset);
    offset = start + length;
  }
}

function offsetIn(segment: SegmentHeader, position: number): number {
  return SEGMENT_HEADER_BYTES + position - segment.base;
}

/** The position that the end of the file would have. */
function lastPosition(segment: Segment): number {
  return segment.base + Math.max(0, segment.capacity - SEGMENT_HEADER_BYTES);
}

/**
 * The end of the log: either clean, or torn by a crash in the middle of the last group, which was
 * never acknowledged. Torn bytes are overwritten with zeros, so that none of them is ever read as
 * a record behind a later, shorter tail. The flush makes what was found there durable: the process
 * that wrote it may have died before its own flush.
 */
async function settleTail(segment: Segment): Promise<void> {
  const offset = offsetIn(segment, segment.end);
  const dirty = await contentBytes(segment, offset);
  if (dirty > 0) {
    const bytes = Buffer.alloc(dirty);
    await readFully(segment.file, bytes, offset);
    // The tail as a segment of its own; a frame keeps its position.
    const base = segment.end + SEGMENT_HEADER_BYTES;
    const later = findLaterGroup(bytes, { ...segment, base }, 0);
    if (later !== -1) {
      const what = `a record is not valid, and valid ones follow at byte ${offset + later}`;
      throw damagedLog(segment.path, offset, what);
    }
    await writeFully(segment.file, [bytes.fill(0)], offset);
  }
  await segment.file.sync();
}

/** Bytes of the file from `offset` to the last that is not zero; a bit more is possible. */
async function contentBytes(segment: Segment, offset: number): Promise<number> {
  const window = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  let content = 0;
  for (let at = offset; at < segment.capacity; at += WINDOW_BYTES) {
    const read = await readFully(segment.file, window, at);
    const end = endOfContent(window.subarray(0, read));
    if (end > 0) content = at - offset + end;
    if (read < WINDOW_BYTES) break;
  }
  return content;
}
