import { Buffer } from 'node:buffer';

/**
 * Writes protobuf by hand, for the few messages that every operation needs: the same bytes as the
 * generated code, in one pass into one buffer that is used again. Field order is the declared one,
 * fields that hold their default are left out (protobuf encoding, "Default values").
 */
export class HotWriter {
  buffer = Buffer.allocUnsafeSlow(START_BYTES);
  /** Bytes written so far. */
  at = 0;

  /** What was written, as a copy of its own; the writer begins anew. */
  take(): Buffer {
    const copy = Buffer.allocUnsafe(this.at);
    this.buffer.copy(copy, 0, 0, this.at);
    this.at = 0;
    if (this.buffer.length > KEEP_BYTES) {
      this.buffer = Buffer.allocUnsafeSlow(START_BYTES);
    }
    return copy;
  }

  /** Room for `size` more bytes; call it before anything below. */
  reserve(size: number): void {
    if (this.at + size <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.at + size));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
  }

  /** A whole number from 0 to 2⁵³ - 1, with its tag; 0 is left out. Tags of fields up to 15. */
  number(tag: number, value: number): void {
    if (value === 0) return;
    this.buffer[this.at++] = tag;
    this.varint(value);
  }

  /** The same for a field beyond the fifteenth: its tag has two bytes. */
  farNumber(field: number, value: number): void {
    if (value === 0) return;
    this.varint(field * 8);
    this.varint(value);
  }

  boolean(tag: number, value: boolean): void {
    if (value) this.number(tag, 1);
  }

  /** Whole numbers in one field; none are left out. */
  packed(tag: number, values: readonly number[]): void {
    if (values.length === 0) return;
    const start = this.begin(tag, values.length);
    for (const value of values) this.varint(value);
    this.end(start, values.length);
  }

  /** A string of characters 0–255, one byte each; '' is left out. */
  binary(tag: number, text: string): void {
    const { length } = text;
    if (length === 0) return;
    this.buffer[this.at++] = tag;
    this.varint(length);
    if (length <= SHORT) {
      for (let index = 0; index < length; index += 1) {
        this.buffer[this.at + index] = text.charCodeAt(index);
      }
    } else this.buffer.write(text, this.at, length, 'latin1');
    this.at += length;
  }

  /** Empty ones are left out. */
  bytes(tag: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.message(tag, bytes);
  }

  /** A message that is encoded already; an empty one is there, too. */
  message(tag: number, bytes: Uint8Array): void {
    this.buffer[this.at++] = tag;
    this.varint(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Begins a message whose length is not known yet; `guess` saves moving it. Where it begins. */
  begin(tag: number, guess: number): number {
    this.buffer[this.at++] = tag;
    const start = this.at + varintBytes(guess);
    this.at = start;
    return start;
  }

  /** Ends the message that begins at `start`, with the same guess. */
  end(start: number, guess: number): void {
    const length = this.at - start;
    const had = varintBytes(guess);
    const needed = varintBytes(length);
    if (needed !== had) {
      this.buffer.copyWithin(start + needed - had, start, this.at);
    }
    this.at = start - had;
    this.varint(length);
    this.at += length;
  }

  private varint(value: number): void {
    let rest = value;
    while (rest > 0x7fffffff) {
      this.buffer[this.at++] = (rest % 128) + 128;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.buffer[this.at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.buffer[this.at++] = rest;
  }
}

/** Many streams have a writer each. */
const START_BYTES = 16 * 1024;
/** A writer that grew beyond this for one large frame gives its memory back. */
const KEEP_BYTES = 1024 * 1024;
/** Below this a loop is quicker than the call into the runtime. */
const SHORT = 32;

/** Of a length below 2²⁸. */
function varintBytes(length: number): number {
  if (length < 0x80) return 1;
  if (length < 0x4000) return 2;
  return length < 0x200000 ? 3 : 4;
}
