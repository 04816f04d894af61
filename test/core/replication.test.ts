import { describe, expect, test } from '@jest/globals';

import { Code } from '../../src/core/refusal.js';
import { ChangePhase, NO_CHANGE } from '../../src/core/view.js';
import { Cluster, Node, rowOf, text, viewOf } from './cluster.js';

function three(): Cluster {
  const cluster = new Cluster([1, 2, 3]);
  cluster.adopt(viewOf(1, rowOf(1, [1, 2, 3]), [1, 2, 3]));
  // Past the grace that a process waits after its start.
  cluster.pass(1000);
  return cluster;
}

describe('prepare and commit', () => {
  test('a write is answered when every replica has it durably (D2)', () => {
    const cluster = three();
    cluster.lost = ({ to }) => to === 3;
    const request = cluster.submit(1, cluster.set('k', 'v'));
    cluster.settle();
    expect(cluster.results.get(request)).toBeUndefined();
    cluster.lost = () => false;
    cluster.pass(500);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
    for (const node of cluster.nodes.values()) {
      const logged = node.log.filter(({ type }) => type === 'entry');
      expect(logged).toHaveLength(1);
    }
  });

  test('any server takes any request; the answer names the holder', () => {
    const cluster = three();
    expect(cluster.run(2, cluster.set('k', 'v'))?.server).toBe(1);
    expect(text(cluster.run(3, cluster.get('k')))).toBe('v');
  });

  test('a retry under the same number takes effect once (D4)', () => {
    const cluster = three();
    const first = cluster.run(1, cluster.set('k', 'a', 77));
    cluster.run(1, cluster.set('k', 'b', 78));
    const again = cluster.run(1, cluster.set('k', 'a', 77));
    expect(again?.version).toBe(first?.version);
    expect(text(cluster.run(1, cluster.get('k')))).toBe('b');
  });

  test('a condition that rests on an uncommitted write is told when that commits', () => {
    const cluster = three();
    cluster.lost = ({ to }) => to === 3;
    const write = cluster.submit(1, cluster.set('k', 'v'));
    const refused = cluster.submit(1, cluster.setIf('k', 'w', 99));
    cluster.settle();
    expect(cluster.results.get(refused)).toBeUndefined();
    cluster.lost = () => false;
    cluster.pass(500);
    expect(cluster.results.get(write)?.code).toBe(Code.Ok);
    expect(cluster.results.get(refused)?.code).toBe(Code.ConditionNotMet);
  });

  test('such a refusal needs the lease: another primary may have gone on since (D1)', () => {
    const cluster = three();
    // The entry is on the other replicas, but the own disk is stuck.
    const node = cluster.node(1);
    node.stuck = true;
    cluster.submit(1, cluster.set('k', 'v'));
    cluster.settle();
    cluster.lost = ({ from, to }) => from === 1 || to === 1;
    const second = viewOf(2, rowOf(2, [2, 3], [2, 1, 3]), [1, 2, 3]);
    cluster.adopt(second, [2, 3]);
    cluster.pass(1000);
    const written = cluster.run(2, cluster.set('k', 'w'));
    const request = cluster.submit(1, cluster.setIf('k', 'x', written?.version ?? 0));
    node.stuck = false;
    cluster.pass(1000);
    expect(cluster.results.get(request)).toBeUndefined();
    cluster.lost = () => false;
    cluster.adopt(second, [1]);
    cluster.pass(500);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
  });

  test('with fewer replicas than the floor a write waits and is then refused (D2)', () => {
    const cluster = new Cluster([1]);
    cluster.adopt(viewOf(1, rowOf(1, [1], [1], 2), [1]));
    const request = cluster.submit(1, cluster.set('k', 'v'));
    cluster.pass(6000);
    expect(cluster.results.get(request)?.code).toBe(Code.NotEnoughReplicas);
  });
});

