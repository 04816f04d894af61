import { Buffer } from 'node:buffer';

import type { LogFile, LogFiles } from '../../src/storage/files.js';

/** What a write does before it is carried out. */
export interface Fault {
  /** Turns of the event loop that a write in the pool takes. */
  readonly turns: number;
  /** The most bytes that one call writes. */
  readonly most: number;
}

interface Content {
  bytes: Buffer;
}

/** Files of a log in memory, whose writes can be slow, short or broken. */
export class MemoryFiles implements LogFiles {
  private readonly contents = new Map<string, Content>();
  /** Writes of records, through the pool and blocking. */
  pooled = 0;
  blocked = 0;
  /** Writes of zeros. */
  zeros = 0;
  /** Writes of zeros that something stood in the way of. */
  overwritten = 0;
  failPooled = false;
  failBlocking = false;
  failZeros = false;

  constructor(private readonly next: () => Fault = () => ({ turns: 0, most: Infinity })) {}

  /** As a disk would have them after a crash now. */
  copy(): MemoryFiles {
    const copy = new MemoryFiles();
    for (const [path, { bytes }] of this.contents) {
      copy.contents.set(path, { bytes: Buffer.from(bytes) });
    }
    return copy;
  }

  open(path: string, flags: 'r+' | 'wx+'): Promise<LogFile> {
    const there = this.contents.get(path);
    if ((there === undefined) !== (flags === 'wx+')) throw new Error(`cannot open ${path}`);
    const content = there ?? { bytes: Buffer.alloc(0) };
    this.contents.set(path, content);
    return Promise.resolve(this.fileOf(content));
  }

  makeDirectory(): Promise<void> {
    return Promise.resolve();
  }

  list(directory: string): Promise<string[]> {
    return Promise.resolve(
      Array.from(this.contents.keys(), (path) => path.slice(directory.length + 1)),
    );
  }

  rename(from: string, to: string): Promise<void> {
    this.contents.set(to, this.contents.get(from)!);
    this.contents.delete(from);
    return Promise.resolve();
  }

  remove(path: string): Promise<void> {
    this.contents.delete(path);
    return Promise.resolve();
  }

  syncDirectory(): Promise<void> {
    return Promise.resolve();
  }

  private fileOf(content: Content): LogFile {
    let open = true;
    const write = (buffers: readonly Buffer[], offset: number, most: number): number => {
      if (!open) throw new Error('EBADF: bad file descriptor, write');
      const all = Buffer.concat(buffers);
      const part = all.subarray(0, Math.max(1, Math.min(most, all.length)));
      part.copy(content.bytes, offset);
      return part.length;
    };
    const file = {
      writev: async (buffers: readonly Buffer[], offset: number) => {
        const { turns, most } = this.next();
        const isZeros = buffers.every(isZero);
        if (isZeros) this.zeros += 1;
        else this.pooled += 1;
        for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
        if (isZeros ? this.failZeros : this.failPooled) throw new Error('EIO: i/o error, writev');
        if (isZeros) {
          const length = buffers.reduce((sum, each) => sum + each.length, 0);
          const before = content.bytes.subarray(offset, offset + length);
          if (!isZero(before) || before.length < length) this.overwritten += 1;
        }
        return { bytesWritten: write(buffers, offset, most), buffers };
      },
      writevNow: (buffers: readonly Buffer[], offset: number) => {
        this.blocked += 1;
        if (this.failBlocking) throw new Error('EIO: i/o error, writev');
        return write(buffers, offset, this.next().most);
      },
      read: (into: Buffer, at: number, length: number, position: number) => {
        const bytesRead = content.bytes.copy(into, at, position, position + length);
        return Promise.resolve({ bytesRead, buffer: into });
      },
      truncate: (size: number) => {
        const longer = Buffer.alloc(size);
        content.bytes.copy(longer);
        content.bytes = longer;
        return Promise.resolve();
      },
      sync: () => Promise.resolve(),
      stat: () => Promise.resolve({ size: content.bytes.length }),
      close: () => {
        open = false;
        return Promise.resolve();
      },
    };
    return file as unknown as LogFile;
  }
}

const ZEROS = Buffer.alloc(64 * 1024);

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (!part.equals(ZEROS.subarray(0, part.length))) return false;
  }
  return true;
}
