// A cluster with the placement policy `shards`, as its operator sees it.
import { expect, jest, test } from '@jest/globals';

import { clientOf, newCluster, temporaryDirectory } from './support.js';

jest.setTimeout(180_000);

const keys = Array.from({ length: 600 }, (_, at) => `key ${at}`);

interface ShardRow {
  readonly shard: number;
  readonly keys: number;
  readonly at_rest: boolean;
  readonly members: readonly { readonly id: string; readonly keys: number }[];
}

test('six servers in three shards, then two, and never four', async () => {
  const options = ['--buckets', '48', '--policy', 'shards', '--shards', '3'];
  const cluster = newCluster(temporaryDirectory(), options);
  await cluster.start(6);
  await cluster.settled(6);
  const client = await clientOf(cluster);
  for (const key of keys) await client.set(key, `value of ${key}`);
  const told = async <T>(...args: string[]): Promise<T[]> => {
    const { code, stdout, stderr } = await cluster.client([...args, '-o', 'json']);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
    const lines = stdout.toString().trimEnd().split('\n');
    return lines.map((line) => JSON.parse(line) as T);
  };
  /** The shards, once all members of each agree on its keys and all keys are there. */
  const atRest = async (count: number): Promise<ShardRow[]> => {
    let rows: ShardRow[] = [];
    await cluster.waitForStatus('shards at rest', 60_000, async ({ viewChange }) => {
      if (viewChange?.phase !== 'idle') return false;
      rows = await told<ShardRow>('shards', 'list');
      const all = rows.reduce((sum, row) => sum + row.keys, 0);
      return rows.length === count && rows.every((row) => row.at_rest) && all === keys.length;
    });
    return rows;
  };
  const readAll = async (): Promise<void> => {
    for (let at = 0; at < keys.length; at += 200) {
      const some = keys.slice(at, at + 200);
      const records = await client.getr(some);
      expect(records.map((record) => Buffer.from(record?.value ?? []).toString())).toEqual(
        some.map((key) => `value of ${key}`),
      );
    }
  };

  const three = await atRest(3);
  expect(three.map(({ members }) => members.length)).toEqual([2, 2, 2]);
  for (const { shard, keys: count, members } of three) {
    expect(await told('shards', 'keys', String(shard))).toMatchObject([{ shard, keys: count }]);
    expect(await told('shards', 'members', String(shard))).toMatchObject([{ shard, members }]);
    const [first] = members;
    expect(await told('shards', 'of', first?.id ?? '')).toEqual([{ server: first?.id, shard }]);
  }

  // A seventh goes to the smallest shard, and on to the one that is named.
  const seventh = await cluster.addServer();
  const id = seventh.ports?.id ?? '';
  await cluster.settled(7);
  await told('shards', 'add-member', '3', id);
  const moved = await atRest(3);
  expect(moved.map(({ members }) => members.length)).toEqual([2, 2, 3]);
  expect(moved[2]?.members.map((member) => member.id)).toContain(id);
  await readAll();

  const four = await cluster.client(['shards', 'reshard', '4']);
  expect(four.code).toBe(1);
  expect(four.stderr).toMatch(/TOO_FEW_SERVERS.*4 shards need 8 servers, two each; there are 7/);
  const [plan] = await told<{ moved: number }>('shards', 'reshard', '2', '--dry-run');
  expect(plan?.moved).toBeGreaterThan(0);
  await told('shards', 'reshard', '2');
  const two = await atRest(2);
  expect(two.map(({ members }) => members.length)).toEqual([3, 4]);
  await readAll();

  await told('shards', 'remove', '2');
  const one = await atRest(1);
  expect(one[0]?.members).toHaveLength(3);
  await readAll();
  const last = await cluster.client(['shards', 'remove', '1']);
  expect(last.stderr).toMatch(/LAST_SHARD/);
});
