import { describe, expect, test } from '@jest/globals';

import { NO_CHANGE, MemberState, type View } from '../../src/core/view.js';
import type { GetStatusResponse } from '../../src/wire/gen/kvs/v1/leader.js';
import { kvsClient } from './support.js';

const member = (ordinal: number, state: MemberState) => ({
  ordinal,
  id: `id-${ordinal}`,
  address: `127.0.0.1:${ordinal}`,
  zone: '',
  weight: 1,
  state,
  incarnation: 1,
  drained: false,
  shard: 0,
  givenUp: 0,
});

const view: View = {
  clusterId: 'c',
  epoch: 5,
  parameters: {
    bucketCount: 2,
    replicaCount: 2,
    minInSync: 2,
    policy: 'ring',
    shardCount: 0,
    shardSpread: 'even',
    leaseMs: 700,
    graceMs: 800,
    rebalanceRateBytes: 0,
    rateSteered: false,
    rebalancePaused: false,
  },
  members: new Map([
    [1, member(1, MemberState.Up)],
    [2, member(2, MemberState.Down)],
  ]),
  rows: [
    { epoch: 1, replicas: [1, 2], target: [1, 2], floor: 2, founded: 0, before: [] },
    { epoch: 5, replicas: [1], target: [1, 2], floor: 2, founded: 0, before: [] },
  ],
  namespaces: new Map(),
  change: NO_CHANGE,
  reason: 'server 2 is down',
  atMs: 0,
};

const work = { recordsToSend: 0, recordsSent: 0, bytesSent: 0, recordsToGet: 0, recordsGot: 0 };
const held = { buckets: 2, primaries: 2, records: 1500, bytes: 4096, ...work };
const status: GetStatusResponse = {
  clusterId: 'c',
  epoch: 5,
  reason: 'server 2 is down',
  members: [
    { member: member(1, MemberState.Up), ...held, primaryRecords: 0, silentMs: 0 },
    { member: member(2, MemberState.Down), ...held, primaryRecords: 0, silentMs: 0 },
    { member: member(3, MemberState.Replaced), ...held, primaryRecords: 0, silentMs: 0 },
  ],
  bucketCount: 2,
  replicaCount: 2,
  poolReplicas: [],
  records: 1500,
  underReplicated: 1,
  unavailable: 0,
  viewChange: {
    phase: 'moving',
    replicasPlanned: 4,
    replicasMoved: 1,
    recordsPlanned: 3000,
    recordsMoved: 700,
    bytesPlanned: 8192,
    bytesMoved: 2048,
    replicasLeast: 3,
    elapsedMs: 1500,
    number: 4,
    cancelled: false,
    secondsLeft: 4.5,
    waitsFor: '',
    paused: false,
    rateBytes: 0,
  },
  brake: '',
  warnings: ['one bucket has fewer copies than wanted'],
};

describe('status', () => {
  test('is a screen for people', async () => {
    const { code, stdout } = await kvsClient(['status'], { status });
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual([
      'cluster      c',
      'health       serving, with fewer servers or copies than wanted',
      'epoch        5 (server 2 is down)',
      'servers      1 up, 1 down',
      'buckets      2, 2 replicas each',
      '             1 under-replicated, 0 unavailable',
      'records      1,500',
      'view change  moving █████··············· 1 of 4 replicas (25 %), 700 of 3,000 records, 2.0 KiB, 1.5 s, 5 s left',
      'warning      one bucket has fewer copies than wanted',
      '',
    ]);
  });

  test('has stable names for programs', async () => {
    const { stdout } = await kvsClient(['status', '-o', 'json'], { status });
    expect(JSON.parse(stdout)).toMatchObject({
      well: false,
      epoch: 5,
      servers: 2,
      servers_up: 1,
      buckets: 2,
      records: 1500,
      under_replicated: 1,
      view_change: { phase: 'moving', replicas_planned: 4, replicas_least: 3, seconds: 1.5 },
    });
  });

  test.each([
    [{ underReplicated: 0, members: status.members.slice(0, 1) }, 'well'],
    [{ unavailable: 1 }, '1 bucket unavailable'],
    [{ members: [] }, 'no server is up'],
  ])('%j', async (change, health) => {
    const { stdout } = await kvsClient(['status'], { status: { ...status, ...change } });
    expect(stdout.split('\n')[1]).toBe(`health       ${health}`);
  });
});

describe('members', () => {
  test('are a table for people', async () => {
    const { stdout } = await kvsClient(['members'], { status });
    expect(stdout.split('\n').slice(0, 2)).toEqual([
      'ID    ADDRESS      STATE     ZONE  WEIGHT  BUCKETS  PRIMARIES  RECORDS  SIZE',
      'id-1  127.0.0.1:1  up                   1        2          2     1500  4.0 KiB',
    ]);
  });

  test('are an object a line for programs; a door does not know the records', async () => {
    const client = { view: () => Promise.resolve(view) };
    const argv = ['members', '--server', 'h:1', '-o', 'json'];
    const { stdout } = await kvsClient(argv, { client });
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        id: 'id-1',
        address: '127.0.0.1:1',
        state: 'up',
        zone: '',
        weight: 1,
        buckets: 2,
        primaries: 2,
        records: null,
        bytes: null,
      },
      expect.objectContaining({ id: 'id-2', state: 'down', buckets: 1, primaries: 0 }),
    ]);
  });
});

describe('view', () => {
  test('once', async () => {
    const client = { view: () => Promise.resolve(view) };
    const { stdout } = await kvsClient(['view', '-o', 'json'], { client });
    expect(JSON.parse(stdout)).toMatchObject({
      epoch: 5,
      reason: 'server 2 is down',
      at: '1970-01-01T00:00:00.000Z',
      members: [{ id: 'id-1', buckets: 2, primaries: 2 }, { id: 'id-2' }],
    });
    expect((await kvsClient(['view'], { client })).stdout).toContain('epoch    5\n');
  });

  test('--watch prints a line an epoch until Ctrl-C', async () => {
    const interrupt = new AbortController();
    const client = {
      watchView: (onView: (view: View) => void) => {
        onView(view);
        onView({ ...view, epoch: 6, reason: 'server 2 is up' });
        setImmediate(() => interrupt.abort());
        return () => undefined;
      },
    };
    const told = await kvsClient(['view', '--watch'], { client, interrupted: interrupt.signal });
    expect(told.code).toBe(130);
    expect(told.stdout.split('\n')).toEqual([
      'epoch 5  1970-01-01T00:00:00.000Z  1 up, 1 down  server 2 is down',
      'epoch 6  1970-01-01T00:00:00.000Z  1 up, 1 down  server 2 is up',
      '',
    ]);
  });
});

test('locate tells the way from the key to its servers', async () => {
  const client = {
    view: () => Promise.resolve(view),
    locate: () => {
      const replicas = ['127.0.0.1:1', '127.0.0.1:2'];
      return Promise.resolve({
        key: Buffer.from('a'),
        hashed: 'a',
        bucket: 0,
        epoch: 1,
        primary: '127.0.0.1:1',
        replicas,
      });
    },
  };
  const { stdout } = await kvsClient(['locate', 'a', '-o', 'json'], { client });
  expect(JSON.parse(stdout)).toEqual({
    key: 'a',
    hash: 1_009_084_850,
    bucket: 0,
    epoch: 1,
    primary: '127.0.0.1:1',
    replicas: ['127.0.0.1:1', '127.0.0.1:2'],
  });
});
