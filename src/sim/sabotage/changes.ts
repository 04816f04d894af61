import type { BucketId } from '../../core/ids.js';
import { CatchUp } from '../../core/catch-up.js';
import { Learner } from '../../core/learner.js';
import type { SnapshotAck } from '../../core/message.js';
import type { Primary } from '../../core/primary.js';
import { Replicas } from '../../core/replicas.js';
import { type BucketRow, NO_CHANGE, type View } from '../../core/view.js';
import { World } from '../world.js';
import { wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

interface Forgetful {
  viewDisk: { newest: View | null };
}

function aimless(row: BucketRow): BucketRow {
  return { ...row, target: row.replicas };
}

/** Breaks of view changes. */
export const CHANGES: readonly Sabotage[] = [
  {
    name: 'count-ignored',
    breaks: 'V4: a receiver keeps a snapshot that does not have all its records',
    install: () => wrap(Learner.prototype, 'isWhole', () => true),
  },
  {
    name: 'donor-deletes-early',
    breaks: 'V4: a replica that is to leave drops the bucket before the hand-over',
    install: () =>
      wrap<{ host: { self: number } }>(
        Replicas.prototype,
        'takeRole',
        (original, { host }, [bucket, row, ...rest]) => {
          const { replicas, target } = row as BucketRow;
          const leaves = replicas[0] !== host.self && !target.includes(host.self);
          const left = leaves ? replicas.filter((server) => server !== host.self) : replicas;
          return original(bucket as BucketId, { ...(row as BucketRow), replicas: left }, ...rest);
        },
      ),
  },
  {
    name: 'handover-without-tail',
    breaks: 'V4: a bucket is handed over with its snapshot, without what was written since',
    install: () =>
      wrap<{ primary: Primary }>(
        CatchUp.prototype,
        'onChunkAck',
        (original, { primary }, [from, message]) => {
          const follower = primary.followers.get(from as number);
          const chunk = follower?.transfer?.chunk;
          original(from, message);
          if (follower === undefined || !chunk?.last || follower.transfer !== null) return;
          if ((message as SnapshotAck).index !== chunk.index) return;
          follower.mode = 'replicate';
          follower.match = primary.bucket.last;
          follower.next = primary.bucket.last + 1;
        },
      ),
  },
  {
    name: 'plan-forgotten',
    breaks: 'V4: a view leader that starts again has forgotten what was to move',
    install: () =>
      wrap<Forgetful>(World.prototype, 'newLeader', (original, { viewDisk }) => {
        const { newest } = viewDisk;
        if (newest !== null) {
          const change = { ...NO_CHANGE, cancelled: true };
          viewDisk.newest = { ...newest, change, rows: newest.rows.map(aimless) };
        }
        return original();
      }),
  },
];
