import { Buffer } from 'node:buffer';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

const PLACE_BYTES = 512;
const BODY_BYTES = 8;

/**
 * The highest epoch that was ever reported durable, in a file of its own. The store behind the view
 * drops records of its write-ahead file that fail their checksum without a word; against this mark
 * such a loss shows, and no epoch is given out twice (V1). Two places, written in turn: a crash
 * while one is written leaves the other.
 */
export class EpochMark {
  private constructor(
    private readonly file: FileHandle,
    /** 0 when there is none. */
    private highest: number,
    private turn: number,
  ) {}

  static async open(path: string): Promise<EpochMark> {
    const file = await open(path, 'a+').then(async (made) => {
      await made.close();
      return open(path, 'r+');
    });
    const content = Buffer.alloc(2 * PLACE_BYTES);
    await file.read(content, 0, content.length, 0);
    const [first, second] = [readPlace(content, 0), readPlace(content, 1)];
    return new EpochMark(file, Math.max(first, second), first > second ? 1 : 0);
  }

  get epoch(): number {
    return this.highest;
  }

  /** Durable when resolved. */
  async raise(epoch: number): Promise<void> {
    const place = Buffer.alloc(BODY_BYTES + 4);
    place.writeDoubleLE(epoch);
    place.writeUInt32LE(crc32(place.subarray(0, BODY_BYTES)), BODY_BYTES);
    await this.file.write(place, 0, place.length, this.turn * PLACE_BYTES);
    await this.file.datasync();
    this.turn = 1 - this.turn;
    this.highest = epoch;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

function readPlace(content: Buffer, place: number): number {
  const start = place * PLACE_BYTES;
  const body = content.subarray(start, start + BODY_BYTES);
  if (content.readUInt32LE(start + BODY_BYTES) !== crc32(body)) return 0;
  return body.readDoubleLE();
}
