// Disks that do not keep what was written on them (D7).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, jest, test } from '@jest/globals';
import { ClassicLevel } from 'classic-level';

import { waitFor } from '../../src/cli/local-cluster.js';
import { bucketInPool } from '../../src/core/hash.js';
import { encodeRecord, recordKey } from '../../src/storage/engine-rows.js';
import { clientOf, newCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const PARAMETERS = { bucketCount: 64, policy: 'ring' };
const keys = Array.from({ length: 300 }, (_, at) => `key ${at}`);

type Rows = ClassicLevel<Buffer, Buffer>;

function rowOf(key: string): Buffer {
  return recordKey(bucketInPool(key, PARAMETERS), key);
}

async function withRows<T>(directory: string, use: (rows: Rows) => Promise<T>): Promise<T> {
  const encoding = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;
  const rows: Rows = new ClassicLevel(join(directory, 'data', 'engine'), encoding);
  await rows.open();
  try {
    return await use(rows);
  } finally {
    await rows.close();
  }
}

test('damaged and lost rows are copied again from another replica; other differences alarm', async () => {
  const cluster = newCluster(temporaryDirectory(), [], ['--scrub-interval', '50ms']);
  await cluster.start(3);
  await cluster.settled(3);
  const client = await clientOf(cluster);
  for (const key of keys) await client.set(key, `value of ${key}`);
  const [, victim] = cluster.servers;
  if (victim === undefined) throw new Error('there is no second server');
  const { listen } = victim;
  expect(await victim.stop()).toBe(0);

  const [hurt = '', lost = '', forged = ''] = keys;
  await withRows(victim.directory, async (rows) => {
    const row = (await rows.get(rowOf(hurt))) ?? Buffer.alloc(0);
    row[row.length - 1] = (row.at(-1) ?? 0) ^ 1;
    await rows.put(rowOf(hurt), row);
    await rows.del(rowOf(lost));
    const version = (await client.get(forged))?.version ?? 0;
    const value = Buffer.from('forged');
    await rows.put(rowOf(forged), encodeRecord(rowOf(forged), { key: forged, value, version }));
  });
  victim.spawn(['--listen', listen]);
  await victim.ready();

  await waitFor('both repairs', 60_000, () => {
    const log = readFileSync(join(victim.directory, 'log'), 'utf8');
    const told = log.match(/copied again from another replica/g);
    return (told?.length ?? 0) >= 2;
  });
  const where = new RegExp(
    `bucket ${bucketInPool(forged, PARAMETERS)}: server \\d and its primary`,
  );
  const status = await cluster.waitForStatus('the alarm', 60_000, ({ warnings }) =>
    warnings.some((warning) => where.test(warning)),
  );
  expect(status.warnings.join()).toMatch(/hold other records at log entry \d+/);
  await cluster.settled(3);
  // Nobody was ever told anything wrong, the two rows least of all.
  const records = await client.getr(keys.filter((key) => key !== forged).slice(0, 200));
  expect(records.every((record) => record !== null)).toBe(true);

  expect(await victim.stop()).toBe(0);
  await withRows(victim.directory, async (rows) => {
    for (const key of [hurt, lost]) {
      expect((await rows.get(rowOf(key)))?.toString('latin1')).toMatch(`value of ${key}`);
    }
  });
});
