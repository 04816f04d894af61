import type { OptionValues } from 'commander';

import { MOST_BUCKETS } from '../core/causal-record.js';
import { POLICIES } from '../core/policies.js';
import { LIMITS } from '../core/refusal.js';
import { SPREADS } from '../core/shards.js';
import type { ViewLeaderOptions } from '../leader/compose.js';
import { daemonProgram, runDaemon } from './daemon.js';
import { CommandError } from './exit-code.js';
import { parseDuration, parseSize, setting, wholeNumber } from './options.js';

type Settings = Omit<ViewLeaderOptions, 'log'>;

const MOST_SHARDS = 1024;
/** More cost speed: docs/decisions/0020. */
const RING_BUCKETS = 256;
/** A multiple of most small numbers of servers, so that hash mod buckets mod N is hash mod N. */
const MODULO_BUCKETS = 5040;

/** Runs `kvs-viewleader` with the arguments after its name; resolves to its exit code. */
export function main(argv: string[]): Promise<number> {
  const replicas = wholeNumber(1, LIMITS.replicas);
  const program = daemonProgram('kvs-viewleader', 'The view leader of a kvs cluster.')
    .addOption(setting('--listen <host:port>', 'for gRPC').default('127.0.0.1:7400'))
    .addOption(setting('--http <host:port>', 'for health and metrics').default('127.0.0.1:7480'))
    .addOption(setting('--data-dir <directory>', 'holds the view').default('./kvs-leader'))
    .addOption(
      setting(
        '--buckets <number>',
        'shares of the key space; fixed when the cluster is founded; 1024 for more than 40 servers',
      )
        .argParser(wholeNumber(1, MOST_BUCKETS))
        .default(undefined, '256; with --policy modulo 5040'),
    )
    .addOption(setting('--replicas <number>', 'copies of a bucket').argParser(replicas).default(3))
    .addOption(
      setting('--policy <name>', 'placement policy; fixed when the cluster is founded')
        .choices(POLICIES)
        .default('ring'),
    )
    .addOption(
      setting(
        '--shards <number>',
        'with --policy shards: how many, two servers each at least',
      ).argParser(wholeNumber(1, MOST_SHARDS)),
    )
    .addOption(
      setting('--shard-spread <how>', 'servers over shards: in order, or by a seeded hash')
        .choices(SPREADS)
        .default('even'),
    )
    .addOption(
      setting(
        '--min-in-sync <number>',
        'copies a write needs; default 2, or --replicas if less',
      ).argParser(replicas),
    )
    .addOption(duration('--heartbeat-interval', 'between heartbeats of a server', '250ms'))
    .addOption(duration('--down-after', 'silence after which a server is down', '1s'))
    .addOption(duration('--replace-after', 'time down after which it is replaced', '30s'))
    .addOption(
      duration(
        '--lease',
        'a primary answers reads alone; fixed when the cluster is founded',
        '700ms',
      ),
    )
    .addOption(
      setting('--max-drift <percent>', 'most that clocks differ in speed; fixed with the cluster')
        .argParser(wholeNumber(1, 100))
        .default(15),
    )
    .addOption(
      setting('--rebalance-rate <size>', 'most that a server sends in a second; 0: no limit')
        .argParser(parseSize)
        .default(parseSize('128KiB'), '128KiB'),
    )
    .addOption(
      setting('--recover', "rebuild a lost view from the servers' copies, at a higher epoch"),
    )
    .addOption(
      setting('--recover-without <id,…>', 'servers that are gone for good: do not wait for them'),
    )
    .addHelpText('after', '\nExample:\n  $ kvs-viewleader --data-dir /var/lib/kvs-leader');
  return runDaemon<Settings>(program, argv, {
    settings,
    start: async (chosen, log) => {
      const { startViewLeader } = await import('../leader/compose.js');
      return startViewLeader({ ...chosen, log });
    },
  });
}

function duration(flag: string, description: string, value: string): ReturnType<typeof setting> {
  const option = setting(`${flag} <duration>`, description);
  return option.argParser(parseDuration).default(parseDuration(value), value);
}

function settings(options: OptionValues): Settings {
  const { replicas, heartbeatInterval, downAfter, replaceAfter } = options;
  const minInSync = options['minInSync'] ?? Math.min(2, replicas);
  if (minInSync > replicas) {
    const what = `--min-in-sync ${minInSync} is more than --replicas ${replicas}`;
    throw CommandError.usage(what, 'no write could succeed; lower the one or raise the other');
  }
  if (heartbeatInterval * 2 > downAfter) {
    const what = '--heartbeat-interval is more than half of --down-after';
    throw CommandError.usage(what, 'leave room for at least two heartbeats');
  }
  if (replaceAfter < downAfter) {
    const what = '--replace-after is shorter than --down-after';
    throw CommandError.usage(what, 'a server is replaced after it is down');
  }
  const { policy, shards } = options;
  if ((policy === 'shards') !== (shards !== undefined)) {
    const what = '--policy shards and --shards belong together';
    throw CommandError.usage(what, 'give both, or neither');
  }
  return {
    listen: options['listen'],
    http: options['http'],
    dataDir: options['dataDir'],
    buckets: options['buckets'] ?? (policy === 'modulo' ? MODULO_BUCKETS : RING_BUCKETS),
    replicas,
    policy,
    shards: shards ?? 0,
    shardSpread: options['shardSpread'],
    minInSync,
    heartbeatIntervalMs: heartbeatInterval,
    downAfterMs: downAfter,
    replaceAfterMs: replaceAfter,
    leaseMs: options['lease'],
    maxDriftPercent: options['maxDrift'],
    rebalanceRateBytes: options['rebalanceRate'],
    recover: options['recover'] === true || options['recoverWithout'] !== undefined,
    recoverWithout: String(options['recoverWithout'] ?? '')
      .split(',')
      .filter((id) => id !== ''),
  };
}
