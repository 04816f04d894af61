import { DedupTable } from '../../core/dedup.js';
import { Lease, TakeoverWait } from '../../core/lease.js';
import { LockTable } from '../../core/lock-table.js';
import { Primary } from '../../core/primary.js';
import type { Outbox } from '../../core/outbox.js';
import type { ServerProcess } from '../server-process.js';
import type { Sabotage } from './sabotage.js';

/** Replace properties of a prototype; the returned function puts the old ones back. */
function replace<T extends object>(
  prototype: T,
  properties: { [K in keyof T]?: PropertyDescriptor },
): () => void {
  const names = Object.keys(properties) as (keyof T & string)[];
  const old = names.map(
    (name) => [name, Object.getOwnPropertyDescriptor(prototype, name)] as const,
  );
  for (const name of names) {
    Object.defineProperty(prototype, name, { configurable: true, ...properties[name] });
  }
  return () => {
    for (const [name, descriptor] of old) {
      if (descriptor !== undefined) Object.defineProperty(prototype, name, descriptor);
    }
  };
}

const ackBeforeFlush: Sabotage = {
  name: 'ack-before-flush',
  breaks: 'D2: what must wait for the disk leaves at once',
  outbox(process: ServerProcess): Outbox {
    return Object.create(process, {
      sendAfter: { value: process.leaveAtOnce.bind(process) },
    }) as ServerProcess;
  },
};

const dropLogTail: Sabotage = {
  name: 'drop-log-tail',
  breaks: 'D2: a crash takes log records that were flushed',
  lostLogRecords: 5,
};

const loseDedup: Sabotage = {
  name: 'lose-dedup',
  breaks: 'D4: a retried request is not recognised',
  install: () => replace(DedupTable.prototype, { lookup: { value: () => 'new' } }),
};

const serveWithoutLease: Sabotage = {
  name: 'serve-without-lease',
  breaks: 'V2: a primary answers reads although its lease is over',
  install: () =>
    replace(Primary.prototype, {
      holdsLease: {
        get(this: Primary) {
          return this.ready;
        },
      },
    }),
};

const skipGrace: Sabotage = {
  name: 'skip-grace',
  breaks: 'V2: a new primary does not wait for the lease of the former one',
  install: () =>
    replace(Lease.prototype, { waits: { value: () => new TakeoverWait(0, new Map()) } }),
};

const skipSecondaryAck: Sabotage = {
  name: 'skip-secondary-ack',
  breaks: 'D2: a write is committed before the secondaries have it',
  install: () => {
    const { tryCommit } = Primary.prototype;
    return replace(Primary.prototype, {
      tryCommit: {
        value(this: Primary) {
          for (const follower of this.followers.values()) follower.counted = false;
          tryCommit.call(this);
          for (const follower of this.followers.values()) follower.counted = !follower.learner;
        },
      },
    });
  },
};

const forgetLocks: Sabotage = {
  name: 'forget-locks',
  breaks: 'D3: a distributed commit does not hold its keys',
  install: () => replace(LockTable.prototype, { holder: { value: () => undefined } }),
};

export const SABOTAGES: readonly Sabotage[] = [
  ackBeforeFlush,
  dropLogTail,
  loseDedup,
  serveWithoutLease,
  skipGrace,
  skipSecondaryAck,
  forgetLocks,
];
