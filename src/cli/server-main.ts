import { InvalidArgumentError } from 'commander';

import type { ServerOptions } from '../server/compose.js';
import { daemonProgram, runDaemon } from './daemon.js';
import { CommandError } from './exit-code.js';
import { parseDuration, parseSize, setting } from './options.js';

/** The engine keeps 64 files open at least. */
const LEAST_CACHE_BYTES = 256 * 2 ** 20;

type Settings = Omit<ServerOptions, 'log'>;

/** Runs `kvs-server` with the arguments after its name; resolves to its exit code. */
export function main(argv: string[]): Promise<number> {
  const program = daemonProgram('kvs-server', 'A storage server of kvs.')
    .addOption(setting('--leader <host[:port],…>', 'the view leader (needed)'))
    .addOption(
      setting('--listen <host:port>', 'for gRPC; port 0: a free one').default('127.0.0.1:0'),
    )
    .addOption(setting('--advertise <host:port>', 'how others reach this server; default: listen'))
    .addOption(setting('--http <host:port>', 'for health and metrics').default('127.0.0.1:0'))
    .addOption(setting('--data-dir <directory>', 'empty: a new server').default('./kvs-server'))
    .addOption(setting('--zone <name>', 'replicas are spread over zones').default(''))
    .addOption(setting('--weight <number>', 'share of the data').argParser(weight).default(1))
    .addOption(
      setting('--scrub-interval <duration>', 'between two buckets whose replicas are compared')
        .argParser(parseDuration)
        .default(parseDuration('10s'), '10s'),
    )
    .addOption(
      setting('--cache-size <size>', 'files of the state mapped into memory at once, about')
        .argParser(cacheSize)
        .default(cacheSize('4GiB'), '4GiB'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  $ kvs-server --leader 127.0.0.1:7400 --data-dir /var/lib/kvs',
    );
  return runDaemon<Settings>(program, argv, {
    settings: ({
      leader,
      listen,
      advertise,
      http,
      dataDir,
      zone,
      weight: share,
      scrubInterval,
      cacheSize: cacheBytes,
    }) => {
      if (leader === undefined) {
        throw CommandError.usage('the view leader is not named', 'give --leader HOST[:PORT]');
      }
      const reachable = advertise === undefined ? {} : { advertise };
      const scrubIntervalMs = scrubInterval;
      const where = { leader, listen, ...reachable, http, dataDir, zone };
      return { ...where, weight: share, scrubIntervalMs, cacheBytes };
    },
    start: async (settings, log) => {
      const { startServer } = await import('../server/start.js');
      return startServer({ ...settings, log });
    },
  });
}

function weight(text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw new InvalidArgumentError('Write a number greater than 0.');
}

function cacheSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes >= LEAST_CACHE_BYTES) return bytes;
  throw new InvalidArgumentError('Write 256MiB or more.');
}
