// Small rules that the machines of the core are made of.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { describe, expect, test } from '@jest/globals';

import { DEDUP_AGE_MS, DedupTable } from '../../src/core/dedup.js';
import { Entry, EntryKind } from '../../src/core/entry.js';
import { ballotEpoch, makeBallot, MAX_INCARNATION, type Ordinal } from '../../src/core/ids.js';
import { Lease } from '../../src/core/lease.js';
import { Detector } from '../../src/core/membership.js';
import { Mode } from '../../src/core/namespace.js';
import { afterDoubt, NO_RECORDS, Operation, Result } from '../../src/core/operation.js';
import type { BucketMeta } from '../../src/core/message.js';
import type { LogRecord } from '../../src/core/outbox.js';
import { PrepareList } from '../../src/core/prepare-list.js';
import { Recovery } from '../../src/core/recovery.js';
import { Code, CODES } from '../../src/core/refusal.js';
import { tidied, withAdmitted, withoutDown, withTarget } from '../../src/core/view-change.js';
import { MapStore, rowOf, viewOf } from './cluster.js';

describe('refusals', () => {
  test('every code has a name, a gRPC status, an exit code and, unless it is Ok, a hint', () => {
    const rows = Object.entries(CODES);
    expect(rows).toHaveLength(Object.keys(Code).length);
    for (const [code, { name, grpcStatus, exitCode, hint }] of rows) {
      const well = Number(code) === Code.Ok;
      expect(name).toMatch(/^[A-Z_]+$/);
      expect(grpcStatus === 0).toBe(well);
      expect(exitCode === 0).toBe(well);
      expect(hint === '').toBe(well);
    }
    expect(new Set(rows.map(([, { name }]) => name)).size).toBe(rows.length);
  });

  test('only what has no effect or is protected by its number may be sent again', () => {
    for (const { name, retryable, noEffect } of Object.values(CODES)) {
      expect(retryable && !noEffect ? name : 'OUTCOME_UNKNOWN').toBe('OUTCOME_UNKNOWN');
    }
  });

  test('after an attempt of unknown outcome a refused write is unknown, a read is not (D4)', () => {
    const operation = (kind: 1 | 2): Operation =>
      new Operation(kind, 'k', null, 0, 0, '', 0, 0, null, 0, 0, 0, 0, 0);
    for (const code of Object.values(Code)) {
      const result = new Result(code, false, null, 0, 0, 0, 0, 0, 'why', NO_RECORDS, false, 0);
      expect(afterDoubt(operation(1), result)).toBe(result);
      const told = afterDoubt(operation(2), result).code;
      expect(told).toBe(CODES[code].noEffect ? Code.OutcomeUnknown : code);
    }
  });
});

describe('ballots', () => {
  test('order by bucket epoch, then by incarnation', () => {
    expect(makeBallot(2, 1)).toBeGreaterThan(makeBallot(1, MAX_INCARNATION));
    expect(makeBallot(2, 2)).toBeGreaterThan(makeBallot(2, 1));
    expect(ballotEpoch(makeBallot(7, MAX_INCARNATION))).toBe(7);
    expect(Number.isSafeInteger(makeBallot(2 ** 32, MAX_INCARNATION))).toBe(true);
  });
});

