import { Buffer } from 'node:buffer';

/** A growing buffer that is filled from the front. Numbers are big-endian. */
export class ByteWriter {
  buffer: Buffer;
  private view: DataView;
  /** Bytes written so far. */
  at = 0;

  constructor(capacity = 1024) {
    this.buffer = Buffer.allocUnsafeSlow(capacity);
    this.view = viewOf(this.buffer);
  }

  /** What was written; valid until the writer is used again. */
  written(): Buffer {
    return this.buffer.subarray(0, this.at);
  }

  u8(value: number): void {
    this.reserve(1);
    this.buffer[this.at++] = value;
  }

  boolean(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.at, value);
    this.at += 4;
  }

  /** Any number, in eight bytes; whole ones are exact up to 2⁵³. */
  number(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.at, value);
    this.at += 8;
  }

  /** A string of characters 0–255, one byte each. */
  binary(text: string): void {
    this.u32(text.length);
    this.reserve(text.length);
    this.buffer.write(text, this.at, text.length, 'latin1');
    this.at += text.length;
  }

  /** Any string. */
  text(text: string): void {
    const bytes = Buffer.byteLength(text, 'utf8');
    this.u32(bytes);
    this.reserve(bytes);
    this.buffer.write(text, this.at, bytes, 'utf8');
    this.at += bytes;
  }

  bytes(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  optionalBytes(bytes: Uint8Array | null): void {
    this.boolean(bytes !== null);
    if (bytes !== null) this.bytes(bytes);
  }

  list<T>(items: readonly T[], write: (item: T) => void): void {
    this.u32(items.length);
    for (const item of items) write(item);
  }

  /** Leaves room for `size` bytes that are filled in later with `patchU32`. */
  skip(size: number): number {
    this.reserve(size);
    const start = this.at;
    this.at += size;
    return start;
  }

  patchU32(at: number, value: number): void {
    this.view.setUint32(at, value);
  }

  private reserve(size: number): void {
    if (this.at + size <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.at + size));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
    this.view = viewOf(larger);
  }
}

/** Reads what a `ByteWriter` wrote. Throws RangeError past the end. Returned bytes are copies. */
export class ByteReader {
  private readonly view: DataView;

  constructor(
    private readonly buffer: Buffer,
    private at = 0,
  ) {
    this.view = viewOf(buffer);
  }

  get ended(): boolean {
    return this.at === this.buffer.length;
  }

  u8(): number {
    return this.view.getUint8(this.take(1));
  }

  boolean(): boolean {
    return this.u8() !== 0;
  }

  u32(): number {
    return this.view.getUint32(this.take(4));
  }

  number(): number {
    return this.view.getFloat64(this.take(8));
  }

  binary(): string {
    const length = this.u32();
    const start = this.take(length);
    return this.buffer.toString('latin1', start, start + length);
  }

  text(): string {
    const length = this.u32();
    const start = this.take(length);
    return this.buffer.toString('utf8', start, start + length);
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const start = this.take(length);
    const copy = new Uint8Array(length);
    copy.set(this.buffer.subarray(start, start + length));
    return copy;
  }

  optionalBytes(): Uint8Array | null {
    return this.boolean() ? this.bytes() : null;
  }

  list<T>(read: () => T): T[] {
    const items: T[] = [];
    for (let left = this.u32(); left > 0; left--) items.push(read());
    return items;
  }

  private take(size: number): number {
    const start = this.at;
    if (start + size > this.buffer.length) throw new RangeError('the bytes end too early');
    this.at = start + size;
    return start;
  }
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
