import { describe, expect, test } from '@jest/globals';
import { array, assert, nat, property } from 'fast-check';

import { Entry, EntryKind } from '../../src/core/entry.js';
import type { StoredRecord } from '../../src/core/operation.js';
import type { LogRecord } from '../../src/core/outbox.js';
import { Clock, ProcessClock } from '../../src/sim/clock.js';
import { SimulatedLog } from '../../src/sim/log.js';
import { CALM, Network } from '../../src/sim/network.js';
import { Prng } from '../../src/checkers/prng.js';
import { SimulatedStore } from '../../src/sim/store.js';
import { Trace } from '../../src/sim/trace.js';

const SPEED = { minFlushMs: 1, maxFlushMs: 3, stall: 0 };

function entry(bucket: number, sequence: number, ballot = 1): LogRecord & { type: 'entry' } {
  const { Set } = EntryKind;
  const entryMade = new Entry(Set, sequence, ballot, sequence, 0, 0, '', 0, 0, 'k', null, null);
  return { type: 'entry', bucket, entry: entryMade, commitPoint: 0 };
}

function record(key: string): StoredRecord {
  return { key, value: new Uint8Array(1), version: 1 };
}

function sequences(log: SimulatedLog): number[] {
  const found: number[] = [];
  log.replay(0, (_position, logged) => {
    if (logged.type === 'entry') found.push(logged.entry.sequence);
  });
  return found;
}

function sendMany(network: Network, clock: Clock, count: number): number[] {
  const arrived: number[] = [];
  for (let at = 0; at < count; at++) network.send(1, 2, 'test', () => arrived.push(at));
  clock.run(clock.now + 1000);
  return arrived;
}

function made(ordered: boolean): { clock: Clock; network: Network } {
  const clock = new Clock();
  return { clock, network: new Network(clock, new Prng(1), new Trace(), ordered) };
}

describe('the clock', () => {
  test('lets events happen in the order of time, then of their scheduling', () => {
    assert(
      property(array(nat(20)), (delays) => {
        const clock = new Clock();
        const happened: [number, number][] = [];
        for (const [at, delay] of delays.entries()) {
          clock.after(delay, () => happened.push([clock.now, at]));
        }
        clock.run(30);
        const expected = delays.map((delay, at): [number, number] => [delay, at]);
        expected.sort((left, right) => left[0] - right[0] || left[1] - right[1]);
        expect(happened).toEqual(expected);
      }),
    );
  });

  test('of a process may run fast, never slow, and its wall clock may be set', () => {
    const clock = new Clock();
    clock.run(100);
    const own = new ProcessClock(clock, 1.2, 5000);
    clock.run(200);
    expect(own.monotonicMs()).toBeCloseTo(120);
    expect(own.wallMs()).toBe(5200);
    own.stepWall(-1000);
    expect(own.wallMs()).toBe(4200);
    expect(own.monotonicMs()).toBeCloseTo(120);
  });
});

describe('the network', () => {
  test('loses, doubles and reorders as the weather says', () => {
    const { clock, network } = made(false);
    network.weather = { ...CALM, loss: 0.3, duplication: 0.2, maxDelayMs: 10 };
    const arrived = sendMany(network, clock, 1000);
    expect(new Set(arrived).size).toBeLessThan(900);
    expect(arrived.length).toBeGreaterThan(new Set(arrived).size);
    expect(arrived.some((at, index) => at < (arrived[index - 1] ?? 0))).toBe(true);
  });

  test('keeps the order of a link when links are ordered', () => {
    const { clock, network } = made(true);
    network.weather = { ...CALM, maxDelayMs: 10 };
    const inOrder = Array.from({ length: 200 }, (_, at) => at);
    expect(sendMany(network, clock, 200)).toEqual(inOrder);
  });

  test('never doubles an operation', () => {
    const { clock, network } = made(false);
    network.weather = { ...CALM, duplication: 1 };
    let arrived = 0;
    network.sendOnce(1, 2, 'operation', () => (arrived += 1));
    clock.run(100);
    expect(arrived).toBe(1);
  });

  test('cuts one direction of a link, for what is under way as well', () => {
    const { clock, network } = made(false);
    const arrived: string[] = [];
    network.send(1, 2, 'early', () => arrived.push('early'));
    network.cut(1, 2);
    network.send(1, 2, 'late', () => arrived.push('late'));
    network.send(2, 1, 'back', () => arrived.push('back'));
    clock.run(100);
    expect(arrived).toEqual(['back']);
    network.mend(1, 2);
    expect(sendMany(network, clock, 3)).toHaveLength(3);
  });
});