describe('the table of retries (D4)', () => {
  const result = { version: 1, previous: 0, found: false, committed: true, participants: 0 };

  test('keeps the first result of a number, and drops what the client has settled', () => {
    const table = new DedupTable();
    table.record('c', 1, 0, 0, result);
    table.record('c', 1, 0, 0, { ...result, version: 9 });
    expect(table.lookup('c', 1)).toEqual(result);
    table.record('c', 2, 2, 0, result);
    expect(table.lookup('c', 1)).toBe('settled');
    expect(table.lookup('c', 3)).toBe('new');
    expect(table.lookup('other', 1)).toBe('new');
  });

  test('tells a number that was given up from a new one, above all that it ever had, too', () => {
    const table = new DedupTable();
    table.record('c', 5, 0, 0, result);
    table.record('c', 3, 0, 0, result);
    table.record('c', 3, 9, 0, result);
    expect(table.lookup('c', 3)).toEqual(result);
    expect(table.lookup('c', 5)).toBe('settled');
    expect(table.lookup('c', 8)).toBe('settled');
    expect(table.lookup('c', 9)).toBe('new');
  });

  test('forgets clients that were silent for long, and only those', () => {
    const table = new DedupTable();
    table.record('silent', 1, 0, 0, result);
    table.record('late', 1, 0, DEDUP_AGE_MS, result);
    for (let number = 1; number <= 2000; number += 1) {
      table.record('busy', number, number, DEDUP_AGE_MS + 1000, result);
    }
    expect(table.rows().map(({ client }) => client)).toEqual(['late', 'busy']);
  });

  test('survives a snapshot', () => {
    const table = new DedupTable();
    table.record('c', 3, 2, 5, result);
    const copy = new DedupTable();
    copy.load(table.rows());
    expect(copy.rows()).toEqual(table.rows());
    expect(copy.lookup('c', 1)).toBe('settled');
  });
});

describe('the lease', () => {
  test('counts from when the answered beacon was sent (D1)', () => {
    const lease = new Lease(-Infinity);
    lease.sent(1000);
    expect(lease.holds(2, 1000, 700)).toBe(false);
    // The answer came late; that does not make the lease longer.
    lease.answer(2, 1, 1000, 1);
    expect(lease.holds(2, 1699, 700)).toBe(true);
    expect(lease.holds(2, 1700, 700)).toBe(false);
    expect(lease.holds(3, 1100, 700)).toBe(false);
  });

  test('does not count answers to beacons of a former incarnation', () => {
    const lease = new Lease(-Infinity);
    lease.answer(2, 1, 5000, 1);
    expect(lease.holds(2, 5001, 700)).toBe(false);
  });

  test('an answer from a newer view counts only when that view is adopted here, too', () => {
    const lease = new Lease(-Infinity);
    lease.sent(1000);
    lease.answer(2, 5, 1000, 4);
    expect(lease.holds(2, 1001, 700)).toBe(false);
    lease.adopted(5);
    expect(lease.holds(2, 1001, 700)).toBe(true);
  });

  test('a new primary waits for the grace after the last beacon it received (V2)', () => {
    const lease = new Lease(-Infinity);
    lease.beacon(1, 3, 1000);
    const wait = lease.waits([1, 2], 4, 1200, 800);
    expect(wait.over(lease, 1799)).toBe(false);
    expect(wait.over(lease, 1800)).toBe(true);
    // The former primary shows that it has stepped down.
    lease.beacon(1, 3, 2000);
    const shorter = lease.waits([1], 5, 2000, 800);
    lease.beacon(1, 5, 2001);
    expect(shorter.over(lease, 2001)).toBe(true);
  });

  test('after a restart the grace counts from the start: beacons may have been answered before', () => {
    const lease = new Lease(1000);
    expect(lease.waits([1], 2, 1001, 800).over(lease, 1799)).toBe(false);
  });
});

describe('the failure detector', () => {
  const settings = { downAfterMs: 1000, replaceAfterMs: 30_000, startupGraceMs: 10_000 };
  const none = new Set<number>();

  test('silence makes a server down, then replaced; a word makes it neither', () => {
    const detector = new Detector(settings);
    for (const server of [1, 2, 3]) detector.heard(server, 0);
    for (const server of [1, 2]) detector.heard(server, 900);
    expect(detector.look([1, 2, 3], [], none, 999).down).toEqual([]);
    expect(detector.look([1, 2, 3], [], none, 1000).down).toEqual([3]);
    detector.markDown(3, 1000);
    for (const server of [1, 2]) detector.heard(server, 30_900);
    expect(detector.look([1, 2], [3], none, 30_999).replaced).toEqual([]);
    expect(detector.look([1, 2], [3], none, 31_000).replaced).toEqual([3]);
    detector.heard(3, 31_001);
    expect(detector.look([1, 2], [3], none, 31_002).replaced).toEqual([]);
  });

  test('after a start of the view leader nobody is down before the grace is over', () => {
    const detector = new Detector(settings);
    for (const server of [1, 2, 3]) detector.expect(server, false, 0);
    expect(detector.look([1, 2, 3], [], none, 9999)).toEqual({ down: [], replaced: [], brake: '' });
    for (const server of [1, 2]) detector.heard(server, 9999);
    expect(detector.look([1, 2, 3], [], none, 10_000).down).toEqual([3]);
  });

  test('the last of one or two is taken out alone, but not the half that is left (V6)', () => {
    const detector = new Detector(settings);
    for (const server of [1, 2, 3, 4]) detector.heard(server, 0);
    detector.heard(4, 5000);
    const { down, brake } = detector.look([1, 2, 3, 4], [], none, 5000);
    expect(down).toEqual([]);
    expect(brake).toMatch(/3 of 4 servers vanished/);
  });
});