describe('lease and takeover', () => {
  test('a primary whose beacons are not answered stops reading alone (D1)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    cluster.lost = ({ to, from }) => to === 1 || from === 1;
    cluster.pass(800);
    const request = cluster.submit(1, cluster.get('k'));
    cluster.settle();
    expect(cluster.results.get(request)).toBeUndefined();
  });

  test('a new primary serves only after the grace when the old one may still read (V2)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    // The old primary hears nothing any more, but its beacons were just answered.
    cluster.lost = ({ to, from }) => to === 1 || from === 1;
    const took = cluster.now;
    cluster.adopt(viewOf(2, rowOf(2, [2, 3], [2, 3, 1]), [1, 2, 3]), [2, 3]);
    const request = cluster.submit(2, cluster.get('k'));
    let stale = 0;
    while (cluster.results.get(request) === undefined && cluster.now < took + 5000) {
      if (cluster.node(1).machine.servesReads(0, cluster.now)) stale = cluster.now;
      cluster.pass(20);
    }
    expect(text(cluster.results.get(request))).toBe('v');
    expect(stale).toBeGreaterThan(took);
    expect(cluster.node(1).machine.servesReads(0, cluster.now)).toBe(false);
  });

  test('an old primary that shows the new epoch is not waited for', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    cluster.adopt(viewOf(2, rowOf(2, [2, 1, 3]), [1, 2, 3]));
    expect(text(cluster.run(2, cluster.get('k')))).toBe('v');
  });

  test('a role that ended does not begin again, whatever was under way (V2)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'old'));
    const node = cluster.node(1);
    const pages: (() => void)[] = [];
    node.scan = (token, bucket, after, limit) => {
      const page = node.store.page(bucket, after, limit);
      pages.push(() => {
        node.machine.complete({ type: 'scanned', token, ...page }, cluster.now, node);
      });
    };
    const scan = cluster.submit(1, cluster.scan(0));
    cluster.adopt(viewOf(2, rowOf(2, [2, 1, 3]), [1, 2, 3]));
    cluster.pass(1000);
    expect(cluster.run(2, cluster.set('k', 'new'))?.code).toBe(Code.Ok);
    for (const done of pages) done();
    cluster.settle();
    const values = cluster.results.get(scan)?.records.map(({ value }) => Buffer.from(value));
    expect(values?.map(String)).toEqual(['new']);
  });

  test('entries of a dead primary that one replica has are settled or cut, never both', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'a'));
    // Only server 2 gets the next entry.
    cluster.lost = ({ to, from }) => to === 3 || (from !== 1 && to === 1);
    cluster.submit(1, cluster.set('k', 'b'));
    cluster.settle();
    cluster.nodes.delete(1);
    cluster.lost = () => false;
    // Server 3 takes over, without the entry: server 2 must cut it.
    cluster.adopt(viewOf(2, rowOf(2, [3, 2], [3, 2, 1]), [1, 2, 3]));
    cluster.pass(1000);
    expect(text(cluster.run(3, cluster.get('k')))).toBe('a');
    expect(cluster.node(2).log.some(({ type }) => type === 'cut')).toBe(true);
  });

  test('a stale bucket epoch is refused (V1)', () => {
    const cluster = three();
    cluster.lost = ({ to, message }) => to === 1 && message.type === 'viewUpdate';
    cluster.adopt(viewOf(2, rowOf(2, [2, 3], [2, 3, 1]), [1, 2, 3]), [2, 3]);
    const request = cluster.submit(1, cluster.set('k', 'v'));
    cluster.pass(1000);
    // Nobody acknowledges the old primary.
    expect(cluster.results.get(request)).toBeUndefined();
    for (const ordinal of [2, 3]) {
      expect(cluster.node(ordinal).log.filter(({ type }) => type === 'entry')).toEqual([]);
    }
  });
});

describe('a confirmed read', () => {
  test('is answered once the other replicas have confirmed the primary', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    const request = cluster.submit(1, cluster.confirmedGet('k'));
    cluster.settle();
    expect(cluster.results.get(request)).toBeUndefined();
    cluster.pass(100);
    expect(text(cluster.results.get(request))).toBe('v');
  });

  test('is not answered by a primary that was replaced, whatever its clock says', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    cluster.pass(200);
    // The others follow server 2, but server 1 has not heard of it, and its lease still runs.
    cluster.lost = ({ to, message }) => to === 1 && message.type === 'viewUpdate';
    cluster.adopt(viewOf(2, rowOf(2, [2, 3], [2, 3, 1]), [1, 2, 3]), [2, 3]);
    const confirmed = cluster.submit(1, cluster.confirmedGet('k'));
    const plain = cluster.submit(1, cluster.get('k'));
    cluster.pass(300);
    expect(text(cluster.results.get(plain))).toBe('v');
    expect(cluster.results.get(confirmed)).toBeUndefined();
  });
});

