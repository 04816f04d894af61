import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { Command } from 'commander';

import { LocalCluster, type LocalClusterOptions, type Place } from '../cli/local-cluster.js';
import { parseSize } from '../cli/options.js';
import { connect, type KvsClient } from '../client/index.js';
import { measureCommits } from './commits.js';
import { measureFailover } from './failover.js';
import { measureJoin } from './join.js';
import { measureLeaderless } from './leaderless.js';
import { measureMemory, measureRest } from './memory.js';
import { measureCaches, measureYcsb } from './mixes.js';
import { measureModes } from './modes.js';
import { measureMove } from './move.js';
import { tellPlacement } from './placement.js';
import { writeProfile } from './profile.js';
import { MemoryCell } from './resources.js';
import { measureRestart } from './restart.js';
import { measureScale } from './scale.js';

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs one measurement on a cluster of its own, and leaves nothing behind. */
async function onCluster(
  measure: (cluster: LocalCluster) => Promise<void>,
  leaderOptions: readonly string[] = [],
  more: Omit<LocalClusterOptions, 'directory'> = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-bench-'));
  const cluster = new LocalCluster({ directory, leaderOptions, ...more });
  process.once('exit', () => {
    for (const daemon of cluster.daemons) daemon.signal('SIGKILL');
  });
  try {
    await measure(cluster);
  } finally {
    await cluster.killAll();
    rmSync(directory, { recursive: true, force: true });
  }
}

const open = (leader: string): Promise<KvsClient> => connect({ leader, timeoutMs: 30_000 });

const program = new Command('bench')
  .description('Measures real clusters on this machine.')
  .showHelpAfterError();
program
  .command('failover')
  .description('how long writes wait when a server is killed, at default settings')
  .option('--rounds <n>', 'kills', Number, 20)
  .action(({ rounds }: { rounds: number }) =>
    onCluster((cluster) => measureFailover(cluster, open, rounds, say)),
  );
program
  .command('commits')
  .description('commits of two keys that want the same keys seldom, often, and always')
  .option('--seconds <n>', 'for each point', Number, 4)
  .action(({ seconds }: { seconds: number }) =>
    onCluster((cluster) => measureCommits(cluster, open, seconds, say)),
  );
program
  .command('join')
  .description('what a server that joins under load costs: failed requests, moved records')
  .action(() => onCluster((cluster) => measureJoin(cluster, open, say)));
program
  .command('leaderless')
  .description('what the absence of the view leader costs writes')
  .action(() => onCluster((cluster) => measureLeaderless(cluster, open, say)));
program
  .command('move')
  .description('a join with many records under a steady load: speed, p99, preview against fact')
  .option('--records <n>', 'records of 128 bytes', Number, 1_000_000)
  .option('--unlimited-only', 'only a join without a limit, without load', false)
  .action((asked: { records: number; unlimitedOnly: boolean }) =>
    onCluster((cluster) => measureMove(cluster, open, asked, say)),
  );
program
  .command('memory')
  .description('more data than one server may use memory: load, reads, kill -9, restart, reads')
  .option('--records <n>', 'records', Number, 4_000_000)
  .option('--value <size>', 'bytes of a value', parseSize, 1024)
  .option('--limit <size>', 'memory of the server', parseSize, 512 * 2 ** 20)
  .action(async (asked: { records: number; value: number; limit: number }) => {
    const cell = MemoryCell.make(asked.limit);
    const { records, value: valueBytes } = asked;
    const place = (name: string): Place => ({
      prefix: name.startsWith('server') ? (cell?.prefix ?? []) : [],
      host: '127.0.0.1',
    });
    try {
      await onCluster(
        (cluster) => measureMemory(cluster, open, cell, { records, valueBytes }, say),
        ['--replicas', '1'],
        { place },
      );
    } finally {
      cell?.remove();
    }
  });
program
  .command('rest')
  .description('what records cost at rest, on the disk and in memory, at several sizes')
  .action(() =>
    onCluster(
      (cluster) => measureRest(cluster, open, [250_000, 500_000, 1_000_000], say),
      ['--replicas', '1'],
    ),
  );
program
  .command('restart')
  .description('how long a restarted server takes to serve, alone and in a cluster')
  .option('--records <n>', 'records of 128 bytes', Number, 1_000_000)
  .option('--rounds <n>', 'of each way to restart', Number, 5)
  .option('--servers <n>', 'servers, and replicas', Number, 3)
  .action((asked: { records: number; rounds: number; servers: number }) =>
    onCluster(
      (cluster) => measureRestart(cluster, asked, say),
      ['--replicas', String(asked.servers)],
    ),
  );
program
  .command('modes')
  .description('writes in a causal namespace beside strong ones: latency alone, rate of 64')
  .action(() => onCluster((cluster) => measureModes(cluster, open, say)));
program
  .command('scale')
  .description('placement and view changes of a large cluster: time, memory, sizes, CPU')
  .option('--servers <n>', 'servers, of which the view leader sees heartbeats', Number, 1000)
  .action(({ servers }: { servers: number }) =>
    onCluster((cluster) => measureScale(cluster, servers, say), ['--buckets', '16384']),
  );
program
  .command('placement')
  .description('balance and movement of the placement policies, as a table')
  .action(() => tellPlacement(say));
program
  .command('load')
  .description('the mixes of YCSB, from one client process and from sixteen')
  .option('--seconds <n>', 'for each point', Number, 3)
  .action(({ seconds }: { seconds: number }) =>
    onCluster((cluster) => measureYcsb(cluster, seconds, say)),
  );
program
  .command('caches')
  .description('mixes of production caches')
  .option('--seconds <n>', 'for each mix', Number, 5)
  .action(({ seconds }: { seconds: number }) =>
    onCluster((cluster) => measureCaches(cluster, seconds, say)),
  );
program
  .command('profile')
  .description('where a microsecond goes, for a read and a write; writes a page')
  .option('--seconds <n>', 'for each point', Number, 5)
  .option('--before <directory>', 'of another build, to be measured beside this one')
  .option('--page <file>', 'what to write', 'docs/profile.md')
  .action((asked: { seconds: number; before?: string; page: string }) => {
    const now = { name: 'now', directory: fileURLToPath(new URL('../..', import.meta.url)) };
    const { before, seconds, page } = asked;
    const builds = before === undefined ? [now] : [{ name: 'before', directory: before }, now];
    return writeProfile(builds, seconds, page, say);
  });
await program.parseAsync();
