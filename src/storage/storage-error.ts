/**
 * - IN_USE: another process has the directory open
 * - NOT_A_DATA_DIRECTORY: the path is a file, or a directory of something else
 * - NO_ACCESS: the file system refuses to read or write there
 * - DAMAGED: what is on the disk is not what was written (D7)
 * - UNKNOWN_FORMAT: written by a newer kvs
 * - EXHAUSTED: the directory was opened more often than a ballot can count
 * - FAILED: a write, flush or read failed; the process must not go on (design: Replication, 6)
 */
export type StorageErrorCode =
  | 'IN_USE'
  | 'NOT_A_DATA_DIRECTORY'
  | 'NO_ACCESS'
  | 'DAMAGED'
  | 'UNKNOWN_FORMAT'
  | 'EXHAUSTED'
  | 'FAILED';

/** Says what was wrong, what was kept, and what to do (U1). */
export class StorageError extends Error {
  override readonly name = 'StorageError';

  constructor(
    readonly code: StorageErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What is said of a stored row that does not match its checksum (D7). */
export function damageOf(what: string): string {
  return `${what} does not match its checksum; it was not served and nothing was changed`;
}

/** The system's code of a failed call, such as ENOENT; '' when it has none. */
export function systemCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) return String(error.code);
  return '';
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