describe('retries (D4)', () => {
  test('a late copy of a delete that found nothing does not delete a later value', () => {
    const cluster = three();
    const gone = cluster.run(1, cluster.delete('k', 5));
    expect(gone).toMatchObject({ code: Code.Ok, found: false });
    cluster.run(1, cluster.set('k', 'v', 6));
    expect(cluster.run(1, cluster.delete('k', 5))).toMatchObject({
      version: gone?.version,
      found: false,
    });
    expect(text(cluster.run(1, cluster.get('k')))).toBe('v');
  });

  test('a retry is told what the first attempt replaced', () => {
    const cluster = three();
    const first = cluster.run(1, cluster.set('k', 'a', 1));
    const second = cluster.run(1, cluster.set('k', 'b', 2));
    expect(second?.previous).toBe(first?.version);
    expect(cluster.run(1, cluster.set('k', 'b', 2))).toEqual(second);
    const deleted = cluster.run(1, cluster.delete('k', 3));
    expect(deleted).toMatchObject({ found: true, previous: second?.version });
    expect(cluster.run(1, cluster.delete('k', 3))).toEqual(deleted);
  });

  test('what a fallen primary had logged is not reported as refused', () => {
    const cluster = three();
    // Server 1 logs a write that reaches nobody; server 2 takes over and writes the key.
    cluster.lost = ({ from, to }) => from === 1 || to === 1;
    const request = cluster.submit(1, cluster.setIf('k', 'v', 0));
    cluster.settle();
    const second = viewOf(2, rowOf(2, [2, 3], [2, 1, 3]), [1, 2, 3]);
    cluster.adopt(second, [2, 3]);
    cluster.pass(1000);
    expect(cluster.run(2, cluster.set('k', 'w'))?.code).toBe(Code.Ok);
    cluster.lost = () => false;
    cluster.adopt(second, [1]);
    cluster.pass(100);
    // Its condition is not met at the new primary, but that proves nothing about the first log.
    expect(cluster.results.get(request)?.code).toBe(Code.OutcomeUnknown);
  });

  test('a step of the wall clock ages nothing: rows carry the time that primaries counted', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'a', 1));
    cluster.pass(1000);
    cluster.restart(1, 2);
    cluster.pass(2000);
    cluster.run(1, cluster.set('k', 'b', 2));
    const stamps = cluster.node(1).log.flatMap((record) => {
      return record.type === 'entry' ? [record.entry.atMs] : [];
    });
    expect(stamps[0]).toBeGreaterThanOrEqual(0);
    expect(stamps.at(-1)).toBeGreaterThanOrEqual(stamps[0] ?? 0);
    expect(stamps.at(-1)).toBeLessThan(10_000);
  });
});

describe('messages that are lost', () => {
  test('one lost prepare in a burst costs one rewind, not one for each that followed', () => {
    const cluster = three();
    let sent = 0;
    let lost = false;
    cluster.lost = ({ to, message }) => {
      if (to !== 3 || message.type !== 'prepare') return false;
      sent += 1;
      const first = !lost && message.entries.length > 0;
      lost ||= first;
      return first;
    };
    for (let index = 0; index < 40; index += 1) {
      cluster.submit(1, cluster.set(`k${index}`, 'v'));
      cluster.endBatch();
    }
    cluster.pass(500);
    expect(text(cluster.run(1, cluster.get('k39')))).toBe('v');
    expect(sent).toBeLessThan(60);
  });

  test('an idle secondary hears of the last commit although the notice was lost', () => {
    const cluster = three();
    let notices = 0;
    cluster.lost = ({ to, message }) => {
      if (to !== 3 || message.type !== 'prepare' || message.entries.length > 0) return false;
      notices += 1;
      return notices === 1;
    };
    cluster.run(1, cluster.set('k', 'v'));
    cluster.pass(1000);
    expect(cluster.node(3).store.get(0, 'k')).toBeDefined();
    expect(notices).toBe(2);
  });
});

describe('heartbeats', () => {
  test('leave only when the disk has done what it was asked before', () => {
    const cluster = three();
    const node = cluster.node(2);
    const heard = node.toLeaderMessages.length;
    node.stuck = true;
    cluster.pass(2000);
    expect(node.toLeaderMessages.length).toBe(heard);
    node.stuck = false;
    cluster.pass(1000);
    expect(node.toLeaderMessages.length).toBeGreaterThan(heard + 2);
  });
});

