import { Causal } from '../../core/causal.js';
import { CausalBucket } from '../../core/causal-bucket.js';
import { CausalGossip } from '../../core/causal-gossip.js';
import { CausalAck } from '../../core/causal-message.js';
import { CausalReads } from '../../core/causal-reads.js';
import { Expiry } from '../../core/expiry.js';
import type { Host } from '../../core/host.js';
import type { BucketId, Ordinal } from '../../core/ids.js';
import type { Result, StoredRecord } from '../../core/operation.js';
import { Code } from '../../core/refusal.js';
import { Serving } from '../../core/serving.js';
import type { Clock } from '../clock.js';
import { Network } from '../network.js';
import { replace, wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

const CLIENTS = 4;

/** What a break needs to see of a `Serving`. */
interface ServesReads {
  readonly expiry: Expiry;
  readonly host: Host;
  result(...fields: readonly unknown[]): Result;
}

interface Taker {
  onDurable(number: number): void;
}

interface Leaver {
  readonly host: { readonly self: Ordinal };
  readonly buckets: ReadonlyMap<BucketId, CausalBucket>;
  isLeaving(bucket: BucketId): boolean;
}

/** A tombstone is gone by then. */
const LATE_MS = 3000;

interface Carrier {
  readonly clock: Clock;
}

/** No break: what a server took reaches the others once more when that has long been over. */
function lateCopies(): () => void {
  return wrap<Carrier>(Network.prototype, 'send', (original, { clock }, args) => {
    original(...args);
    const kind = args[2];
    if (kind === 'causalPush') clock.after(LATE_MS, () => original(...args));
  });
}

/** Breaks of causal namespaces. */
export const CAUSAL: readonly Sabotage[] = [
  {
    name: 'context-ignored',
    breaks: 'D5: a replica answers although it lacks what the session has seen',
    causal: CLIENTS,
    install: () => replace(CausalReads.prototype, { missing: { value: () => null } }),
  },
  {
    name: 'told-before-durable',
    breaks: 'D5: a write is answered, seen and sent on before it is durable anywhere',
    causal: CLIENTS,
    install: () =>
      wrap<Taker>(Causal.prototype, 'answerWhenDurable', (original, self, [write]) => {
        original(write);
        self.onDurable((write as { readonly number: number }).number);
      }),
  },
  {
    name: 'given-up-awaited',
    breaks: 'D5: a session waits for ever for what went with a server that was given up',
    causal: CLIENTS,
    install: () => replace(Causal.prototype, { hasRest: { value: () => false } }),
  },
  {
    name: 'tombstones-dropped-early',
    breaks: 'D5: a tombstone goes before every holder has seen it',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { allKnow: { value: () => true } }),
  },
  {
    name: 'known-forgotten',
    breaks: 'D5: a late copy of what was deleted counts as new',
    causal: CLIENTS,
    install: () => {
      const late = lateCopies();
      const forgotten = replace(CausalBucket.prototype, { knows: { value: () => false } });
      return () => {
        forgotten();
        late();
      };
    },
  },
  {
    name: 'gossip-said-once',
    breaks: 'D5: what a replica took is sent once, and nobody compares',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { tick: { value: () => undefined } }),
  },
  {
    name: 'learner-without-causal-half',
    breaks: 'D5: a learner is admitted that lacks the causal half, and who leaves keeps it',
    causal: CLIENTS,
    seldom: 5700,
    install: () => {
      const admits = replace(Causal.prototype, { isReady: { value: () => true } });
      const leaves = wrap<Leaver>(CausalGossip.prototype, 'onAck', (original, self, args) => {
        const [from, ack] = args as [Ordinal, CausalAck];
        const known = self.buckets.get(ack.bucket)?.known;
        if (known === undefined || !self.isLeaving(ack.bucket)) return original(from, ack);
        // As if what it took itself were all that it has to hand on.
        const own = ack.known.get(self.host.self) ?? 0;
        const all = new Map(known).set(self.host.self, own);
        const { bucket, epoch, bucketEpoch, former, asks, push } = ack;
        return original(from, new CausalAck(bucket, all, epoch, bucketEpoch, former, asks, push));
      });
      return () => {
        leaves();
        admits();
      };
    },
  },
  {
    name: 'expired-by-own-clock',
    breaks: 'D5: a replica serves what its reader has already seen to expire',
    causal: CLIENTS,
    install: () => wrap(CausalReads.prototype, 'timeOf', () => 0),
  },
  {
    name: 'expired-served',
    breaks: 'TTL: a value is served although its time is over',
    causal: CLIENTS,
    install: () => replace(Expiry.prototype, { isDue: { value: () => false } }),
  },
  {
    name: 'expiry-not-agreed',
    breaks: 'TTL: the primary answers that a value is over, and nobody else hears of it',
    causal: CLIENTS,
    install: () => {
      const undo = replace(Serving.prototype, { sweep: { value: () => false } });
      const answer = 'awaitsEnd';
      const redo = wrap<ServesReads>(
        Serving.prototype,
        answer,
        (_, serving, [request, , records]) => {
          const isDue = (record: StoredRecord): boolean => serving.expiry.isDue(record);
          if (!(records as StoredRecord[]).some(isDue)) return false;
          const nothing = serving.result(Code.Ok, false, null, 0, 0, '');
          serving.host.answer(request as number, nothing);
          return true;
        },
      );
      return () => {
        redo();
        undo();
      };
    },
  },
  {
    name: 'leaves-with-its-writes',
    breaks: 'D5: a server drops a bucket although others lack what it took for it',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { isDrained: { value: () => true } }),
  },
];
