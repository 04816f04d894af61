import type { CountedChange } from './counted-change.js';
import type { Draft } from './draft.js';
import type { BucketId, Ordinal } from './ids.js';
import { LEAST_MEMBERS } from './policy-shards.js';
import { replicasWanted } from './pools.js';
import { shardMembers } from './shards.js';
import { candidates, learnersOf, type Member, MemberState } from './view.js';
import { withTarget } from './view-change.js';

export interface OperatorRefusal {
  readonly ok: false;
  readonly code: string;
  readonly message: string;
}

/** How many buckets had a replica on a removed server, and how many of them are lost. */
export type Removal =
  { readonly ok: true; readonly buckets: number; readonly lost: number } | OperatorRefusal;

/** How many replicas a server has to hand over. */
export type Draining = { readonly ok: true; readonly buckets: number } | OperatorRefusal;

/** How many replicas are to move. */
export type Changing = { readonly ok: true; readonly replicas: number } | OperatorRefusal;

export type Steered = { readonly ok: true } | OperatorRefusal;

/** What an operator may change of a running rebalance; what is absent stays. */
export interface Steering {
  readonly paused?: boolean;
  /** Bytes per second one server may send to learners; 0 is unlimited. */
  readonly rateBytes?: number;
  /** Back to the table before the running view change. */
  readonly cancel?: boolean;
}

/** What the view leader does for its operator. */
interface Office {
  plan(): void;
  settleRows(): void;
  readonly change: CountedChange;
  /** No plan is due. */
  forgetPlan(): void;
}

/** What an operator asks of the view leader: each changes the draft of the next view. */
export class Operator {
  constructor(
    private readonly draft: Draft,
    private readonly office: Office,
  ) {}

  /**
   * A server is given up. Buckets of which it has the only in-sync copy are lost: that must be
   * accepted, and then they begin anew, empty (D6). With the loss accepted it cannot come back, and
   * nobody waits for what only it took in causal namespaces; otherwise that arrives if it does.
   */
  remove(id: string, acceptLoss: boolean): Removal {
    const { draft, office } = this;
    const member = draft.memberById(id);
    if (member === undefined) return unknown(id);
    const { ordinal, state } = member;
    if (state === MemberState.Up) {
      const hint = 'stop it first, it hands its buckets over; or drain it';
      return cannot('SERVER_IS_UP', `server ${id} is up; ${hint}`);
    }
    const held = draft.rows().filter(([, { replicas }]) => replicas.includes(ordinal));
    const lost = held.filter(([, { replicas }]) => replicas.length === 1);
    if (lost.length > 0 && !acceptLoss) {
      return cannot(
        'DATA_LOSS',
        `server ${id} has the only in-sync copy of ${lost.length} buckets of ` +
          `${draft.rows().length}; nothing was changed; start it again, or give their ` +
          'records up with --accept-data-loss',
      );
    }
    if (!draft.members().some((other) => other.state === MemberState.Up)) {
      return cannot('NO_SERVERS', 'no server is up that could take its place');
    }
    const givenUp = acceptLoss ? member.givenUp || draft.nextEpoch : member.givenUp;
    draft.setMember(
      { ...member, state: MemberState.Replaced, drained: false, givenUp },
      `server ${ordinal} is removed`,
    );
    for (const [bucket, row] of held) {
      const replicas = row.replicas.filter((other) => other !== ordinal);
      draft.setRow(bucket, row, { ...row, replicas, sets: true }, '');
    }
    office.plan();
    for (const [bucket] of lost) this.foundAnew(bucket);
    office.settleRows();
    return { ok: true, buckets: held.length, lost: lost.length };
  }

  /** A server is to hold nothing, and serves until others do; `undo`: it gets its share again. */
  drain(id: string, undo: boolean): Draining {
    const { draft } = this;
    const member = draft.memberById(id);
    if (member === undefined) return unknown(id);
    const { ordinal, drained } = member;
    const others = candidates(draft.members()).filter((other) => other.ordinal !== ordinal);
    if (!undo && !others.some((other) => draft.isUp(other.ordinal))) {
      return cannot('NO_SERVERS', `no other server is up that could take what ${id} holds`);
    }
    const refusal = undo
      ? null
      : (this.shardObjection(member) ?? this.tooFewToWrite(others.length, `without ${id}`));
    if (refusal !== null) return refusal;
    if (drained === undo) {
      const what = undo ? `server ${ordinal} is no longer drained` : `server ${ordinal} is drained`;
      draft.setMember({ ...member, drained: !undo }, what);
      if (undo) this.keep(ordinal);
      this.office.plan();
    }
    const held = draft.rows().filter(([, { replicas }]) => replicas.includes(ordinal));
    return { ok: true, buckets: held.length };
  }

  /** With shards, there must be two servers for each without this one. */
  private shardObjection({ id, shard }: Member): OperatorRefusal | null {
    const { policy, shardCount } = this.draft.parameters;
    if (policy !== 'shards' || shard === 0) return null;
    const left = shardMembers(this.draft.members(), shardCount).flat().length - 1;
    return this.tooFewFor(left, `without ${id}`);
  }

  /** Nothing may leave buckets with fewer replicas than their writes need (D2). */
  private tooFewToWrite(servers: number, when: string): OperatorRefusal | null {
    const floors = this.draft.rows().map(([, { floor }]) => floor);
    const needed = floors.reduce((most, floor) => Math.max(most, floor), 0);
    if (servers >= needed) return null;
    const have = `${when} there are ${servers}: add a server first`;
    return cannot('TOO_FEW_SERVERS', `writes need ${needed} in-sync replicas; ${have}`);
  }

