import { describe, expect, test } from '@jest/globals';

import { checkLists } from '../../src/checkers/lists.js';
import { History, toBytes } from '../../src/checkers/history.js';
import { ConditionKind, Operation, OperationKind, Result } from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';

type Values = Readonly<Record<string, string>>;
type Ending = (outcome?: 'ok' | 'unknown' | 'nothing') => void;

/** Writes a history of lists `a` and `b` by hand. */
class Story {
  readonly history = new History();

  append(values: Values): Ending {
    const writes = Object.entries(values).map(([key, value]) => {
      return { key, value: toBytes(value), condition: ConditionKind.None, ifVersion: 0 };
    });
    const { SetR } = OperationKind;
    return this.begin(new Operation(SetR, 'a', null, 0, 0, 'c', 1, 0, writes, 0, 0, 0, 0, 0), {});
  }

  read(values: Values): Ending {
    const reads = { keys: ['a', 'b'], holdMs: 0 };
    const { GetR } = OperationKind;
    const operation = new Operation(GetR, 'a', null, 0, 0, 'c', 0, 0, null, 0, 0, 0, 0, 0, reads);
    return this.begin(operation, values);
  }

  get found(): string[] {
    return checkLists(this.history, ['a', 'b']).map(({ promise }) => promise);
  }

  private begin(operation: Operation, seen: Values): Ending {
    const call = this.history.begin(0, operation, 0);
    const records = Object.entries(seen).map(([key, value]) => {
      return { key, value: toBytes(value), version: value.length };
    });
    const result = new Result(Code.Ok, true, null, 1, 0, 1, 0, 1, '', records, false, 1);
    return (outcome = 'ok') => this.history.finish(call, outcome, result, 0);
  }
}

describe('lists that setr appends to', () => {
  test('are fine in any order that makes sense', () => {
    const story = new Story();
    story.append({ a: '1', b: '1' })();
    const late = story.append({ a: '1,2' });
    story.read({ a: '1', b: '1' })();
    late();
    story.append({ b: '1,3' })('nothing');
    story.append({ b: '1,4' })('unknown');
    story.read({ a: '1,2', b: '1,4' })();
    expect(story.found).toEqual([]);
  });

  test('two reads that see two appends in different orders are a cycle (D3)', () => {
    const story = new Story();
    const first = story.append({ a: '1' });
    const second = story.append({ b: '2' });
    const left = story.read({ a: '1' });
    const right = story.read({ b: '2' });
    for (const end of [first, second, left, right]) end();
    story.read({ a: '1', b: '2' })();
    expect(story.found).toEqual(['D3']);
  });

  test('half a commit, and a read from the past, are cycles (D3)', () => {
    const half = new Story();
    half.append({ a: '1', b: '1' })();
    half.read({ a: '1' })();
    expect(half.found).toEqual(['D3']);
    const past = new Story();
    past.append({ a: '1' })();
    past.append({ b: '2' })();
    past.read({ a: '1' })();
    expect(past.found).toEqual(['D3']);
  });

  test('lost, doubled and forked elements are found', () => {
    const lost = new Story();
    lost.append({ a: '1' })();
    lost.append({ a: '2' })();
    lost.read({ a: '2' })();
    expect(lost.found).toEqual(['D3']);
    const doubled = new Story();
    doubled.read({ a: '1,1' })();
    expect(doubled.found).toEqual(['D4']);
    const refused = new Story();
    refused.append({ a: '1' })('nothing');
    refused.read({ a: '1' })();
    expect(refused.found).toEqual(['D3']);
  });
});
