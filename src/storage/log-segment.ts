import { Buffer } from 'node:buffer';

import { checksum, mix } from './checksum.js';
import { StorageError } from './storage-error.js';

/**
 * The format of a log segment: a header, then frames up to the end of what was written, then
 * zeros. A position counts the bytes of all frames ever written to the log; the first frame of a
 * segment is at its `base`, and `base` of the next segment is where this one ends.
 *
 * Frames are written in groups, each flushed before the next one is written. A frame carries how
 * far back its group began. That tells a torn tail (what is bad, and all that follows it, belongs
 * to the one group that was never acknowledged) from damage (a later group is there).
 *
 * A frame is bound to its position and to the log's random salt, so that neither stale bytes nor
 * a value that looks like a frame are ever taken for one.
 */
export interface SegmentHeader {
  readonly number: number;
  /** Position of the first frame. */
  readonly base: number;
  /** Random number of the whole log. */
  readonly salt: number;
}

export const SEGMENT_HEADER_BYTES = 32;
/** Length of the payload, distance to the start of the group, mark, checksum; u32 each. */
export const FRAME_HEADER_BYTES = 16;

const MAGIC = 'KVSLOG';
const FORMAT = 1;

export function encodeHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeUInt16BE(FORMAT, 6);
  bytes.writeDoubleBE(header.number, 8);
  bytes.writeDoubleBE(header.base, 16);
  bytes.writeUInt32BE(header.salt, 24);
  bytes.writeUInt32BE(checksum(bytes.subarray(0, 28)), 28);
  return bytes;
}

/** Throws StorageError naming `path` when the header is damaged or of another format. */
export function decodeHeader(bytes: Buffer, path: string): SegmentHeader {
  const whole =
    bytes.length >= SEGMENT_HEADER_BYTES &&
    bytes.toString('latin1', 0, 6) === MAGIC &&
    bytes.readUInt32BE(28) === checksum(bytes.subarray(0, 28));
  if (!whole) throw damagedLog(path, 0, 'the segment header is not valid');
  const format = bytes.readUInt16BE(6);
  if (format !== FORMAT) {
    throw new StorageError(
      'UNKNOWN_FORMAT',
      `${path} has log format ${format}; this kvs reads format ${FORMAT}. ` +
        'Nothing was changed. Start the kvs that wrote it.',
    );
  }
  return {
    number: bytes.readDoubleBE(8),
    base: bytes.readDoubleBE(16),
    salt: bytes.readUInt32BE(24),
  };
}

/** Binds the numbers of a frame's header to its position; also the seed of its checksum. */
export function frameMark(salt: number, position: number, length: number, back: number): number {
  return mix(salt, position % 2 ** 32, length, back);
}

/**
 * Length of the payload of the frame at `offset` of `bytes`, which stands at `position` of the
 * log; 0 when there is no valid frame, or it is not wholly inside `bytes`.
 */
export function frameLength(bytes: Buffer, offset: number, position: number, salt: number): number {
  if (!isMarked(bytes, offset, position, salt)) return 0;
  const length = bytes.readUInt32BE(offset);
  const start = offset + FRAME_HEADER_BYTES;
  if (start + length > bytes.length) return 0;
  const mark = bytes.readUInt32BE(offset + 8);
  const payload = bytes.subarray(start, start + length);
  return bytes.readUInt32BE(offset + 12) === checksum(payload, mark) ? length : 0;
}

function isMarked(bytes: Buffer, offset: number, position: number, salt: number): boolean {
  if (offset + FRAME_HEADER_BYTES > bytes.length) return false;
  const length = bytes.readUInt32BE(offset);
  if (length === 0) return false;
  const back = bytes.readUInt32BE(offset + 4);
  return bytes.readUInt32BE(offset + 8) === frameMark(salt, position, length, back);
}

/**
 * Offset of a valid frame after `offset` whose group began after it, or -1. If there is one, the
 * group at `offset` had been flushed: what is bad there is damage, not a torn tail.
 */
export function findLaterGroup(segment: Buffer, header: SegmentHeader, offset: number): number {
  const end = endOfContent(segment);
  for (let at = offset + 1; at < end; at++) {
    const position = header.base + at - SEGMENT_HEADER_BYTES;
    if (frameLength(segment, at, position, header.salt) === 0) continue;
    if (at - segment.readUInt32BE(at + 4) > offset) return at;
  }
  return -1;
}

const ZEROS = Buffer.alloc(64 * 1024);

/** Offset after the last byte that may not be zero, to the next 64 KiB. */
export function endOfContent(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0) {
    const start = Math.max(0, end - ZEROS.length);
    if (!bytes.subarray(start, end).equals(ZEROS.subarray(0, end - start))) return end;
    end = start;
  }
  return 0;
}

export function damagedLog(path: string, offset: number, what: string): StorageError {
  return new StorageError(
    'DAMAGED',
    `The log is damaged: ${path}, byte ${offset}: ${what}. Nothing was changed. ` +
      'Move this data directory away and start the server with an empty one: ' +
      'it copies from its replicas.',
  );
}