describe('the log', () => {
  test('keeps what it called durable, and any part of the rest, through a crash', () => {
    const kept = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      const clock = new Clock();
      const log = new SimulatedLog(clock, new Prng(seed), SPEED);
      let durable = 0;
      for (let sequence = 1; sequence <= 5; sequence++) log.append(entry(0, sequence));
      log.whenDurable(() => (durable = 5));
      clock.run(20);
      expect(durable).toBe(5);
      for (let sequence = 6; sequence <= 8; sequence++) log.append(entry(0, sequence));
      log.whenDurable(() => (durable = 8));
      log.crash();
      clock.run(40);
      expect(durable).toBe(5);
      const left = sequences(log);
      expect(left).toEqual([1, 2, 3, 4, 5, 6, 7, 8].slice(0, left.length));
      expect(left.length).toBeGreaterThanOrEqual(5);
      kept.add(left.length);
    }
    expect([...kept].toSorted()).toEqual([5, 6, 7, 8]);
  });

  test('gives back the entries that count, and knows what it gave up', () => {
    const clock = new Clock();
    const log = new SimulatedLog(clock, new Prng(1), SPEED);
    for (const sequence of [1, 2, 3]) log.append(entry(4, sequence));
    log.append(entry(4, 2, 9));
    log.append({ type: 'cut', bucket: 4, sequence: 2 });
    log.append(entry(4, 3, 9));
    expect(log.entriesFrom(4, 1, 10)).toEqual([]);
    clock.run(50);
    expect(log.entriesFrom(4, 1, 10)?.map(({ ballot }) => ballot)).toEqual([1, 9, 9]);
    expect(log.entriesFrom(4, 2, 1)).toHaveLength(1);
    expect(log.entriesFrom(4, 4, 10)).toEqual([]);
    expect(log.entriesFrom(5, 1, 10)).toBeNull();
    const meta = {
      sequence: 2,
      ballot: 9,
      version: 2,
      clockMs: 0,
      life: 0,
      dedup: [],
      intents: [],
      decisions: [],
      causal: null,
    };
    const position = log.replayFrom(new Map([[4, meta]]), 0);
    expect(position).toBe(5);
    log.truncateBefore(position);
    expect(log.entriesFrom(4, 1, 10)).toBeNull();
    expect(log.entriesFrom(4, 3, 10)).toHaveLength(1);
  });
});

describe('the store', () => {
  test('keeps checkpoints, ingests and a first part of the rest through a crash', () => {
    const survivors = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      const store = new SimulatedStore(new Prng(seed));
      store.put(1, record('checkpointed'));
      store.checkpoint(store.writes);
      for (const key of ['a', 'b', 'c']) store.put(2, record(key));
      store.ingest(3, [record('ingested')], true);
      expect(store.counts(2)).toEqual({ records: 3, bytes: 6 });
      store.crash();
      expect(store.records(1)).toHaveLength(1);
      expect(store.records(3)).toHaveLength(1);
      const left = store.records(2).map(({ key }) => key);
      expect(left).toEqual(['a', 'b', 'c'].slice(0, left.length));
      survivors.add(left.length);
    }
    expect([...survivors].toSorted()).toEqual([0, 1, 2, 3]);
  });
});
