import { crc32 } from 'node:zlib';

/** CRC-32 of `bytes`, going on from `seed`; unsigned. */
export function checksum(bytes: Uint8Array, seed = 0): number {
  return crc32(bytes, seed);
}

/**
 * Mixes four 32-bit numbers into one, unsigned (the finalizer of MurmurHash3). Cheaper than a
 * checksum over so few bytes.
 */
export function mix(a: number, b: number, c: number, d: number): number {
  let hash = scramble(a);
  hash = scramble(hash ^ b);
  hash = scramble(hash ^ c);
  return scramble(hash ^ d) >>> 0;
}

function scramble(value: number): number {
  let hash = (value + 0x9e3779b9) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
