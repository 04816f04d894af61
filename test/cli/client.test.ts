import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { SetrWrite, WriteOptions } from '../../src/client/index.js';
import { Code } from '../../src/core/refusal.js';
import { KvsError } from '../../src/transport/status.js';
import { kvsClient, WRITTEN } from './support.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kvs-cli-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const found = { value: Buffer.from('hello'), version: 7, epoch: 3, bucket: 12, server: 's' };
const refusing = (code: Code) => ({
  get: () => Promise.reject(KvsError.ofCode(code, 'what was wrong')),
});

describe('usage', () => {
  test.each([
    ['no command', []],
    ['an unknown command', ['frob']],
    ['a missing argument', ['get']],
    ['too many arguments', ['get', 'a', 'b']],
    ['an option of a later release', ['get', 'a', '--consistency', 'eventual']],
    ['an unknown global option', ['--frob', 'get', 'a']],
    ['a bad duration', ['get', 'a', '--timeout', '5']],
    ['a timeout beyond the limit', ['get', 'a', '--timeout', '61s']],
    ['a bad version', ['set', 'a', 'b', '--if-version', 'x']],
    ['two conditions on one key', ['set', 'a', 'b', '--if-version', '1', '--if-absent']],
    ['a condition for several keys', ['del', 'a', 'b', '--if-version', '1']],
    ['a key without a value', ['setr', 'a', '1', 'b']],
    ['an empty setr', ['setr']],
    ['an empty getr', ['getr']],
    ['a key twice in a setr', ['setr', 'a', '1', '--del', 'a']],
    ['a condition on another key', ['setr', 'a', '1', '--if', 'b=1']],
    ['a condition without a version', ['setr', 'a', '1', '--if', 'a']],
    ['standard input twice', ['setr', 'a', '-', 'b', '-']],
  ])('%s: exit code 2 and one line', async (_name, argv) => {
    const { code, stderr, stdout, targets } = await kvsClient(argv);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(/^kvs-client: USAGE: [^;]+; .+$/);
    expect(targets).toEqual([]);
  });

  test('in JSON too, wherever the option stands', async () => {
    for (const argv of [
      ['-o', 'json', 'get'],
      ['get', '--nope', '--output=json'],
    ]) {
      const { code, stderr } = await kvsClient(argv);
      expect(code).toBe(2);
      expect(JSON.parse(stderr)).toEqual({
        error: {
          code: 'USAGE',
          message: expect.any(String),
          hint: 'see kvs-client get --help',
          retryable: false,
        },
      });
    }
  });

  test('--version and --help end with 0; every command shows an example', async () => {
    expect(await kvsClient(['--version'])).toMatchObject({ code: 0, stdout: '0.1.0\n' });
    for (const name of ['get', 'set', 'del', 'setr', 'import', 'export', 'status', 'members']) {
      const { code, stdout } = await kvsClient([name, '--help']);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: expect.stringContaining(`$ kvs-client ${name}`),
      });
    }
  });
});

describe('where to connect', () => {
  const client = { get: () => Promise.resolve(found) };

  test('the default leader only when nothing is named', async () => {
    const plain = await kvsClient(['get', 'a'], { client });
    expect(plain.targets).toEqual([{ leader: '127.0.0.1:7400', timeoutMs: 5000 }]);
    const door = await kvsClient(['get', 'a', '--server', 'h:1', '--timeout', '250ms'], { client });
    expect(door.targets).toEqual([{ server: 'h:1', timeoutMs: 250 }]);
  });

  test('a flag beats the variable, the variable beats the file', async () => {
    const config = join(directory, 'config.yaml');
    writeFileSync(config, 'leader: file:1\ntimeout: 1s\noutput: json\n');
    process.env['KVS_LEADER'] = 'variable:1';
    process.env['KVS_TIMEOUT'] = '2s';
    try {
      const told = await kvsClient(['get', 'a', '--config', config, '--timeout', '3s'], { client });
      expect(told.targets).toEqual([{ leader: 'variable:1', timeoutMs: 3000 }]);
      expect(JSON.parse(told.stdout)).toMatchObject({ key: 'a', value: 'hello' });
    } finally {
      delete process.env['KVS_LEADER'];
      delete process.env['KVS_TIMEOUT'];
    }
  });

  test.each([
    ['frob: 1', 'no setting "frob"'],
    ['timeout: soon', 'timeout'],
    ['- a', 'does not hold settings'],
    ['a: [', 'is not YAML'],
  ])('a file with "%s" is refused', async (text, problem) => {
    const config = join(directory, 'bad.yaml');
    writeFileSync(config, text);
    const { code, stderr } = await kvsClient(['get', 'a', '--config', config], { client });
    expect(code).toBe(2);
    expect(stderr).toContain(problem);
  });
});

