import { join } from 'node:path';

import type { Daemon, LocalCluster } from '../cli/local-cluster.js';
import type { KvsClient } from '../client/index.js';
import { Records } from './records.js';
import { diskBytes, mebibytes, type MemoryCell, residentOf, ResidentWatch } from './resources.js';

type Say = (line: string) => void;
type Connect = (leader: string) => Promise<KvsClient>;

const READ_MS = 20_000;

/**
 * More records than fit into the memory that one server may use: loads them, reads at random,
 * kills the server, starts it again under the same limit, and reads again. Throws when a value is
 * wrong or a request failed.
 */
export async function measureMemory(
  cluster: LocalCluster,
  connect: Connect,
  cell: MemoryCell | null,
  { records: count, valueBytes }: { readonly records: number; readonly valueBytes: number },
  say: Say,
): Promise<void> {
  say(
    cell === null
      ? 'no right to make a control group: memory is measured, not limited'
      : `the server may use ${mebibytes(cell.limitBytes)}, cache of the file system included`,
  );
  await cluster.start(1);
  const server = cluster.servers[0]!;
  const watch = new ResidentWatch(() => server.pid);
  let client = await connect(cluster.leaderAddress);
  const records = new Records(() => client, valueBytes);
  const told = (what: string): void => {
    const { own, mapped } = watch;
    const peak = cell === null ? '' : `; the group up to ${mebibytes(cell.peakBytes)} so far`;
    say(`${what}; up to ${mebibytes(own)} of its own and ${mebibytes(mapped)} mapped${peak}`);
    watch.reset();
  };
  try {
    say(`one server; writing ${count} records of 16 + ${valueBytes} bytes`);
    const parts = 8;
    for (let part = 0; part < parts; part += 1) {
      const [from, to] = [(count / parts) * part, (count / parts) * (part + 1)].map(Math.floor);
      const rate = await records.fill(from ?? 0, to ?? 0);
      told(`  ${to} written, ${rate.toFixed(0)} a second`);
      records.expectNoTrouble();
    }
    tellDisk(server, count, say);
    await reads(records, count, told);
    await server.kill();
    const beganMs = performance.now();
    server.spawn();
    await server.ready();
    const readyMs = performance.now() - beganMs;
    client.close();
    client = await connect(cluster.leaderAddress);
    await records.check(0);
    const readMs = performance.now() - beganMs;
    told(
      `killed and started again: ready after ${(readyMs / 1000).toFixed(2)} s, ` +
        `first read after ${(readMs / 1000).toFixed(2)} s`,
    );
    await reads(records, count, told);
    records.expectNoTrouble();
    tellDisk(server, count, say);
    say('every value read was the one that had been written; no request failed');
  } finally {
    watch.stop();
    client.close();
  }
}

async function reads(records: Records, of: number, told: Say): Promise<void> {
  const rate = await records.read(of, READ_MS);
  told(`reads at random, every value compared: ${rate.toFixed(0)} a second`);
}

function tellDisk(server: Daemon, records: number, say: Say): void {
  const engine = diskBytes(join(server.directory, 'data', 'engine'));
  const log = diskBytes(join(server.directory, 'data', 'log'));
  say(
    `  on the disk: state ${mebibytes(engine)}, ${(engine / records).toFixed(1)} bytes a record; ` +
      `log kept for others ${mebibytes(log)}`,
  );
}

/** For the engine to write and sort what it has. */
const SETTLE_MS = 15_000;

/** What a record costs when nothing happens: on the disk, and in memory, at several sizes. */
export async function measureRest(
  cluster: LocalCluster,
  connect: Connect,
  sizes: readonly number[],
  say: Say,
): Promise<void> {
  await cluster.start(1);
  const server = cluster.servers[0]!;
  const client = await connect(cluster.leaderAddress);
  const records = new Records(() => client, 128);
  let written = 0;
  try {
    for (const size of sizes) {
      const rate = await records.fill(written, size);
      written = size;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const rest = residentOf(server.pid);
      say(`${size} records of 16 + 128 bytes (${rate.toFixed(0)} a second)`);
      tellDisk(server, size, say);
      say(
        `  in memory ${mebibytes(rest?.own ?? 0)} of its own, ` +
          `${mebibytes(rest?.mapped ?? 0)} mapped files`,
      );
      records.expectNoTrouble();
    }
  } finally {
    client.close();
  }
}
