import type { Figures } from '../report.js';

/** What is measured of a system. */
export type Work =
  /** One client process, durable writes or linearizable reads. */
  | 'write'
  | 'read'
  /** Writes in batches of 64; in flight are operations, not batches. */
  | 'batch'
  /** Writes of 64 clients in 16 processes. */
  | 'many'
  /** One call an operation, all by the same client in C. */
  | 'unaryWrite'
  | 'unaryRead'
  /** Frames of as many operations as are in flight, and of 64. */
  | 'echo'
  | 'echo64'
  /** One replica only. */
  | 'single'
  /** Durable writes in the first seconds of new processes. */
  | 'cold';

export const ONE_PRIMARY = 'kvs, one primary';

export type SystemName = 'kvs' | typeof ONE_PRIMARY | 'etcd' | 'Redis' | 'bare stream' | 'bare log';

/** One point of one system in one round. */
export interface Sample {
  readonly round: number;
  readonly system: SystemName;
  readonly work: Work;
  readonly inFlight: number;
  readonly figures: Figures;
}

/** What the systems need to know of a run. */
export interface RoundOptions {
  readonly round: number;
  /** Counted at each point. */
  readonly seconds: number;
  /** An empty directory of the round. */
  readonly directory: string;
  readonly emit: (system: SystemName, work: Work, inFlight: number, figures: Figures) => void;
}

/** Every system has the same keys and values. */
export const RECORDS = 10_000;
export const VALUE_BYTES = 128;
export const IN_FLIGHT = [1, 64, 256, 1000] as const;
export const BATCH = 64;
export const BATCHES_IN_FLIGHT = 16;
export const MANY = { processes: 16, clients: 64 } as const;
/** Before each point is counted. */
export const WARM_SECONDS = 1;

/** A load that runs for a while. */
export interface Step {
  readonly inFlight: number;
  readonly seconds: number;
}

/**
 * Before the first point of kvs, of each kind of work in this order: JavaScript is compiled while
 * it runs, and some 50,000 writes pass before that is over (docs/decisions/0018).
 */
export const FIRST_WARM = {
  writes: [
    { inFlight: 1000, seconds: 6 },
    { inFlight: 64, seconds: 12 },
    { inFlight: 1, seconds: 3 },
  ],
  reads: [
    { inFlight: 1000, seconds: 3 },
    { inFlight: 64, seconds: 5 },
    { inFlight: 1, seconds: 2 },
  ],
  /** All processes together. Each of them has to compile its client. */
  many: [
    { inFlight: 1024, seconds: 25 },
    { inFlight: MANY.clients, seconds: 5 },
  ],
} as const;
/** What counts of the start: the first writes after the records were loaded. */
export const COLD = { inFlight: 64, seconds: 3 } as const;