describe('rows of the bucket table', () => {
  const up =
    (...servers: number[]) =>
    (server: number): boolean =>
      servers.includes(server);

  test('lose who is down, but never the last copies (D6)', () => {
    const row = rowOf(5, [1, 2, 3]);
    expect(withoutDown(row, up(2, 3))).toMatchObject({ replicas: [2, 3], target: [1, 2, 3] });
    expect(withoutDown(row, up())).toBeNull();
    expect(withoutDown(row, up(1, 2, 3))).toBeNull();
  });

  test('keep a former holder until its successor is in', () => {
    const row = rowOf(5, [1, 2, 3], [4, 2, 3]);
    const admitted = withAdmitted(row, 4, 2, up(1, 2, 3, 4));
    expect(admitted).toMatchObject({ replicas: [4, 2, 3], sets: true });
    const two = withAdmitted(rowOf(5, [1, 2, 3], [4, 5, 3]), 4, 2, up(1, 2, 3, 4, 5));
    expect(two.replicas).toHaveLength(3);
    expect(two.replicas).toEqual(expect.arrayContaining([4, 3, 1]));
    expect(two.replicas[0]).toBe(4);
  });

  test('a lost learner changes the epoch, a new one does not', () => {
    const row = rowOf(5, [1, 2], [1, 3]);
    expect(withTarget(row, [1, 4])?.sets).toBe(true);
    expect(withTarget(row, [1, 3, 4])?.sets).toBe(false);
    expect(withTarget(row, [1, 3])).toBeNull();
  });

  test('are tidied when everything wanted is there', () => {
    expect(tidied(rowOf(5, [1, 2, 3], [2, 3]), up(2, 3))).toMatchObject({ replicas: [2, 3] });
    expect(tidied(rowOf(5, [1, 2, 3], [2, 3, 4]), up(2, 3, 4))).toBeNull();
    expect(tidied(rowOf(5, [1, 2], [2, 1]), up(1))).toBeNull();
  });

  test('a floor rises with what a bucket once had, up to the wish', () => {
    const row = rowOf(5, [1], [1, 2, 3], 1);
    expect(withAdmitted(row, 2, 2, up(1, 2)).floor).toBe(2);
    expect(withAdmitted({ ...row, floor: 2 }, 2, 1, up(1, 2)).floor).toBe(2);
  });
});

