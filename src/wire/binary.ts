import { Buffer } from 'node:buffer';

/** A key or client id as core holds it: a binary string, one character per byte. */
export function toBinary(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

export function fromBinary(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A value for the wire; the generated code wants a Buffer, without copying. */
export function asBuffer(value: Uint8Array | null): Buffer {
  if (value === null) return EMPTY;
  return Buffer.isBuffer(value)
    ? value
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

const EMPTY = Buffer.alloc(0);

/** What came over the network is not what the protocol allows. Nothing of it was carried out. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

/** A number that is neither infinite nor NaN: either would spoil every comparison after it. */
export function finite(value: number, name: string): number {
  if (!Number.isFinite(value)) throw new WireError(`${name} is not a number: ${value}`);
  return value;
}

/** The part of a message that must be there. */
export function required<T>(part: T | undefined, name: string): T {
  if (part === undefined) throw new WireError(`the message has no ${name}`);
  return part;
}

/** Reads a message with the generated code, which throws errors of many kinds. */
export function decoded<T>(message: { decode(bytes: Uint8Array): T }, bytes: Uint8Array): T {
  try {
    return message.decode(bytes);
  } catch (error) {
    throw new WireError(`the message is not valid: ${String(error)}`);
  }
}
