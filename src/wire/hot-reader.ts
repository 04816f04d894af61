import { Buffer } from 'node:buffer';

import type { ClientId } from '../core/ids.js';
import { WireError } from './binary.js';

const EMPTY = Buffer.alloc(0);

/**
 * Reads protobuf by hand: the counterpart of `HotWriter`. Every read is checked against `end`.
 * Throws WireError where the bytes are not protobuf, or hold a number above 2⁵³ - 1.
 */
export class HotReader {
  at = 0;
  end = 0;

  constructor(readonly buffer: Buffer) {
    this.end = buffer.length;
  }

  varint(): number {
    const first = this.byte();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    for (let factor = 128; factor <= LAST_FACTOR; factor *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new WireError('a number is larger than 2^53 - 1');
  }

  /** Where a field of bytes ends that begins here. */
  lengthEnd(): number {
    const length = this.varint();
    const end = this.at + length;
    if (end > this.end) throw new WireError('the message ends too early');
    return end;
  }

  binary(): string {
    const end = this.lengthEnd();
    const text = this.buffer.toString('latin1', this.at, end);
    this.at = end;
    return text;
  }

  /** For people. */
  text(): string {
    const end = this.lengthEnd();
    const text = this.buffer.toString('utf8', this.at, end);
    this.at = end;
    return text;
  }

  /** Bytes of their own: a value must not keep the frame in memory that it came in. */
  bytes(): Buffer {
    const end = this.lengthEnd();
    const start = this.at;
    this.at = end;
    if (start === end) return EMPTY;
    const copy = Buffer.allocUnsafe(end - start);
    this.buffer.copy(copy, 0, start, end);
    return copy;
  }

  /** The same client sends many operations: one string for all, which knows its hash. */
  client(): ClientId {
    const end = this.lengthEnd();
    const start = this.at;
    this.at = end;
    if (start === end) return '';
    const place = this.buffer[start] ?? 0;
    const known = clients[place];
    if (known !== undefined && this.isAt(known.bytes, start, end)) return known.text;
    const text = this.buffer.toString('latin1', start, end);
    clients[place] = { bytes: Buffer.from(this.buffer.subarray(start, end)), text };
    return text;
  }

  /** Passes over a field whose tag was just read. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.varint();
        break;
      case 1:
        this.at += 8;
        break;
      case 2:
        this.at = this.lengthEnd();
        break;
      case 5:
        this.at += 4;
        break;
      default:
        throw new WireError(`a field has the unknown wire type ${tag & 7}`);
    }
    if (this.at > this.end) throw new WireError('the message ends too early');
  }

  private byte(): number {
    if (this.at >= this.end) throw new WireError('the message ends too early');
    return this.buffer[this.at++] ?? 0;
  }

  private isAt(bytes: Buffer, start: number, end: number): boolean {
    if (bytes.length !== end - start) return false;
    for (let index = 0; index < bytes.length; index += 1) {
      if (bytes[index] !== this.buffer[start + index]) return false;
    }
    return true;
  }
}

/** The last client by the first byte of its id, which is random. */
const clients: ({ readonly bytes: Buffer; readonly text: string } | undefined)[] = Array.from(
  { length: 256 },
  () => undefined,
);
/** Of the eighth byte of a varint: more bytes make more than 2⁵³. */
const LAST_FACTOR = 128 ** 7;
