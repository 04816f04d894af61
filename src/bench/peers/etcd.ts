import { setTimeout as pause } from 'node:timers/promises';

import { waitFor } from '../../cli/local-cluster.js';
import { figuresOf } from '../report.js';
import { goLoad, type LoadPoint } from './go-load.js';
import { unary } from './h2load.js';
import {
  BATCH,
  BATCHES_IN_FLIGHT,
  IN_FLIGHT,
  MANY,
  type RoundOptions,
  WARM_SECONDS,
} from './sample.js';
import { freePorts, Spawned } from './spawned.js';

const NODES = ['one', 'two', 'three'];
const START_MS = 20_000;
/** Of one client process; more did not make it faster. */
const CONNECTIONS = 8;
const CALM_MS = 500;

interface Cluster {
  readonly nodes: readonly Spawned[];
  readonly pids: readonly number[];
  /** Client address of the leader. */
  readonly leader: string;
}

/**
 * Three nodes with their default settings: every put is flushed by a majority before its answer.
 * Reads first: after many writes etcd's reads cost more until it is restarted.
 */
export async function measureEtcd(options: RoundOptions, withUnary: boolean): Promise<void> {
  const { seconds, emit } = options;
  const { nodes, pids, leader } = await start(options.directory);
  try {
    await goLoad({ work: 'load', endpoints: leader });
    await pause(CALM_MS);
    const point = { endpoints: leader, warm: WARM_SECONDS, seconds, connections: CONNECTIONS };
    const measure = async (more: Pick<LoadPoint, 'work' | 'concurrency'>) =>
      figuresOf([(await goLoad({ ...point, ...more, servers: pids }))!]);
    await goLoad({ ...point, work: 'get', concurrency: 64 });
    for (const concurrency of IN_FLIGHT) {
      emit('etcd', 'read', concurrency, await measure({ work: 'get', concurrency }));
    }
    if (withUnary)
      emit('etcd', 'unaryRead', 64, await unary('etcd', 'read', leader, pids, seconds));
    for (const concurrency of IN_FLIGHT) {
      emit('etcd', 'write', concurrency, await measure({ work: 'put', concurrency }));
    }
    const inBatches = { work: 'txn', concurrency: BATCHES_IN_FLIGHT } as const;
    emit('etcd', 'batch', BATCHES_IN_FLIGHT * BATCH, await measure(inBatches));
    const each = MANY.clients / MANY.processes;
    const reports = await Promise.all(
      Array.from({ length: MANY.processes }, (_, index) =>
        goLoad({
          ...point,
          work: 'put',
          concurrency: each,
          connections: each,
          servers: index === 0 ? pids : [],
        }),
      ),
    );
    emit('etcd', 'many', MANY.clients, figuresOf(reports.filter((report) => report !== null)));
    if (withUnary) {
      emit('etcd', 'unaryWrite', 64, await unary('etcd', 'write', leader, pids, seconds));
    }
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

async function start(directory: string): Promise<Cluster> {
  const ports = await freePorts(NODES.length * 2);
  const clients = NODES.map((_, index) => `127.0.0.1:${ports[index]}`);
  const peers = NODES.map((_, index) => `http://127.0.0.1:${ports[NODES.length + index]}`);
  const initial = NODES.map((name, index) => `${name}=${peers[index]}`).join(',');
  const nodes = NODES.map((name, index) => {
    const [client, peer] = [`http://${clients[index]}`, peers[index]!];
    return new Spawned('etcd', [
      `--name=${name}`,
      `--data-dir=${directory}/${name}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${initial}`,
      '--initial-cluster-state=new',
      '--log-level=error',
    ]);
  });
  let leader = '';
  try {
    await waitFor('etcd to have a leader', START_MS, async () => {
      const found = await Promise.all(clients.map(leads));
      leader = clients[found.indexOf(true)] ?? '';
      return leader !== '';
    });
  } catch (error) {
    await Promise.all(nodes.map((node) => node.stop()));
    throw error;
  }
  return { nodes, pids: nodes.map(({ pid }) => pid), leader };
}

/** Asks a node through etcd's JSON gateway whether it is the leader. */
async function leads(client: string): Promise<boolean> {
  try {
    const answer = await fetch(`http://${client}/v3/maintenance/status`, {
      method: 'POST',
      body: '{}',
    });
    const { leader, header } = (await answer.json()) as {
      leader?: string;
      header?: { member_id?: string };
    };
    return leader !== undefined && leader !== '0' && leader === header?.member_id;
  } catch {
    return false;
  }
}
