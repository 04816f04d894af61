import { describe, expect, test } from '@jest/globals';

import { type CpuProfile, splitProfile } from '../../src/bench/profile-split.js';

const DIST = 'file:///somewhere/dist/';

/** One sample a node, 10 µs each, in the order of the list; the first node is the root. */
function profileOf(
  frames: readonly (readonly [functionName: string, url: string, caller?: number])[],
): CpuProfile {
  const nodes = frames.map(([functionName, url], id) => ({
    id,
    callFrame: { functionName, url },
    children: frames.flatMap(([, , caller = 0], child) => {
      return child > 0 && caller === id ? [child] : [];
    }),
  }));
  const samples = frames.map((_, id) => id);
  return { nodes, startTime: 1000, samples, timeDeltas: samples.map(() => 10) };
}

describe('the time of a profile', () => {
  test('counts for the part whose function ran, or whose function called the machine', () => {
    const profile = profileOf([
      ['(root)', ''],
      ['dispatch', `${DIST}core/server.js`],
      ['set', '', 1],
      ['copy', 'node:buffer', 1],
      ['append', `${DIST}storage/log.js`],
      ['writevSync', 'node:fs', 4],
      ['writeBuffers', '', 5],
      ['sendMessage', 'file:///x/node_modules/@grpc/grpc-js/build/src/call.js'],
      ['onread', 'node:net'],
      ['processTimers', 'node:internal/timers'],
      ['(garbage collector)', ''],
      ['(program)', ''],
      ['(idle)', ''],
    ]);
    expect(Object.fromEntries(splitProfile(profile, 0, 1e9))).toEqual({
      protocol: 30,
      'log and engine': 10,
      'durable write': 20,
      'grpc-js': 10,
      'HTTP/2 and sockets': 10,
      'event loop, timers, promises': 10,
      'garbage collection': 10,
      'outside of JavaScript': 10,
    });
  });

  test('counts only within the window', () => {
    const profile = profileOf([
      ['(root)', ''],
      ['a', `${DIST}core/a.js`],
      ['b', `${DIST}wire/b.js`],
      ['c', `${DIST}client/c.js`],
    ]);
    // Samples end at 1010, 1020, 1030 and 1040.
    expect(Object.fromEntries(splitProfile(profile, 1020, 1030))).toEqual({ codec: 10 });
  });
});
