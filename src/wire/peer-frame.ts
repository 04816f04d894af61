import type { Buffer } from 'node:buffer';

import { Entry, entryBytes, EntryKind, type TransactionBody } from '../core/entry.js';
import {
  type BucketMeta,
  type PeerMessage,
  Prepare,
  PrepareAck,
  SnapshotChunk,
} from '../core/message.js';
import type { StoredRecord } from '../core/operation.js';
import { decoded, WireError } from './binary.js';
import { carriesBody, entryFromWire, metaFromWire, metaToWire } from './convert-entry.js';
import { checkState, peerMessageFromWire, peerMessageToWire } from './convert-peer.js';
import * as wire from './gen/kvs/v1/peer.js';
import { HotReader } from './hot-reader.js';
import type { HotWriter } from './hot-writer.js';
import { readTransaction, writeTransaction } from './transaction-frame.js';

/**
 * The messages of a `SendRequest` straight between bytes and core types, as declared in
 * `proto/kvs/v1/peer.proto`: prepares, their acknowledgements and the records of snapshots are
 * written and read here, everything else by the generated code.
 */

/** Tags: field number times eight, plus the wire type (0 a number, 2 bytes). */
const Tag = {
  messages: 34,
  prepare: 10,
  prepareAck: 18,
  entries: 58,
  snapshotChunk: 66,
  records: 50,
  meta: 58,
  transaction: 90,
} as const;
/** Most that the fields other than key and value take. */
const OVERHEAD_BYTES = 160;
const ACK_BYTES = 26;
const PREPARE_BYTES = 28;
const ENTRY_BYTES = 58;
const CHUNK_BYTES = 32;
const RECORD_BYTES = 12;
const EMPTY_VALUE = new Uint8Array(0);

/** Adds a message to a request. */
export function writePeerMessage(out: HotWriter, message: PeerMessage): void {
  if (message.type === 'prepare') writePrepare(out, message);
  else if (message.type === 'prepareAck') writeAck(out, message);
  else if (message.type === 'snapshotChunk') writeChunk(out, message);
  else {
    const bytes = wire.PeerMessage.encode(peerMessageToWire(message)).finish();
    out.reserve(bytes.length + OVERHEAD_BYTES);
    out.message(Tag.messages, bytes);
  }
}

function writeAck(out: HotWriter, message: PrepareAck): void {
  out.reserve(OVERHEAD_BYTES);
  const outer = out.begin(Tag.messages, ACK_BYTES);
  const inner = out.begin(Tag.prepareAck, ACK_BYTES);
  out.number(8, message.bucket);
  out.number(16, message.ballot);
  out.number(24, message.upTo);
  out.number(32, message.commitPoint);
  out.end(inner, ACK_BYTES);
  out.end(outer, ACK_BYTES);
}

function writePrepare(out: HotWriter, message: Prepare): void {
  const { entries } = message;
  let guess = PREPARE_BYTES;
  for (const entry of entries) guess += ENTRY_BYTES + entryBytes(entry);
  out.reserve(OVERHEAD_BYTES);
  const outer = out.begin(Tag.messages, guess);
  const inner = out.begin(Tag.prepare, guess);
  out.number(8, message.bucket);
  out.number(16, message.ballot);
  out.number(24, message.previousSequence);
  out.number(32, message.previousBallot);
  out.number(40, message.commitPoint);
  out.boolean(48, message.settle);
  for (const entry of entries) writeEntry(out, entry);
  out.end(inner, guess);
  out.end(outer, guess);
}

function writeEntry(out: HotWriter, entry: Entry): void {
  const { key, client } = entry;
  const value = entry.value ?? EMPTY_VALUE;
  const guess = ENTRY_BYTES + entryBytes(entry);
  out.reserve(OVERHEAD_BYTES + key.length + value.length + client.length);
  const start = out.begin(Tag.entries, guess);
  out.number(8, entry.kind);
  out.number(16, entry.sequence);
  out.number(24, entry.ballot);
  out.number(32, entry.version);
  out.number(40, entry.atMs);
  out.binary(50, client);
  out.number(56, entry.clientSequence);
  out.number(64, entry.settledBelow);
  out.binary(74, key);
  out.bytes(82, value);
  if (entry.transaction !== null) writeTransaction(out, Tag.transaction, entry.transaction);
  out.number(96, entry.previous);
  out.end(start, guess);
}

