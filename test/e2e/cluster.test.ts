// Real processes, real sockets, real disks.
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { Load } from '../../src/bench/load.js';
import { type LocalCluster, waitFor } from '../../src/cli/local-cluster.js';
import { MemberState } from '../../src/client/index.js';
import { clientOf, isRefused, newCluster, startCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const RECORDS = 2000;
const VALUE_BYTES = 128;
const HANDS = 32;

let load: Load | null = null;

function tails(cluster: LocalCluster): string {
  return cluster.servers.map((server) => server.logTail()).join('\n');
}

afterEach(async () => {
  await load?.stop();
  load = null;
});

describe('kill -9', () => {
  test('of every process at once loses no acknowledged write (D2, V7)', async () => {
    const directory = temporaryDirectory();
    const cluster = newCluster(directory);
    await cluster.start(3);
    await cluster.settled(3);
    const client = await clientOf(cluster);
    const acknowledged = new Set<string>();
    const writers = Array.from({ length: HANDS }, async (_, writer) => {
      for (let index = 0; ; index += 1) {
        const key = `${writer}-${index}`;
        try {
          await client.set(key, `value of ${key}`);
        } catch {
          return;
        }
        acknowledged.add(key);
      }
    });
    await waitFor('some writes', 30_000, () => acknowledged.size > RECORDS);
    await cluster.killAll();
    client.close();
    await Promise.all(writers);
    // The same directories, new addresses.
    const again = newCluster(directory);
    await again.start(3);
    const reader = await clientOf(again);
    for (const key of acknowledged) {
      const read = await reader.get(key);
      expect(Buffer.from(read?.value ?? []).toString()).toBe(`value of ${key}`);
    }
  });

  test('of one server under load: no request fails, every acknowledged write is there', async () => {
    const cluster = await startCluster(4);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    await cluster.servers[1]?.kill();
    await cluster.waitForStatus('the new epoch', 20_000, ({ reason }) => /is down/.test(reason));
    // Written after the kill, on every bucket: everything answers again.
    const before = load.samples.length;
    await waitFor('writes to go on', 30_000, () => (load?.samples.length ?? 0) > before + RECORDS);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
  });

  test('of the view leader: reads and writes go on; it comes back as the same cluster', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    const before = await cluster.status();
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    await cluster.leader.kill();
    const seen = load.samples.length;
    await waitFor('writes without it', 30_000, () => (load?.samples.length ?? 0) > seen + RECORDS);
    // A newcomer without the view leader goes through any server (V3).
    const door = cluster.servers[0]?.listen ?? '';
    const set = await cluster.client(['--server', door, 'set', 'k', 'v']);
    expect({ code: set.code, stderr: set.stderr }).toEqual({ code: 0, stderr: '' });
    const get = await cluster.client(['--server', door, 'get', 'k']);
    expect({ code: get.code, stdout: get.stdout.toString() }).toEqual({ code: 0, stdout: 'v' });
    const { listen } = cluster.leader;
    cluster.leader.spawn(['--listen', listen]);
    await cluster.leader.ready();
    const after = await cluster.settled(3);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
    expect(after.clusterId).toBe(before.clusterId);
    expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
  });
});

describe('a view leader that lost its disk', () => {
  test('founds no rival; --recover brings the cluster back at a higher epoch (V1)', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    const before = await cluster.status();
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    const { leader } = cluster;
    const { listen } = leader;
    await leader.kill();
    rmSync(join(leader.directory, 'data'), { recursive: true });
    // Started as if nothing had happened: the servers refuse it, and serve on.
    leader.spawn(['--listen', listen]);
    await leader.ready();
    await waitFor('the refusal', 30_000, () => /FOREIGN|serving on/.test(tails(cluster)));
    expect((await cluster.status()).members).toEqual([]);
    const seen = load.samples.length;
    await waitFor('writes to go on', 30_000, () => (load?.samples.length ?? 0) > seen + RECORDS);
    await leader.kill();
    rmSync(join(leader.directory, 'data'), { recursive: true });
    leader.spawn(['--listen', listen, '--recover']);
    await leader.ready();
    const after = await cluster.settled(3);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
    expect(after.clusterId).toBe(before.clusterId);
    expect(after.epoch).toBeGreaterThan(before.epoch + 100_000);
    // It has a view now: there is nothing to recover any more.
    await leader.kill();
    leader.spawn(['--listen', listen, '--recover']);
    await expect(leader.ready()).rejects.toThrow(/NOTHING_TO_RECOVER/);
  });
});

