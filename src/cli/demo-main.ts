import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { connect } from '../client/index.js';
import { Demo } from './demo.js';
import { CommandError, Exit, failureLine } from './exit-code.js';
import { LocalCluster } from './local-cluster.js';
import { makeProgram } from './options.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Longer than `--down-after`, short enough to be watched. */
const REPLACE_AFTER = '3s';

/** Shows a cluster at work; resolves to 0 only when all that was shown was also checked. */
async function main(argv: string[]): Promise<number> {
  const program = makeProgram(
    'demo',
    'Starts a small cluster on this machine and shows it at work.',
  )
    .option('--keep', 'leave the cluster running')
    .addHelpText('after', '\nExample:\n  $ make run KEEP=1');
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    const { exitCode, message } = error as { exitCode: number; message: string };
    if (exitCode !== 0) process.stderr.write(`demo: ${message}\n`);
    return exitCode === 0 ? Exit.Done : Exit.Usage;
  }
  const keep = program.opts<{ keep?: boolean }>().keep === true;
  const runs = join(ROOT, '.kvs-run');
  mkdirSync(runs, { recursive: true });
  const directory = mkdtempSync(join(runs, 'demo-'));
  const cluster = new LocalCluster({
    directory,
    leaderOptions: ['--replace-after', REPLACE_AFTER],
    // A busy machine is slow, not wrong.
    clientEnvironment: { KVS_TIMEOUT: '30s' },
    detached: keep,
  });
  return show(cluster, directory, keep);
}

async function show(cluster: LocalCluster, directory: string, keep: boolean): Promise<number> {
  // However this process ends, it leaves nothing behind that nobody asked for.
  let leave = false;
  process.once('exit', () => {
    if (!leave) for (const daemon of cluster.daemons) daemon.signal('SIGKILL');
  });
  const interrupted = new Promise<'interrupted'>((resolve) => {
    process.once('SIGINT', () => resolve('interrupted'));
    process.once('SIGTERM', () => resolve('interrupted'));
  });
  const demo = new Demo(
    cluster,
    (leader) => connect({ leader, timeoutMs: 30_000 }),
    join(ROOT, 'data', 'navaids.csv'),
  );
  try {
    const end = await Promise.race([demo.run(), interrupted]);
    if (end === 'interrupted') {
      process.stderr.write('\ninterrupted; stopping the cluster\n');
      await cluster.killAll();
      rmSync(directory, { recursive: true, force: true });
      process.exit(Exit.Interrupted);
    }
    if (keep) {
      leave = true;
      farewell(cluster, directory);
      return Exit.Done;
    }
    await stopCleanly(cluster);
    rmSync(directory, { recursive: true, force: true });
    return Exit.Done;
  } catch (error) {
    const tails = cluster.daemons.map((daemon) => daemon.logTail()).join('\n');
    await cluster.killAll();
    const what = error instanceof Error ? error.message : String(error);
    const kept = `everything was stopped; data and logs are in ${directory}`;
    const failure = new CommandError('NOT_AS_CLAIMED', what, kept, Exit.Refused);
    process.stderr.write(`\n${tails}\n\n${failureLine('demo', failure)}`);
    return failure.exitCode;
  }
}

async function stopCleanly(cluster: LocalCluster): Promise<void> {
  const bad = await cluster.stopAll();
  if (bad.length > 0) throw new Error(`${bad.join(', ')} did not stop cleanly`);
  process.stdout.write('\nAll processes stopped cleanly.\n');
}

function farewell(cluster: LocalCluster, directory: string): void {
  const running = cluster.daemons.filter(({ alive }) => alive);
  for (const daemon of running) daemon.release();
  const pids = running.map(({ pid }) => pid).join(' ');
  const bin = relative(process.cwd(), join(ROOT, 'bin', 'kvs-client.js'));
  process.stdout.write(
    [
      '',
      'The cluster goes on. Talk to it:',
      `  export KVS_LEADER=${cluster.leaderAddress}`,
      `  node ${bin} status`,
      'Stop it:',
      `  kill ${pids}`,
      `Data and logs: ${directory}`,
      '',
    ].join('\n'),
  );
}

process.exitCode = await main(process.argv.slice(2));
