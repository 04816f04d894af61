import type { BucketId, Ordinal } from '../core/ids.js';
import type { StoredRecord } from '../core/operation.js';
import type { View } from '../core/view.js';
import { type CausalRecord, causalHalf, fromStored } from '../core/causal-record.js';
import { plainKey } from '../core/namespace.js';
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

/** But for what expires: each server finds that by its own clock. */
function alive(records: readonly StoredRecord[]): CausalRecord[] {
  return records.map(fromStored).filter(({ value, expires }) => value !== null && expires === 0);
}

function tell({ key, value, clock, writer }: CausalRecord): string {
  return `${plainKey(key)}=${toText(value)}@${clock}/${writer}`;
}

/** D5: at rest all replicas of a causal bucket hold the same; some may have dropped tombstones. */
export function checkCausalReplicas(view: View, recordsOf: RecordsOf): Violation[] {
  return Array.from(view.rows.entries()).flatMap(([bucket, { replicas }]): Violation[] => {
    const [first, ...others] = replicas.map((server) => ({
      server,
      held: alive(recordsOf(server, causalHalf(bucket)))
        .map(tell)
        .join(' '),
    }));
    if (first === undefined) return [];
    return others
      .filter(({ held }) => held !== first.held)
      .map(({ server, held }) => {
        const what =
          `causal replicas of bucket ${bucket} differ at rest: server ${first.server} holds ` +
          `[${first.held}], server ${server} holds [${held}]`;
        return { promise: 'D5', what, keys: [] };
      });
  });
}

/** D5: when all know of a delete, and nobody is away, its tombstone goes. */
export function checkTombstones(view: View, recordsOf: RecordsOf): Violation[] {
  return Array.from(view.rows.entries()).flatMap(([bucket, { replicas }]): Violation[] =>
    replicas.flatMap((server) =>
      recordsOf(server, causalHalf(bucket))
        .map(fromStored)
        .filter(({ value }) => value === null)
        .map(({ key, clock }) => {
          const tombstone = `the tombstone of ${plainKey(key)}, clock ${clock}`;
          const what = `server ${server} still holds ${tombstone}`;
          return { promise: 'D5', what, keys: [] };
        }),
    ),
  );
}

/** What the first replica of each bucket holds of the causal keys, by the user's key. */
export function causalRest(
  view: View,
  recordsOf: RecordsOf,
): Map<string, { clock: number; value: string | null }> {
  const rest = new Map<string, { clock: number; value: string | null }>();
  for (const [bucket, { replicas }] of view.rows.entries()) {
    for (const stored of recordsOf(replicas[0] ?? 0, causalHalf(bucket))) {
      const { key, clock, value } = fromStored(stored);
      rest.set(plainKey(key), { clock, value: toText(value) });
    }
  }
  return rest;
}
