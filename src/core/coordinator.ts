import { transactionKey } from './bucket.js';
import { type Entry, EntryKind } from './entry.js';
import type { Host } from './host.js';
import type { BucketId, Version } from './ids.js';
import {
  Decide,
  type DecideAck,
  type DecisionQuery,
  type TransactionId,
  type Vote,
  VoteRequest,
} from './message.js';
import { type ConditionalWrite, NO_RECORDS, type Operation, Result } from './operation.js';
import { bucketOf } from './pools.js';
import type { Primary } from './primary.js';
import { Code } from './refusal.js';
import type { Serving } from './serving.js';

/** One transaction this bucket coordinates. */
interface Transaction {
  readonly id: TransactionId & { readonly settledBelow: number };
  readonly participants: readonly BucketId[];
  readonly writes: ReadonlyMap<BucketId, ConditionalWrite[]>;
  readonly requests: { request: number; operation: Operation }[];
  /** voting · deciding: the decision is being logged · decided: participants are being told */
  phase: 'voting' | 'deciding' | 'decided';
  readonly votes: Set<BucketId>;
  readonly confirmed: Set<BucketId>;
  version: Version;
  commit: boolean;
  code: Code;
  detail: string;
  toldMs: number;
  /** Votes are asked for again after this long: they carry all that is to be written. */
  askAgainMs: number;
  /** Voting ends then: a participant that cannot be reached must not hold the others' locks. */
  readonly deadlineMs: number;
}

/** The longest a vote may take, ms. */
const VOTING_MS = 5000;
/** Votes are asked for less and less often, but at least once in so many times of `resendMs`. */
const MOST_RESENDS = 4;

/**
 * The coordinator's half of a distributed commit (D3): the primary of the first key's bucket. The
 * commit point is the decision entry, committed on this bucket's replicas; then the client is
 * answered and the participants are told until each has confirmed. The first no decides at once.
 * An abort is logged before anyone hears of it, so a straggling message cannot revive it.
 */
export class Coordinator {
  private readonly transactions = new Map<string, Transaction>();

  constructor(
    private readonly primary: Primary,
    private readonly serving: Serving,
    private readonly host: Host,
  ) {}

  /** Take over decisions that not every participant has confirmed. */
  begin(): void {
    for (const [key, entry] of this.primary.bucket.decisions) {
      if (this.transactions.has(key)) continue;
      const participants = entry.transaction?.participants ?? [];
      const transaction = this.create(key, entry, participants, new Map());
      transaction.phase = 'decided';
      transaction.commit = entry.transaction?.commit ?? false;
      transaction.version = entry.version;
      this.tell(transaction);
    }
  }

  /** A setr whose first key is in this bucket. Duplicates were told apart before, by D4's table. */
  start(request: number, operation: Operation): void {
    const key = transactionKey(operation.client, operation.clientSequence);
    const known = this.transactions.get(key);
    if (known !== undefined) {
      known.requests.push({ request, operation });
      return;
    }
    const writes = this.byBucket(operation.writes ?? []);
    const participants = Array.from(writes.keys());
    // After that nobody waits for it, and others may wait for its keys.
    const votingMs = Math.min(VOTING_MS, operation.timeoutMs);
    const transaction = this.create(key, operation, participants, writes, votingMs);
    transaction.requests.push({ request, operation });
    this.askVotes(transaction);
  }

  onVote(message: Vote): void {
    const transaction = this.find(message);
    if (transaction?.phase !== 'voting') return;
    if (!message.yes) {
      transaction.code = message.code;
      transaction.detail = message.detail;
      this.decide(transaction, false);
      return;
    }
    transaction.votes.add(message.bucket);
    transaction.version = Math.max(transaction.version, message.version);
    if (transaction.votes.size < transaction.participants.length) return;
    if (!this.primary.writable) {
      transaction.code = Code.NotEnoughReplicas;
      transaction.detail = 'too few in-sync replicas for a write';
    }
    this.decide(transaction, this.primary.writable);
  }

  /** A participant holds an intent and nobody told it how the transaction ended. */
  onQuery(message: DecisionQuery): void {
    if (!this.primary.ready) return;
    const transaction = this.find(message);
    if (transaction !== undefined) {
      if (transaction.phase === 'decided') this.tellOne(transaction, message.bucket);
      return;
    }
    const { client, clientSequence } = message;
    const verdict = this.primary.bucket.dedup.lookup(client, clientSequence);
    if (verdict === 'new') {
      const key = transactionKey(client, clientSequence);
      const id = { client, clientSequence, settledBelow: 0 };
      const abandoned = this.create(key, id, message.participants, new Map());
      abandoned.code = Code.Conflict;
      abandoned.detail = 'its coordinator was lost before it decided';
      this.decide(abandoned, false);
      return;
    }
    // Confirmed by all and forgotten. A commit needed an intent here that was then resolved, so
    // this intent, if it exists, is a straggler of an aborted transaction.
    if (verdict !== 'settled' && verdict.committed) return;
    const { bucket, coordinatorBucket } = message;
    this.host.sendToPrimary(
      bucket,
      new Decide(client, clientSequence, coordinatorBucket, bucket, false, 0),
    );
  }

  onConfirmed(message: DecideAck): void {
    const transaction = this.find(message);
    if (transaction?.phase !== 'decided') return;
    const { participants, confirmed, id } = transaction;
    if (confirmed.has(message.bucket) || !participants.includes(message.bucket)) return;
    confirmed.add(message.bucket);
    if (confirmed.size === participants.length) {
      this.serving.log(EntryKind.Forget, transaction.version, 0, id, '', null, null);
    }
  }