describe('get', () => {
  const value = Buffer.from([0x61, 0xff, 0x0a]);
  const client = { get: () => Promise.resolve({ ...found, value }) };

  test('prints the raw value, and a line end only for a person', async () => {
    const text = { client: { get: () => Promise.resolve(found) } };
    expect((await kvsClient(['get', 'a'], text)).stdout).toBe('hello');
    expect((await kvsClient(['get', 'a'], { ...text, terminal: true })).stdout).toBe('hello\n');
  });

  test('in JSON: versions as text, bytes that are not UTF-8 in base64', async () => {
    const { stdout } = await kvsClient(['get', 'a', '-o', 'json'], { client });
    const content = { key: 'a', value_base64: value.toString('base64'), version: '7' };
    expect(JSON.parse(stdout)).toEqual({ ...content, epoch: 3, bucket: 12, server: 's' });
  });

  test('a key that does not exist: exit code 3', async () => {
    const told = await kvsClient(['get', 'a'], { client: { get: () => Promise.resolve(null) } });
    expect(told).toMatchObject({ code: 3, stdout: '' });
    expect(told.stderr).toBe('kvs-client: NOT_FOUND: there is no key "a"; check the key\n');
  });

  test.each([
    [Code.ConditionNotMet, 4],
    [Code.Conflict, 4],
    [Code.Unavailable, 5],
    [Code.Overloaded, 5],
    [Code.OutcomeUnknown, 6],
    [Code.Invalid, 2],
    [Code.TooLarge, 1],
  ])('code %d: exit code %d', async (code, exitCode) => {
    const told = await kvsClient(['get', 'a', '-o', 'json'], { client: refusing(code) });
    expect(told.code).toBe(exitCode);
    expect(JSON.parse(told.stderr).error.message).toBe('what was wrong');
  });

  test('Ctrl-C: exit code 130', async () => {
    const interrupt = new AbortController();
    const slow = {
      get: () => {
        interrupt.abort();
        return new Promise<never>(() => undefined);
      },
    };
    const told = await kvsClient(['get', 'a'], { client: slow, interrupted: interrupt.signal });
    expect(told).toMatchObject({ code: 130, stdout: '', stderr: '' });
  });
});

describe('set and del', () => {
  test('set passes its conditions and standard input on', async () => {
    const calls: unknown[] = [];
    const client = {
      set: (...call: unknown[]) => {
        calls.push(call);
        return Promise.resolve({ ...WRITTEN, previous: 5 });
      },
    };
    const text = await kvsClient(['set', 'a', '-', '--if-version', '5'], { client, stdin: 'in\n' });
    expect(text.stdout).toBe('OK version 7 (was 5)\n');
    const json = await kvsClient(['set', 'a', 'b', '--if-absent', '-o', 'json'], { client });
    expect(JSON.parse(json.stdout)).toEqual({ key: 'a', ...WRITTEN, version: '7', previous: '5' });
    expect(calls).toEqual([
      ['a', Buffer.from('in\n'), { ifVersion: 5 }],
      ['a', 'b', { ifAbsent: true }],
    ]);
  });

  test('del tells each key; some failed: it may have happened', async () => {
    const client = {
      delete: (key: unknown, _options?: WriteOptions) =>
        key === 'bad'
          ? Promise.reject(KvsError.ofCode(Code.Unavailable, 'no primary'))
          : Promise.resolve({ ...WRITTEN, deleted: key === 'a' }),
    };
    const all = await kvsClient(['del', 'a', 'b'], { client });
    expect(all).toMatchObject({ code: 0, stdout: 'a deleted\nb did not exist\n' });
    expect((await kvsClient(['del', 'bad'], { client })).code).toBe(5);
    const some = await kvsClient(['del', 'a', 'bad'], { client });
    expect(some).toMatchObject({ code: 6, stdout: 'a deleted\n' });
    expect(some.stderr).toMatch(/^kvs-client: UNAVAILABLE: bad: no primary; /);
  });
});

test('getr: a line a key in the order asked; one that is not there makes the exit code 3', async () => {
  const client = {
    getr: (keys: readonly string[]) =>
      Promise.resolve(
        keys.map((key) => (key === 'b' ? null : { value: Buffer.from('x y'), version: 7 })),
      ),
  };
  const { code, stdout } = await kvsClient(['getr', 'a', 'b'], { client });
  expect({ code, stdout }).toEqual({ code: 3, stdout: 'a x y 7\nb (not found)\n' });
  const json = await kvsClient(['getr', 'a', 'b', '-o', 'json'], { client });
  expect(
    json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { key: 'a', found: true, value: 'x y', version: '7' },
    { key: 'b', found: false },
  ]);
});

test('setr: the last "=" separates, deletions and conditions belong to one commit', async () => {
  let sent: readonly SetrWrite[] = [];
  const client = {
    setr: (writes: readonly SetrWrite[]) => {
      sent = writes;
      return Promise.resolve({ txid: 't-1', version: 9, participants: 2, epoch: 3 });
    },
  };
  const argv = ['setr', 'a=b', '-', '--del', 'c', '--if', 'a=b=4', '--if', 'c=0', '-o', 'json'];
  const { stdout } = await kvsClient(argv, { client, stdin: 'x' });
  expect(sent).toEqual([
    { key: 'a=b', value: Buffer.from('x'), ifVersion: 4 },
    { key: 'c', delete: true, ifVersion: 0 },
  ]);
  expect(JSON.parse(stdout)).toEqual({
    committed: true,
    txid: 't-1',
    version: '9',
    participants: 2,
    epoch: 3,
  });
});
