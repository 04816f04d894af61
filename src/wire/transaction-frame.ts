import { Buffer } from 'node:buffer';

import type { EntryWrite, TransactionBody } from '../core/entry.js';
import type { BucketId } from '../core/ids.js';
import { sizeOf } from '../core/operation.js';
import type { HotReader } from './hot-reader.js';
import type { HotWriter } from './hot-writer.js';

/**
 * What an entry of a commit carries, straight between bytes and core types, as declared in
 * `proto/kvs/v1/peer.proto`.
 */

/** Tags: field number times eight, plus the wire type (0 a number, 2 bytes). */
const Tag = { participants: 18, writes: 26, detail: 42 } as const;
/** Most that the fields take which are neither writes nor participants nor the detail. */
const OVERHEAD_BYTES = 64;
const NUMBER_BYTES = 5;
const WRITE_BYTES = 6;
const MOST_BUCKET = 2 ** 32 - 1;
const EMPTY_VALUE = new Uint8Array(0);

export function writeTransaction(out: HotWriter, tag: number, body: TransactionBody): void {
  const { coordinatorBucket, participants, writes, commit } = body;
  const detail = Buffer.from(body.detail);
  const small = OVERHEAD_BYTES + detail.length + participants.length * NUMBER_BYTES;
  const guess = small + writes.length * WRITE_BYTES + sizeOf(writes);
  out.reserve(small);
  const start = out.begin(tag, guess);
  out.number(8, coordinatorBucket);
  out.packed(Tag.participants, participants);
  for (const write of writes) writeWrite(out, write);
  out.reserve(small);
  out.boolean(32, commit);
  out.bytes(Tag.detail, detail);
  out.end(start, guess);
}

function writeWrite(out: HotWriter, { key, value }: EntryWrite): void {
  const guess = WRITE_BYTES + key.length + (value?.length ?? 0);
  out.reserve(OVERHEAD_BYTES + guess);
  const start = out.begin(Tag.writes, guess);
  out.binary(10, key);
  out.bytes(18, value ?? EMPTY_VALUE);
  out.boolean(24, value === null);
  out.end(start, guess);
}

/** Null: something in it is for the generated code. */
export function readTransaction(input: HotReader): TransactionBody | null {
  const { end } = input;
  let coordinatorBucket = 0;
  let commit = false;
  let detail = '';
  const participants: BucketId[] = [];
  const writes: EntryWrite[] = [];
  while (input.at < end) {
    switch (input.varint()) {
      case 8:
        coordinatorBucket = input.varint();
        break;
      case Tag.participants: {
        const listEnd = input.lengthEnd();
        while (input.at < listEnd) {
          const bucket = input.varint();
          // What is left of more than 32 bits the generated code knows.
          if (bucket > MOST_BUCKET) return null;
          participants.push(bucket);
        }
        break;
      }
      case Tag.writes: {
        input.end = input.lengthEnd();
        const write = readWrite(input);
        input.end = end;
        if (write === null) return null;
        writes.push(write);
        break;
      }
      case 32:
        commit = input.varint() !== 0;
        break;
      case Tag.detail:
        detail = input.text();
        break;
      default:
        return null;
    }
  }
  return { coordinatorBucket, participants, writes, commit, detail };
}

function readWrite(input: HotReader): EntryWrite | null {
  let key = '';
  let value: Uint8Array = EMPTY_VALUE;
  let deletes = false;
  while (input.at < input.end) {
    switch (input.varint()) {
      case 10:
        key = input.binary();
        break;
      case 18:
        value = input.bytes();
        break;
      case 24:
        deletes = input.varint() !== 0;
        break;
      default:
        return null;
    }
  }
  return { key, value: deletes ? null : value };
}
