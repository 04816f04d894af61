import { transactionKey } from './bucket.js';
import { met, unmetVersion } from './condition.js';
import {
  type Entry,
  entryBytes,
  EntryKind,
  type EntryWrite,
  type TransactionBody,
} from './entry.js';
import { murmur3 } from './hash.js';
import type { Host } from './host.js';
import type { Version } from './ids.js';
import { LockTable } from './lock-table.js';
import { type Decide, DecideAck, DecisionQuery, Vote, type VoteRequest } from './message.js';
import { isNamed, namespaceOf } from './namespace.js';
import type { ConditionalWrite } from './operation.js';
import type { Primary } from './primary.js';
import { Code } from './refusal.js';
import type { Serving } from './serving.js';

/**
 * No intent is taken when those of the bucket weigh more than this: a snapshot carries all of them
 * in one message.
 */
const MOST_HELD_BYTES = 8 * 1024 * 1024;
/** Votes that may wait in one bucket (U3). Others are asked for again by their coordinators. */
const MOST_WAITING = 128;

/** What a transaction that this bucket coordinates writes here; its decision will carry it out. */
interface Claim {
  readonly writes: readonly ConditionalWrite[];
  decided: boolean;
}

/** One transaction whose intent is in this bucket's log. */
interface Held {
  readonly intent: Entry;
  /** The intent is on every replica: the vote was given. */
  durable: boolean;
  /** How it ends. An abort may come before the intent is durable, and waits for that. */
  decided: Decide | null;
  resolving: boolean;
  askedMs: number;
}

/**
 * The participant's half of a distributed commit (D3). It locks the keys, judges the conditions and
 * logs the intent on all its replicas before it votes yes; from then on only the coordinator's
 * bucket can say how it ends, and the participant asks it when nobody tells. The participant is a
 * replicated bucket, so its word survives its crash (Gray & Lamport, Consensus on Transaction
 * Commit, §5: two-phase commit over replicated participants does not block).
 *
 * Where the bucket is the coordinator's own it logs no intent: no decision of another server can
 * follow its yes, so a lock that goes with the role is enough.
 */
export class Participant {
  readonly locks = new LockTable();
  private readonly held = new Map<string, Held>();
  private readonly claims = new Map<string, Claim>();
  /** What the intents weigh. */
  private heldBytes = 0;
  /**
   * Votes that cannot be given now but may be soon. Each is also open at its coordinator, which
   * asks again, and says so when it gives up.
   */
  private readonly waiting = new Map<string, VoteRequest>();

  constructor(
    private readonly primary: Primary,
    private readonly serving: Serving,
    private readonly host: Host,
  ) {}

  /** Take over the intents of the state: their coordinator may be gone, so ask at once. */
  begin(): void {
    for (const [key, intent] of this.primary.bucket.intents) {
      const held = this.held.get(key);
      if (held !== undefined) {
        if (held.decided !== null) this.onDecide(held.decided);
        continue;
      }
      this.hold(key, intent, true);
      this.locks.lock(writesOf(intent), key);
      this.hasten(key);
    }
  }

  onVoteRequest(message: VoteRequest): void {
    const { primary } = this;
    // Not ready: the coordinator asks again.
    if (!primary.ready) return;
    const { client, clientSequence } = message;
    const key = transactionKey(client, clientSequence);
    this.waiting.delete(key);
    const held = this.held.get(key);
    if (held !== undefined) {
      if (held.durable) this.voteYes(held.intent);
      return;
    }
    if (primary.bucket.dedup.lookup(client, clientSequence) !== 'new') return;
    const isOurs = message.coordinatorBucket === primary.bucket.id;
    // Voted already, or decided meanwhile.
    if (isOurs && (this.claims.has(key) || !this.serving.coordinator.isVoting(key))) return;
    const no = this.objection(message, key);
    if (no === 'wait') {
      if (this.waiting.size < MOST_WAITING) this.waiting.set(key, message);
      return;
    }
    if (no !== null) {
      this.vote(message, false, 0, no.code, no.detail);
      return;
    }
    this.locks.lock(message.writes, key);
    if (isOurs) {
      this.claims.set(key, { writes: message.writes, decided: false });
      this.vote(message, true, primary.bucket.version + 1, Code.Ok, '');
    } else this.hold(key, this.logIntent(message), false);
  }

