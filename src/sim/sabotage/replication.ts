import { Bucket } from '../../core/bucket.js';
import { CatchUp } from '../../core/catch-up.js';
import { DedupTable } from '../../core/dedup.js';
import type { Follower } from '../../core/follower.js';
import { ballotEpoch } from '../../core/ids.js';
import type { BucketMeta, Prepare } from '../../core/message.js';
import type { LogRecord } from '../../core/outbox.js';
import { Primary } from '../../core/primary.js';
import { Recovery } from '../../core/recovery.js';
import { Replicas } from '../../core/replicas.js';
import { onPrepare } from '../../core/secondary.js';
import { StorageServer } from '../../core/server.js';
import type { ServerProcess } from '../server-process.js';
import { replace, wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

/** Breaks of the log, the flush and catching up. */
export const REPLICATION: readonly Sabotage[] = [
  {
    name: 'ack-before-flush',
    breaks: 'D2: what must wait for the disk leaves at once',
    outbox: (process) =>
      Object.create(process, {
        sendAfter: { value: process.leaveAtOnce.bind(process) },
      }) as ServerProcess,
  },
  {
    name: 'drop-log-tail',
    breaks: 'D2: a crash takes log records that were flushed',
    lostLogRecords: 5,
  },
  {
    name: 'skip-secondary-ack',
    breaks: 'D2: a write is committed before the secondaries have it',
    install: () =>
      wrap<Primary>(Primary.prototype, 'tryCommit', (original, self) => {
        for (const follower of self.followers.values()) follower.counted = false;
        original();
        for (const follower of self.followers.values()) follower.counted = !follower.learner;
      }),
  },
  {
    name: 'accept-stale-epoch',
    breaks: 'V1: a replica follows whoever sends a prepare, under whatever bucket epoch',
    install: () =>
      wrap<StorageServer>(StorageServer.prototype, 'onPrepare', (_, self, [from, message]) => {
        const prepare = message as Prepare;
        const held = self.held().get(prepare.bucket);
        if (held === undefined || from === self.self) return;
        const stale = ballotEpoch(prepare.ballot) < (self.view.rows[prepare.bucket]?.epoch ?? 0);
        if (stale) held.bucket.promised = prepare.ballot;
        onPrepare(held.bucket, from as number, prepare, self);
      }),
  },
  {
    name: 'skip-reconciliation',
    breaks: 'D1: a new primary takes the logs of the others to be like its own',
    install: () =>
      wrap<Primary>(Primary.prototype, 'follow', (original, self, args) => {
        original(...args);
        for (const follower of self.followers.values()) {
          if (!follower.learner) follower.match = self.bucket.last;
        }
      }),
  },
  {
    name: 'serve-unsettled',
    breaks: 'D1: a new primary serves before what it had prepared is committed',
    install: () =>
      wrap<{ settleThrough: number }>(Primary.prototype, 'beginWhenReady', (original, self) => {
        self.settleThrough = 0;
        return original();
      }),
  },
  {
    name: 'promote-early',
    breaks: 'D2: a learner is proposed before it has caught up',
    install: () =>
      wrap<{ primary: Primary }>(CatchUp.prototype, 'propose', (original, { primary }) => {
        for (const follower of primary.followers.values()) {
          if (!follower.learner) continue;
          follower.mode = 'replicate';
          follower.counted = true;
          follower.countedFrom = 0;
        }
        return original();
      }),
  },
  {
    name: 'propose-uncounted',
    breaks: 'D2: commits do not wait for a learner that the view leader may already count on',
    install: () =>
      wrap<{ primary: Primary }>(CatchUp.prototype, 'propose', (original, { primary }) => {
        original();
        const learners = [...primary.followers.values()].filter(({ learner }) => learner);
        for (const follower of learners as Follower[]) follower.counted = false;
      }),
  },
  {
    name: 'forget-proposals',
    breaks: 'D2: a restarted primary does not count the learners that it may have proposed',
    install: () =>
      wrap(Replicas.prototype, 'adopt', (original, _, [before]) => original(before, false)),
  },
  {
    name: 'lose-dedup',
    breaks: 'D4: a retried request is not recognised',
    install: () => replace(DedupTable.prototype, { lookup: { value: () => 'new' } }),
  },
  {
    name: 'revive-settled',
    breaks: 'D4: a request that its client has given up is taken for a new one',
    install: () =>
      wrap(DedupTable.prototype, 'lookup', (original) => {
        const verdict = original();
        return verdict === 'settled' ? 'new' : verdict;
      }),
  },
  {
    name: 'lose-dedup-at-handoff',
    breaks: 'D4: a snapshot or checkpoint does not carry the results of requests',
    install: () =>
      wrap(Bucket.prototype, 'meta', (original) => ({ ...(original() as BucketMeta), dedup: [] })),
  },
  {
    name: 'apply-uncommitted',
    breaks: 'D1: a restart applies what was only prepared',
    install: () =>
      wrap(Recovery.prototype, 'replayEntry', (original, _, [bucket, record]) => {
        const { entry } = record as LogRecord & { type: 'entry' };
        return original(bucket, { ...(record as LogRecord), commitPoint: entry.sequence });
      }),
  },
];