  /** With shards, there must be two servers for each. */
  private tooFewFor(servers: number, when: string): OperatorRefusal | null {
    const { policy, shardCount } = this.draft.parameters;
    const needed = shardCount * LEAST_MEMBERS;
    if (policy !== 'shards' || servers >= needed) return null;
    const needs = `${shardCount} shards need ${needed} servers, two each`;
    const have = `${when} there are ${servers}: reshard, or add a server first`;
    return cannot('TOO_FEW_SERVERS', `${needs}; ${have}`);
  }

  /** What the server still holds need not go to the learners that were to take it over. */
  private keep(server: Ordinal): void {
    for (const [bucket, row] of this.draft.rows()) {
      const { replicas, target, floor } = row;
      const learner = learnersOf(row)[0];
      if (learner === undefined || !replicas.includes(server) || target.includes(server)) continue;
      const kept = target.map((ordinal) => (ordinal === learner ? server : ordinal));
      this.draft.setRow(bucket, row, { replicas, target: kept, floor, sets: true }, '');
    }
  }

  /** These servers hold the data, and no others do: one view change (V4). */
  change(ids: readonly string[]): Changing {
    const { draft } = this;
    const listed = ids.map((id) => draft.memberById(id));
    const unlisted = listed.indexOf(undefined);
    if (unlisted >= 0) return unknown(ids[unlisted] ?? '');
    const wanted = listed.filter((member) => member !== undefined);
    const gone = wanted.find(({ state }) => state === MemberState.Replaced);
    if (gone !== undefined) {
      const hint = gone.givenUp > 0 ? 'it cannot come back' : 'start it first';
      return cannot('SERVER_IS_REPLACED', `server ${gone.id} was given up: ${hint}`);
    }
    if (!wanted.some(({ ordinal }) => draft.isUp(ordinal))) {
      return cannot('NO_SERVERS', 'none of these servers is up');
    }
    const which = 'with these servers';
    const refusal =
      this.tooFewFor(wanted.length, which) ?? this.tooFewToWrite(wanted.length, which);
    if (refusal !== null) return refusal;
    const chosen = new Set(wanted.map(({ ordinal }) => ordinal));
    for (const member of draft.members()) {
      const { ordinal, drained } = member;
      const isWanted = chosen.has(ordinal);
      if (member.state === MemberState.Replaced || drained !== isWanted) continue;
      draft.setMember({ ...member, drained: !isWanted }, '');
      if (isWanted) this.keep(ordinal);
    }
    draft.because(`servers ${Array.from(chosen).join(', ')} are to hold the data`);
    this.office.plan();
    return { ok: true, replicas: this.office.change.missing() };
  }

  steer({ paused, rateBytes, cancel = false }: Steering): Steered {
    const { parameters } = this.draft;
    if (cancel && parameters.policy === 'shards') {
      const hint = 'ask for the former shards instead: shards reshard, or shards add-member';
      return cannot('NOT_WITH_SHARDS', `a change of shards is not taken back; ${hint}`);
    }
    const resumes = paused === false && parameters.rebalancePaused;
    const changed = {
      ...parameters,
      rebalancePaused: paused ?? parameters.rebalancePaused,
      rebalanceRateBytes: rateBytes ?? parameters.rebalanceRateBytes,
      rateSteered: parameters.rateSteered || rateBytes !== undefined,
    };
    const said = [
      paused === true && !parameters.rebalancePaused ? 'rebalance paused' : '',
      resumes ? 'rebalance resumed' : '',
      rateBytes === undefined ? '' : 'rebalance rate changed',
    ].filter((text) => text !== '');
    if (said.length > 0) this.draft.setParameters(changed, said.join('; '));
    if (cancel) this.cancel();
    // What was cancelled before is wanted again.
    if (resumes) this.office.plan();
    return { ok: true };
  }

  /**
   * Back to the table before the running view change: what has moved moves back, what was to be
   * drained is not. A bucket goes on as planned whose former servers were fewer, or are not all
   * there any more.
   */
  private cancel(): void {
    const { draft, office } = this;
    const servers = candidates(draft.members()).length;
    const wanted = replicasWanted(draft);
    const isWhole = draft
      .rows()
      .every(([bucket, row]) => row.replicas.length >= wanted(bucket, servers));
    // A plan that is due may be what brings lost replicas back.
    if (isWhole && draft.isFounded) office.forgetPlan();
    for (const [bucket, row] of draft.rows()) {
      // What the change adds to the number of replicas, safety needs.
      if (row.before.length === 0 || row.before.length < row.target.length) continue;
      const former = row.before.map((ordinal) => draft.member(ordinal));
      if (!former.every((member) => member && member.state !== MemberState.Replaced)) continue;
      for (const member of former) {
        if (member?.drained === true) draft.setMember({ ...member, drained: false }, '');
      }
      const change = withTarget(row, row.before);
      if (change !== null) draft.setRow(bucket, row, change, 'rebalance cancelled');
    }
    office.change.cancel();
  }

  private foundAnew(bucket: BucketId): void {
    const { draft } = this;
    const row = draft.row(bucket);
    if (row === undefined) return;
    const up = row.target.filter((ordinal: Ordinal) => draft.isUp(ordinal));
    const someone = draft.members().find(({ state }) => state === MemberState.Up);
    const replicas = up.length > 0 || someone === undefined ? up : [someone.ordinal];
    const floor = Math.min(draft.parameters.minInSync, replicas.length);
    const change = { replicas, target: row.target, floor, sets: true };
    draft.setRow(bucket, row, change, 'data given up');
    draft.foundAnew(bucket);
  }
}

function unknown(id: string): OperatorRefusal {
  return cannot('UNKNOWN_SERVER', `there is no server ${id}`);
}

function cannot(code: string, message: string): OperatorRefusal {
  return { ok: false, code, message };
}