  /** A transaction that this bucket coordinates is decided: what the log is to write here. */
  decideClaim(transaction: string, commit: boolean): readonly EntryWrite[] {
    const claim = this.claims.get(transaction);
    if (claim === undefined) return [];
    claim.decided = true;
    return commit ? claim.writes.map((write) => this.serving.stamped(write)) : [];
  }

  onDecide(message: Decide): void {
    const key = transactionKey(message.client, message.clientSequence);
    this.waiting.delete(key);
    if (!this.primary.ready) return;
    const held = this.held.get(key);
    if (held === undefined) {
      this.confirm(message);
      return;
    }
    held.decided = message;
    if (!held.durable || held.resolving) return;
    held.resolving = true;
    const { coordinatorBucket } = message;
    const body = resolution(coordinatorBucket, message.commit);
    this.serving.log(EntryKind.Resolve, message.version, 0, held.intent, '', null, body);
  }

  onCommitted(entry: Entry): void {
    const { kind } = entry;
    if (kind === EntryKind.Set || kind === EntryKind.Delete) return;
    const key = transactionKey(entry.client, entry.clientSequence);
    if (kind === EntryKind.Decision || kind === EntryKind.Commit) this.endClaim(key);
    if (kind !== EntryKind.Intent && kind !== EntryKind.Resolve) return;
    const held = this.held.get(key);
    if (held === undefined) return;
    if (kind === EntryKind.Intent) {
      held.durable = true;
      if (held.decided === null) this.voteYes(entry);
      else this.onDecide(held.decided);
      return;
    }
    this.held.delete(key);
    this.heldBytes -= entryBytes(held.intent);
    this.locks.release(writesOf(held.intent), key);
    this.confirm({
      client: entry.client,
      clientSequence: entry.clientSequence,
      coordinatorBucket: entry.transaction?.coordinatorBucket ?? 0,
    });
    this.letOthers();
  }

  private endClaim(key: string): void {
    const claim = this.claims.get(key);
    if (claim === undefined) return;
    this.claims.delete(key);
    this.locks.release(claim.writes, key);
    this.letOthers();
  }

  /** Some keys are free. Single operations first: a row of commits would keep them waiting. */
  private letOthers(): void {
    this.host.resubmit(this.primary.bucket.id);
    this.judgeAgain();
  }

  /** Somebody waits for this transaction: ask for its decision now. */
  hasten(transaction: string): void {
    const held = this.held.get(transaction);
    if (held === undefined || !held.durable || held.resolving) return;
    if (this.host.now - held.askedMs < this.host.settings.resendMs) return;
    held.askedMs = this.host.now;
    const { client, clientSequence, transaction: body } = held.intent;
    if (body === null) return;
    const { coordinatorBucket, participants } = body;
    const { id } = this.primary.bucket;
    this.host.sendToPrimary(
      coordinatorBucket,
      new DecisionQuery(client, clientSequence, coordinatorBucket, id, participants),
    );
  }

  get quiet(): boolean {
    return this.held.size === 0 && this.waiting.size === 0;
  }

  tick(): void {
    const { now, settings } = this.host;
    for (const [key, held] of this.held) {
      if (now - held.askedMs >= settings.intentAgeMs) this.hasten(key);
    }
    this.judgeAgain();
  }

  /** The lowest lot first: others may wait for it. */
  private judgeAgain(): void {
    if (this.waiting.size === 0) return;
    const waiting = Array.from(this.waiting, ([key, message]) => ({ lot: lotOf(key), message }));
    this.waiting.clear();
    waiting.sort((left, right) => left.lot - right.lot);
    // As messages: what a damaged record breaks off is caught there.
    for (const { message } of waiting) this.host.send(this.host.self, message);
  }

  private hold(key: string, intent: Entry, durable: boolean): void {
    const askedMs = durable ? -Infinity : this.host.now;
    this.held.set(key, { intent, durable, decided: null, resolving: false, askedMs });
    this.heldBytes += entryBytes(intent);
  }

