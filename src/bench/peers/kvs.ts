import { join } from 'node:path';

import { LocalCluster } from '../../cli/local-cluster.js';
import { type Mix, READS as READ, UPDATES } from '../../cli/workload/mix.js';
import { connect } from '../../client/index.js';
import { MemberState } from '../../core/view.js';
import { Crew } from '../crew.js';
import { figuresOf } from '../report.js';
import { unary, UNARY_IN_FLIGHT, UNARY_KEY } from './h2load.js';
import {
  BATCH,
  BATCHES_IN_FLIGHT,
  IN_FLIGHT,
  MANY,
  RECORDS,
  type RoundOptions,
  WARM_SECONDS,
} from './sample.js';

const SERVERS = 3;
const SETTLE_MS = 30_000;
/** Cold code is slow: before the first point, for reads and for writes. */
const FIRST_WARM_MS = 3000;
const WARM_AT_ONCE = 64;
const SINGLE_IN_FLIGHT = 64;

/** As the other load generators do it: keys without skew. */
const WRITES: Mix = { ...UPDATES, skew: { by: 'zipf', exponent: 0 } };
const READS: Mix = { ...READ, skew: WRITES.skew };

/** Three servers with default settings: three replicas, and every one flushes before the answer. */
export async function measureKvs(options: RoundOptions, withUnary: boolean): Promise<void> {
  const { seconds, emit } = options;
  await onCluster(options.directory, SERVERS, [], async (leader, pids) => {
    const crew = await warmCrew(leader, pids, [WRITES, READS]);
    const point = { records: RECORDS, warmMs: WARM_SECONDS * 1000, forMs: seconds * 1000 };
    const measure = async (mix: Mix, concurrency: number, batch = 1) =>
      figuresOf(await crew.run({ ...point, mix, concurrency, batch }));
    const measureUnary = async (work: 'read' | 'write') =>
      unary('kvs', work, await primaryOf(leader, UNARY_KEY), pids, seconds);
    try {
      for (const concurrency of IN_FLIGHT) {
        emit('kvs', 'read', concurrency, await measure(READS, concurrency));
      }
      if (withUnary) emit('kvs', 'unaryRead', UNARY_IN_FLIGHT, await measureUnary('read'));
      for (const concurrency of IN_FLIGHT) {
        emit('kvs', 'write', concurrency, await measure(WRITES, concurrency));
      }
      const inBatches = await measure(WRITES, BATCHES_IN_FLIGHT, BATCH);
      emit('kvs', 'batch', BATCHES_IN_FLIGHT * BATCH, inBatches);
    } finally {
      await crew.stop();
    }
    const { processes, clients } = MANY;
    const many = await Crew.start(leader, processes, clients / processes, pids);
    try {
      const of = { ...point, mix: WRITES, concurrency: clients };
      await many.run({ ...of, warmMs: 0, forMs: FIRST_WARM_MS });
      emit('kvs', 'many', clients, figuresOf(await many.run(of)));
    } finally {
      await many.stop();
    }
    if (withUnary) emit('kvs', 'unaryWrite', UNARY_IN_FLIGHT, await measureUnary('write'));
  });
}

/** One server, one replica: to be compared with a bare log. */
export async function measureSingle({ seconds, directory, emit }: RoundOptions): Promise<void> {
  await onCluster(directory, 1, ['--replicas', '1'], async (leader, pids) => {
    const crew = await warmCrew(leader, pids, [WRITES]);
    const point = { records: RECORDS, warmMs: WARM_SECONDS * 1000, forMs: seconds * 1000 };
    try {
      const reports = await crew.run({ ...point, mix: WRITES, concurrency: SINGLE_IN_FLIGHT });
      emit('kvs', 'single', SINGLE_IN_FLIGHT, figuresOf(reports));
    } finally {
      await crew.stop();
    }
  });
}

async function warmCrew(
  leader: string,
  pids: readonly number[],
  mixes: readonly Mix[],
): Promise<Crew> {
  const crew = await Crew.start(leader, 1, 1, pids);
  await crew.load(WRITES, RECORDS);
  for (const mix of mixes) {
    const warm = { warmMs: 0, forMs: FIRST_WARM_MS, concurrency: WARM_AT_ONCE };
    await crew.run({ mix, records: RECORDS, ...warm });
  }
  return crew;
}

/** The address of the server that a key lives on. */
async function primaryOf(leader: string, key: string): Promise<string> {
  const client = await connect({ leader });
  try {
    return (await client.locate(key)).primary;
  } finally {
    client.close();
  }
}

/** `pids`: of the servers and of the view leader. */
async function onCluster(
  directory: string,
  servers: number,
  leaderOptions: readonly string[],
  measure: (leader: string, pids: readonly number[]) => Promise<void>,
): Promise<void> {
  const cluster = new LocalCluster({ directory: join(directory, 'kvs'), leaderOptions });
  const end = (): void => {
    for (const daemon of cluster.daemons) daemon.signal('SIGKILL');
  };
  // Before their directory is removed.
  process.prependOnceListener('exit', end);
  try {
    await cluster.start(servers);
    await cluster.waitForStatus('settled servers', SETTLE_MS, ({ members, viewChange }) => {
      const up = members.filter(({ member }) => member?.state === MemberState.Up);
      const holding = up.filter(({ buckets }) => buckets > 0);
      return holding.length === servers && viewChange?.phase === 'idle';
    });
    await measure(
      cluster.leaderAddress,
      cluster.daemons.map(({ pid }) => pid),
    );
  } finally {
    await cluster.killAll();
    process.off('exit', end);
  }
}
