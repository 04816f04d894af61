import type { Buffer } from 'node:buffer';

import { Entry, EntryKind } from '../core/entry.js';
import type { EntryWrite, TransactionBody } from '../core/entry.js';
import type { CausalChange } from '../core/causal-bucket.js';
import { type CausalRecord, fromStored, toStored } from '../core/causal-record.js';
import type { BucketId, Ordinal, Sequence } from '../core/ids.js';
import type { BucketMeta, CausalMeta, DedupResult, DedupRow } from '../core/message.js';
import type { LogRecord } from '../core/outbox.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { StorageError } from './storage-error.js';
import { readView, readViewDelta, writeView, writeViewDelta } from './view-codec.js';

/**
 * First byte of every record. A change of the layout below needs a new number, and so does an entry
 * that earlier builds would pass over: 2 may be a commit.
 */
const FORMAT = 2;
const OLDEST_FORMAT = 1;
const KINDS: ReadonlySet<number> = new Set(Object.values(EntryKind));

const TYPES = [
  '',
  'entry',
  'cut',
  'installed',
  'dropped',
  'view',
  'viewDelta',
  'causal',
] as const satisfies readonly ('' | LogRecord['type'])[];

/** What the log's index needs of a record; cheap to read. Fields that do not apply are 0. */
export interface RecordHead {
  readonly type: LogRecord['type'];
  readonly bucket: BucketId;
  /** Of an entry and a cut; of an installed bucket its meta's; of a view or delta its epoch. */
  readonly sequence: Sequence;
}

/** Layout: format, type, bucket (u32), sequence (8 bytes), then what the type adds. */
export function writeRecord(out: ByteWriter, record: LogRecord): void {
  if (record.type === 'entry') {
    // Most records are entries: no object is made for their head.
    writeHead(out, 1, record.bucket, record.entry.sequence);
    out.number(record.commitPoint);
    writeEntry(out, record.entry);
    return;
  }
  const head = headOf(record);
  writeHead(out, TYPES.indexOf(head.type), head.bucket, head.sequence);
  switch (record.type) {
    case 'installed':
      writeMeta(out, record.meta);
      break;
    case 'view':
      writeView(out, record.view);
      break;
    case 'viewDelta':
      writeViewDelta(out, record.delta);
      break;
    case 'causal':
      writeCausal(out, record.change);
      break;
    case 'cut':
    case 'dropped':
      break;
  }
}

function writeHead(out: ByteWriter, type: number, bucket: BucketId, sequence: Sequence): void {
  out.u8(FORMAT);
  out.u8(type);
  out.u32(bucket);
  out.number(sequence);
}

export function headOf(record: LogRecord): RecordHead {
  switch (record.type) {
    case 'entry':
      return { type: 'entry', bucket: record.bucket, sequence: record.entry.sequence };
    case 'cut':
      return record;
    case 'installed':
      return { type: 'installed', bucket: record.bucket, sequence: record.meta.sequence };
    case 'dropped':
    case 'causal':
      return { type: record.type, bucket: record.bucket, sequence: 0 };
    case 'view':
      return { type: 'view', bucket: 0, sequence: record.view.epoch };
    case 'viewDelta':
      return { type: 'viewDelta', bucket: 0, sequence: record.delta.toEpoch };
  }
}

/** The head of an encoded record. Throws StorageError for another format. */
export function readHead(payload: Buffer): RecordHead {
  return readHeadOf(new ByteReader(payload));
}

/** An encoded record. Throws StorageError when it is not one that `writeRecord` wrote. */
export function readRecord(payload: Buffer): LogRecord {
  return decode(payload, (input) => {
    const { type, bucket, sequence } = readHeadOf(input);
    switch (type) {
      case 'entry': {
        const commitPoint = input.number();
        return { type, bucket, entry: readEntry(input), commitPoint };
      }
      case 'cut':
        return { type, bucket, sequence };
      case 'installed':
        return { type, bucket, meta: readMeta(input) };
      case 'dropped':
        return { type, bucket };
      case 'causal':
        return { type, bucket, change: readCausal(input) };
      case 'view':
        return { type, view: readView(input) };
      case 'viewDelta':
        return { type, delta: readViewDelta(input) };
    }
  });
}

/** A bucket's meta as the engine stores it. */
export function encodeMeta(meta: BucketMeta): Buffer {
  const out = new ByteWriter();
  out.u8(FORMAT);
  writeMeta(out, meta);
  return out.written();
}

export function decodeMeta(payload: Buffer): BucketMeta {
  return decode(payload, (input) => {
    checkFormat(input.u8());
    return readMeta(input);
  });
}

function decode<T>(payload: Buffer, read: (input: ByteReader) => T): T {
  const input = new ByteReader(payload);
  try {
    const value = read(input);
    if (!input.ended) throw new RangeError('bytes are left over');
    return value;
  } catch (error) {
    if (error instanceof StorageError) throw error;
    throw new StorageError('DAMAGED', 'A stored record cannot be decoded.', { cause: error });
  }
}

function readHeadOf(input: ByteReader): RecordHead {
  checkFormat(input.u8());
  const number = input.u8();
  const type = TYPES[number];
  if (type === undefined || type === '') {
    throw new StorageError('UNKNOWN_FORMAT', `A stored record is of unknown type ${number}.`);
  }
  return { type, bucket: input.u32(), sequence: input.number() };
}

function checkFormat(format: number): void {
  if (format >= OLDEST_FORMAT && format <= FORMAT) return;
  throw new StorageError(
    'UNKNOWN_FORMAT',
    `A stored record has format ${format}; this kvs reads ${OLDEST_FORMAT} to ${FORMAT}. ` +
      'Nothing was changed. Start the kvs that wrote it.',
  );
}