function writeChunk(out: HotWriter, message: SnapshotChunk): void {
  const { records } = message;
  const meta = message.meta === null ? null : wire.BucketMeta.encode(metaToWire(message.meta));
  const metaBytes = meta?.finish() ?? null;
  let guess = CHUNK_BYTES + (metaBytes?.length ?? 0);
  for (const { key, value } of records) guess += RECORD_BYTES + key.length + value.length;
  out.reserve(OVERHEAD_BYTES);
  const outer = out.begin(Tag.messages, guess);
  const inner = out.begin(Tag.snapshotChunk, guess);
  out.number(8, message.bucket);
  out.number(16, message.ballot);
  out.number(24, message.transfer);
  out.number(32, message.index);
  out.boolean(40, message.last);
  for (const record of records) writeRecord(out, record);
  if (metaBytes !== null) {
    out.reserve(OVERHEAD_BYTES + metaBytes.length);
    out.message(Tag.meta, metaBytes);
  }
  out.reserve(OVERHEAD_BYTES);
  out.number(64, message.total);
  out.end(inner, guess);
  out.end(outer, guess);
}

function writeRecord(out: HotWriter, { key, value, version }: StoredRecord): void {
  const guess = RECORD_BYTES + key.length + value.length;
  out.reserve(OVERHEAD_BYTES + key.length + value.length);
  const start = out.begin(Tag.records, guess);
  out.binary(10, key);
  out.bytes(18, value);
  out.number(24, version);
  out.end(start, guess);
}

/** The head of a request: who sends, to whom. Messages are left out. */
export type RequestHead = Pick<wire.SendRequest, 'clusterId' | 'from' | 'incarnation' | 'to'>;

/** Where the head of a request is, if it has one, and its messages. Throws WireError. */
export function readPeerRequest(bytes: Buffer): {
  readonly head: RequestHead | null;
  readonly messages: PeerMessage[];
} {
  const input = new HotReader(bytes);
  const messages: PeerMessage[] = [];
  let hasHead = false;
  while (input.at < bytes.length) {
    const tag = input.varint();
    if (tag === Tag.messages) {
      input.end = input.lengthEnd();
      messages.push(readMessage(input));
      input.end = bytes.length;
    } else {
      hasHead = true;
      input.skip(tag);
    }
  }
  return { head: hasHead ? decoded(wire.SendRequest, bytes) : null, messages };
}

function readMessage(input: HotReader): PeerMessage {
  const { at, end } = input;
  const tag = input.varint();
  if (tag === Tag.prepare || tag === Tag.prepareAck || tag === Tag.snapshotChunk) {
    // Of several kinds in one message the last one counts: a case for the generated code.
    const message = input.lengthEnd() === end ? readHot(tag, input) : null;
    if (message !== null) return message;
  }
  input.at = end;
  return peerMessageFromWire(decoded(wire.PeerMessage, input.buffer.subarray(at, end)));
}

/** Null when the message is a case for the generated code. */
function readHot(tag: number, input: HotReader): PeerMessage | null {
  if (tag === Tag.prepare) return readPrepare(input);
  return tag === Tag.prepareAck ? readAck(input) : readChunk(input);
}

function readAck(input: HotReader): PrepareAck | null {
  let bucket = 0;
  let ballot = 0;
  let upTo = 0;
  let commitPoint = 0;
  while (input.at < input.end) {
    switch (input.varint()) {
      case 8:
        bucket = input.varint();
        break;
      case 16:
        ballot = input.varint();
        break;
      case 24:
        upTo = input.varint();
        break;
      case 32:
        commitPoint = input.varint();
        break;
      default:
        return null;
    }
  }
  return new PrepareAck(bucket, ballot, upTo, commitPoint);
}

