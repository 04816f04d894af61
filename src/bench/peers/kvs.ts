import { join } from 'node:path';

import { LocalCluster } from '../../cli/local-cluster.js';
import { type Mix, READS as READ, UPDATES } from '../../cli/workload/mix.js';
import { connect } from '../../client/index.js';
import { Crew } from '../crew.js';
import { figuresOf, type Report } from '../report.js';
import { unary, UNARY_IN_FLIGHT, UNARY_KEY } from './h2load.js';
import {
  BATCH,
  BATCHES_IN_FLIGHT,
  COLD,
  FIRST_WARM,
  IN_FLIGHT,
  MANY,
  ONE_PRIMARY,
  RECORDS,
  type RoundOptions,
  type Step,
  type SystemName,
  WARM_SECONDS,
} from './sample.js';

const SERVERS = 3;
const SINGLE_IN_FLIGHT = 64;

/** As the other load generators do it: keys without skew. */
const WRITES: Mix = { ...UPDATES, skew: { by: 'zipf', exponent: 0 } };
const READS: Mix = { ...READ, skew: WRITES.skew };

/** Three servers with default settings: three replicas, and every one flushes before the answer. */
export async function measureKvs(options: RoundOptions, withUnary: boolean): Promise<void> {
  const { seconds, emit } = options;
  await onCluster(options.directory, SERVERS, [], async (leader, pids) => {
    const crew = await loadedCrew(leader, pids);
    const point = pointOf(seconds);
    const measureUnary = async (work: 'read' | 'write') =>
      unary('kvs', work, await primaryOf(leader, UNARY_KEY), pids, seconds);
    try {
      emit('kvs', 'cold', COLD.inFlight, figuresOf(await run(crew, WRITES, COLD)));
      await warm(crew, WRITES, FIRST_WARM.writes);
      await warm(crew, READS, FIRST_WARM.reads);
      for (const concurrency of IN_FLIGHT) {
        const reads = await crew.run({ ...point, mix: READS, concurrency });
        emit('kvs', 'read', concurrency, figuresOf(reads));
      }
      if (withUnary) emit('kvs', 'unaryRead', UNARY_IN_FLIGHT, await measureUnary('read'));
      await measureWrites(crew, 'kvs', options, false);
    } finally {
      await crew.stop();
    }
    const { processes, clients } = MANY;
    const many = await Crew.start(leader, processes, clients / processes, pids);
    try {
      const of = { ...point, mix: WRITES, concurrency: clients };
      await warm(many, WRITES, FIRST_WARM.many);
      emit('kvs', 'many', clients, figuresOf(await many.run(of)));
    } finally {
      await many.stop();
    }
    if (withUnary) emit('kvs', 'unaryWrite', UNARY_IN_FLIGHT, await measureUnary('write'));
  });
}

/** The same, but all keys are in one bucket: one primary orders all writes, as in its peers. */
export async function measureOnePrimary(options: RoundOptions): Promise<void> {
  await onCluster(options.directory, SERVERS, ['--buckets', '1'], async (leader, pids) => {
    const crew = await loadedCrew(leader, pids);
    try {
      await warm(crew, WRITES, FIRST_WARM.writes);
      await measureWrites(crew, ONE_PRIMARY, options, true);
    } finally {
      await crew.stop();
    }
  });
}

/** With as many in flight as the other systems have, then in batches. `commits`: each is a setr. */
async function measureWrites(
  crew: Crew,
  system: SystemName,
  { seconds, emit }: RoundOptions,
  commits: boolean,
): Promise<void> {
  const point = { ...pointOf(seconds), mix: WRITES };
  for (const concurrency of IN_FLIGHT) {
    emit(system, 'write', concurrency, figuresOf(await crew.run({ ...point, concurrency })));
  }
  const batches = { concurrency: BATCHES_IN_FLIGHT, batch: BATCH, commits };
  const inBatches = await crew.run({ ...point, ...batches });
  emit(system, 'batch', BATCHES_IN_FLIGHT * BATCH, figuresOf(inBatches));
}

/** One server, one replica: to be compared with a bare log. */
export async function measureSingle({ seconds, directory, emit }: RoundOptions): Promise<void> {
  await onCluster(directory, 1, ['--replicas', '1'], async (leader, pids) => {
    const crew = await loadedCrew(leader, pids);
    try {
      await warm(crew, WRITES, FIRST_WARM.writes);
      const point = { ...pointOf(seconds), mix: WRITES, concurrency: SINGLE_IN_FLIGHT };
      emit('kvs', 'single', SINGLE_IN_FLIGHT, figuresOf(await crew.run(point)));
    } finally {
      await crew.stop();
    }
  });
}

function pointOf(seconds: number) {
  return { records: RECORDS, warmMs: WARM_SECONDS * 1000, forMs: seconds * 1000 };
}

async function loadedCrew(leader: string, pids: readonly number[]): Promise<Crew> {
  const crew = await Crew.start(leader, 1, 1, pids);
  try {
    await crew.load(WRITES, RECORDS);
  } catch (error) {
    await crew.stop();
    throw error;
  }
  return crew;
}

async function warm(crew: Crew, mix: Mix, steps: readonly Step[]): Promise<void> {
  for (const step of steps) await run(crew, mix, step);
}

/** From the first operation on. */
function run(crew: Crew, mix: Mix, { inFlight: concurrency, seconds }: Step): Promise<Report[]> {
  return crew.run({ mix, records: RECORDS, warmMs: 0, forMs: seconds * 1000, concurrency });
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
    await cluster.settled(servers);
    await measure(
      cluster.leaderAddress,
      cluster.daemons.map(({ pid }) => pid),
    );
  } finally {
    await cluster.killAll();
    process.off('exit', end);
  }
}
