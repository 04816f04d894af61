import { describe, expect, test } from '@jest/globals';

import {
  ConditionKind,
  Operation,
  OperationKind,
  Result,
  type StoredRecord,
} from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import { linearize } from '../../src/checkers/linearizability.js';
import { checkHistory, checkLastWrites, judge } from '../../src/checkers/register.js';
import { checkAtomicity, checkTotal } from '../../src/checkers/transactions.js';
import { type Call, History, type Outcome, toBytes } from '../../src/checkers/history.js';

/** Writes a history by hand; times are steps. */
class Story {
  readonly history = new History();
  private now = 0;

  begin(kind: OperationKind, key: string, value: string | null, ifVersion = -1): Call {
    const bytes = value === null ? null : toBytes(value);
    const condition = ifVersion < 0 ? ConditionKind.None : ConditionKind.IfVersion;
    const operation = new Operation(
      kind,
      key,
      bytes,
      condition,
      Math.max(0, ifVersion),
      'c',
      1,
      0,
      null,
      0,
      0,
      0,
      0,
      0,
    );
    return this.history.begin(0, operation, this.now++);
  }

  setr(...pairs: [string, string | null][]): Call {
    const writes = pairs.map(([key, value]) => {
      const bytes = value === null ? null : toBytes(value);
      return { key, value: bytes, condition: ConditionKind.None, ifVersion: 0 };
    });
    const { SetR } = OperationKind;
    const key = pairs[0]?.[0] ?? '';
    const { None } = ConditionKind;
    const operation = new Operation(SetR, key, null, None, 0, 'c', 1, 0, writes, 0, 0, 0, 0, 0);
    return this.history.begin(0, operation, this.now++);
  }

  end(call: Call, outcome: Outcome, version = 0, value: string | null = null, found = true): void {
    const exists = call.isRead ? value !== null : found;
    const bytes = value === null ? null : toBytes(value);
    const result = new Result(Code.Ok, exists, bytes, version, 0, 1, 0, 1, '', [], false, 0);
    this.history.finish(call, outcome, outcome === 'unknown' ? null : result, this.now++);
  }

  set(key: string, value: string, version: number, ifVersion = -1): void {
    this.end(this.begin(OperationKind.Set, key, value, ifVersion), 'ok', version);
  }

  get(key: string, value: string | null, version = 0): void {
    this.end(this.begin(OperationKind.Get, key, null), 'ok', version, value);
  }
}

function record(key: string, value: string, version: number): [string, StoredRecord] {
  return [key, { key, value: toBytes(value), version }];
}

function answerOf(story: Story, ...keys: string[]): string {
  return judge(story.history, keys.length === 0 ? ['k'] : keys).answer;
}

