import { Bucket } from '../../core/bucket.js';
import { Coordinator } from '../../core/coordinator.js';
import type { Entry } from '../../core/entry.js';
import type { Key } from '../../core/ids.js';
import { LockTable } from '../../core/lock-table.js';
import { type BucketMeta, Decide, type DecisionQuery } from '../../core/message.js';
import type { Host } from '../../core/host.js';
import { MultiReads } from '../../core/multi-read.js';
import { type Operation, OperationKind } from '../../core/operation.js';
import { Participant } from '../../core/participant.js';
import { Code } from '../../core/refusal.js';
import { Serving } from '../../core/serving.js';
import { replace, wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

/** Breaks of conditions and of the distributed commit. */
export const COMMIT: readonly Sabotage[] = [
  {
    name: 'forget-locks',
    breaks: 'D3: a distributed commit does not hold its keys',
    install: () => replace(LockTable.prototype, { holder: { value: () => undefined } }),
  },
  {
    name: 'forget-intents',
    breaks: 'D3: a snapshot or checkpoint does not carry the intents',
    install: () =>
      wrap(Bucket.prototype, 'meta', (original) => {
        return { ...(original() as BucketMeta), intents: [] };
      }),
  },
  {
    name: 'vote-before-durable',
    breaks: 'D3: a participant votes yes before its intent is on every replica',
    install: () =>
      wrap<{ voteYes(intent: Entry): void }>(
        Participant.prototype,
        'logIntent',
        (original, self, args) => {
          const intent = original(...args) as Entry;
          self.voteYes(intent);
          return intent;
        },
      ),
  },
  {
    name: 'answer-before-decision',
    breaks: 'D3: the client hears of a commit before the decision is on every replica',
    install: () =>
      wrap<{ host: Host; outcome(transaction: unknown): Parameters<Host['answer']>[1] }>(
        Coordinator.prototype,
        'decide',
        (original, self, [transaction, commit]) => {
          original(transaction, commit);
          const { requests } = transaction as { requests: { request: number }[] };
          for (const { request } of requests) {
            self.host.answer(request, self.outcome(transaction));
          }
        },
      ),
  },
  {
    name: 'abort-unrecorded',
    breaks: 'D3: a participant is told of an abort that the coordinator did not record',
    install: () =>
      wrap<{ host: Host; find(query: DecisionQuery): unknown }>(
        Coordinator.prototype,
        'onQuery',
        (original, self, [message]) => {
          const query = message as DecisionQuery;
          if (self.find(query) !== undefined) {
            original(message);
            return;
          }
          const { client, clientSequence, bucket, coordinatorBucket } = query;
          const abort = new Decide(client, clientSequence, coordinatorBucket, bucket, false, 0);
          self.host.sendToPrimary(bucket, abort);
        },
      ),
  },
  {
    name: 'collect-once',
    breaks: 'D3: a getr does not look whether a key changed while it was read',
    install: () => wrap(MultiReads.prototype, 'undisturbed', () => true),
  },
  {
    name: 'read-past-locks',
    breaks: 'D3: a getr does not wait for a commit that holds one of its keys',
    install: () =>
      wrap(Serving.prototype, 'blocked', (original, _self, args) => {
        return (args[1] as Operation).kind === OperationKind.GetR ? false : original(...args);
      }),
  },
  {
    name: 'commit-by-halves',
    breaks: 'D3: a commit is carried out in part',
    install: () =>
      wrap(Bucket.prototype, 'applyWrites', (original, _self, [writes, ...rest]) => {
        const all = writes as readonly unknown[];
        return original(all.slice(0, Math.ceil(all.length / 2)), ...rest);
      }),
  },
  {
    name: 'commit-past-locks',
    breaks: 'D3: a commit of one bucket does not wait for another that holds one of its keys',
    install: () =>
      wrap(Serving.prototype, 'blocked', (original, _self, args) => {
        return (args[1] as Operation).kind === OperationKind.SetR ? false : original(...args);
      }),
  },
  {
    name: 'commit-unrecorded',
    breaks:
      'D3: a commit of one bucket is refused by what may never be committed, and leaves no trace',
    install: () =>
      wrap<{ host: Host; objectionTo(writes: unknown): string }>(
        Serving.prototype,
        'commit',
        (original, self, args) => {
          const [request, operation] = args as [number, Operation];
          const why = self.objectionTo(operation.writes);
          if (why === '') original(...args);
          else self.host.refuse(request, 0, Code.ConditionNotMet, why);
        },
      ),
  },
  {
    name: 'scan-past-commits',
    breaks: 'D3: a scan does not wait for a commit that is being settled in its bucket',
    install: () =>
      wrap<{ unleased(request: unknown, operation: unknown): boolean }>(
        Serving.prototype,
        'unsettled',
        (_original, self, [request, operation]) => self.unleased(request, operation),
      ),
  },
  {
    name: 'judge-committed-only',
    breaks: 'D1: a condition is judged without the writes that are under way',
    install: () =>
      wrap<{ overlay: Map<Key, unknown> }>(Serving.prototype, 'current', (original, self, args) => {
        self.overlay.clear();
        return original(...args);
      }),
  },
];
