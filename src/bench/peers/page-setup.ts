import { count } from '../../cli/output.js';
import type { Results } from './results.js';
import {
  BATCH,
  BATCHES_IN_FLIGHT,
  FIRST_WARM,
  MANY,
  ONE_PRIMARY,
  RECORDS,
  VALUE_BYTES,
  WARM_SECONDS,
  type Step,
} from './sample.js';

/** What the page says first: where, when and how all of it was measured. */
export function introduction(results: Results): string[] {
  const { rounds, seconds, machine, leftOut, date, commit, command } = results;
  const failed = results.samples.reduce((sum, { figures }) => sum + figures.errors, 0);
  const turns = rounds === 1 ? 'one round' : `${rounds} rounds in which the systems took turns`;
  return [
    '# Benchmarks',
    '',
    'kvs beside etcd and Redis, and beside the parts that it is made of. A program writes this',
    'page, from [what it measured](benchmarks/results.json); no figure is set by hand:',
    '',
    '```sh',
    command,
    '```',
    '',
    `- ${date}, commit ${commit}`,
    `- ${machine.processor}, ${machine.cores} cores, which servers and load share;`,
    `  ${machine.memory} of memory, ${machine.system}, data on ${machine.fileSystem}`,
    `- Processes that wanted a core in the minute before it began: ${machine.load}`,
    `- ${seconds} s a point, after ${WARM_SECONDS} s that do not count; figures are of ${turns}:`,
    '  the median, in brackets the least and the most',
    `- All traffic is on the loopback interface; of all operations ${count(failed)} failed`,
    '',
    'What else the machine does moves rates and latencies: compare within this page only. The CPU',
    'of the servers is the steadiest figure.',
    '',
    ...leftOut.flatMap((what) => [`Left out: ${what}.`, '']),
  ];
}

/** How each system was set up: what a reader needs to call a comparison fair or not. */
export function settings({ versions }: Results): string[] {
  const version = (name: string): string => versions[name] ?? 'not known';
  return [
    '## How each was set up',
    '',
    `All have ${count(RECORDS)} keys of 16 bytes, drawn without skew, and values of ${VALUE_BYTES}`,
    'bytes that do not compress. Each starts on an empty directory in every round, and is stopped',
    'before the next one starts. "In flight" are callers of one client process, each of which',
    'waits for its answer.',
    '',
    `- **kvs** (Node.js ${version('node')}): a view leader and three servers with default`,
    '  settings: three replicas, all of which flush before the answer. Reads are linearizable,',
    '  from the primary under its lease. JavaScript is compiled while it runs, cold it is slow:',
    `  ${stepsOf(FIRST_WARM.writes)} come first, of writes and then`,
    `  ${stepsOf(FIRST_WARM.reads)} of reads, as in processes that run for`,
    `  longer than a benchmark; of the 16 processes ${stepsOf(FIRST_WARM.many)}`,
    '  of writes. What new processes do has a table of its own. The client is the library, in a',
    '  Node.js process of its own.',
    `- **${ONE_PRIMARY}**: the same, founded with \`kvs-viewleader --buckets 1\`: one server is`,
    '  the primary of all keys, and the other two are its secondaries.',
    `- **etcd** (${version('etcd')}): three nodes with default settings: a majority flushes`,
    '  before the answer. Reads are linearizable. The client is compiled, from etcd’s own library',
    `  in Go (${version('go')}), with 8 connections to the leader. Reads come before writes: after`,
    '  many writes etcd’s reads cost more, until it is restarted.',
    `- **Redis** (${version('redis')}): a master and two replicas with \`appendfsync always\` and`,
    '  without snapshots. `SET` and `WAIT 2` leave in one write, on a connection for each in',
    '  flight, from the same compiled client. `WAIT` says that the replicas have received the',
    '  write, not that they have flushed it.',
    `- **Batches**: ${BATCHES_IN_FLIGHT} at once. Of etcd, transactions of ${BATCH} puts; of kvs,`,
    `  ${BATCH} writes that begin in one turn of the event loop, which are not one transaction;`,
    '  with one primary, where all keys are in one bucket, one `setr` of them, which is one.',
    `- **${MANY.clients} clients in ${MANY.processes} processes**: each client has connections of`,
    '  its own, and one write in flight.',
    `- **Unary calls**: h2load of nghttp2 ${version('h2load')}, 4 connections with 16 calls`,
    '  each, always of one key, to etcd’s leader and to the key’s primary. The bytes of the',
    '  requests are the same.',
    '- **Bare stream**: one grpc-js server that answers each frame of reads at once, from nothing,',
    '  through the codec of kvs; one client that sends the next frame when one is answered.',
    '- **Bare log**: 64 writers on the log of a server, in one process, without gRPC, engine or',
    '  replication; beside kvs with one server and one replica.',
    '',
  ];
}

/** Such as `4 s at 1,000 in flight, 8 s at 64`. */
function stepsOf(steps: readonly Step[]): string {
  return steps
    .map(({ inFlight, seconds }, index) => {
      return `${seconds} s at ${count(inFlight)}${index === 0 ? ' in flight' : ''}`;
    })
    .join(', ');
}
