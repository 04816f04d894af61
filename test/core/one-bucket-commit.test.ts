import { describe, expect, test } from '@jest/globals';

import { EntryKind } from '../../src/core/entry.js';
import { ConditionKind, type ConditionalWrite, readdressed } from '../../src/core/operation.js';
import { Code, LIMITS } from '../../src/core/refusal.js';
import { Cluster, rowOf, text, viewOf } from './cluster.js';

const keys = Array.from({ length: 5 }, (_, index) => `key-${index}`);

function write(key: string, value: string | null, ifVersion?: number): ConditionalWrite {
  const condition = ifVersion === undefined ? ConditionKind.None : ConditionKind.IfVersion;
  const bytes = value === null ? null : new TextEncoder().encode(value);
  return { key, value: bytes, condition, ifVersion: ifVersion ?? 0 };
}

/** Three servers, one bucket, and the first of them its primary. */
function one(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  cluster.adopt(viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]));
  cluster.pass(200);
  return cluster;
}

function kindsAt(cluster: Cluster, server: number): EntryKind[] {
  return cluster
    .node(server)
    .log.flatMap((record) => (record.type === 'entry' ? [record.entry.kind] : []));
}

describe('a setr within one bucket', () => {
  test('is one entry of the log, and has one version (D3)', () => {
    const cluster = one();
    const result = cluster.run(2, cluster.setr(keys.map((key) => write(key, 'x'))));
    expect(result).toMatchObject({ code: Code.Ok, participants: 1 });
    for (const server of [1, 2, 3]) expect(kindsAt(cluster, server)).toEqual([EntryKind.Commit]);
    for (const key of keys) {
      expect(cluster.run(3, cluster.get(key))).toMatchObject({ version: result?.version });
    }
  });

  test('deletes what it is to delete', () => {
    const cluster = one();
    cluster.run(1, cluster.set('key-0', 'x'));
    cluster.run(1, cluster.setr([write('key-0', null), write('key-1', 'y')]));
    expect(cluster.run(1, cluster.get('key-0'))).toMatchObject({ found: false });
    expect(text(cluster.run(1, cluster.get('key-1')))).toBe('y');
  });

  test('is answered when every replica has it, and read from then on (D2)', () => {
    const cluster = one();
    cluster.lost = ({ message, from }) => message.type === 'prepareAck' && from === 3;
    const request = cluster.submit(1, cluster.setr(keys.map((key) => write(key, 'x'))));
    cluster.settle();
    expect(cluster.results.has(request)).toBe(false);
    expect(cluster.run(1, cluster.get('key-0'))).toMatchObject({ found: false });
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
    expect(text(cluster.run(1, cluster.get('key-0')))).toBe('x');
  });

  test('that is refused changes nothing, and leaves a trace that speaks for its copies', () => {
    const cluster = one();
    const refused = cluster.setr([write('key-0', 'x'), write('key-1', 'x', 7)]);
    const why = "one key's version is 0, not 7";
    const result = cluster.run(1, refused);
    expect(result).toMatchObject({ code: Code.ConditionNotMet, detail: why });
    expect(cluster.run(1, cluster.get('key-0'))).toMatchObject({ found: false });
    // Now the condition would be met, but the request was refused before.
    while (cluster.run(1, cluster.set('key-1', 'y'))?.version !== 7);
    expect(cluster.run(1, refused)?.code).toBe(Code.Conflict);
    expect(cluster.run(1, cluster.get('key-0'))).toMatchObject({ found: false });
  });

  test('sent twice takes effect once, and both are told the same (D4)', () => {
    const cluster = one();
    const twice = cluster.setr(keys.map((key) => write(key, 'x')));
    const requests = [cluster.submit(1, twice), cluster.submit(1, twice)];
    cluster.settle();
    const [first, second] = requests.map((request) => cluster.results.get(request));
    expect(first).toMatchObject({ code: Code.Ok, participants: 1 });
    expect(second).toEqual(first);
    expect(cluster.run(1, twice)).toEqual(first);
    expect(kindsAt(cluster, 1)).toEqual([EntryKind.Commit]);
  });

  test('is judged by the writes that are under way, of others of its kind as well', () => {
    const cluster = one();
    const requests = [
      cluster.submit(1, cluster.setr([write('key-0', 'x'), write('key-1', 'x')])),
      cluster.submit(1, cluster.setr([write('key-0', null, 1), write('key-2', 'y')])),
      cluster.submit(1, cluster.setr([write('key-0', 'z', 1)])),
      cluster.submit(1, cluster.setIf('key-1', 'w', 1)),
      cluster.submit(1, cluster.setIf('key-0', 'w', 0)),
    ];
    cluster.settle();
    const codes = requests.map((request) => cluster.results.get(request)?.code);
    const { Ok, ConditionNotMet } = Code;
    expect(codes).toEqual([Ok, Ok, ConditionNotMet, Ok, Ok]);
    expect(text(cluster.run(1, cluster.get('key-0')))).toBe('w');
  });

  test('survives every server (D2)', () => {
    const cluster = one();
    cluster.run(1, cluster.setr(keys.map((key) => write(key, 'x'))));
    const view = viewOf(2, rowOf(1, [1, 2, 3]), [1, 2, 3]);
    for (const server of [1, 2, 3]) cluster.restart(server, 2);
    cluster.adopt(view);
    cluster.pass(2000);
    for (const key of keys) expect(text(cluster.run(2, cluster.get(key)))).toBe('x');
  });

  test('is taken over by the next primary, whose answer the client gets (D4)', () => {
    const cluster = one();
    cluster.lost = ({ message }) => message.type === 'prepareAck';
    const asked = cluster.setr(keys.map((key) => write(key, 'x')));
    cluster.submit(1, asked);
    cluster.settle();
    cluster.lost = ({ from, to }) => from === 1 || to === 1;
    cluster.adopt(viewOf(2, rowOf(2, [2, 3], [2, 3, 1]), [1, 2, 3]), [2, 3]);
    cluster.pass(2000);
    expect(cluster.run(2, asked)).toMatchObject({ code: Code.Ok, participants: 1 });
    for (const key of keys) expect(text(cluster.run(2, cluster.get(key)))).toBe('x');
  });

  test('waits while a getr reads one of its keys', () => {
    const cluster = one();
    const held = Object.assign(readdressed(cluster.getr(['key-0']), 0, 5000, 0), {
      reads: { keys: ['key-0'], holdMs: 100 },
    });
    expect(cluster.run(1, held)?.code).toBe(Code.Ok);
    const request = cluster.submit(1, cluster.setr([write('key-0', 'x'), write('key-1', 'x')]));
    cluster.settle();
    expect(cluster.results.has(request)).toBe(false);
    cluster.pass(400);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
  });

  test('many large ones leave in several messages (U3)', () => {
    const cluster = one();
    let largest = 0;
    cluster.lost = ({ message }) => {
      if (message.type !== 'prepare') return false;
      const values = message.entries.flatMap((entry) => entry.transaction?.writes ?? []);
      const bytes = values.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
      largest = Math.max(largest, bytes);
      return false;
    };
    const value = 'x'.repeat(LIMITS.valueBytes);
    const commits = Array.from({ length: 12 }, (_, at) =>
      cluster.submit(1, cluster.setr([write(`a${at}`, value), write(`b${at}`, value)])),
    );
    cluster.settle();
    const codes = commits.map((request) => cluster.results.get(request)?.code);
    expect(new Set(codes)).toEqual(new Set([Code.Ok]));
    // Each of them is more than a message should have.
    expect(largest).toBe(2 * LIMITS.valueBytes);
  });
});
