import { describe, expect, test } from '@jest/globals';

import { NO_CONTEXT } from '../../src/core/causal-record.js';
import { Entry, EntryKind } from '../../src/core/entry.js';
import { VoteRequest } from '../../src/core/message.js';
import { keyIn, Mode, type Namespace } from '../../src/core/namespace.js';
import {
  ConditionKind,
  type Operation,
  readdressed,
  type Result,
} from '../../src/core/operation.js';
import { bucketOf } from '../../src/core/pools.js';
import { Code, LIMITS } from '../../src/core/refusal.js';
import { Cluster, rowOf, text, viewOf } from './cluster.js';

const value = new TextEncoder().encode('x');

function write(key: string, condition: ConditionKind = ConditionKind.None, ifVersion = 0) {
  return { key, value, condition, ifVersion };
}

/** Three servers, two buckets with different primaries. `a` is in bucket 0, `b` in bucket 1. */
function two(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  const view = viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]);
  const rows = [rowOf(1, [1, 2, 3]), rowOf(1, [2, 3, 1])];
  cluster.adopt({ ...view, rows, parameters: { ...view.parameters, bucketCount: 2 } });
  cluster.pass(200);
  return cluster;
}

/** A commit of `writes` that is decided and that bucket 1 cannot finish before acks come again. */
function resolving(
  cluster: Cluster,
  writes: Parameters<Cluster['setr']>[0],
  as: (operation: Operation) => Operation = (operation) => operation,
): Result | undefined {
  cluster.lost = ({ message }) => message.type === 'decide';
  const result = cluster.run(1, as(cluster.setr(writes)));
  expect(result?.code).toBe(Code.Ok);
  cluster.lost = ({ message, to }) => message.type === 'prepareAck' && to === 2;
  cluster.pass(300);
  return result;
}

const TTL_MS = 10_000;

/** The two buckets, a namespace whose values live for a while, and a key of it in each bucket. */
function named(): { cluster: Cluster; mine: string; more: string; other: string } {
  const cluster = two();
  const view = cluster.node(1).machine.view;
  const brief: Namespace = {
    number: 1,
    name: 'brief',
    mode: Mode.Strong,
    ttlMs: TTL_MS,
    replicas: 0,
    pool: 0,
    deleted: false,
  };
  const later = { ...view, epoch: 2, namespaces: new Map([[brief.number, brief]]) };
  cluster.adopt(later);
  cluster.pass(200);
  const inBucket = (bucket: number, from = 0): string => {
    for (let index = from; ; index += 1) {
      const key = keyIn(brief.number, `key-${index}`);
      if (bucketOf(key, later) === bucket) return key;
    }
  };
  return { cluster, mine: inBucket(0), more: inBucket(0, 100), other: inBucket(1) };
}

/** What a client of a namespace sends. */
function inNamespace(operation: Operation): Operation {
  const context = { ...NO_CONTEXT, epoch: 2 };
  return Object.assign(readdressed(operation, 0, operation.timeoutMs, 0), { context });
}

const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);

