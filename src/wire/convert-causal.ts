import {
  CausalAck,
  CausalBehind,
  CausalDigest,
  CausalMark,
  CausalPull,
  CausalPush,
  CausalRecords,
  CausalStamps,
  type KeyStamp,
} from '../core/causal-message.js';
import type { CausalRecord, Context } from '../core/causal-record.js';
import type { Vector } from '../core/vector.js';
import { asBuffer, fromBinary, toBinary } from './binary.js';
import type * as kv from './gen/kvs/v1/kv.js';
import type * as wire from './gen/kvs/v1/peer.js';

function vectorToWire(vector: Vector): kv.Seen[] {
  return Array.from(vector, ([server, number]) => ({ server, number }));
}

function vectorFromWire(seen: readonly kv.Seen[]): Vector {
  return new Map(seen.map(({ server, number }) => [server, number]));
}

export function contextToWire({ clock, epoch, seen }: Context): kv.Context {
  return { clock, epoch, seen: vectorToWire(seen) };
}

export function contextFromWire({ clock, epoch, seen }: kv.Context): Context {
  return { clock, epoch, seen: vectorFromWire(seen) };
}

function recordToWire({ value, ...record }: CausalRecord): wire.CausalRecord {
  const { key, past, ...stamp } = record;
  const said = value === null ? {} : { value: asBuffer(value) };
  return { key: fromBinary(key), past: vectorToWire(past), ...stamp, ...said };
}

function recordFromWire(record: wire.CausalRecord): CausalRecord {
  const { clock, writer, number, epoch, expires } = record;
  const [key, past] = [toBinary(record.key), vectorFromWire(record.past)];
  return { key, value: record.value ?? null, clock, writer, number, past, epoch, expires };
}

export function pushToWire(message: CausalPush): wire.CausalPush {
  const { bucket, since, upTo, leaving, records, push } = message;
  return { bucket, since, upTo, leaving, records: records.map(recordToWire), push };
}

export function pushFromWire(message: wire.CausalPush): CausalPush {
  const { bucket, since, upTo, leaving, records, push } = message;
  return new CausalPush(bucket, since, upTo, leaving, records.map(recordFromWire), push);
}

export function ackToWire(message: CausalAck): wire.CausalAck {
  const { bucket, epoch, bucketEpoch, asks, push } = message;
  const [known, former] = [vectorToWire(message.known), [...message.former]];
  return { bucket, known, epoch, bucketEpoch, former, asks, push };
}

export function ackFromWire(message: wire.CausalAck): CausalAck {
  const { bucket, epoch, bucketEpoch, former, asks, push } = message;
  const known = vectorFromWire(message.known);
  return new CausalAck(bucket, known, epoch, bucketEpoch, former, asks, push);
}

export function markToWire({ epoch, upTo, underWay }: CausalMark): wire.CausalMark {
  const each = Array.from(underWay, ([bucket, number]) => ({ bucket, number }));
  return { epoch, upTo, underWay: each };
}

export function markFromWire({ epoch, upTo, underWay }: wire.CausalMark): CausalMark {
  const each = underWay.map(({ bucket, number }) => [bucket, number] as const);
  return new CausalMark(epoch, upTo, new Map(each));
}

export function behindFromWire({ bucket }: wire.CausalBehind): CausalBehind {
  return new CausalBehind(bucket);
}

export function digestToWire({ bucket, round, leaves }: CausalDigest): wire.CausalDigest {
  return { bucket, round, leaves: [...leaves] };
}

export function digestFromWire({ bucket, round, leaves }: wire.CausalDigest): CausalDigest {
  return new CausalDigest(bucket, round, leaves);
}

function stampToWire({ key, ...stamp }: KeyStamp): wire.KeyStamp {
  return { key: fromBinary(key), ...stamp };
}

function stampFromWire({ key, ...stamp }: wire.KeyStamp): KeyStamp {
  return { key: toBinary(key), ...stamp };
}

export function stampsToWire(message: CausalStamps): wire.CausalStamps {
  const { bucket, round, known, clock, former, leaves, stamps } = message;
  return {
    bucket,
    round,
    known: vectorToWire(known),
    clock,
    former: [...former],
    leaves: [...leaves],
    stamps: stamps.map(stampToWire),
  };
}

export function stampsFromWire(message: wire.CausalStamps): CausalStamps {
  const { bucket, round, known, clock, former, leaves } = message;
  const stamps = message.stamps.map(stampFromWire);
  return new CausalStamps(bucket, round, vectorFromWire(known), clock, former, leaves, stamps);
}

export function pullToWire(message: CausalPull): wire.CausalPull {
  const { bucket, round, part, wanted, records, known, clock, gone } = message;
  return {
    bucket,
    round,
    part,
    gone: gone.map(stampToWire),
    wanted: wanted.map(fromBinary),
    records: records.map(recordToWire),
    last: known !== null,
    known: known === null ? [] : vectorToWire(known),
    clock,
  };
}

export function pullFromWire(message: wire.CausalPull): CausalPull {
  const { bucket, round, part, wanted, records, last, known, clock, gone } = message;
  return new CausalPull(
    bucket,
    round,
    part,
    wanted.map(toBinary),
    records.map(recordFromWire),
    last ? vectorFromWire(known) : null,
    clock,
    gone.map(stampFromWire),
  );
}

export function recordsToWire(message: CausalRecords): wire.CausalRecords {
  const { bucket, round, part, keys, records } = message;
  return { bucket, round, part, keys, records: records.map(recordToWire) };
}

export function recordsFromWire(message: wire.CausalRecords): CausalRecords {
  const { bucket, round, part, keys, records } = message;
  return new CausalRecords(bucket, round, part, keys, records.map(recordFromWire));
}
