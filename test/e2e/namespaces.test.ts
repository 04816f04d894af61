// Named key spaces of both kinds: their rules, their times to live, and their end.
import { describe, expect, jest, test } from '@jest/globals';

import { waitFor } from '../../src/cli/local-cluster.js';
import { Mode } from '../../src/client/index.js';
import { clientOf, startCluster } from './support.js';

jest.setTimeout(120_000);

const MODES = ['strong', 'causal'] as const;

describe.each(MODES)('a %s namespace', (mode) => {
  test('keeps its keys to itself, is counted and exported, and goes with its records', async () => {
    const cluster = await startCluster(3);
    const run = async (...args: string[]): Promise<{ code: number | null; out: string }> => {
      const { code, stdout, stderr } = await cluster.client(args);
      return { code, out: stdout.toString().trim() + stderr.trim() };
    };
    const place = ['--namespace', 'flags'];
    expect(await run('namespace', 'create', 'flags', '--mode', mode)).toMatchObject({ code: 0 });
    expect(await run('set', 'dark', 'outside')).toMatchObject({ code: 0 });
    for (let key = 0; key < 12; key += 1) await run(...place, 'set', `key ${key}`, `${key}`);
    expect(await run(...place, 'del', 'key 1')).toEqual({ code: 0, out: 'key 1 deleted' });
    expect(await run(...place, 'get', 'dark')).toMatchObject({ code: 3 });
    expect(await run('get', 'dark')).toEqual({ code: 0, out: 'outside' });
    const listed = await run('namespace', 'list', '-o', 'json');
    expect(JSON.parse(listed.out)).toEqual({
      name: 'flags',
      mode,
      ttlMs: 0,
      replicas: 3,
      records: 11,
    });
    const exported = (await run(...place, 'export', 'key 1')).out.split('\n');
    const keys = exported.map((line) => line.split(' ').slice(0, 2).join(' '));
    expect(keys.toSorted()).toEqual(['key 10', 'key 11']);
    expect((await run('export')).out).toMatch(/^dark outside \d+$/);
    expect(await run('namespace', 'delete', 'flags')).toEqual({ code: 0, out: 'flags deleted' });
    expect(await run(...place, 'get', 'key 2')).toMatchObject({ code: 2 });
    expect(await run('namespace', 'delete', 'flags')).toMatchObject({ code: 1 });
    // A new one of that name begins empty.
    expect(await run('namespace', 'create', 'flags', '--mode', mode)).toMatchObject({ code: 0 });
    expect(await run(...place, 'get', 'key 2')).toMatchObject({ code: 3 });
  });

  test('drops what has expired on every replica', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    await client.admin.createNamespace('brief', mode === 'strong' ? Mode.Strong : Mode.Causal, {
      ttlMs: 500,
    });
    const brief = await client.namespace('brief');
    await brief.set('a', 'not yet over', { ttlMs: 600_000 });
    await brief.set('b', 'much later', { ttlMs: 600_000 });
    expect(await brief.get('a')).not.toBeNull();
    expect(await brief.count()).toBe(2);
    await brief.set('a', 'soon over');
    await waitFor('the value to expire', 30_000, async () => (await brief.get('a')) === null);
    expect(await brief.count()).toBe(1);
    expect(await brief.get('b')).not.toBeNull();
    // It is gone, not hidden: also where nobody asks for it.
    await brief.set('c', 'asked by nobody');
    await waitFor('the records to be removed', 30_000, async () => {
      const { members } = await client.status();
      return members.every(({ records }) => records <= 1);
    });
  });
});

test('a strong namespace has conditions and commits, and they expire, too', async () => {
  const cluster = await startCluster(3);
  const client = await clientOf(cluster);
  await client.admin.createNamespace('leases', Mode.Strong, { ttlMs: 600_000 });
  const leases = await client.namespace('leases');
  const { version } = await leases.setr([
    { key: 'one', value: '1', ifVersion: 0 },
    { key: 'two', value: '2' },
  ]);
  await expect(leases.set('one', 'other', { ifAbsent: true })).rejects.toMatchObject({
    code: 'CONDITION_NOT_MET',
  });
  await leases.set('one', 'renewed', { ifVersion: version });
  const [one, two, three] = await leases.getr(['one', 'two', 'three']);
  expect([one?.value.toString(), two?.value.toString(), three]).toEqual(['renewed', '2', null]);
  // They hold for no longer than that: the checks above need all the time that a machine takes.
  await client.admin.createNamespace('brief', Mode.Strong, { ttlMs: 500 });
  const brief = await client.namespace('brief');
  await brief.setr([
    { key: 'one', value: '1', ifVersion: 0 },
    { key: 'two', value: '2' },
  ]);
  await waitFor('both to expire', 30_000, async () => {
    return (await brief.getr(['one', 'two'])).every((record) => record === null);
  });
  await brief.set('one', 'taken again', { ifAbsent: true });
  await expect(client.set('plain', 'x', { ttlMs: 1000 })).rejects.toMatchObject({
    code: 'INVALID',
  });
});

test('a namespace has as many replicas as it asks for, and moves with its servers', async () => {
  const cluster = await startCluster(4);
  const client = await clientOf(cluster);
  const run = async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await cluster.client(args);
    return stdout.toString().trim() + stderr.trim();
  };
  const made = ['namespace', 'create'];
  expect(await run(...made, 'all', '--mode', 'strong', '--replicas', '4')).toBe(
    'all: strong, 4 replicas',
  );
  expect(await run(...made, 'two', '--mode', 'causal', '--replicas', '2')).toBe(
    'two: causal, 2 replicas',
  );
  expect(await run(...made, 'no', '--mode', 'causal', '--replicas', '17')).toContain('17');
  const [all, two] = [await client.namespace('all'), await client.namespace('two')];
  for (let key = 0; key < 40; key += 1) {
    await all.set(`key ${key}`, `all ${key}`);
    await two.set(`key ${key}`, `two ${key}`);
  }
  const holders = async (): Promise<number[][]> => {
    const names = Array.from({ length: 40 }, (_, key) => `key ${key}`);
    const found = await Promise.all(
      [all, two].map((space) => Promise.all(names.map((name) => space.locate(name)))),
    );
    return found.map((list) => list.map(({ replicas }) => new Set(replicas).size));
  };
  const each = (size: number): number[] => Array.from({ length: 40 }, () => size);
  expect(await holders()).toEqual([each(4), each(2)]);
  expect(await run('status')).toMatch(/64 of namespaces, 4 replicas each/);
  expect(await run('namespace', 'list')).toMatch(/two +causal +2 +- +40/);
  const gone = (await client.view()).members.get(2)!;
  await client.admin.drainServer(gone.id);
  await waitFor('server 2 to be empty', 60_000, async () => {
    const { members } = await client.status();
    return members.every(({ member, buckets }) => member?.ordinal !== 2 || buckets === 0);
  });
  await waitFor('the client to hear of it', 30_000, async () => {
    return (await holders()).flat().every((size, at) => size === (at < 40 ? 3 : 2));
  });
  for (let key = 0; key < 40; key += 1) {
    expect((await all.get(`key ${key}`))?.value.toString()).toBe(`all ${key}`);
    expect((await two.get(`key ${key}`))?.value.toString()).toBe(`two ${key}`);
  }
  expect([await all.count(), await two.count()]).toEqual([40, 40]);
});