describe('views that were skipped', () => {
  test('a primary that missed its own replacement waits for the other to fall silent (V2)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'a'));
    cluster.pass(200);
    // Server 2 leads at epoch 2; server 1 does not hear of it, but answers its beacons.
    cluster.lost = ({ to, message }) => to === 1 && message.type === 'viewUpdate';
    cluster.adopt(viewOf(2, rowOf(2, [2, 1, 3]), [1, 2, 3]), [2, 3]);
    cluster.pass(1500);
    cluster.lost = ({ from, to }) => from === 2 || to === 2;
    const third = viewOf(3, rowOf(3, [1, 3], [1, 2, 3]), [1, 2, 3]);
    cluster.adopt(third, [1, 3]);
    expect(cluster.node(2).machine.servesReads(0, cluster.now)).toBe(true);
    expect(cluster.node(1).machine.servesReads(0, cluster.now)).toBe(false);
    for (let passed = 0; passed < 2000; passed += 20) {
      cluster.pass(20);
      const serving = [1, 2].filter((one) => cluster.node(one).machine.servesReads(0, cluster.now));
      expect(serving.length).toBeLessThan(2);
    }
    expect(cluster.node(1).machine.servesReads(0, cluster.now)).toBe(true);
  });
});

describe('a bucket that begins anew', () => {
  test('is empty, also on servers that held it before (D6)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'lost'));
    cluster.pass(200);
    const row = { ...rowOf(2, [2], [2, 1], 1), founded: 2 };
    cluster.adopt(viewOf(2, row, [1, 2]));
    cluster.pass(1000);
    expect(cluster.run(2, cluster.get('k'))).toMatchObject({ code: Code.Ok, found: false });
    expect(cluster.run(2, cluster.set('k', 'new'))?.code).toBe(Code.Ok);
    // Server 1 comes back with what it had, and learns from nothing.
    cluster.pass(500);
    cluster.adopt(viewOf(3, { ...rowOf(3, [2, 1]), founded: 2 }, [1, 2]));
    cluster.pass(500);
    expect(text(cluster.run(2, cluster.get('k')))).toBe('new');
    const values = [...(cluster.node(1).store.buckets.get(0)?.values() ?? [])];
    expect(values.map(({ value }) => new TextDecoder().decode(value))).toEqual(['new']);
    cluster.restart(2, 2);
    cluster.pass(1500);
    expect(text(cluster.run(2, cluster.get('k')))).toBe('new');
  });
});

describe('giving a copy up', () => {
  test('a crash before that is durable leaves the copy whole (D2)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'v'));
    cluster.pass(200);
    const node = cluster.node(3);
    const held = node.log.length;
    cluster.deliver(viewOf(2, rowOf(2, [1, 2]), [1, 2, 3]), 3);
    // The view and its consequence are logged, not flushed yet: the records are still there.
    expect(node.store.get(0, 'k')).toBeDefined();
    cluster.settle();
    expect(node.log.slice(held).map(({ type }) => type)).toEqual(['view', 'dropped']);
    expect(node.store.get(0, 'k')).toBeUndefined();
  });
});

describe('restart', () => {
  test('kill -9 of all at once keeps what was acknowledged (D2)', () => {
    const cluster = three();
    for (let index = 0; index < 50; index += 1) cluster.run(1, cluster.set(`k${index}`, 'v'));
    for (const ordinal of [1, 2, 3]) cluster.restart(ordinal, 2);
    cluster.pass(2000);
    for (let index = 0; index < 50; index += 1) {
      expect(text(cluster.run(1, cluster.get(`k${index}`)))).toBe('v');
    }
  });

  test('a restarted primary outranks its former self without a new epoch (V3)', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'a'));
    cluster.restart(1, 2);
    cluster.pass(2000);
    const written = cluster.run(1, cluster.set('k', 'b'));
    expect(written?.code).toBe(Code.Ok);
    expect(written?.epoch).toBe(1);
  });
});

