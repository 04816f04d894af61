import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { MAX_INCARNATION } from '../../src/core/ids.js';
import { DataDirectory } from '../../src/storage/data-directory.js';
import type { StorageError } from '../../src/storage/storage-error.js';
import { Child, temporaryDirectory } from './support.js';

async function refusal(path: string): Promise<StorageError> {
  try {
    const directory = await DataDirectory.open(path, 'server');
    await directory.close();
  } catch (error) {
    return error as StorageError;
  }
  throw new Error('it was opened');
}

async function withIdentity(fields: unknown): Promise<string> {
  const path = await temporaryDirectory();
  const text = typeof fields === 'string' ? fields : JSON.stringify(fields);
  await writeFile(join(path, 'identity.json'), text);
  return path;
}

const WHOLE = {
  format: 6,
  kind: 'server',
  id: '5ba0b4a7-55a5-4c8a-8f8d-0f6b4fd2a1d1',
  cluster_id: 'c',
  ordinal: 3,
  incarnation: 8,
};

describe('a data directory', () => {
  test('an empty one is a new server; each opening is a new incarnation', async () => {
    const path = join(await temporaryDirectory(), 'deeper', 'data');
    const first = await DataDirectory.open(path, 'server');
    const { id } = first.identity;
    expect(first.identity).toEqual({ id, clusterId: '', ordinal: 0, incarnation: 1 });
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    await first.join('cluster', 7);
    await first.close();
    const second = await DataDirectory.open(path, 'server');
    expect(second.identity).toEqual({ id, clusterId: 'cluster', ordinal: 7, incarnation: 2 });
    await second.close();
  });

  test('a start that was interrupted before there was an identity is repeated', async () => {
    const path = await temporaryDirectory();
    await mkdir(join(path, 'lock'));
    await writeFile(join(path, 'identity.json.new'), '{"form');
    const directory = await DataDirectory.open(path, 'server');
    expect(directory.identity.incarnation).toBe(1);
    await directory.close();
  });

  test('is refused while another process has it; kill -9 frees it', async () => {
    const path = await temporaryDirectory();
    const child = new Child('directory', path);
    await child.printed(1);
    const before = await readFile(join(path, 'identity.json'), 'utf8');
    const error = await refusal(path);
    expect(error.code).toBe('IN_USE');
    expect(error.message).toMatch(/in use.*Nothing was changed.*Stop that process/);
    expect(await readFile(join(path, 'identity.json'), 'utf8')).toBe(before);
    expect(await child.kill()).toEqual(['1']);
    const directory = await DataDirectory.open(path, 'server');
    expect(directory.identity.incarnation).toBe(2);
    await expect(refusal(path)).resolves.toMatchObject({ code: 'IN_USE' });
    await directory.close();
  });

  test.each([
    ['no JSON', '{"format": 1', 'DAMAGED'],
    ['an empty file', '', 'DAMAGED'],
    ['no object', 'null', 'DAMAGED'],
    ['no format', { ...WHOLE, format: undefined }, 'DAMAGED'],
    ['a later format', { ...WHOLE, format: 7 }, 'UNKNOWN_FORMAT'],
    ['no id', { ...WHOLE, id: '' }, 'DAMAGED'],
    ['no cluster', { ...WHOLE, cluster_id: undefined }, 'DAMAGED'],
    ['no ordinal', { ...WHOLE, ordinal: -1 }, 'DAMAGED'],
    ['no incarnation', { ...WHOLE, incarnation: '8' }, 'DAMAGED'],
    ['the view leader as its owner', { ...WHOLE, kind: 'viewleader' }, 'NOT_A_DATA_DIRECTORY'],
    ['too many openings', { ...WHOLE, incarnation: MAX_INCARNATION }, 'EXHAUSTED'],
  ])('an identity with %s is refused and kept', async (_, fields, code) => {
    const path = await withIdentity(fields);
    const before = await readFile(join(path, 'identity.json'), 'utf8');
    const error = await refusal(path);
    expect(error.code).toBe(code);
    expect(error.message).toContain(path);
    expect(await readFile(join(path, 'identity.json'), 'utf8')).toBe(before);
    // The refusal leaves no lock behind.
    await expect(refusal(path)).resolves.toMatchObject({ code });
  });

  test('a file, and a directory of something else, are refused and not touched', async () => {
    const path = await temporaryDirectory();
    await writeFile(join(path, 'thesis.txt'), 'mine');
    expect(await refusal(path)).toMatchObject({ code: 'NOT_A_DATA_DIRECTORY' });
    expect(await readdir(path)).toEqual(['thesis.txt']);
    expect(await refusal(join(path, 'thesis.txt'))).toMatchObject({ code: 'NOT_A_DATA_DIRECTORY' });
    expect(await refusal(join(path, 'thesis.txt', 'below'))).toMatchObject({
      code: 'NOT_A_DATA_DIRECTORY',
    });
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? test.skip : test)('one without permission is refused', async () => {
    const path = await temporaryDirectory();
    await chmod(path, 0o500);
    expect(await refusal(path)).toMatchObject({ code: 'NO_ACCESS' });
    await chmod(path, 0o700);
  });
});
