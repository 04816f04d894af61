import { expect, test } from '@jest/globals';

import { Numbering } from '../../src/client/numbering.js';

test('numbers grow; the settled mark passes only over what is settled (D4)', () => {
  const numbering = new Numbering();
  expect([numbering.next(), numbering.next(), numbering.next()]).toEqual([1, 2, 3]);
  expect(numbering.settledBelow).toBe(1);
  numbering.settle(2);
  expect(numbering.settledBelow).toBe(1);
  numbering.settle(1);
  expect(numbering.settledBelow).toBe(3);
  numbering.settle(3);
  expect(numbering.settledBelow).toBe(4);
});