describe('catch-up', () => {
  test('a learner gets a snapshot and the tail, and is proposed when it is in sync', () => {
    const cluster = three();
    for (let index = 0; index < 300; index += 1) cluster.run(1, cluster.set(`k${index}`, 'v'));
    cluster.nodes.set(4, new Node(cluster, 4, 1));
    cluster.adopt(viewOf(2, rowOf(1, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]));
    cluster.pass(500);
    const proposals = cluster
      .node(1)
      .toLeaderMessages.filter((message) => message.type === 'reconfigure');
    expect(proposals[0]).toMatchObject({ bucket: 0, bucketEpoch: 1, admit: 4, recordsSent: 300 });
    cluster.adopt(viewOf(3, rowOf(3, [4, 2, 3]), [1, 2, 3, 4]));
    expect(text(cluster.run(2, cluster.get('k299')))).toBe('v');
    expect(cluster.run(2, cluster.get('k7'))?.server).toBe(4);
    // The former holder gave its copy up.
    expect(cluster.node(1).store.buckets.size).toBe(0);
  });

  test('one that may be admitted already is not emptied: proposals are voided first (D2)', () => {
    const cluster = three();
    for (let index = 0; index < 20; index += 1) cluster.run(1, cluster.set(`k${index}`, 'v'));
    cluster.nodes.set(4, new Node(cluster, 4, 1));
    const moving = viewOf(2, rowOf(1, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]);
    cluster.adopt(moving);
    cluster.pass(500);
    // It was proposed. It starts again, and knows less of what is committed than the primary, whose
    // log does not reach back (here it never does).
    const sent = cluster.node(1).toLeaderMessages;
    const proposals = sent.filter((message) => message.type === 'reconfigure');
    expect(proposals.at(-1)).toMatchObject({ admit: 4 });
    cluster.run(1, cluster.set('k0', 'w'));
    cluster.lost = ({ to }) => to === 4;
    cluster.submit(1, cluster.set('k1', 'w'));
    cluster.pass(100);
    const held = cluster.node(4).log.length;
    cluster.restart(4, 2);
    cluster.restart(1, 2);
    cluster.lost = () => false;
    cluster.pass(1500);
    const asked = cluster
      .node(1)
      .toLeaderMessages.filter((message) => message.type === 'reconfigure');
    expect(asked[0]).toMatchObject({ admit: 0, bucketEpoch: 1 });
    expect(cluster.node(4).log.slice(held)).toEqual([]);
    // With the new bucket epoch it gets its snapshot.
    cluster.adopt(viewOf(3, rowOf(3, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]));
    cluster.pass(1500);
    const last = cluster
      .node(1)
      .toLeaderMessages.findLast((message) => message.type === 'reconfigure');
    expect(last).toMatchObject({ admit: 4, bucketEpoch: 3 });
  });

  test('what is only to be moved waits while that is counted, or paused', () => {
    const cluster = three();
    for (let index = 0; index < 20; index += 1) cluster.run(1, cluster.set(`k${index}`, 'v'));
    cluster.nodes.set(4, new Node(cluster, 4, 1));
    const moving = viewOf(2, rowOf(1, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]);
    const change = { ...NO_CHANGE, number: 2, planned: 2, phase: ChangePhase.Prime };
    cluster.adopt({ ...moving, change });
    cluster.pass(1000);
    const received = (): unknown[] =>
      cluster.node(4).log.filter(({ type }) => type === 'entry' || type === 'installed');
    expect(received()).toEqual([]);
    const vectors = cluster.node(1).toLeaderMessages.filter(({ type }) => type === 'heartbeat');
    const counted = { to: 4, recordsPlanned: 20, recordsSent: 0 };
    expect(vectors.at(-1)).toMatchObject({ epoch: 2, transfers: [counted] });
    const started = { ...moving, epoch: 3, change: { ...change, phase: ChangePhase.Move } };
    const parameters = { ...moving.parameters, rebalancePaused: true };
    cluster.adopt({ ...started, parameters });
    cluster.pass(1000);
    expect(received()).toEqual([]);
    cluster.adopt({ ...started, epoch: 4 });
    cluster.pass(1000);
    const last = cluster.node(1).toLeaderMessages.findLast(({ type }) => type === 'reconfigure');
    expect(last).toMatchObject({ admit: 4, recordsSent: 20, recordsTaken: 20 });
  });

  test('one that counts is caught up although rebalancing is paused: writes wait for it', () => {
    const cluster = three();
    for (let index = 0; index < 20; index += 1) cluster.run(1, cluster.set(`k${index}`, 'v'));
    cluster.nodes.set(4, new Node(cluster, 4, 1));
    const moving = viewOf(2, rowOf(1, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]);
    cluster.adopt(moving);
    cluster.pass(500);
    const parameters = { ...moving.parameters, rebalancePaused: true };
    cluster.adopt({ ...moving, epoch: 3, parameters });
    // A restarted primary cannot know whether it proposed the learner.
    cluster.restart(1, 2);
    const request = cluster.submit(1, cluster.set('k', 'b'));
    cluster.pass(3000);
    expect(cluster.results.get(request)?.code).toBe(Code.Ok);
  });

  test('a learner that counts is waited for before anything commits', () => {
    const cluster = three();
    cluster.run(1, cluster.set('k', 'a'));
    cluster.nodes.set(4, new Node(cluster, 4, 1));
    cluster.adopt(viewOf(2, rowOf(1, [1, 2, 3], [4, 2, 3]), [1, 2, 3, 4]));
    cluster.pass(500);
    cluster.lost = ({ to }) => to === 4;
    const request = cluster.submit(1, cluster.set('k', 'b'));
    cluster.pass(300);
    expect(cluster.results.get(request)).toBeUndefined();
  });
});