describe('linearizability of one key', () => {
  test('holds for a sequence that makes sense', () => {
    const story = new Story();
    story.get('k', null);
    story.set('k', 'a', 1);
    story.get('k', 'a', 1);
    story.set('k', 'b', 2, 1);
    story.get('k', 'b', 2);
    expect(answerOf(story)).toBe('linearizable');
  });

  test('is broken by a stale read', () => {
    const story = new Story();
    story.set('k', 'a', 1);
    story.set('k', 'b', 2);
    story.get('k', 'a', 1);
    expect(answerOf(story)).toBe('violated');
    expect(checkHistory(story.history, []).violations[0]?.promise).toBe('D1');
  });

  test('is broken by a lost acknowledged write, which is named', () => {
    const story = new Story();
    story.set('k', 'a', 1);
    story.get('k', null);
    expect(answerOf(story)).toBe('violated');
    expect(checkLastWrites(story.history)[0]?.what).toContain('k = a is lost');
  });

  test('lets overlapping operations happen in either order, but for all alike', () => {
    for (const [first, second] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      const story = new Story();
      const one = story.begin(OperationKind.Set, 'k', 'a');
      const two = story.begin(OperationKind.Set, 'k', 'b');
      story.end(one, 'ok', first === 'a' ? 1 : 2);
      story.end(two, 'ok', first === 'a' ? 2 : 1);
      story.get('k', second, 2);
      expect(answerOf(story)).toBe('linearizable');
      story.get('k', first, 1);
      expect(answerOf(story)).toBe('violated');
    }
  });

  test('lets a write of unknown outcome happen late, or never, but once', () => {
    const late = new Story();
    late.end(late.begin(OperationKind.Set, 'k', 'x'), 'unknown');
    late.set('k', 'a', 1);
    late.get('k', 'a', 1);
    expect(answerOf(late)).toBe('linearizable');
    late.get('k', 'x', 2);
    expect(answerOf(late)).toBe('linearizable');
    late.set('k', 'b', 3);
    late.get('k', 'b', 3);
    late.get('k', 'x', 2);
    expect(answerOf(late)).toBe('violated');
  });

  test('does not let a refused write happen', () => {
    const story = new Story();
    story.end(story.begin(OperationKind.Set, 'k', 'x'), 'nothing');
    story.get('k', 'x', 1);
    expect(answerOf(story)).toBe('violated');
  });

  test('judges conditions, when they held and when they did not', () => {
    const met = new Story();
    met.set('k', 'a', 1);
    met.set('k', 'b', 2);
    met.set('k', 'c', 3, 1);
    expect(answerOf(met)).toBe('violated');
    const refused = new Story();
    refused.set('k', 'a', 1);
    refused.end(refused.begin(OperationKind.Set, 'k', 'b', 1), 'refused', 1);
    expect(answerOf(refused)).toBe('violated');
  });

  test('wants versions to grow, and one version for a value', () => {
    const shrinking = new Story();
    shrinking.set('k', 'a', 5);
    shrinking.set('k', 'b', 4);
    expect(answerOf(shrinking)).toBe('violated');
    const twice = new Story();
    twice.set('k', 'a', 5);
    twice.get('k', 'a', 7);
    expect(checkHistory(twice.history, []).violations[0]?.promise).toBe('D4');
  });

  test('gives up when it takes too long', () => {
    const steps = Array.from({ length: 12 }, (_, at) => ({
      invoked: at,
      completed: 100 + at,
      apply: (state: number) => (state === 0 && at === 11 ? null : state + at + 1),
    }));
    expect(linearize(steps, 0, String, 5).answer).toBe('undecided');
  });
});

describe('commits over several keys', () => {
  test('are one step for those who read both keys', () => {
    const story = new Story();
    const both = story.setr(['j', 'a'], ['k', 'b']);
    story.get('j', 'a', 1);
    story.get('k', null);
    story.end(both, 'ok', 1);
    expect(answerOf(story, 'j')).toBe('linearizable');
    expect(answerOf(story, 'k')).toBe('linearizable');
    expect(answerOf(story, 'j', 'k')).toBe('violated');
    expect(checkHistory(story.history, ['j', 'k']).violations[0]?.promise).toBe('D3');
  });

  test('leave all of their writes or none', () => {
    const story = new Story();
    story.end(story.setr(['j', 'a'], ['k', 'b']), 'ok', 3);
    story.end(story.setr(['j', 'c'], ['k', 'd']), 'nothing');
    const check = (...records: [string, StoredRecord][]): string[] =>
      checkAtomicity(story.history, new Map(records)).map(({ what }) => what);
    expect(check(record('j', 'a', 3), record('k', 'b', 3))).toEqual([]);
    expect(check(record('j', 'a', 3), record('k', 'z', 4))).toEqual([]);
    expect(check(record('j', 'a', 3), record('k', 'z', 2))[0]).toContain('half a setr');
    expect(check(record('j', 'c', 4), record('k', 'b', 3))[0]).toContain('aborted');
  });

  test('keep the total of the accounts', () => {
    const rest = new Map([
      ['a', { key: 'a', value: toBytes('90:1'), version: 1 }],
      ['b', { key: 'b', value: toBytes('110:2'), version: 1 }],
    ]);
    expect(checkTotal(['a', 'b'], rest, 200)).toEqual([]);
    expect(checkTotal(['a', 'b'], rest, 300)[0]?.promise).toBe('D3');
  });
});
