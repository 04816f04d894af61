import type { BucketId, Key } from './ids.js';
import { sha1Modulo } from './sha1.js';

/** murmur3 x86 32-bit (Appleby) of a binary string: one byte per character. */
export function murmur3(text: string, seed = 0): number {
  let hash = seed | 0;
  const blocks = text.length & ~3;
  for (let index = 0; index < blocks; index += 4) {
    const block =
      text.charCodeAt(index) |
      (text.charCodeAt(index + 1) << 8) |
      (text.charCodeAt(index + 2) << 16) |
      (text.charCodeAt(index + 3) << 24);
    hash ^= scramble(block);
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
  }
  let tail = 0;
  for (let index = text.length - 1; index >= blocks; index -= 1) {
    tail = (tail << 8) | text.charCodeAt(index);
  }
  if (text.length > blocks) hash ^= scramble(tail);
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function scramble(block: number): number {
  const mixed = Math.imul(block, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}

/**
 * The bucket of a key among those of its pool: hash mod `bucketCount`; SHA-1 with the policy
 * `modulo`, else murmur3.
 */
export function bucketInPool(
  key: Key,
  { bucketCount, policy }: { readonly bucketCount: number; readonly policy: string },
): BucketId {
  // Without a view yet: anything will do.
  const count = Math.max(1, bucketCount);
  return policy === 'modulo' ? sha1Modulo(key, count) : murmur3(key) % count;
}