describe('setr', () => {
  test('all keys get the same version, and the buckets that took part are told (D3)', () => {
    const cluster = two();
    const result = cluster.run(1, cluster.setr(keys.map((key) => write(key))));
    expect(result).toMatchObject({ code: Code.Ok, participants: 2 });
    cluster.pass(500);
    for (const key of keys) {
      expect(cluster.run(3, cluster.get(key))?.version).toBe(result?.version);
    }
  });

  test('one unmet condition aborts everything at once', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    writes[3] = write('key-3', ConditionKind.IfVersion, 5);
    const result = cluster.run(1, cluster.setr(writes));
    expect(result?.code).toBe(Code.ConditionNotMet);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBeNull();
  });

  test('of commits that meet one that holds a key, some wait and the others are conflicts', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    // It cannot be decided.
    cluster.lost = ({ message }) => message.type === 'vote';
    cluster.submit(1, cluster.setr(writes));
    cluster.settle();
    const later = Array.from({ length: 12 }, () => cluster.submit(1, cluster.setr(writes)));
    cluster.lost = ({ message }) => message.type === 'vote' && message.yes;
    cluster.settle();
    const codes = later.map((request) => cluster.results.get(request)?.code);
    expect(new Set(codes)).toEqual(new Set([undefined, Code.Conflict]));
    cluster.lost = () => false;
    cluster.pass(1000);
    const waited = later.filter((_, index) => codes[index] === undefined);
    const results = waited.map((request) => cluster.results.get(request)?.code);
    expect(new Set(results)).toEqual(new Set([Code.Ok]));
  });

  test('of two commits that hold what the other one wants, one goes on at once', () => {
    const cluster = two();
    const writes = keys.map((key) => write(key));
    const there = cluster.submit(1, cluster.setr(writes));
    const back = cluster.submit(2, cluster.setr(writes.toReversed()));
    cluster.settle();
    const codes = [there, back].map((request) => cluster.results.get(request)?.code);
    expect(codes.toSorted()).toEqual([Code.Ok, Code.Conflict].toSorted());
  });

  test('an abort that comes before the intent is durable is remembered', () => {
    const cluster = two();
    // The bucket of `a` says no; that of `b` has no replica to rely on.
    const writes = [write('a', ConditionKind.IfVersion, 5), write('b')];
    cluster.lost = ({ message, to }) => message.type === 'prepareAck' && to === 2;
    expect(cluster.run(1, cluster.setr(writes))?.code).toBe(Code.ConditionNotMet);
    cluster.lost = ({ message }) => message.type === 'decide';
    cluster.pass(400);
    expect(cluster.run(3, cluster.get('b'))).toMatchObject({ code: Code.Ok, found: false });
  });

  test('a key of a commit that is decided is waited for, whatever the lots', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    // Each begins with a key of bucket 0 that no other one wants.
    const later = keys
      .slice(1)
      .map((key) => cluster.submit(1, cluster.setr([write(key), write('b')])));
    const noes: boolean[] = [];
    cluster.lost = ({ message, to }) => {
      if (message.type === 'vote' && !message.yes) noes.push(true);
      return message.type === 'prepareAck' && to === 2;
    };
    cluster.settle();
    expect(noes).toEqual([]);
    cluster.lost = () => false;
    cluster.pass(2000);
    const codes = later.map((request) => cluster.results.get(request)?.code);
    expect(new Set(codes)).toEqual(new Set([Code.Ok]));
  });

  test('a single write goes before the commits that wait for its key', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    const commit = cluster.submit(1, cluster.setr([write('a'), write('b')]));
    const set = cluster.submit(2, cluster.set('b', 'y'));
    cluster.settle();
    cluster.lost = () => false;
    cluster.pass(2000);
    const [first, second] = [set, commit].map((request) => cluster.results.get(request));
    expect([first?.code, second?.code]).toEqual([Code.Ok, Code.Ok]);
    expect(first?.version).toBeLessThan(second?.version ?? 0);
  });

  test('one of a single bucket waits for a commit that holds one of its keys', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    const within = cluster.submit(2, cluster.setr([write('b'), write('key-0')]));
    cluster.settle();
    expect(cluster.results.has(within)).toBe(false);
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.results.get(within)).toMatchObject({ code: Code.Ok, participants: 1 });
  });

  test('the coordinator logs no intent of its own, and keeps no values that it has written', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decideAck';
    expect(cluster.run(1, cluster.setr([write('a'), write('b')]))?.code).toBe(Code.Ok);
    const kinds = (bucket: number) =>
      cluster.node(3).log.flatMap((record) => {
        return record.type === 'entry' && record.bucket === bucket ? [record.entry.kind] : [];
      });
    expect(kinds(0)).toEqual([EntryKind.Commit]);
    expect(kinds(1)).toEqual([EntryKind.Intent, EntryKind.Resolve]);
    const [decision] = cluster.node(1).machine.takeDirty().get(0)?.decisions ?? [];
    expect(decision?.transaction).toMatchObject({ commit: true, participants: [0, 1], writes: [] });
    cluster.lost = () => false;
    cluster.pass(500);
    expect(kinds(0)).toEqual([EntryKind.Commit, EntryKind.Forget]);
  });

  test('a vote of the coordinator’s own bucket that is asked for twice is given once', () => {
    const cluster = two();
    const ours = keys.filter((key) => bucketOf(key, cluster.node(1).machine.view) === 0);
    const hold = (key: string): void => {
      const reads = { keys: [key], holdMs: 160 };
      const getr = readdressed(cluster.getr([key]), 0, 5000, 0);
      expect(cluster.run(1, Object.assign(getr, { reads }))?.code).toBe(Code.Ok);
    };
    hold(ours[0]!);
    // That of `b` is missing, too.
    cluster.lost = ({ message, from }) => message.type === 'vote' && from === 2;
    const commit = cluster.setr([write(ours[0]!), write(ours[1]!), write('b')]);
    const request = cluster.submit(1, commit);
    cluster.pass(40);
    hold(ours[1]!);
    // In the tick that ends the hold the coordinator asks for the vote again.
    cluster.pass(200);
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
  });

  test('one that an earlier build began, with an intent of its own, is ended', () => {
    const cluster = two();
    const participants = [0, 1];
    const log = (bucket: number, kind: EntryKind, key: string, sequence: number): void => {
      const commit = kind === EntryKind.Decision;
      const writes = commit ? [] : [{ key, value }];
      const body = { coordinatorBucket: 0, participants, writes, commit, detail: '' };
      const numbers = [sequence, 1, 1, 0, 0] as const;
      const entry = new Entry(kind, ...numbers, 'test-client-0001', 99, 0, '', null, body);
      for (const node of cluster.nodes.values()) {
        node.log.push({ type: 'entry', bucket, entry, commitPoint: 0 });
      }
    };
    log(0, EntryKind.Intent, 'a', 1);
    log(0, EntryKind.Decision, '', 2);
    log(1, EntryKind.Intent, 'b', 1);
    const { view } = cluster.node(1).machine;
    for (const server of [1, 2, 3]) cluster.restart(server, 2);
    cluster.adopt({ ...view, epoch: 2 });
    cluster.pass(3000);
    expect(cluster.run(3, cluster.getr(['a', 'b']))?.records).toHaveLength(2);
    for (const key of ['a', 'b']) expect(text(cluster.run(1, cluster.get(key)))).toBe('x');
    const dirty = cluster.node(1).machine.takeDirty();
    expect(dirty.get(0)).toMatchObject({ intents: [], decisions: [] });
    expect(dirty.get(1)).toMatchObject({ intents: [] });
  });

  test('within one bucket values of a namespace end, and count as absent when they have', () => {
    const { cluster, mine, more } = named();
    const { IfAbsent } = ConditionKind;
    const both = () => inNamespace(cluster.setr([write(mine, IfAbsent), write(more)]));
    expect(cluster.run(1, both())).toMatchObject({ code: Code.Ok, participants: 1 });
    expect(cluster.run(1, both())?.code).toBe(Code.ConditionNotMet);
    // Nobody has looked through the bucket yet when its time is over.
    cluster.now += TTL_MS;
    expect(cluster.run(1, both())?.code ?? Code.Unavailable).not.toBe(Code.ConditionNotMet);
    cluster.pass(500);
    expect(cluster.run(1, both())?.code).toBe(Code.ConditionNotMet);
    cluster.pass(TTL_MS + 1000);
    for (const key of [mine, more]) expect(cluster.node(1).store.get(0, key)).toBeUndefined();
  });

  test('a damaged record that a commit of one bucket meets is noted, and nothing ends (D7)', () => {
    const cluster = two();
    expect(cluster.run(1, cluster.set('a', 'x'))?.code).toBe(Code.Ok);
    cluster.node(1).store.damaged.add('a');
    const request = cluster.submit(1, cluster.setr([write('a', ConditionKind.IfVersion, 1)]));
    cluster.settle();
    expect(cluster.results.has(request)).toBe(false);
    expect(cluster.node(1).alarms).toMatchObject([{ kind: 'damaged', bucket: 0, server: 1 }]);
  });

  test('a participant that does not know the namespace yet waits for the view that has it', () => {
    const { cluster, mine, other } = named();
    const { view } = cluster.node(1).machine;
    const [known] = view.namespaces.values();
    const later = { ...known!, number: 2, name: 'later' };
    const namespaces = new Map([...view.namespaces, [2, later] as const]);
    const inLater = (key: string) => keyIn(2, key);
    const names = Array.from({ length: 20 }, (_, index) => inLater(`name-${index}`));
    const pair = [0, 1].map((bucket) => names.find((name) => bucketOf(name, view) === bucket)!);
    expect([mine, other]).not.toContain(pair[0]);
    const next = { ...view, epoch: 3, namespaces };
    cluster.lost = ({ message }) => message.type === 'viewUpdate';
    cluster.adopt(next, [1, 3]);
    const context = { ...NO_CONTEXT, epoch: 3 };
    const setr = cluster.setr(pair.map((key) => write(key)));
    const request = cluster.submit(1, Object.assign(readdressed(setr, 0, 5000, 0), { context }));
    cluster.pass(300);
    expect(cluster.results.has(request)).toBe(false);
    cluster.lost = () => false;
    cluster.adopt(next, [2]);
    cluster.pass(1000);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
    cluster.pass(TTL_MS + 1000);
    for (const [bucket, key] of pair.entries()) {
      expect(cluster.node(2).store.get(bucket, key)).toBeUndefined();
    }
  });

  test('a value that waited for its decision ends like any other', () => {
    const { cluster, mine, more, other } = named();
    expect(cluster.run(1, inNamespace(cluster.set(mine, 'x')))?.code).toBe(Code.Ok);
    cluster.pass(TTL_MS - 100);
    cluster.lost = ({ message, from }) => message.type === 'vote' && from === 2;
    const request = cluster.submit(1, inNamespace(cluster.setr([write(more), write(other)])));
    // Meanwhile the bucket is looked through, since the first value is over.
    cluster.pass(1000);
    expect(cluster.node(1).store.get(0, mine)).toBeUndefined();
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
    expect(cluster.node(1).store.get(0, more)).toBeDefined();
    cluster.pass(TTL_MS + 1000);
    expect(cluster.node(1).store.get(0, more)).toBeUndefined();
  });

  test('nothing is decided by fewer replicas than a write needs (D2)', () => {
    const cluster = two();
    cluster.lost = ({ message, from }) => message.type === 'vote' && from === 2;
    const request = cluster.submit(1, cluster.setr([write('a'), write('b')]));
    cluster.settle();
    const { view } = cluster.node(1).machine;
    const rows = [rowOf(2, [1], [1, 2, 3], 2), view.rows[1]!];
    cluster.adopt({ ...view, epoch: 2, rows });
    cluster.lost = () => false;
    cluster.pass(2000);
    expect(cluster.results.get(request)?.code).toBe(Code.NotEnoughReplicas);
    for (const key of ['a', 'b']) expect(text(cluster.run(1, cluster.get(key)))).toBeNull();
  });

  test('intents beyond 8 MiB in a bucket are refused, and taken later (U3)', () => {
    const cluster = two();
    const { view } = cluster.node(1).machine;
    const names = Array.from({ length: 100 }, (_, index) => `name-${index}`);
    const [ours, theirs] = [0, 1].map((bucket) =>
      names.filter((name) => bucketOf(name, view) === bucket),
    );
    const large = (key: string) => ({ ...write(key), value: new Uint8Array(LIMITS.valueBytes) });
    const commit = (number: number) => {
      const pair = theirs!.slice(2 * number, 2 * number + 2).map(large);
      return cluster.submit(1, cluster.setr([write(ours![number]!), ...pair]));
    };
    const codeOf = (request: number) => cluster.results.get(request)?.code;
    cluster.lost = ({ message }) => message.type === 'vote' && message.yes;
    const commits = Array.from({ length: 6 }, (_, number) => commit(number));
    cluster.settle();
    const none = undefined;
    expect(commits.map(codeOf)).toEqual([none, none, none, none, Code.Conflict, Code.Conflict]);
    cluster.lost = () => false;
    cluster.pass(1000);
    const { Ok, Conflict } = Code;
    expect(commits.map(codeOf)).toEqual([Ok, Ok, Ok, Ok, Conflict, Conflict]);
    const again = commit(4);
    cluster.settle();
    expect(codeOf(again)).toBe(Ok);
  });

  test('a vote that nobody counts locks nothing', () => {
    const cluster = two();
    const node = cluster.node(1);
    const stray = new VoteRequest('test-client-0001', 99, 0, 0, 0, [0, 1], [write('a')]);
    node.machine.peer(2, stray, cluster.now, node);
    cluster.settle();
    expect(cluster.run(1, cluster.get('a'))).toMatchObject({ code: Code.Ok, found: false });
  });

  test('a lock of the coordinator goes with its role', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'vote';
    cluster.submit(1, cluster.setr([write('a'), write('b')]));
    cluster.settle();
    expect(cluster.run(1, cluster.get('a'))).toBeUndefined();
    cluster.lost = ({ from, to }) => from === 1 || to === 1;
    const { view } = cluster.node(1).machine;
    const rows = [rowOf(2, [2, 3], [2, 3, 1]), rowOf(2, [2, 3], [2, 3, 1])];
    cluster.adopt({ ...view, epoch: 2, rows }, [2, 3]);
    cluster.pass(3000);
    for (const key of ['a', 'b']) {
      expect(cluster.run(2, cluster.get(key))).toMatchObject({ code: Code.Ok, found: false });
      expect(cluster.run(2, cluster.set(key, 'y'))?.code).toBe(Code.Ok);
    }
  });

  test('a damaged record that a vote meets after it waited is noted, and nothing ends (D7)', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    const again = [write('a'), write('b', ConditionKind.IfVersion, 5)];
    cluster.submit(1, cluster.setr(again));
    cluster.settle();
    cluster.node(2).store.damaged.add('b');
    cluster.lost = () => false;
    cluster.pass(1000);
    expect(cluster.node(2).alarms).toMatchObject([{ kind: 'damaged', bucket: 1, server: 2 }]);
  });

  test('a vote that waits is dropped when its commit is aborted', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    const commit = cluster.setr([write('a', ConditionKind.IfVersion, 99), write('b')]);
    expect(cluster.run(1, commit)?.code).toBe(Code.ConditionNotMet);
    cluster.lost = () => false;
    cluster.pass(2000);
    const intents = cluster.node(2).log.filter((record) => {
      return (
        record.type === 'entry' && record.bucket === 1 && record.entry.kind === EntryKind.Intent
      );
    });
    expect(intents).toHaveLength(1);
  });

  test('more than may wait are asked for again', () => {
    const cluster = two();
    resolving(cluster, [write('a'), write('b')]);
    const later = Array.from({ length: 300 }, (_, index) =>
      cluster.submit(1, cluster.setr([write(`${index}`), write('b')])),
    );
    cluster.settle();
    const asked: number[] = [];
    cluster.lost = ({ message }) => {
      if (message.type === 'voteRequest') asked.push(message.clientSequence);
      return false;
    };
    cluster.pass(4000);
    const codes = later.map((request) => cluster.results.get(request)?.code);
    expect(new Set(codes)).not.toContain(undefined);
    expect(asked.length).toBeGreaterThan(0);
  });

  test('a commit whose client waits no more lets go of its keys', () => {
    const cluster = two();
    // Nobody votes at bucket 1.
    cluster.lost = ({ message }) => message.type === 'vote';
    const commit = readdressed(cluster.setr([write('a'), write('b')]), 0, 300, 0);
    const request = cluster.submit(1, commit);
    cluster.pass(400);
    expect(cluster.results.get(request)?.code).toBe(Code.Unavailable);
    const set = cluster.submit(1, cluster.set('a', 'y'));
    cluster.pass(100);
    expect(cluster.results.get(set)?.code).toBe(Code.Ok);
  });

  test('an abort is remembered through a new ballot', () => {
    const cluster = two();
    const writes = [write('a', ConditionKind.IfVersion, 5), write('b')];
    cluster.lost = ({ message, to }) => message.type === 'prepareAck' && to === 2;
    expect(cluster.run(1, cluster.setr(writes))?.code).toBe(Code.ConditionNotMet);
    cluster.lost = ({ message }) => message.type === 'decide';
    const view = cluster.node(1).machine.view;
    cluster.adopt({ ...view, epoch: 2, rows: [view.rows[0]!, rowOf(2, [2, 3, 1])] });
    cluster.pass(400);
    expect(cluster.run(3, cluster.get('b'))).toMatchObject({ code: Code.Ok, found: false });
  });

  test('nothing ends behind a commit that renews it', () => {
    const { cluster, mine, other } = named();
    cluster.run(1, inNamespace(cluster.setr([write(mine), write(other)])));
    cluster.pass(TTL_MS - 600);
    const renewal = resolving(cluster, [write(mine), write(other)], inNamespace);
    const late = cluster.setr([write(mine), write(other, ConditionKind.IfAbsent)]);
    const request = cluster.submit(1, inNamespace(late));
    // What was there before is over.
    cluster.pass(400);
    cluster.lost = () => false;
    cluster.pass(2000);
    expect(cluster.results.get(request)?.code).toBe(Code.ConditionNotMet);
    const read = cluster.run(1, inNamespace(cluster.get(other)));
    expect(read).toMatchObject({ found: true, version: renewal?.version });
  });

  test('a scan ends nothing behind a commit that renews it', () => {
    const { cluster, mine, other } = named();
    cluster.run(1, inNamespace(cluster.setr([write(mine), write(other)])));
    cluster.pass(TTL_MS - 600);
    // The scan is under way while the commit logs its intent and the value's time ends.
    cluster.node(2).stuck = true;
    const scan = cluster.submit(2, inNamespace(cluster.scan(1, keyIn(1, ''))));
    const commit = cluster.submit(1, inNamespace(cluster.setr([write(mine), write(other)])));
    cluster.pass(700);
    cluster.node(2).stuck = false;
    cluster.pass(2000);
    const renewed = cluster.results.get(commit);
    expect(renewed?.code).toBe(Code.Ok);
    expect(cluster.results.get(scan)?.records.map(({ version }) => version)).toEqual([
      renewed?.version,
    ]);
    const read = cluster.run(1, inNamespace(cluster.get(other)));
    expect(read).toMatchObject({ found: true, version: renewed?.version });
  });

  test('a read of a locked key waits for the outcome', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decide';
    const commit = cluster.submit(1, cluster.setr(keys.map((key) => write(key))));
    cluster.settle();
    expect(cluster.results.get(commit)?.code).toBe(Code.Ok);
    const reads = keys.map((key) => cluster.submit(3, cluster.get(key)));
    cluster.settle();
    cluster.lost = () => false;
    cluster.pass(1000);
    for (const read of reads) expect(text(cluster.results.get(read))).toBe('x');
  });

  test('the coordinator dies before it decides: the participants abort (D3)', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'vote';
    const operation = cluster.setr(keys.map((key) => write(key)));
    cluster.submit(1, operation);
    cluster.settle();
    // Both primaries restart: what the coordinator knew in memory is gone.
    cluster.restart(1, 2);
    cluster.restart(2, 2);
    cluster.lost = () => false;
    cluster.pass(3000);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBeNull();
    // A straggling retry finds the recorded abort.
    expect(cluster.run(1, operation)?.code).toBe(Code.Conflict);
  });

  test('the coordinator dies after its decision: everyone commits (D3)', () => {
    const cluster = two();
    cluster.lost = ({ message }) => message.type === 'decide';
    const operation = cluster.setr(keys.map((key) => write(key)));
    const first = cluster.run(1, operation);
    cluster.restart(1, 2);
    cluster.restart(2, 2);
    cluster.lost = () => false;
    cluster.pass(3000);
    for (const key of keys) expect(text(cluster.run(3, cluster.get(key)))).toBe('x');
    expect(cluster.run(1, operation)?.version).toBe(first?.version);
    const forgotten = cluster
      .node(1)
      .log.concat(cluster.node(2).log)
      .some((record) => record.type === 'entry' && record.entry.kind === EntryKind.Forget);
    expect(forgotten).toBe(true);
  });
});