describe('recovery', () => {
  const { Set: Write } = EntryKind;

  function entry(sequence: number, value: string, ballot = 1): LogRecord {
    const bytes = new TextEncoder().encode(value);
    const made = new Entry(Write, sequence, ballot, sequence, 0, 0, '', 0, 0, 'k', bytes, null);
    return { type: 'entry', bucket: 1, entry: made, commitPoint: sequence - 1 };
  }

  function recover(store: MapStore, ...records: LogRecord[]): ReturnType<Recovery['finish']> {
    const recovery = new Recovery(new Map(), null, store, 1);
    for (const [position, record] of records.entries()) recovery.scan(position, record);
    for (const [position, record] of records.entries()) recovery.replay(position, record);
    return recovery.finish();
  }

  const textOf = (store: MapStore): string =>
    new TextDecoder().decode(store.get(1, 'k')?.value ?? new Uint8Array(0));

  test('applies what was known to be committed and keeps the rest as prepared', () => {
    const store = new MapStore();
    const bucket = recover(store, entry(1, 'a'), entry(2, 'b')).buckets.get(1);
    expect(bucket?.commitPoint).toBe(1);
    expect(bucket?.last).toBe(2);
    expect(textOf(store)).toBe('a');
  });

  test('a later entry of the same number replaces the tail', () => {
    const store = new MapStore();
    const records = [entry(1, 'a'), entry(2, 'b'), entry(2, 'c', 2), entry(3, 'd', 2)];
    const bucket = recover(store, ...records).buckets.get(1);
    expect(textOf(store)).toBe('c');
    expect(bucket?.promised).toBe(2);
  });

  test('what came before the bucket was given up is void, records included', () => {
    const store = new MapStore();
    const recovered = recover(store, entry(1, 'a'), entry(2, 'b'), { type: 'dropped', bucket: 1 });
    expect(recovered.buckets.size).toBe(0);
    expect(textOf(store)).toBe('');
  });

  test('what is gone since the checkpoint is named, so that the next one says so', () => {
    const meta = {
      sequence: 9,
      ballot: 3,
      version: 9,
      clockMs: 0,
      life: 0,
      dedup: [],
      intents: [],
      decisions: [],
      causal: null,
    };
    const recovery = new Recovery(new Map([[1, meta]]), null, new MapStore(), 1);
    const dropped = { type: 'dropped', bucket: 1 } as const;
    recovery.scan(5, dropped);
    recovery.replay(5, dropped);
    expect(recovery.finish()).toMatchObject({ buckets: new Map(), gone: [1] });
  });

  test('entries before an installed snapshot do not touch its records', () => {
    const store = new MapStore();
    const meta = {
      sequence: 9,
      ballot: 3,
      version: 9,
      clockMs: 0,
      life: 7,
      dedup: [],
      intents: [],
      decisions: [],
      causal: null,
    };
    const snapshot = new TextEncoder().encode('snapshot');
    store.put(1, { key: 'k', value: snapshot, version: 9 });
    const records = [entry(1, 'a'), entry(2, 'b'), { type: 'installed', bucket: 1, meta } as const];
    const bucket = recover(store, ...records).buckets.get(1);
    expect(bucket?.commitPoint).toBe(9);
    expect(textOf(store)).toBe('snapshot');
  });

  test('a snapshot counts against the checkpoint of a replica that was here before it', () => {
    const rest = { version: 9, clockMs: 0, dedup: [], intents: [], decisions: [], causal: null };
    const former = { sequence: 9, ballot: 3, life: 0, ...rest };
    const meta = { ...former, sequence: 4, life: 7 };
    const records = [
      { type: 'dropped', bucket: 1 } as const,
      { type: 'installed', bucket: 1, meta } as const,
    ];
    const recovered = (checkpoint: BucketMeta): number | undefined => {
      const recovery = new Recovery(new Map([[1, checkpoint]]), null, new MapStore(), 1);
      for (const [position, record] of records.entries()) recovery.scan(position, record);
      for (const [position, record] of records.entries()) recovery.replay(position, record);
      return recovery.finish().buckets.get(1)?.commitPoint;
    };
    expect(recovered(former)).toBe(4);
    // One that was made since goes on from what it says.
    expect(recovered({ ...meta, sequence: 6 })).toBe(6);
  });

  test('what was cut off stays so, however far the checkpoint is by then', () => {
    const rest = { version: 2, clockMs: 0, dedup: [], intents: [], decisions: [], causal: null };
    const meta: BucketMeta = { sequence: 2, ballot: 5, life: 0, ...rest };
    const lastAfter = (...later: LogRecord[]): number | undefined => {
      const records = [entry(2, 'stale'), entry(3, 'stale'), ...later];
      const recovery = new Recovery(new Map([[1, meta]]), null, new MapStore(), 1);
      for (const [position, record] of records.entries()) recovery.scan(position, record);
      for (const [position, record] of records.entries()) recovery.replay(position, record);
      return recovery.finish().buckets.get(1)?.last;
    };
    expect(lastAfter({ type: 'cut', bucket: 1, sequence: 1 }, entry(2, 'new', 5))).toBe(2);
    expect(lastAfter(entry(2, 'new', 5))).toBe(2);
    expect(lastAfter(entry(2, 'new', 5), entry(3, 'next', 5))).toBe(3);
  });

  test('deltas of the view follow each other, and a missing one is noticed', () => {
    const whole = viewOf(3, rowOf(3, [1, 2]), [1, 2]);
    const delta = (toEpoch: number): LogRecord => {
      const fields = { fromEpoch: toEpoch - 1, toEpoch, rows: new Map(), members: [] };
      const same = { parameters: null, change: null, namespaces: null };
      const next = { clusterId: 'test', ...same, reason: '', atMs: 0 };
      return { type: 'viewDelta', delta: { ...next, ...fields } };
    };
    const store = new MapStore();
    const view: LogRecord = { type: 'view', view: whole };
    expect(recover(store, view, delta(4), delta(5)).view).toMatchObject({ epoch: 5 });
    expect(recover(store, view, delta(3), delta(4)).view).toMatchObject({ epoch: 4 });
    expect(() => recover(store, view, delta(5))).toThrow(/from view 3 to 5/);
  });

  test('who left a causal bucket is waited for, though only the view became durable', () => {
    const carts = { number: 1, name: 'carts', mode: Mode.Causal, ttlMs: 0, replicas: 0, pool: 0 };
    const namespaces = new Map([[1, { ...carts, deleted: false }]]);
    const viewRecord = (epoch: number, replicas: number[], causal = true): LogRecord => {
      const view = viewOf(epoch, rowOf(epoch, replicas), [1, 2, 3]);
      return { type: 'view', view: causal ? { ...view, namespaces } : view };
    };
    const left = (...records: LogRecord[]): Ordinal[] => {
      const { buckets } = recover(new MapStore(), ...records).causal;
      return Array.from(buckets.get(0)?.former ?? []);
    };
    const first = viewRecord(3, [1, 2]);
    expect(left(first, viewRecord(4, [1, 3]))).toEqual([2]);
    // Here again, or nothing is here that it could lack.
    expect(left(first, viewRecord(4, [1, 3]), viewRecord(5, [1, 2]))).toEqual([3]);
    expect(left(first, viewRecord(4, [2, 3]))).toEqual([]);
    expect(left(viewRecord(3, [1, 2], false), viewRecord(4, [1, 3], false))).toEqual([]);
  });

  test('doing it twice is the same as doing it once', () => {
    const store = new MapStore();
    const records = [entry(1, 'a'), entry(2, 'b'), entry(3, 'c')];
    recover(store, ...records);
    const again = recover(store, ...records).buckets.get(1);
    expect(again?.commitPoint).toBe(2);
    expect(textOf(store)).toBe('b');
  });
});

