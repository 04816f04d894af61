// The membership is set in one step, through any server, and taken back.
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

describe('kvs-client view change', () => {
  test('previews, moves, counts and goes back, under load, asked of a server', async () => {
    const directory = temporaryDirectory();
    const cluster = newCluster(directory, ['--replicas', '2']);
    await cluster.start(4);
    await cluster.settled(4);
    load = new Load(await clientOf(cluster), 64, RECORDS, 512);
    await load.fill();
    await cluster.waitForStatus('all to be counted', 20_000, ({ records }) => records === RECORDS);
    load.start(16);
    const addresses = cluster.servers.map(({ listen }) => listen);
    const [door = ''] = addresses;
    const asked = (...args: string[]): ReturnType<typeof cluster.client> =>
      cluster.client([...args, '--leader', '', '--server', door, '-o', 'json']);
    const told = async (...args: string[]): Promise<Record<string, unknown>> => {
      const { code, stdout, stderr } = await asked(...args);
      // What takes more than two seconds says how far it is.
      const errors = stderr.replace(/^(?:view change|drain): .*\n/gm, '');
      expect({ args, code, errors }).toEqual({ args, code: 0, errors: '' });
      return JSON.parse(stdout.toString()) as Record<string, unknown>;
    };

    const three = addresses.slice(0, 3).join(',');
    const expected = await told('view', 'change', '--servers', three, '--dry-run');
    expect(expected).toMatchObject({ moved: 32, least_possible: 32 });
    const done = await told('view', 'change', '--servers', three);
    expect(done).toMatchObject({ moved: 32, least_possible: 32 });
    // Nothing is inserted or deleted meanwhile: the preview is exact.
    expect(done['records']).toBe(expected['records']);
    expect(await told('status')).toMatchObject({ servers: 4, view_change: { phase: 'idle' } });
    const view = await told('view');
    expect(view['reason']).toMatch(/view change \d+ is done: \d+ records/);

    expect(await told('rebalance', 'rate', '64KiB')).toMatchObject({ rate_bytes: 65_536 });
    const all = addresses.join(',');
    expect(await told('view', 'change', '--servers', all, '--no-wait')).toMatchObject({
      planned: 32,
    });
    await cluster.waitForStatus('something to have moved', 30_000, ({ viewChange }) => {
      return viewChange?.phase === 'moving' && viewChange.replicasMoved > 0;
    });
    await told('rebalance', 'cancel');
    await told('rebalance', 'rate', '0');
    const back = await cluster.waitForStatus('the old table', 30_000, ({ viewChange }) => {
      return viewChange?.phase === 'idle';
    });
    expect(back.members.map(({ buckets }) => buckets).filter((held) => held === 0)).toHaveLength(1);
    expect(back.viewChange).toMatchObject({ cancelled: true });
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await load.verify()).toEqual([]);

    const unknown = await asked('view', 'change', '--servers', `${door},nobody`);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/UNKNOWN_SERVER.*no server nobody/);
    const few = await asked('view', 'change', '--servers', door);
    expect(few.stderr).toMatch(/TOO_FEW_SERVERS.*writes need 2 in-sync replicas/);
    expect((await asked('view', 'change', '--servers', ' , ')).code).toBe(2);
  });

  test('a server is no view leader to another server', async () => {
    const cluster = newCluster();
    await cluster.start(1);
    await cluster.settled(1);
    const lost = cluster.addServer(['--leader', cluster.servers[0]?.listen ?? '']);
    await expect(lost).rejects.toThrow(/NOT_LEADER.*this is a server; name its view leader/);
  });
});
