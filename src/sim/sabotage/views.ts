import type { BeaconAnswer, PeerMessage } from '../../core/message.js';
import { Lease, TakeoverWait } from '../../core/lease.js';
import { Primary } from '../../core/primary.js';
import { StorageServer } from '../../core/server.js';
import { Draft } from '../../core/draft.js';
import type { View } from '../../core/view.js';
import { LeaderProcess } from '../leader-process.js';
import type { ServerProcess } from '../server-process.js';
import { replace, wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

/** Breaks of leases, takeovers and epochs. */
export const VIEWS: readonly Sabotage[] = [
  {
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
  },
  {
    name: 'skip-grace',
    breaks: 'V2: a new primary does not wait for the lease of the former one',
    install: () =>
      replace(Lease.prototype, { waits: { value: () => new TakeoverWait(0, new Map()) } }),
  },
  {
    name: 'lease-from-receipt',
    breaks: 'V2: the lease counts from when the answer arrived, not from when the beacon left',
    install: () =>
      wrap<StorageServer>(
        StorageServer.prototype,
        'dispatch',
        (original, self, [from, message]) => {
          original(from, message);
          const { type } = message as PeerMessage;
          if (type !== 'beaconAnswer') return;
          const { epoch } = message as BeaconAnswer;
          self.lease.sent(self.now);
          self.lease.answer(from as number, epoch, self.now, self.view.epoch);
        },
      ),
  },
  {
    name: 'count-newer-answers',
    breaks: 'V2: an answer given under a view that the primary has not adopted keeps its lease',
    install: () =>
      wrap(Lease.prototype, 'answer', (original, _, [from, _epoch, sentMs]) =>
        original(from, 0, sentMs, 0),
      ),
  },
  {
    name: 'forget-the-view',
    breaks: 'V1: a restarted server starts from an older view than it had adopted',
    outbox: (process) =>
      Object.create(process, {
        persist: {
          value: (record: Parameters<ServerProcess['persist']>[0]) => {
            // Of the deltas none: a missing one would be noticed.
            if (record.type !== 'viewDelta') process.persist(record);
            else process.onPersist?.(record);
          },
        },
      }) as ServerProcess,
  },
  {
    name: 'tell-before-durable',
    breaks: 'V1: the view leader tells an epoch before it is durable, and may give it out again',
    install: () =>
      wrap<{ queue: { done: () => void }[] }>(
        LeaderProcess.prototype,
        'publish',
        (original, self, args) => {
          original(...args);
          self.queue.at(-1)?.done();
        },
      ),
  },
  {
    name: 'give-up-last-copy',
    breaks: 'D6: a bucket whose replicas are all down is founded anew elsewhere',
    install: () =>
      wrap(Draft.prototype, 'rows', (original) => {
        const rows = original() as [number, View['rows'][number]][];
        return rows.map(([bucket, row]) => {
          const target = row.target.filter((server) => !row.replicas.includes(server));
          return [bucket, target.length > 0 ? { ...row, replicas: target } : row];
        });
      }),
  },
];
