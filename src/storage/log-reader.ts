import { Buffer } from 'node:buffer';

import { readFully } from './files.js';
import {
  FRAME_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  damagedLog,
  frameLength,
} from './log-segment.js';
import type { Segment } from './log-scan.js';

/** A part of a segment in memory. */
interface Window {
  readonly segment: Segment;
  readonly start: number;
  readonly bytes: Buffer;
}

/** Reads frames by position, a window of a segment at a time. For one reader. */
export class LogReader {
  private window: Window | null = null;

  constructor(
    private readonly segmentAt: (position: number) => Segment | undefined,
    private readonly windowBytes: number,
  ) {}

  /** As `payload`, without waiting; null when it is not in memory. */
  inWindow(position: number): Buffer | null {
    if (this.window === null) return null;
    const { segment, start, bytes } = this.window;
    if (position < start) return null;
    const offset = position - start;
    const length = frameLength(bytes, offset, position, segment.salt);
    if (length === 0) return null;
    return bytes.subarray(offset + FRAME_HEADER_BYTES, offset + FRAME_HEADER_BYTES + length);
  }

  /**
   * Payload of the frame at `position`, a view that is valid until the next call; null when its
   * segment is gone. Throws StorageError DAMAGED when it is not what was written (D7).
   */
  async payload(position: number): Promise<Buffer | null> {
    const segment = this.segmentAt(position);
    if (segment === undefined) return null;
    if (!(await this.load(segment, position, this.windowBytes))) return null;
    const wanted = this.wantedBytes();
    if (wanted > this.windowBytes && !(await this.load(segment, position, wanted))) return null;
    const payload = this.inWindow(position);
    if (payload !== null) return payload;
    throw damagedLog(segment.path, offsetIn(segment, position), 'a record is not valid');
  }

  /** False when the segment was removed meanwhile. */
  private async load(segment: Segment, position: number, size: number): Promise<boolean> {
    const bytes = Buffer.allocUnsafeSlow(Math.min(size, segment.end - position));
    try {
      const read = await readFully(segment.file, bytes, offsetIn(segment, position));
      this.window = { segment, start: position, bytes: bytes.subarray(0, read) };
      return true;
    } catch (error) {
      if (this.segmentAt(position) !== segment) return false;
      throw error;
    }
  }

  /** Size of the frame that the window starts with, by its own word. */
  private wantedBytes(): number {
    const bytes = this.window?.bytes;
    if (bytes === undefined || bytes.length < FRAME_HEADER_BYTES) return 0;
    return FRAME_HEADER_BYTES + bytes.readUInt32BE(0);
  }
}

function offsetIn(segment: Segment, position: number): number {
  return SEGMENT_HEADER_BYTES + position - segment.base;
}
