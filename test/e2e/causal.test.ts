// A causal namespace as its users see it: sessions, a replica that is alone, and what is healed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, jest, test } from '@jest/globals';

import { type LocalCluster, waitFor } from '../../src/cli/local-cluster.js';
import { type CausalSession, connect, MemberState, Mode } from '../../src/client/index.js';

import { clientOf, isRefused, startCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const text = (value: Uint8Array | undefined): string => Buffer.from(value ?? []).toString();

/**
 * A session for writes after a kill. A client that was connected before may send its first write
 * until it learns that nobody is there, and is told that the outcome is unknown.
 */
async function newcomer(cluster: LocalCluster, token?: string): Promise<CausalSession> {
  return (await clientOf(cluster)).session('carts', token);
}

describe('a causal namespace', () => {
  test('carries a session from command to command', async () => {
    const cluster = await startCluster(3);
    const run = async (...args: string[]): Promise<{ code: number | null; out: string }> => {
      const { code, stdout, stderr } = await cluster.client(args);
      return { code, out: stdout.toString().trim() + stderr.trim() };
    };
    const session = ['--session', join(temporaryDirectory(), 'anna')];
    const carts = ['--namespace', 'carts'];
    const made = await run('namespace', 'create', 'carts', '--mode', 'causal');
    expect(made).toEqual({ code: 0, out: 'carts: causal' });
    expect((await run('namespace', 'list')).out).toMatch(/carts +causal/);
    expect(await run(...carts, 'set', 'anna', 'apples', ...session)).toMatchObject({ code: 0 });
    expect(await run(...carts, 'get', 'anna', ...session)).toEqual({ code: 0, out: 'apples' });
    expect(readFileSync(session[1] ?? '', 'utf8').trim()).not.toBe('');
    expect(await run('get', 'anna')).toMatchObject({ code: 3 });
    expect(await run(...carts, 'del', 'anna', ...session)).toMatchObject({ code: 0 });
    expect(await run(...carts, 'get', 'anna', ...session)).toMatchObject({ code: 3 });
    for (const refused of [
      [...carts, 'set', 'a', 'b', '--if-absent'],
      [...carts, 'setr', 'a', 'b'],
      ['--namespace', 'nowhere', 'get', 'a'],
      ['get', 'a', ...session],
    ]) {
      expect(await run(...refused)).toMatchObject({ code: 2 });
    }
  });

  test('takes writes on one replica that is alone, and all have them afterwards', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    await client.admin.createNamespace('carts', Mode.Causal);
    const before = await client.session('carts');
    for (let key = 0; key < 50; key += 1) await before.set(`key ${key}`, 'before');
    const [lonely, ...others] = cluster.servers;
    await Promise.all(others.map((server) => server.kill()));
    const alone = await newcomer(cluster);
    for (let key = 0; key < 50; key += 1) await alone.set(`key ${key}`, `alone ${key}`);
    await alone.delete('key 7');
    await alone.set('last', 'written');
    await Promise.all(
      others.map(async (server) => {
        server.spawn();
        await server.ready();
      }),
    );
    await cluster.settled(3);
    for (const { listen } of others) {
      const beside = await connect({ server: listen, timeoutMs: 30_000 });
      const told = await beside.session('carts', alone.token);
      await waitFor('all that the session has seen to be there', 30_000, async () => {
        return text((await told.get('last').catch(() => null))?.value) === 'written';
      });
      // Each key has a bucket of its own, which may lag behind that one.
      for (let key = 0; key < 50; key += 1) await told.get(`key ${key}`);
      beside.close();
    }
    await lonely?.kill();
    const reader = await connect({ leader: cluster.leaderAddress, timeoutMs: 30_000 });
    try {
      const fresh = await reader.session('carts');
      expect(text((await fresh.get('last'))?.value)).toBe('written');
      for (let key = 0; key < 50; key += 1) {
        const found = await fresh.get(`key ${key}`);
        expect(found === null ? null : text(found.value)).toBe(key === 7 ? null : `alone ${key}`);
      }
    } finally {
      reader.close();
    }
  });

  test('waits for what only a dead server had, until that is given up', async () => {
    const cluster = await startCluster(3);
    const client = await clientOf(cluster);
    await client.admin.createNamespace('carts', Mode.Causal);
    const before = await client.session('carts');
    await before.set('anna', 'apples');
    const [lonely, ...others] = cluster.servers;
    for (const { listen } of others) {
      const beside = await connect({ server: listen, timeoutMs: 30_000 });
      expect(text((await (await beside.session('carts', before.token)).get('anna'))?.value)).toBe(
        'apples',
      );
      beside.close();
    }
    await Promise.all(others.map((server) => server.kill()));
    const alone = await newcomer(cluster, before.token);
    await alone.set('anna', 'pears');
    const id = lonely?.ports?.id ?? '';
    await lonely?.kill();
    for (const server of others) server.spawn();
    await Promise.all(others.map((server) => server.ready()));
    await cluster.waitForStatus('the new epoch', 30_000, ({ members }) => {
      return members.filter(({ member }) => member?.state === MemberState.Up).length === 2;
    });
    const impatient = await connect({ leader: cluster.leaderAddress, timeoutMs: 5000 });
    const waits = await impatient.session('carts', alone.token);
    await expect(waits.get('anna')).rejects.toThrow(/lacks what the session has seen/);
    impatient.close();
    const removed = await cluster.client(['server', 'remove', id, '--accept-data-loss']);
    expect(removed.stdout.toString()).toMatch(/none lost/);
    const patient = await connect({ leader: cluster.leaderAddress, timeoutMs: 30_000 });
    const goesOn = await patient.session('carts', alone.token);
    expect(text((await goesOn.get('anna'))?.value)).toBe('apples');
    await goesOn.set('anna', 'plums');
    expect(text((await goesOn.get('anna'))?.value)).toBe('plums');
    patient.close();
    // It is not heard any more, and keeps what it has.
    await isRefused(lonely, /SERVER_IS_GIVEN_UP.*another data directory/);
  });
});
