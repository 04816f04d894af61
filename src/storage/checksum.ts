import { crc32 } from 'node:zlib';

/** Of fewer bytes the call into the runtime takes longer than the sum itself. */
const SHORT = 48;

/** The polynomial of IEEE 802.3, reflected. */
const POLYNOMIAL = 0xedb88320;

/** CRC-32 of each byte. */
const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = (sum & 1) === 0 ? sum >>> 1 : (sum >>> 1) ^ POLYNOMIAL;
  return sum;
});

/** CRC-32 of `bytes`, going on from `seed`; unsigned. */
export function checksum(bytes: Uint8Array, seed = 0): number {
  if (bytes.length >= SHORT) return crc32(bytes, seed);
  let sum = ~seed;
  for (let at = 0; at < bytes.length; at += 1) {
    sum = TABLE[(sum ^ bytes[at]!) & 0xff]! ^ (sum >>> 8);
  }
  return ~sum >>> 0;
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