describe('a fourth server', () => {
  test('joins under load: no request fails, and only its share moves (V4)', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    await cluster.addServer();
    const { viewChange, members } = await cluster.settled(4);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
    expect(viewChange?.replicasLeast).toBe(48);
    expect(viewChange?.replicasMoved).toBeLessThanOrEqual(48 * 1.1);
    expect(members.map(({ buckets }) => buckets)).toEqual([48, 48, 48, 48]);
  });

  test('that stops gracefully leaves the write path first: no request fails', async () => {
    const cluster = await startCluster(4);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    load.start(HANDS);
    const code = await cluster.servers[3]?.stop();
    await load.stop();
    expect(code).toBe(0);
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
  });
});

describe('a server whose disk was wiped', () => {
  test('is a new one; the old one stays down, and nothing is lost (V7)', async () => {
    const cluster = newCluster(temporaryDirectory(), ['--replace-after', '3s']);
    await cluster.start(3);
    await cluster.settled(3);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    const [first] = cluster.servers;
    if (first?.ports === null || first === undefined) throw new Error('there is no server');
    const { id } = first.ports;
    await first.kill();
    rmSync(join(first.directory, 'data'), { recursive: true });
    first.spawn();
    await first.ready();
    expect(first.ports.id).not.toBe(id);
    const status = await cluster.settled(3);
    expect(status.members).toHaveLength(4);
    const gone = status.members.find(({ member }) => member?.id === id);
    expect(gone?.member?.state).not.toBe(MemberState.Up);
    expect(gone?.buckets).toBe(0);
    expect(await load.verify()).toEqual([]);
  });
});

describe('server remove', () => {
  test('gives a dead server up at once, and a live one not', async () => {
    const cluster = await startCluster(4);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, VALUE_BYTES);
    await load.fill();
    const id = cluster.servers[0]?.ports?.id ?? '';
    const early = await cluster.client(['server', 'remove', id]);
    expect(early.code).toBe(1);
    expect(early.stderr).toMatch(/SERVER_IS_UP.*stop it first/);
    await cluster.servers[0]?.kill();
    await cluster.waitForStatus('the new epoch', 20_000, ({ reason }) => /is down/.test(reason));
    const removed = await cluster.client(['server', 'remove', id, '-o', 'json']);
    expect(removed.stderr).toBe('');
    expect(JSON.parse(removed.stdout.toString())).toMatchObject({ id, buckets_lost: 0 });
    await cluster.settled(3);
    expect(await load.verify()).toEqual([]);
  });

  test('with the only copy of data says what would be lost, and needs a word (D6)', async () => {
    const directory = temporaryDirectory();
    const cluster = newCluster(directory, ['--min-in-sync', '1', '--replicas', '1']);
    await cluster.start(3);
    await cluster.settled(3);
    const [first] = cluster.servers;
    const id = first?.ports?.id ?? '';
    await first?.kill();
    await cluster.waitForStatus('the new epoch', 20_000, ({ reason }) => /is down/.test(reason));
    const refused = await cluster.client(['server', 'remove', id]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/DATA_LOSS.*only in-sync copy of 2\d buckets of 64.*--accept/);
    const accepted = await cluster.client(['server', 'remove', id, '--accept-data-loss']);
    expect(accepted.stdout.toString()).toMatch(/2\d buckets lost/);
    await cluster.settled(2);
    const client = await clientOf(cluster);
    load = new Load(client, 64, 200, VALUE_BYTES);
    await load.fill();
    // The one that was given up keeps what it has, and is not let in again.
    await isRefused(first, /SERVER_IS_GIVEN_UP.*another data directory/);
    expect(await load.verify()).toEqual([]);
  });
});

describe('setr', () => {
  test('writes keys of different servers, all or none (D3)', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    const keys = Array.from({ length: 20 }, (_, index) => `account ${index}`);
    const { version, participants } = await client.setr(
      keys.map((key) => ({ key, value: '100', ifAbsent: true })),
    );
    expect(participants).toBeGreaterThan(5);
    await expect(
      client.setr([
        ...keys.map((key) => ({ key, value: '0' })),
        { key: keys[3] ?? '', value: '1' },
      ]),
    ).rejects.toMatchObject({ code: 'INVALID' });
    await expect(
      client.setr([
        { key: 'account 1', value: '0', ifVersion: version },
        { key: 'account 2', value: '0', ifVersion: version - 1 },
      ]),
    ).rejects.toMatchObject({ code: 'CONDITION_NOT_MET', outcome: 'not-done' });
    const together = await client.getr([...keys, 'no such key']);
    expect(together.map((record) => record?.version ?? 0)).toEqual([...keys.map(() => version), 0]);
    for (const key of keys) {
      const read = await client.get(key);
      expect(read).toMatchObject({ version });
      expect(Buffer.from(read?.value ?? []).toString()).toBe('100');
    }
  });
});
