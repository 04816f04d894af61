import { ratioOf, type Results, type Selector, type Spread, spreadOf } from './results.js';
import { ONE_PRIMARY, type SystemName, type Work } from './sample.js';

/** One line of the table of goals: a number, or the ratio of two, and what it should be. */
export interface Goal {
  readonly about: string;
  readonly over: Selector;
  readonly under: Selector | null;
  readonly bound: 'at least' | 'at most';
  readonly goal: number;
  /** What follows the number: `×`, `µs`. */
  readonly unit: string;
}

export interface Verdict {
  readonly goal: Goal;
  /** Null: not measured in this run. */
  readonly value: Spread | null;
  readonly met: boolean | null;
}

type Figure = Selector['figure'];

/** What is measured of a cluster with one primary, too. */
const ONE_PRIMARY_WORKS: readonly Work[] = ['write', 'batch'];

function at(system: SystemName, work: Work, inFlight: number, figure: Figure): Selector {
  return { system, work, inFlight, figure };
}

function rate(
  about: string,
  work: Work,
  inFlight: number,
  peer: SystemName,
  goal: number,
  peerWork = work,
  peerInFlight = inFlight,
): Goal {
  const over = at('kvs', work, inFlight, 'operationsPerSecond');
  const under = at(peer, peerWork, peerInFlight, 'operationsPerSecond');
  return { about, over, under, bound: 'at least', goal, unit: '×' };
}

function latency(about: string, work: Work, figure: Figure, goal: number): Goal {
  const [over, under] = [at('kvs', work, 1, figure), at('etcd', work, 1, figure)];
  return { about, over, under, bound: 'at most', goal, unit: '×' };
}

function cpu(about: string, inFlight: number, goal: number): Goal {
  const over = at('kvs', 'write', inFlight, 'serverMicroseconds');
  return { about, over, under: null, bound: 'at most', goal, unit: ' µs' };
}

/** What the project wants to reach, on one machine that servers and load share. */
export const GOALS: readonly Goal[] = [
  rate('durable writes, one client, 64 in flight: kvs / etcd', 'write', 64, 'etcd', 4),
  rate('durable writes, one client, 1000 in flight: kvs / etcd', 'write', 1000, 'etcd', 5.5),
  rate('writes in batches of 64, on both sides: kvs / etcd', 'batch', 1024, 'etcd', 2.5),
  rate('durable writes, 64 clients in 16 processes: kvs / etcd', 'many', 64, 'etcd', 2.5),
  rate('linearizable reads, one client, 64 in flight: kvs / etcd', 'read', 64, 'etcd', 10),
  rate('linearizable reads, one client, 1000 in flight: kvs / etcd', 'read', 1000, 'etcd', 12),
  latency('durable write, 1 in flight, p50: kvs / etcd', 'write', 'p50Ms', 1),
  latency('durable write, 1 in flight, p99: kvs / etcd', 'write', 'p99Ms', 1),
  latency('linearizable read, 1 in flight, p50: kvs / etcd', 'read', 'p50Ms', 0.6),
  latency('linearizable read, 1 in flight, p99: kvs / etcd', 'read', 'p99Ms', 0.6),
  rate('unary writes, 64 in flight, h2load: kvs / etcd', 'unaryWrite', 64, 'etcd', 1.2),
  rate('unary reads, 64 in flight, h2load: kvs / etcd', 'unaryRead', 64, 'etcd', 1.2),
  rate('durable writes, 64 in flight: kvs / Redis with WAIT 2', 'write', 64, 'Redis', 1.5),
  rate('durable writes, 256 in flight: kvs / Redis with WAIT 2', 'write', 256, 'Redis', 2.5),
  rate('reads, 64 in flight: kvs / bare stream', 'read', 64, 'bare stream', 0.6, 'echo'),
  rate(
    'reads, 1000 in flight: kvs / bare stream, 1024 in flight',
    'read',
    1000,
    'bare stream',
    0.6,
    'echo',
    1024,
  ),
  rate('one replica, 64 writers: kvs / bare log', 'single', 64, 'bare log', 0.5),
  cpu('server CPU of a durable write, 64 in flight', 64, 35),
  cpu('server CPU of a durable write, 1000 in flight', 1000, 14),
];

/** The goals of writes, when all have the same primary, as they have in etcd and Redis. */
export const ONE_PRIMARY_GOALS: readonly Goal[] = GOALS.filter(({ over: { work } }) =>
  ONE_PRIMARY_WORKS.includes(work),
).map((goal) => ({
  ...goal,
  about: `one primary: ${goal.about}`,
  over: { ...goal.over, system: ONE_PRIMARY },
}));

export function verdictsOf(results: Results, goals = GOALS): Verdict[] {
  return goals.map((goal) => {
    const { over, under, bound } = goal;
    const value = under === null ? spreadOf(results, over) : ratioOf(results, over, under);
    if (value === null) return { goal, value, met: null };
    const { median } = value;
    const met = bound === 'at least' ? median >= goal.goal : median <= goal.goal;
    return { goal, value, met };
  });
}