  onCommitted(entry: Entry): void {
    const { Decision, Commit, Forget } = EntryKind;
    if (entry.kind !== Decision && entry.kind !== Commit && entry.kind !== Forget) return;
    const key = transactionKey(entry.client, entry.clientSequence);
    const transaction = this.transactions.get(key);
    if (transaction === undefined) return;
    if (entry.kind === Forget) {
      this.transactions.delete(key);
      return;
    }
    transaction.phase = 'decided';
    for (const { request } of transaction.requests) {
      this.host.answer(request, this.outcome(transaction));
    }
    transaction.requests.length = 0;
    this.tell(transaction);
  }

  /** Whether a vote still counts. */
  isVoting(transaction: string): boolean {
    return this.transactions.get(transaction)?.phase === 'voting';
  }

  get quiet(): boolean {
    return this.transactions.size === 0;
  }

  tick(): void {
    const { now, settings } = this.host;
    for (const transaction of this.transactions.values()) {
      if (transaction.phase === 'voting' && now >= transaction.deadlineMs) {
        transaction.code = Code.Unavailable;
        transaction.detail = 'a participant did not vote in time';
        this.decide(transaction, false);
      }
      const { phase, toldMs, askAgainMs } = transaction;
      if (phase === 'voting' && now - toldMs >= askAgainMs) {
        transaction.askAgainMs = Math.min(2 * askAgainMs, MOST_RESENDS * settings.resendMs);
        this.askVotes(transaction);
      }
      if (phase === 'decided' && now - toldMs >= settings.resendMs) this.tell(transaction);
    }
  }

  /** The role ended: the next primary finds the decision, or none and aborts. */
  end(): void {
    for (const { requests } of this.transactions.values()) {
      for (const { request, operation } of requests) this.host.reroute(request, operation);
    }
    this.transactions.clear();
  }

  private create(
    key: string,
    id: TransactionId & { readonly settledBelow: number },
    participants: readonly BucketId[],
    writes: ReadonlyMap<BucketId, ConditionalWrite[]>,
    votingMs = VOTING_MS,
  ): Transaction {
    const { client, clientSequence, settledBelow } = id;
    const transaction: Transaction = {
      id: { client, clientSequence, settledBelow },
      participants,
      writes,
      requests: [],
      phase: 'voting',
      votes: new Set(),
      confirmed: new Set(),
      version: 0,
      commit: false,
      code: Code.Ok,
      detail: '',
      toldMs: this.host.now,
      askAgainMs: this.host.settings.resendMs,
      deadlineMs: this.host.now + votingMs,
    };
    this.transactions.set(key, transaction);
    return transaction;
  }

  private find(id: TransactionId): Transaction | undefined {
    return this.transactions.get(transactionKey(id.client, id.clientSequence));
  }

  private byBucket(writes: readonly ConditionalWrite[]): Map<BucketId, ConditionalWrite[]> {
    const byBucket = new Map<BucketId, ConditionalWrite[]>();
    for (const write of writes) {
      const bucket = bucketOf(write.key, this.host.view);
      const list = byBucket.get(bucket);
      if (list === undefined) byBucket.set(bucket, [write]);
      else list.push(write);
    }
    return byBucket;
  }

  private askVotes(transaction: Transaction): void {
    transaction.toldMs = this.host.now;
    const { id, participants, writes, votes } = transaction;
    for (const bucket of participants) {
      if (votes.has(bucket)) continue;
      this.host.sendToPrimary(
        bucket,
        new VoteRequest(
          id.client,
          id.clientSequence,
          id.settledBelow,
          this.primary.bucket.id,
          bucket,
          participants,
          writes.get(bucket) ?? [],
        ),
      );
    }
  }

  private decide(transaction: Transaction, commit: boolean): void {
    const { bucket } = this.primary;
    transaction.phase = 'deciding';
    transaction.commit = commit;
    transaction.version = Math.max(transaction.version, bucket.version + 1);
    const { participants, version, detail, id } = transaction;
    const key = transactionKey(id.client, id.clientSequence);
    const writes = this.serving.participant.decideClaim(key, commit);
    const kind = commit ? EntryKind.Commit : EntryKind.Decision;
    const body = { coordinatorBucket: bucket.id, participants, writes, commit, detail };
    this.serving.log(kind, version, 0, id, '', null, body);
  }

  private tell(transaction: Transaction): void {
    transaction.toldMs = this.host.now;
    for (const bucket of transaction.participants) {
      if (!transaction.confirmed.has(bucket)) this.tellOne(transaction, bucket);
    }
  }

  private tellOne(transaction: Transaction, bucket: BucketId): void {
    const { id, commit, version } = transaction;
    this.host.sendToPrimary(
      bucket,
      new Decide(id.client, id.clientSequence, this.primary.bucket.id, bucket, commit, version),
    );
  }

  private outcome(transaction: Transaction): Result {
    const { host, primary } = this;
    const { commit, code, detail, version, participants } = transaction;
    return new Result(
      commit ? Code.Ok : code,
      false,
      null,
      version,
      0,
      host.view.epoch,
      primary.bucket.id,
      host.self,
      detail,
      NO_RECORDS,
      false,
      participants.length,
    );
  }
}
