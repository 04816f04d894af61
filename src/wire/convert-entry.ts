import { Entry, EntryKind, type TransactionBody } from '../core/entry.js';
import type { BucketMeta } from '../core/message.js';
import { asBuffer, fromBinary, required, toBinary, WireError } from './binary.js';
import type * as wire from './gen/kvs/v1/peer.js';

const KINDS = new Set<number>(Object.values(EntryKind));

export function entryToWire(entry: Entry): wire.Entry {
  return {
    kind: entry.kind as number,
    sequence: entry.sequence,
    ballot: entry.ballot,
    version: entry.version,
    previous: entry.previous,
    atMs: entry.atMs,
    client: fromBinary(entry.client),
    clientSequence: entry.clientSequence,
    settledBelow: entry.settledBelow,
    key: fromBinary(entry.key),
    value: asBuffer(entry.value),
    transaction: entry.transaction === null ? undefined : bodyToWire(entry.transaction),
  };
}

const WITHOUT_BODY = new Set<number>([
  EntryKind.Set,
  EntryKind.Delete,
  EntryKind.Forget,
  EntryKind.Digest,
]);

/** Whether an entry of this kind has a transaction body. */
export function carriesBody(kind: number): boolean {
  return KINDS.has(kind) && !WITHOUT_BODY.has(kind);
}

export function entryFromWire(entry: wire.Entry): Entry {
  if (!KINDS.has(entry.kind)) throw new WireError(`unknown entry kind ${entry.kind}`);
  const kind = entry.kind as unknown as EntryKind;
  return new Entry(
    kind,
    entry.sequence,
    entry.ballot,
    entry.version,
    entry.previous,
    entry.atMs,
    toBinary(entry.client),
    entry.clientSequence,
    entry.settledBelow,
    toBinary(entry.key),
    kind === EntryKind.Set ? entry.value : null,
    WITHOUT_BODY.has(kind) ? null : bodyFromWire(required(entry.transaction, 'transaction')),
  );
}

function bodyToWire(body: TransactionBody): wire.TransactionBody {
  return {
    coordinatorBucket: body.coordinatorBucket,
    participants: [...body.participants],
    writes: body.writes.map(({ key, value }) => ({
      key: fromBinary(key),
      value: asBuffer(value),
      delete: value === null,
    })),
    commit: body.commit,
    detail: body.detail,
  };
}

function bodyFromWire(body: wire.TransactionBody): TransactionBody {
  return {
    coordinatorBucket: body.coordinatorBucket,
    participants: body.participants,
    writes: body.writes.map((write) => ({
      key: toBinary(write.key),
      value: write.delete ? null : write.value,
    })),
    commit: body.commit,
    detail: body.detail,
  };
}

export function metaToWire(meta: BucketMeta): wire.BucketMeta {
  return {
    sequence: meta.sequence,
    ballot: meta.ballot,
    version: meta.version,
    clockMs: meta.clockMs,
    dedup: meta.dedup.map(({ client, floor, atMs, results }) => ({
      client: fromBinary(client),
      floor,
      atMs,
      results: results.map(([clientSequence, result]) => ({ clientSequence, ...result })),
    })),
    intents: meta.intents.map(entryToWire),
    decisions: meta.decisions.map(entryToWire),
  };
}

export function metaFromWire(meta: wire.BucketMeta): BucketMeta {
  return {
    sequence: meta.sequence,
    ballot: meta.ballot,
    version: meta.version,
    clockMs: meta.clockMs,
    life: 0,
    dedup: meta.dedup.map(({ client, floor, atMs, results }) => ({
      client: toBinary(client),
      floor,
      atMs,
      results: results.map(({ clientSequence, ...result }) => [clientSequence, result] as const),
    })),
    intents: meta.intents.map(entryFromWire),
    decisions: meta.decisions.map(entryFromWire),
    causal: null,
  };
}
