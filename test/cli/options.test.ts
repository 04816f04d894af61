import { describe, expect, test } from '@jest/globals';

import { parseDuration, parseSize, parseVersion, wholeNumber } from '../../src/cli/options.js';

describe('durations', () => {
  test.each([
    ['250ms', 250],
    ['5s', 5000],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', '5', '0s', '-1s', '5 s', '1w', '1e3s', 'ms', '9999999999999h'])(
    '"%s" is refused',
    (text) => {
      expect(() => parseDuration(text)).toThrow('250ms, 5s or 1h');
    },
  );
});

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['512', 512],
    ['64KiB', 65_536],
    ['16MiB', 16_777_216],
    ['0.5GiB', 536_870_912],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', 'MiB', '1MB', '-1', '1 MiB'])('"%s" is refused', (text) => {
    expect(() => parseSize(text)).toThrow('64KiB');
  });
});

test('versions are whole numbers that a number holds exactly', () => {
  expect(parseVersion('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER);
  for (const text of ['9007199254740993', '-1', '1.0', '0x10', '']) {
    expect(() => parseVersion(text)).toThrow('version');
  }
});

test('whole numbers have bounds', () => {
  expect(wholeNumber(1, 16)('16')).toBe(16);
  for (const text of ['0', '17', '1.5', 'x']) {
    expect(() => wholeNumber(1, 16)(text)).toThrow('from 1 to 16');
  }
});
