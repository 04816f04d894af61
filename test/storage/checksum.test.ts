// The sum of few bytes, which is made here, against that of the runtime.
import { crc32 } from 'node:zlib';

import { expect, test } from '@jest/globals';
import * as fc from 'fast-check';

import { checksum } from '../../src/storage/checksum.js';

test('a checksum is the CRC-32 of the runtime, however many bytes and whatever went before', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(2 ** 32 - 1), (bytes, seed) => {
      expect(checksum(bytes, seed)).toBe(crc32(bytes, seed));
    }),
    { numRuns: 1000 },
  );
});