function writeEntry(out: ByteWriter, entry: Entry): void {
  out.u8(entry.kind);
  out.number(entry.sequence);
  out.number(entry.ballot);
  out.number(entry.version);
  out.number(entry.previous);
  out.number(entry.atMs);
  out.binary(entry.client);
  out.number(entry.clientSequence);
  out.number(entry.settledBelow);
  out.binary(entry.key);
  out.optionalBytes(entry.value);
  out.boolean(entry.transaction !== null);
  if (entry.transaction !== null) writeTransaction(out, entry.transaction);
}

function readEntry(input: ByteReader): Entry {
  const kind = input.u8();
  if (!KINDS.has(kind)) {
    throw new StorageError('UNKNOWN_FORMAT', `A stored entry is of unknown kind ${kind}.`);
  }
  return new Entry(
    kind as EntryKind,
    input.number(),
    input.number(),
    input.number(),
    input.number(),
    input.number(),
    input.binary(),
    input.number(),
    input.number(),
    input.binary(),
    input.optionalBytes(),
    input.boolean() ? readTransaction(input) : null,
  );
}

function writeTransaction(out: ByteWriter, transaction: TransactionBody): void {
  out.u32(transaction.coordinatorBucket);
  out.list(transaction.participants, (bucket) => out.u32(bucket));
  out.list(transaction.writes, (write) => {
    out.binary(write.key);
    out.optionalBytes(write.value);
  });
  out.boolean(transaction.commit);
  out.text(transaction.detail);
}

function readTransaction(input: ByteReader): TransactionBody {
  return {
    coordinatorBucket: input.u32(),
    participants: input.list(() => input.u32()),
    writes: input.list((): EntryWrite => ({ key: input.binary(), value: input.optionalBytes() })),
    commit: input.boolean(),
    detail: input.text(),
  };
}

function writeMeta(out: ByteWriter, meta: BucketMeta): void {
  out.number(meta.sequence);
  out.number(meta.ballot);
  out.number(meta.version);
  out.number(meta.clockMs);
  out.number(meta.life);
  out.list(meta.dedup, (row) => writeDedupRow(out, row));
  out.list(meta.intents, (entry) => writeEntry(out, entry));
  out.list(meta.decisions, (entry) => writeEntry(out, entry));
  out.list(meta.causal === null ? [] : [meta.causal], (causal) => {
    writeVector(out, causal.known);
    out.list(causal.former, (server) => out.u32(server));
    out.list(causal.unsafe, (record) => writeCausalRecord(out, record));
    out.number(causal.number);
    out.number(causal.clock);
  });
}

function readMeta(input: ByteReader): BucketMeta {
  return {
    sequence: input.number(),
    ballot: input.number(),
    version: input.number(),
    clockMs: input.number(),
    life: input.number(),
    dedup: input.list(() => readDedupRow(input)),
    intents: input.list(() => readEntry(input)),
    decisions: input.list(() => readEntry(input)),
    causal: input.list(() => readCausalMeta(input))[0] ?? null,
  };
}

function readCausalMeta(input: ByteReader): CausalMeta {
  return {
    known: readVector(input),
    former: input.list(() => input.u32()),
    unsafe: input.list(() => readCausalRecord(input)),
    number: input.number(),
    clock: input.number(),
  };
}

function writeCausal(out: ByteWriter, change: CausalChange): void {
  out.list(change.records, (record) => writeCausalRecord(out, record));
  out.list(change.gone, ({ key, clock, writer, number }) => {
    out.binary(key);
    out.number(clock);
    out.u32(writer);
    out.number(number);
  });
  writeVector(out, Array.from(change.known));
  out.number(change.clock);
  out.list(change.former === null ? [] : [change.former], (former) => {
    out.list(former, (server) => out.u32(server));
  });
  out.boolean(change.dropped);
}

function readCausal(input: ByteReader): CausalChange {
  return {
    records: input.list(() => readCausalRecord(input)),
    gone: input.list(() => ({
      key: input.binary(),
      clock: input.number(),
      writer: input.u32(),
      number: input.number(),
    })),
    known: new Map(readVector(input)),
    clock: input.number(),
    former: input.list(() => input.list(() => input.u32()))[0] ?? null,
    dropped: input.boolean(),
  };
}

function writeCausalRecord(out: ByteWriter, record: CausalRecord): void {
  const { key, value, version } = toStored(record);
  out.binary(key);
  out.bytes(value);
  out.number(version);
}

function readCausalRecord(input: ByteReader): CausalRecord {
  return fromStored({ key: input.binary(), value: input.bytes(), version: input.number() });
}

function writeVector(out: ByteWriter, vector: readonly (readonly [Ordinal, number])[]): void {
  out.list(vector, ([server, number]) => {
    out.u32(server);
    out.number(number);
  });
}

function readVector(input: ByteReader): (readonly [Ordinal, number])[] {
  return input.list((): readonly [Ordinal, number] => [input.u32(), input.number()]);
}

function writeDedupRow(out: ByteWriter, row: DedupRow): void {
  out.binary(row.client);
  out.number(row.floor);
  out.number(row.atMs);
  out.list(row.results, ([clientSequence, result]) => {
    out.number(clientSequence);
    out.number(result.version);
    out.number(result.previous);
    out.boolean(result.found);
    out.boolean(result.committed);
    out.u32(result.participants);
  });
}

function readDedupRow(input: ByteReader): DedupRow {
  return {
    client: input.binary(),
    floor: input.number(),
    atMs: input.number(),
    results: input.list((): readonly [number, DedupResult] => [
      input.number(),
      {
        version: input.number(),
        previous: input.number(),
        found: input.boolean(),
        committed: input.boolean(),
        participants: input.u32(),
      },
    ]),
  };
}