  /** Why the writes cannot commit; null when they can; 'wait' when that cannot be told yet. */
  private objection(
    message: VoteRequest,
    transaction: string,
  ): { code: Code; detail: string } | null | 'wait' {
    if (!this.primary.writable) {
      return { code: Code.NotEnoughReplicas, detail: 'too few in-sync replicas for a write' };
    }
    // A view that has the namespace is on its way: it says how long values live.
    const { namespaces } = this.host.view;
    const isUnknown = ({ key }: ConditionalWrite) =>
      isNamed(key) && !namespaces.has(namespaceOf(key));
    if (message.writes.some(isUnknown)) return 'wait';
    if (this.heldBytes > MOST_HELD_BYTES) {
      return { code: Code.Conflict, detail: 'commits that are under way fill one of the buckets' };
    }
    if (message.writes.some(({ key }) => this.serving.held(key))) return 'wait';
    // Before any record is read: nothing ends that a commit is about to renew.
    for (const { key } of message.writes) {
      const holder = this.locks.holder(key);
      if (holder === undefined) continue;
      if (this.mayWaitFor(holder, transaction)) return 'wait';
      return { code: Code.Conflict, detail: 'another commit holds one of the keys' };
    }
    this.serving.endWhatIsDue(message.writes.map(({ key }) => key));
    for (const write of message.writes) {
      const objection = this.objectionTo(write);
      if (objection !== null) return objection;
    }
    return null;
  }

  private objectionTo(write: ConditionalWrite): { code: Code; detail: string } | null | 'wait' {
    const current = this.serving.current(write.key);
    if (met(write.condition, write.ifVersion, current)) return null;
    if (current.sequence > 0) {
      return { code: Code.Conflict, detail: 'a write to one of the keys is under way' };
    }
    if (!this.primary.holdsLease) return 'wait';
    return { code: Code.ConditionNotMet, detail: unmetVersion(current, write.ifVersion) };
  }

  /**
   * Waits lead to lower lots or to what is decided, never in a ring: no deadlock (wait-die of
   * Rosenkrantz, Stearns and Lewis, System level concurrency control for distributed database
   * systems, 1978, with lots for ages: there is no common clock, and a retry draws anew).
   */
  private mayWaitFor(holder: string, transaction: string): boolean {
    const decided = this.held.get(holder)?.decided ?? null;
    if (decided !== null || this.claims.get(holder)?.decided === true) return true;
    if (lotOf(transaction) <= lotOf(holder)) return false;
    // Its coordinator may be gone.
    this.hasten(holder);
    return true;
  }

  private logIntent(message: VoteRequest): Entry {
    const version = this.primary.bucket.version + 1;
    const body: TransactionBody = {
      coordinatorBucket: message.coordinatorBucket,
      participants: message.participants,
      writes: message.writes.map((write) => this.serving.stamped(write)),
      commit: false,
      detail: '',
    };
    return this.serving.log(EntryKind.Intent, version, 0, message, '', null, body);
  }

  private voteYes(intent: Entry): void {
    const coordinatorBucket = intent.transaction?.coordinatorBucket ?? 0;
    this.vote({ ...intent, coordinatorBucket }, true, intent.version, Code.Ok, '');
  }

  private vote(
    of: { client: string; clientSequence: number; coordinatorBucket: number },
    yes: boolean,
    version: Version,
    code: Code,
    detail: string,
  ): void {
    const { client, clientSequence, coordinatorBucket } = of;
    const { id } = this.primary.bucket;
    this.host.sendToPrimary(
      coordinatorBucket,
      new Vote(client, clientSequence, coordinatorBucket, id, yes, version, code, detail),
    );
  }

  private confirm(of: { client: string; clientSequence: number; coordinatorBucket: number }): void {
    const { client, clientSequence, coordinatorBucket } = of;
    const { id } = this.primary.bucket;
    this.host.sendToPrimary(
      coordinatorBucket,
      new DecideAck(client, clientSequence, coordinatorBucket, id),
    );
  }
}

function writesOf(intent: Entry): readonly EntryWrite[] {
  return intent.transaction?.writes ?? [];
}

function lotOf(transaction: string): number {
  return murmur3(transaction);
}

function resolution(coordinatorBucket: number, commit: boolean): TransactionBody {
  return { coordinatorBucket, participants: [], writes: [], commit, detail: '' };
}
