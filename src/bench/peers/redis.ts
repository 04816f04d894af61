import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';

import { waitFor } from '../../cli/local-cluster.js';
import { figuresOf } from '../report.js';
import { goLoad } from './go-load.js';
import { type RoundOptions, WARM_SECONDS } from './sample.js';
import { freePorts, Spawned } from './spawned.js';

const START_MS = 20_000;
const REPLICAS = 2;
export const REDIS_IN_FLIGHT = [64, 256] as const;

/**
 * A master and two replicas that flush each write. WAIT says that replicas have received a write;
 * it does not say that they have flushed it.
 */
export async function measureRedis({ seconds, directory, emit }: RoundOptions): Promise<void> {
  const ports = await freePorts(1 + REPLICAS);
  const [master = 0] = ports;
  const nodes = ports.map((port) => {
    mkdirSync(`${directory}/${port}`, { recursive: true });
    const settings = {
      port,
      bind: '127.0.0.1',
      dir: `${directory}/${port}`,
      save: '',
      appendonly: 'yes',
      appendfsync: 'always',
      'repl-diskless-sync-delay': 0,
      ...(port !== master && { replicaof: `127.0.0.1 ${master}` }),
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    return new Spawned('redis-server', args);
  });
  const pids = nodes.map(({ pid }) => pid);
  try {
    await waitFor('the replicas of Redis', START_MS, async () => {
      const said = await ask(master, 'INFO replication');
      return said.match(/state=online/g)?.length === REPLICAS;
    });
    for (const concurrency of REDIS_IN_FLIGHT) {
      const report = await goLoad({
        work: 'setwait',
        endpoints: `127.0.0.1:${master}`,
        concurrency,
        warm: WARM_SECONDS,
        seconds,
        servers: pids,
      });
      emit('Redis', 'write', concurrency, figuresOf([report!]));
    }
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

/** The first part of the answer; empty when there is none. */
async function ask(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.end(`${command}\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString();
  } catch {
    return '';
  } finally {
    socket.destroy();
  }
}
