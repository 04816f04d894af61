import type { Buffer } from 'node:buffer';
import { constants, writevSync } from 'node:fs';
import { mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/** What the log needs of an open file. What was written is durable when the call returns. */
export interface LogFile extends Pick<
  FileHandle,
  'writev' | 'read' | 'sync' | 'truncate' | 'stat' | 'close'
> {
  /** Blocks. How many bytes were written. */
  writevNow(buffers: readonly Buffer[], offset: number): number;
}

/** One call writes and flushes: half the processor time of two (O_DSYNC, open(2)). */
const FLAGS = {
  'r+': constants.O_RDWR | constants.O_DSYNC,
  'wx+': constants.O_RDWR | constants.O_DSYNC | constants.O_CREAT | constants.O_EXCL,
} as const;

/** The file operations of the log, as a port, so that tests can make them fail. */
export interface LogFiles {
  open(path: string, flags: 'r+' | 'wx+'): Promise<LogFile>;
  makeDirectory(path: string): Promise<void>;
  list(directory: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(directory: string): Promise<void>;
}

export const realFiles: LogFiles = {
  open: async (path, flags) => {
    const handle = await open(path, FLAGS[flags]);
    return Object.assign(handle, {
      writevNow: (buffers: readonly Buffer[], offset: number) =>
        writevSync(handle.fd, buffers, offset),
    });
  },
  makeDirectory: async (path) => {
    await mkdir(path, { recursive: true });
  },
  list: (directory) => readdir(directory),
  rename,
  remove: unlink,
  syncDirectory: async (directory) => {
    const handle = await open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** Writes all of `buffers` one after the other at `offset`; a short write goes on. */
export async function writeFully(
  file: LogFile,
  buffers: readonly Buffer[],
  offset: number,
): Promise<void> {
  let left = [...buffers];
  let at = offset;
  while (left.length > 0) {
    const { bytesWritten } = await file.writev(left, at);
    at += bytesWritten;
    left = without(left, bytesWritten);
  }
}

/** The same, and blocks. */
export function writeFullyNow(file: LogFile, bytes: Buffer, offset: number): void {
  let done = 0;
  while (done < bytes.length) done += file.writevNow([bytes.subarray(done)], offset + done);
}

function without(buffers: readonly Buffer[], bytes: number): Buffer[] {
  const left: Buffer[] = [];
  let skip = bytes;
  for (const buffer of buffers) {
    if (skip < buffer.length) left.push(buffer.subarray(skip));
    skip = Math.max(0, skip - buffer.length);
  }
  return left;
}

/** Reads `buffer.length` bytes at `offset`, or fewer at the end of the file; says how many. */
export async function readFully(file: LogFile, buffer: Buffer, offset: number): Promise<number> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
