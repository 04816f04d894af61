import type { Outbox } from '../../core/outbox.js';
import type { ServerProcess } from '../server-process.js';

/**
 * A deliberate break of one promise, put in from outside: the production code knows nothing of it.
 * The simulator must catch each one, or its checks are worth nothing.
 */
export interface Sabotage {
  readonly name: string;
  /** The promise it breaks, and how. */
  readonly breaks: string;
  /** An outbox in front of the process's own. */
  outbox?(process: ServerProcess): Outbox;
  /** How many clients of a causal namespace it takes. */
  readonly causal?: number;
  /** It shows in one of some thousand runs: shortly after this seed. Another draw, another seed. */
  readonly seldom?: number;
  /** Durable log records that a crash loses: a disk that lies. */
  readonly lostLogRecords?: number;
  /** Replace a method for one run; the returned function puts it back. */
  install?(): () => void;
}

/** No sabotage. */
export const HONEST: Sabotage = { name: '', breaks: '' };
