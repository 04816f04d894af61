import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { access, constants, mkdir, open, readFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { ClassicLevel } from 'classic-level';

import { MAX_INCARNATION } from '../core/ids.js';
import { realFiles } from './files.js';
import { StorageError, systemCode, toError } from './storage-error.js';

/** Which process a directory belongs to. */
export type DirectoryKind = 'server' | 'viewleader';

/** Who the owner of a data directory is (V7). */
export interface Identity {
  /** Random UUID, made with the directory. */
  readonly id: string;
  /** '' until joined. */
  readonly clusterId: string;
  /** 0 until joined. */
  readonly ordinal: number;
  /** How often the directory was opened. */
  readonly incarnation: number;
}

const FORMAT = 6;
const IDENTITY = 'identity.json';
const LOCK = 'lock';
/** What an interrupted first start, or a file system, may leave in a directory without identity. */
const MAY_BE_THERE = new Set([LOCK, `${IDENTITY}.new`, 'lost+found']);

/** A data directory, open for this process only. */
export class DataDirectory {
  private constructor(
    readonly path: string,
    private readonly kind: DirectoryKind,
    private readonly lock: ClassicLevel,
    private current: Identity,
  ) {}

  /**
   * Opens or makes the directory and counts the opening durably, so that a restarted process
   * outranks its former self. Throws StorageError.
   */
  static async open(path: string, kind: DirectoryKind): Promise<DataDirectory> {
    try {
      await mkdir(path, { recursive: true });
      await checkContents(path);
      await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
      const lock = await takeLock(path);
      try {
        const directory = new DataDirectory(path, kind, lock, await readIdentity(path, kind));
        await directory.countOpening();
        return directory;
      } catch (error) {
        await lock.close();
        throw error;
      }
    } catch (error) {
      throw explained(path, error);
    }
  }

  get identity(): Identity {
    return this.current;
  }

  /** Stores the cluster that this directory belongs to from now on, durably. */
  async join(clusterId: string, ordinal: number): Promise<void> {
    await this.store({ ...this.current, clusterId, ordinal });
  }

  /** Lets other processes open the directory. */
  async close(): Promise<void> {
    await this.lock.close();
  }

  private async countOpening(): Promise<void> {
    const incarnation = this.current.incarnation + 1;
    if (incarnation > MAX_INCARNATION) {
      const message =
        `${this.path} was opened ${MAX_INCARNATION} times, the most there can be. Its data is ` +
        'kept. Start the server with an empty directory: it copies from its replicas.';
      throw new StorageError('EXHAUSTED', message);
    }
    await this.store({ ...this.current, incarnation });
  }

  private async store(identity: Identity): Promise<void> {
    const { id, clusterId, ordinal, incarnation } = identity;
    const fields = { format: FORMAT, kind: this.kind, id, cluster_id: clusterId };
    const text = JSON.stringify({ ...fields, ordinal, incarnation }, null, 2);
    const file = join(this.path, IDENTITY);
    const handle = await open(`${file}.new`, 'w');
    try {
      await handle.writeFile(Buffer.from(`${text}\n`));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${file}.new`, file);
    await realFiles.syncDirectory(this.path);
    this.current = identity;
  }
}

/** A directory of something else is never written to. */
async function checkContents(path: string): Promise<void> {
  const names = await readdir(path);
  if (names.includes(IDENTITY)) return;
  const foreign = names.filter((name) => !MAY_BE_THERE.has(name));
  if (foreign.length === 0) return;
  const message =
    `${path} holds other things (${foreign.slice(0, 3).join(', ')}) and no ${IDENTITY}, so it is ` +
    'not a data directory. Nothing was changed. Name an empty or a new directory.';
  throw new StorageError('NOT_A_DATA_DIRECTORY', message);
}

/**
 * Node has no file locks, LevelDB has: an empty database serves as one. The system drops its lock
 * with the process, however that ends, so a stale one never blocks a start.
 */
async function takeLock(path: string): Promise<ClassicLevel> {
  const lock = new ClassicLevel(join(path, LOCK));
  try {
    await lock.open();
    return lock;
  } catch (error) {
    const { cause } = toError(error);
    if (systemCode(cause) !== 'LEVEL_LOCKED') throw cause ?? error;
    const message =
      `${path} is in use by another process. Nothing was changed. ` +
      'Stop that process first, or name another directory.';
    throw new StorageError('IN_USE', message, { cause: error });
  }
}

async function readIdentity(path: string, kind: DirectoryKind): Promise<Identity> {
  let text: string;
  try {
    text = await readFile(join(path, IDENTITY), 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return { id: randomUUID(), clusterId: '', ordinal: 0, incarnation: 0 };
  }
  return parseIdentity(path, kind, text);
}

function parseIdentity(path: string, kind: DirectoryKind, text: string): Identity {
  const fields = parseObject(path, text);
  const format = fields['format'];
  if (typeof format === 'number' && format !== FORMAT) {
    const message =
      `${path}/${IDENTITY} has format ${format}; this kvs reads format ${FORMAT}. ` +
      'Nothing was changed. Start the kvs that wrote it.';
    throw new StorageError('UNKNOWN_FORMAT', message);
  }
  if (format !== FORMAT) throw damagedIdentity(path, 'format is missing');
  if (fields['kind'] !== kind) {
    const message =
      `${path} is the directory of a ${String(fields['kind'])}, not of a ${kind}. ` +
      'Nothing was changed. Name the right directory.';
    throw new StorageError('NOT_A_DATA_DIRECTORY', message);
  }
  const { id, cluster_id: clusterId, ordinal, incarnation } = fields;
  if (typeof id !== 'string' || id === '') throw damagedIdentity(path, 'id is not a text');
  if (typeof clusterId !== 'string') throw damagedIdentity(path, 'cluster_id is not a text');
  if (!isCount(ordinal)) throw damagedIdentity(path, 'ordinal is not a number');
  if (!isCount(incarnation)) throw damagedIdentity(path, 'incarnation is not a number');
  return { id, clusterId, ordinal, incarnation };
}

function parseObject(path: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damagedIdentity(path, toError(error).message);
  }
  if (typeof value === 'object' && value !== null) return { ...value };
  throw damagedIdentity(path, 'it is not an object');
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function damagedIdentity(path: string, what: string): StorageError {
  return new StorageError(
    'DAMAGED',
    `${path}/${IDENTITY} is damaged: ${what}. Nothing was changed. Restore the file, or move the ` +
      'directory away and start with an empty one: a new server copies from its replicas.',
  );
}

function explained(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const cause = toError(error);
  const code = systemCode(error);
  if (code === 'EEXIST' || code === 'ENOTDIR') {
    const message = `${path} is not a directory. Nothing was changed. Name a directory.`;
    return new StorageError('NOT_A_DATA_DIRECTORY', message, { cause });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const message =
      `${path} cannot be used: ${cause.message}. Nothing was changed. ` +
      'Give this user the right to read and write there.';
    return new StorageError('NO_ACCESS', message, { cause });
  }
  const message = `${path} cannot be opened: ${cause.message}. Check the disk.`;
  return new StorageError('FAILED', message, { cause });
}
