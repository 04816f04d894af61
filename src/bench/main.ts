import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { Command } from 'commander';

import { LocalCluster } from '../cli/local-cluster.js';
import { connect, type KvsClient } from '../client/index.js';
import { measureFailover } from './failover.js';
import { measureJoin } from './join.js';
import { measureLeaderless } from './leaderless.js';
import { measureCaches, measureYcsb } from './mixes.js';
import { measureModes } from './modes.js';
import { measureMove } from './move.js';
import { tellPlacement } from './placement.js';
import { measureScale } from './scale.js';

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Runs one measurement on a cluster of its own, and leaves nothing behind. */
async function onCluster(
  measure: (cluster: LocalCluster) => Promise<void>,
  leaderOptions: readonly string[] = [],
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-bench-'));
  const cluster = new LocalCluster({ directory, leaderOptions });
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
  .action(({ records }: { records: number }) =>
    onCluster((cluster) => measureMove(cluster, open, records, say)),
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
await program.parseAsync();