function readPrepare(input: HotReader): Prepare | null {
  const { end } = input;
  let bucket = 0;
  let ballot = 0;
  let previousSequence = 0;
  let previousBallot = 0;
  let commitPoint = 0;
  let settle = false;
  const entries: Entry[] = [];
  while (input.at < end) {
    switch (input.varint()) {
      case 8:
        bucket = input.varint();
        break;
      case 16:
        ballot = input.varint();
        break;
      case 24:
        previousSequence = input.varint();
        break;
      case 32:
        previousBallot = input.varint();
        break;
      case 40:
        commitPoint = input.varint();
        break;
      case 48:
        settle = input.varint() !== 0;
        break;
      case Tag.entries:
        input.end = input.lengthEnd();
        entries.push(readEntry(input));
        input.end = end;
        break;
      default:
        return null;
    }
  }
  let sequence = previousSequence;
  for (const entry of entries) {
    sequence += 1;
    if (entry.sequence === sequence) continue;
    throw new WireError(`entry ${entry.sequence} stands where ${sequence} belongs`);
  }
  return new Prepare(
    bucket,
    ballot,
    previousSequence,
    previousBallot,
    commitPoint,
    settle,
    entries,
  );
}

function readEntry(input: HotReader): Entry {
  const { at: start, end } = input;
  let kind = 0;
  let sequence = 0;
  let ballot = 0;
  let version = 0;
  let previous = 0;
  let atMs = 0;
  let client = '';
  let clientSequence = 0;
  let settledBelow = 0;
  let key = '';
  let value: Uint8Array = EMPTY_VALUE;
  let transaction: TransactionBody | null = null;
  let isPlain = true;
  while (input.at < end && isPlain) {
    switch (input.varint()) {
      case 8:
        kind = input.varint();
        break;
      case 16:
        sequence = input.varint();
        break;
      case 24:
        ballot = input.varint();
        break;
      case 32:
        version = input.varint();
        break;
      case 40:
        atMs = input.varint();
        break;
      case 50:
        client = input.client();
        break;
      case 56:
        clientSequence = input.varint();
        break;
      case 64:
        settledBelow = input.varint();
        break;
      case 74:
        key = input.binary();
        break;
      case 82:
        value = input.bytes();
        break;
      case Tag.transaction: {
        // Of several the fields are merged: a case for the generated code.
        if (transaction !== null) isPlain = false;
        input.end = input.lengthEnd();
        transaction = readTransaction(input);
        input.end = end;
        if (transaction === null) isPlain = false;
        break;
      }
      case 96:
        previous = input.varint();
        break;
      default:
        isPlain = false;
    }
  }
  const isWrite = kind === EntryKind.Set || kind === EntryKind.Delete;
  if (!isPlain || !(transaction === null ? isWrite : carriesBody(kind))) {
    input.at = end;
    return entryFromWire(decoded(wire.Entry, input.buffer.subarray(start, end)));
  }
  return new Entry(
    kind as EntryKind,
    sequence,
    ballot,
    version,
    previous,
    atMs,
    client,
    clientSequence,
    settledBelow,
    key,
    kind === EntryKind.Set ? value : null,
    transaction,
  );
}

function readChunk(input: HotReader): SnapshotChunk | null {
  const { end } = input;
  let bucket = 0;
  let ballot = 0;
  let transfer = 0;
  let index = 0;
  let last = false;
  let total = 0;
  let meta: BucketMeta | null = null;
  const records: StoredRecord[] = [];
  while (input.at < end) {
    switch (input.varint()) {
      case 8:
        bucket = input.varint();
        break;
      case 16:
        ballot = input.varint();
        break;
      case 24:
        transfer = input.varint();
        break;
      case 32:
        index = input.varint();
        break;
      case 40:
        last = input.varint() !== 0;
        break;
      case Tag.records: {
        input.end = input.lengthEnd();
        const record = readRecord(input);
        input.end = end;
        if (record === null) return null;
        records.push(record);
        break;
      }
      case Tag.meta: {
        // Of several the fields are merged: a case for the generated code.
        if (meta !== null) return null;
        const metaEnd = input.lengthEnd();
        meta = metaFromWire(decoded(wire.BucketMeta, input.buffer.subarray(input.at, metaEnd)));
        input.at = metaEnd;
        break;
      }
      case 64:
        total = input.varint();
        break;
      default:
        return null;
    }
  }
  checkState(index, meta !== null);
  return new SnapshotChunk(bucket, ballot, transfer, index, last, records, meta, total);
}

function readRecord(input: HotReader): StoredRecord | null {
  let key = '';
  let value: Uint8Array = EMPTY_VALUE;
  let version = 0;
  while (input.at < input.end) {
    switch (input.varint()) {
      case 10:
        key = input.binary();
        break;
      case 18:
        value = input.bytes();
        break;
      case 24:
        version = input.varint();
        break;
      default:
        return null;
    }
  }
  return { key, value, version };
}
