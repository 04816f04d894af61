// An operator moves things, and changes his mind.
import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { Load } from '../../src/bench/load.js';
import { clientOf, newCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const RECORDS = 4000;
let load: Load | null = null;

afterEach(async () => {
  await load?.stop();
  load = null;
});

describe('kvs-client', () => {
  test('previews a join, pauses and resumes it, and drains a server, under load', async () => {
    // On a machine that stands still for a second, a server that is taken for down and comes back
    // would be one more change, which no preview could know.
    const options = ['--rebalance-rate', '256KiB', '--down-after', '15s'];
    const cluster = newCluster(temporaryDirectory(), options);
    await cluster.start(3);
    await cluster.settled(3);
    const client = await clientOf(cluster);
    load = new Load(client, 64, RECORDS, 512);
    await load.fill();
    await cluster.waitForStatus('all to be counted', 20_000, ({ records }) => records === RECORDS);
    const told = async (...args: string[]): Promise<Record<string, unknown>> => {
      const { code, stdout, stderr } = await cluster.client([...args, '-o', 'json']);
      // What takes more than two seconds says how far it is.
      const errors = stderr.replace(/^(?:view change|drain): .*\n/gm, '');
      expect({ args, code, errors }).toEqual({ args, code: 0, errors: '' });
      return JSON.parse(stdout.toString()) as Record<string, unknown>;
    };
    const expected = await told('placement', 'preview', '--add', '1');
    expect(expected).toMatchObject({ moved: 48, least_possible: 48, max_over_mean: 1 });
    load.start(16);
    expect(await told('rebalance', 'pause')).toMatchObject({ paused: true });
    await cluster.addServer();
    await cluster.waitForStatus('the plan', 20_000, ({ viewChange }) => {
      return viewChange?.phase === 'moving';
    });
    const paused = await told('rebalance', 'status');
    expect(paused).toMatchObject({ phase: 'moving', paused: true, moved: 0, eta: null });
    expect(paused['waits_for']).toMatch(/paused: \d+ buckets stay/);
    expect(await told('rebalance', 'rate', '0')).toMatchObject({ rate_bytes: 0 });
    expect(await told('rebalance', 'resume')).toMatchObject({ paused: false });
    const done = await cluster.settled(4);
    expect(done.viewChange?.replicasMoved).toBe(48);
    // Which buckets a server gets depends on its id, which the preview cannot know.
    const records = Number(expected['records']);
    const moved = done.viewChange?.recordsMoved ?? 0;
    expect(Math.abs(moved - records) / records).toBeLessThan(0.1);

    const id = cluster.servers[0]?.ports?.id ?? '';
    expect(await told('server', 'drain', id, '--dry-run')).toMatchObject({ moved: 48 });
    expect(await told('server', 'drain', id)).toMatchObject({ id, drained: true, replicas: 0 });
    const members = await cluster.client(['members']);
    expect(members.stdout.toString()).toMatch(new RegExp(`${id} +\\S+ +drained +1 +0 +0`));
    expect(await cluster.servers[0]?.stop()).toBe(0);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);
    expect(await told('server', 'remove', id)).toMatchObject({ id, buckets: 0, buckets_lost: 0 });
    const unknown = await cluster.client(['server', 'drain', id.replace(/./g, '0')]);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/UNKNOWN_SERVER.*`kvs-client members`/);
  });
});
