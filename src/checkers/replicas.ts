import type { BucketId, Ordinal } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import type { View } from '../core/view.js';
import { toText, type Violation } from './history.js';

/** What a server holds of a bucket, in key order. */
export type RecordsOf = (server: Ordinal, bucket: BucketId) => readonly StoredRecord[];

function show(records: readonly StoredRecord[]): string {
  return records.map(({ key, value, version }) => `${key}=${toText(value)}@${version}`).join(' ');
}

/** D2, V4: at rest all replicas of a bucket hold the same records with the same versions. */
export function checkReplicas(view: View, recordsOf: RecordsOf): Violation[] {
  return Array.from(view.rows.entries()).flatMap(([bucket, { replicas }]): Violation[] => {
    const [primary, ...others] = replicas;
    if (primary === undefined) return [];
    const expected = show(recordsOf(primary, bucket));
    return others.flatMap((other): Violation[] => {
      const held = show(recordsOf(other, bucket));
      if (held === expected) return [];
      const what =
        `replicas of bucket ${bucket} differ at rest: server ${primary} holds [${expected}], ` +
        `server ${other} holds [${held}]`;
      return [{ promise: 'D2', what, keys: recordsOf(primary, bucket).map(({ key }) => key) }];
    });
  });
}