describe('the prepared list', () => {
  test('holds contiguous entries, and says so when asked for others', () => {
    const list = new PrepareList(5);
    const made = (sequence: number): Entry =>
      new Entry(EntryKind.Set, sequence, 1, 1, 0, 0, '', 0, 0, 'k', null, null);
    list.append(made(6));
    list.append(made(7));
    expect(() => list.append(made(9))).toThrow(/bug/);
    expect(list.range(6, 7)).toHaveLength(2);
    expect(list.shift().sequence).toBe(6);
    expect([list.base, list.last]).toEqual([6, 7]);
    list.cutAfter(6);
    expect(list.last).toBe(6);
    expect(() => list.shift()).toThrow(/bug/);
  });

  test('lets go of what is committed while more follows', async () => {
    const list = new PrepareList(0);
    const committed: WeakRef<Entry>[] = [];
    for (let sequence = 1; sequence <= 10; sequence += 1) {
      list.append(new Entry(EntryKind.Set, sequence, 1, 1, 0, 0, '', 0, 0, 'k', null, null));
    }
    for (let count = 0; count < 9; count += 1) committed.push(new WeakRef(list.shift()));
    // A weak reference holds on until the turn that made it is over.
    await new Promise(setImmediate);
    collectGarbage();
    expect(committed.filter((entry) => entry.deref() !== undefined)).toHaveLength(0);
    expect(list.range(10, 10)).toHaveLength(1);
  });
});

/** Now, and all of it. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
