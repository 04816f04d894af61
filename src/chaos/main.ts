import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { Command } from 'commander';

import { LocalCluster } from '../cli/local-cluster.js';
import { failPoints, killCoordinators } from './coordinators.js';
import { cutInTwo } from './cut.js';
import { Islands } from './islands.js';
import { killMovers, MOVE_OPTIONS } from './moves.js';
import { kills, pauses, underFaults } from './scenarios.js';

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Harms a cluster of its own; its data and logs stay when a promise is broken. */
async function run(
  harm: (cluster: LocalCluster, directory: string) => Promise<void>,
  leaderOptions: readonly string[] = [],
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-chaos-'));
  const cluster = new LocalCluster({
    directory,
    leaderOptions: ['--buckets', '64', ...leaderOptions],
    serverNodeOptions: failPoints(directory),
  });
  process.once('exit', () => {
    for (const daemon of cluster.daemons) daemon.signal('SIGKILL');
  });
  try {
    await harm(cluster, directory);
    rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    say(`data and logs: ${directory}`);
    throw error;
  } finally {
    await cluster.killAll();
  }
}

const program = new Command('chaos')
  .description('Real processes under faults; what clients saw is checked.')
  .showHelpAfterError();
program
  .command('pause')
  .description('SIGSTOP of servers beyond their lease')
  .option('--times <n>', 'how often', Number, 50)
  .action(({ times }: { times: number }) =>
    run((cluster) => underFaults(cluster, pauses(times), say)),
  );
program
  .command('kill')
  .description('kill -9 of a random process every two seconds')
  .option('--seconds <n>', 'how long', Number, 180)
  .action(({ seconds }: { seconds: number }) =>
    run((cluster) => underFaults(cluster, kills(seconds * 1000), say)),
  );
program
  .command('setr')
  .description('kill -9 of the coordinator of a setr, before and after its decision')
  .option('--times <n>', 'how often at each point', Number, 20)
  .action(({ times }: { times: number }) =>
    run((cluster, directory) => killCoordinators(cluster, directory, times, say)),
  );
program
  .command('move')
  .description('kill -9 of donor, receiver and view leader in the middle of a move')
  .option('--times <n>', 'how often each', Number, 10)
  .action(({ times }: { times: number }) =>
    run((cluster) => killMovers(cluster, times, say), MOVE_OPTIONS),
  );
program
  .command('cut')
  .description('two servers cut apart in network namespaces of their own; needs root')
  .option('--seconds <n>', 'how long', Number, 30)
  .option('--untimed', 'healing may take long: the machine is busy')
  .action(async ({ seconds, untimed = false }: { seconds: number; untimed?: boolean }) => {
    const obstacle = Islands.obstacle();
    if (obstacle !== null) {
      say(`not run: ${obstacle}`);
      return;
    }
    const directory = mkdtempSync(join(tmpdir(), 'kvs-chaos-'));
    try {
      await cutInTwo(directory, seconds, say, !untimed);
      rmSync(directory, { recursive: true, force: true });
    } catch (error) {
      say(`data and logs: ${directory}`);
      throw error;
    }
  });
await program.parseAsync();
