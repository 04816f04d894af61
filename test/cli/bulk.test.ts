import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { Code } from '../../src/core/refusal.js';
import { KvsError } from '../../src/transport/status.js';
import { kvsClient, WRITTEN } from './support.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kvs-cli-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

/** Keeps what is written; a key with "bad" in it fails. */
function fakeStore(code: Code) {
  const stored = new Map<string, string>();
  let open = 0;
  const most = { atOnce: 0 };
  const set = async (key: unknown, value: unknown) => {
    open += 1;
    most.atOnce = Math.max(most.atOnce, open);
    await new Promise((resolve) => setImmediate(resolve));
    open -= 1;
    if (String(key).includes('bad')) throw KvsError.ofCode(code, 'no');
    stored.set(String(key), String(value));
    return WRITTEN;
  };
  return { stored, most, client: { set } };
}

describe('import', () => {
  test('writes every row, counts them, and names those that failed', async () => {
    const { client, stored } = fakeStore(Code.TooLarge);
    const path = file('a.csv', 'id,n\n1,x\n2\nbad,y\n3,z\n');
    const told = await kvsClient(['import', path, '--prefix', 'p/', '-o', 'json'], { client });
    expect(told.code).toBe(1);
    expect(JSON.parse(told.stdout)).toEqual({
      records: 2,
      bytes: 2 * 'p/1{"id":"1","n":"x"}'.length,
      seconds: expect.any(Number),
      failed: 2,
    });
    expect(told.stderr.split('\n').toSorted()).toEqual([
      '',
      'line 3: 1 columns instead of 2',
      'line 4: TOO_LARGE: no',
    ]);
    expect([...stored]).toEqual([
      ['p/1', '{"id":"1","n":"x"}'],
      ['p/3', '{"id":"3","n":"z"}'],
    ]);
  });

  test('many rows at once, but not without bound; the last of the same key stays', async () => {
    const { client, stored, most } = fakeStore(Code.TooLarge);
    const lines = Array.from(
      { length: 5000 },
      (_, index) => `{"id":"${index % 3000}","n":${index}}`,
    );
    const path = file('b.ndjson', lines.join('\n'));
    const told = await kvsClient(['import', path], { client });
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout).toMatch(/^imported 5,000 records, .*; 0 failed\n$/);
    expect(most.atOnce).toBe(1024);
    expect(stored.get('1999')).toBe('{"id":"1999","n":4999}');
  });

  test('stops when the cluster cannot be reached', async () => {
    const { client, stored } = fakeStore(Code.Unavailable);
    const lines = Array.from({ length: 5000 }, (_, index) => (index === 0 ? 'bad' : index));
    const told = await kvsClient(['import', '-'], { client, stdin: `id\n${lines.join('\n')}\n` });
    expect(told.code).toBe(1);
    expect(told.stderr).toContain('kvs-client: UNAVAILABLE: the import stopped');
    expect(stored.size).toBeLessThan(4999);
  });

  test('a missing file, a directory and a missing column are told before anything is sent', async () => {
    const missing = await kvsClient(['import', join(directory, 'none.csv')]);
    expect(missing).toMatchObject({ code: 1, targets: [] });
    expect(missing.stderr).toContain('FILE_NOT_FOUND');
    expect((await kvsClient(['import', directory])).stderr).toContain('NOT_A_FILE');
    const column = await kvsClient(['import', file('c.csv', 'a,b\n1,2\n'), '--key', 'c']);
    expect(column).toMatchObject({ code: 2, stdout: '' });
    expect(column.stderr).toContain('no column "c"; it has a, b');
  });
});

async function* records() {
  const server = '127.0.0.1:1';
  yield { key: Buffer.from('a'), value: Buffer.from('x\ny'), version: 7, server };
  yield { key: Buffer.from([0xff]), value: Buffer.from('z'), version: 8, server };
}

test('export prints a line a record, whatever the value holds', async () => {
  const client = { export: () => records() };
  const text = await kvsClient(['export'], { client });
  expect(text.stdout).toBe('a x\\ny 7\n\uFFFD z 8\n');
  const json = await kvsClient(['export', '-o', 'json'], { client });
  expect(
    json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { key: 'a', value: 'x\ny', version: '7' },
    { key_base64: '/w==', value: 'z', version: '8' },
  ]);
});
