import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { readFully, writeFully } from './files.js';
import type { LogFile, LogFiles } from './files.js';
import type { LogIndex } from './log-index.js';
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

/**
 * Opens the segments of a log in order and fills `index`. Cuts a torn tail off the last one. Throws
 * StorageError DAMAGED, changing nothing, when anything else is not as it was written (D7).
 */
export async function openSegments(
  files: LogFiles,
  directory: string,
  index: LogIndex,
): Promise<Segment[]> {
  const names = await files.list(directory);
  const numbers = names
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b);
  const segments: Segment[] = [];
  try {
    for (const [at, number] of numbers.entries()) {
      const path = join(directory, `${String(number).padStart(8, '0')}.log`);
      const isLast = at === numbers.length - 1;
      segments.push(await openSegment(files, path, number, segments.at(-1), isLast, index));
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

async function openSegment(
  files: LogFiles,
  path: string,
  number: number,
  previous: Segment | undefined,
  isLast: boolean,
  index: LogIndex,
): Promise<Segment> {
  const file = await files.open(path, 'r+');
  try {
    const { size } = await file.stat();
    const bytes = Buffer.allocUnsafeSlow(size);
    const read = await readFully(file, bytes, 0);
    const header = decodeHeader(bytes.subarray(0, read), path);
    checkOrder(path, number, header, previous);
    const end = scanFrames(bytes, header, index);
    const segment = { ...header, path, file, capacity: size, end };
    if (isLast) await settleTail(segment, bytes);
    return segment;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The segments must follow each other without a gap: what is missing is never dropped silently. */
function checkOrder(
  path: string,
  number: number,
  header: SegmentHeader,
  previous: Segment | undefined,
): void {
  if (header.number !== number) {
    throw damagedLog(path, 0, `the header says that it is segment ${header.number}`);
  }
  if (previous === undefined) return;
  if (previous.salt !== header.salt) throw damagedLog(path, 0, 'it belongs to another log');
  if (previous.number + 1 !== number) {
    throw damagedLog(path, 0, `segment ${previous.number + 1}, before it, is missing`);
  }
  if (previous.end !== header.base) {
    const offset = SEGMENT_HEADER_BYTES + previous.end - previous.base;
    throw damagedLog(previous.path, offset, 'a record is not valid, and later segments follow');
  }
}

/** Notes every frame in the index up to the first that is not valid; returns its position. */
function scanFrames(bytes: Buffer, header: SegmentHeader, index: LogIndex): number {
  let offset = SEGMENT_HEADER_BYTES;
  for (;;) {
    const position = header.base + offset - SEGMENT_HEADER_BYTES;
    const length = frameLength(bytes, offset, position, header.salt);
    if (length === 0) return position;
    const start = offset + FRAME_HEADER_BYTES;
    index.note(readHead(bytes.subarray(start, start + length)), position);
    offset = start + length;
  }
}

/**
 * The end of the log: either clean, or torn by a crash in the middle of the last group, which was
 * never acknowledged. Torn bytes are overwritten with zeros, so that none of them is ever read as
 * a record behind a later, shorter tail. The flush makes what was found there durable: the process
 * that wrote it may have died before its own flush.
 */
async function settleTail(segment: Segment, bytes: Buffer): Promise<void> {
  const offset = SEGMENT_HEADER_BYTES + segment.end - segment.base;
  const later = findLaterGroup(bytes, segment, offset);
  if (later !== -1) {
    const what = `a record is not valid, and valid ones follow at byte ${later}`;
    throw damagedLog(segment.path, offset, what);
  }
  const dirty = endOfContent(bytes);
  if (dirty > offset) await writeFully(segment.file, [Buffer.alloc(dirty - offset)], offset);
  await segment.file.sync();
}
