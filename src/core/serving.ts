import { CommitWaits, type Waiting } from './commit-waits.js';
import { type Current, met, unmetVersion } from './condition.js';
import { Coordinator } from './coordinator.js';
import { Entry, EntryKind, type EntryWrite, type TransactionBody } from './entry.js';
import { PendingRequests } from './pending-requests.js';
import { bare, Expiry, unstamped } from './expiry.js';
import type { Host } from './host.js';
import type { ClientId, Key, Sequence, Version } from './ids.js';
import type { DedupResult } from './message.js';
import { partResult, tooMuch } from './multi-read.js';
import { isNamed } from './namespace.js';
import {
  type ConditionalWrite,
  ConditionKind,
  NO_RECORDS,
  type Operation,
  OperationKind,
  Result,
  sizeOf,
  type StoredRecord,
} from './operation.js';
import { Participant } from './participant.js';
import { bucketOf } from './pools.js';
import type { Primary } from './primary.js';
import { ReadHolds } from './read-holds.js';
import { Code, LIMITS } from './refusal.js';
import { walk } from './walk.js';

const SCAN_BYTES = 512 * 1024;
const EMPTY = new Uint8Array(0);

/** A prepared write that is not committed yet, as later conditions must see it. */
interface Overlaid {
  readonly version: Version;
  readonly exists: boolean;
  readonly sequence: Sequence;
}

/** Who asks for an entry that the server makes by itself. */
const NOBODY = { client: '', clientSequence: 0, settledBelow: 0 };

/**
 * The client operations of one bucket, at its primary. Reads answer from committed state under the
 * lease. Writes judge their condition against the prepared state, which is what the log order makes
 * of them; a judgement that rests on an uncommitted entry is told only when that entry commits.
 */
export class Serving {
  readonly participant: Participant;
  readonly coordinator: Coordinator;
  readonly expiry: Expiry;
  private readonly overlay = new Map<Key, Overlaid>();
  private readonly waits = new CommitWaits();
  /** Confirmed reads that wait, and since when. */
  private readonly confirming = new Map<number, number>();
  private readonly holds = new ReadHolds();
  /** Keys deleted since the role began. */
  private deletes = 0;
  /** Requests in the log that are not committed: retries join them (D4). */
  private readonly pending = new PendingRequests();

  constructor(
    private readonly primary: Primary,
    private readonly host: Host,
  ) {
    this.participant = new Participant(primary, this, host);
    this.coordinator = new Coordinator(primary, this, host);
    this.expiry = new Expiry(primary, host);
  }

  /** The role became ready. */
  begin(): void {
    this.participant.begin();
    this.coordinator.begin();
    this.host.resubmit(this.primary.bucket.id);
  }

  submit(request: number, operation: Operation): void {
    const { id } = this.primary.bucket;
    if (!this.primary.ready) {
      this.host.park(request, operation, id, Code.Unavailable, 'the new primary is taking over');
      return;
    }
    switch (operation.kind) {
      case OperationKind.Get:
        this.get(request, operation);
        break;
      case OperationKind.ConfirmedGet:
        this.confirmedGet(request, operation);
        break;
      case OperationKind.Scan:
        this.scan(request, operation);
        break;
      case OperationKind.GetR:
        this.getr(request, operation);
        break;
      case OperationKind.Count:
        this.count(request, operation);
        break;
      case OperationKind.Set:
      case OperationKind.Delete:
        this.write(request, operation);
        break;
      case OperationKind.SetR:
        this.setr(request, operation);
        break;
    }
  }

  onCommitted(entry: Entry): void {
    const { kind, sequence } = entry;
    this.uncover(entry.key, sequence);
    if (kind === EntryKind.Commit) {
      for (const { key } of entry.transaction?.writes ?? []) this.uncover(key, sequence);
    }
    if (entry.client !== '') this.pending.remove(entry);
    // These may delete; one count too many costs a getr another round, no more.
    const { Delete, Resolve, Commit } = EntryKind;
    if (kind === Delete || kind === Resolve || kind === Commit) this.deletes += 1;
    if (kind === EntryKind.Digest) {
      this.host.onDigestEntry(this.primary.bucket, entry.sequence);
    }
    this.participant.onCommitted(entry);
    this.coordinator.onCommitted(entry);
    for (let one = this.waits.take(sequence); one !== null; one = one.next) {
      const { request, operation, result } = one;
      if (result === 'written') this.host.answer(request, this.written(entry));
      else if (result === 'again') this.host.route(request, operation);
      // What a condition was judged by is a fact now, but it need not be the newest one: without
      // the lease another primary may have gone on from here (D1).
      else if (this.primary.holdsLease) this.host.answer(request, result);
      else this.host.route(request, operation);
    }
  }

  /** Nothing here waits for time to pass. */
  get quiet(): boolean {
    if (this.confirming.size > 0 || this.holds.any) return false;
    return this.participant.quiet && this.coordinator.quiet;
  }

  tick(): void {
    for (const [request, sinceMs] of this.confirming) {
      if (this.host.now - sinceMs < LIMITS.timeoutMs) break;
      this.confirming.delete(request);
    }
    this.holds.sweep(this.host.now);
    this.participant.tick();
    this.coordinator.tick();
    if (this.primary.holdsLease) this.host.resubmit(this.primary.bucket.id);
  }

  /** The role ended: whoever waits is sent to the new primary, which knows the outcome (D4). */
  end(): void {
    for (const { request, operation } of this.waits.drain()) this.host.reroute(request, operation);
    this.coordinator.end();
  }

  /** Log an entry of this bucket under the next sequence. */
  log(
    kind: EntryKind,
    version: Version,
    previous: Version,
    request: { client: ClientId; clientSequence: number; settledBelow: number },
    key: Key,
    value: Uint8Array | null,
    transaction: TransactionBody | null,
  ): Entry {
    const { bucket, ballot } = this.primary;
    const { client, clientSequence, settledBelow } = request;
    const entry = new Entry(
      kind,
      bucket.last + 1,
      ballot,
      version,
      previous,
      this.primary.clockMs,
      client,
      clientSequence,
      settledBelow,
      key,
      value,
      transaction,
    );
    this.primary.append(entry);
    return entry;
  }

  current(key: Key): Current {
    const overlaid = this.overlay.get(key);
    if (overlaid !== undefined) return overlaid;
    const record = this.host.store.get(this.primary.bucket.id, key);
    return { exists: record !== undefined, version: record?.version ?? 0, sequence: 0 };
  }

  /** Log the end of what the keys hold, where its time is over and nothing replaces it yet. */
  endWhatIsDue(keys: readonly Key[]): void {
    const { host, primary } = this;
    for (const key of keys) {
      if (!isNamed(key) || this.overlay.has(key)) continue;
      const record = host.store.get(primary.bucket.id, key);
      if (record !== undefined && this.expiry.isDue(record)) this.endNow(record);
    }
  }

  /** Records whose time is over, that nobody asks for, are ended. True: there may be some. */
  sweep(): boolean {
    return this.expiry.sweep((record) => {
      const { key, version } = record;
      const current = this.current(key);
      if (current.sequence > 0 || current.version !== version) return true;
      if (this.participant.locks.holder(key) !== undefined || this.held(key)) return false;
      this.endNow(record);
      return true;
    });
  }

  private endNow({ key, version: previous }: StoredRecord): void {
    const version = this.primary.bucket.version + 1;
    const { sequence } = this.log(EntryKind.Delete, version, previous, NOBODY, key, null, null);
    this.overlay.set(key, { version, exists: false, sequence });
  }

  /** True: a read of these records waits, and begins anew, since the time of one is over. */
  private awaitsEnd(
    request: number,
    operation: Operation,
    records: readonly StoredRecord[],
    result: Waiting['result'],
  ): boolean {
    const due = records.filter((record) => this.expiry.isDue(record)).map(({ key }) => key);
    if (due.length === 0) return false;
    // A commit that holds one may renew it, or leave it: then it has to be ended.
    if (due.some((key) => this.blocked(request, operation, key))) return true;
    const { primary, host } = this;
    if (!primary.writable) {
      const why = 'a value has expired, and there are too few in-sync replicas to agree on it';
      host.park(request, operation, primary.bucket.id, Code.NotEnoughReplicas, why);
      return true;
    }
    this.endWhatIsDue(due);
    const sequences = due.map((key) => this.overlay.get(key)?.sequence ?? 0);
    const last = Math.max(...sequences);
    // What was read has ended since.
    if (last === 0) return false;
    this.waits.add(last, request, operation, result);
    return true;
  }

  /** A getr wants the key to stay as it is for a moment. */
  held(key: Key): boolean {
    return this.holds.on(key, this.host.now);
  }

  /** What a lock on `key` makes of an operation: it waits until the commit is settled. */
  private blocked(request: number, operation: Operation, key = operation.key): boolean {
    const holder = this.participant.locks.holder(key);
    if (holder === undefined) return false;
    this.participant.hasten(holder);
    const { id } = this.primary.bucket;
    const why = 'a distributed commit holds the key';
    this.host.park(request, operation, id, Code.Unavailable, why);
    return true;
  }

  private get(request: number, operation: Operation): void {
    if (this.blocked(request, operation) || this.unleased(request, operation)) return;
    const record = this.host.store.get(this.primary.bucket.id, operation.key);
    if (record === undefined) {
      this.host.answer(request, this.result(Code.Ok, false, null, 0, 0, ''));
      return;
    }
    const { value, version } = record;
    if (!isNamed(operation.key)) {
      this.host.answer(request, this.result(Code.Ok, true, value, version, 0, ''));
    } else if (!this.awaitsEnd(request, operation, [record], 'again')) {
      this.host.answer(request, this.result(Code.Ok, true, bare(record), version, 0, ''));
    }
  }

  /** Keys of this bucket, at one instant: this step. */
  private getr(request: number, operation: Operation): void {
    const { keys = [], holdMs = 0 } = operation.reads ?? {};
    const { host, primary } = this;
    if (holdMs > 0) for (const key of keys) this.holds.hold(key, host.now, holdMs);
    if (keys.some((key) => this.blocked(request, operation, key))) return;
    if (this.unleased(request, operation)) return;
    const { id } = primary.bucket;
    const found = keys.map((key) => host.store.get(id, key));
    const stored = found.filter((record) => record !== undefined);
    if (this.awaitsEnd(request, operation, stored, 'again')) return;
    const records = stored.map(unstamped);
    const bytes = sizeOf(records);
    if (bytes > LIMITS.getrBytes) {
      host.refuse(request, id, Code.TooLarge, tooMuch(bytes));
      return;
    }
    const { deletes } = this;
    const from = { epoch: host.view.epoch, bucket: id, server: host.self };
    host.answer(request, partResult(records, { deletes, ballot: primary.ballot }, from));
  }

  /** A get that the other replicas confirm, after it arrived; it waits until they have. */
  private confirmedGet(request: number, operation: Operation): void {
    const { host, primary } = this;
    const sinceMs = this.confirming.get(request) ?? host.now;
    if (primary.confirmedSince(sinceMs)) {
      this.confirming.delete(request);
      this.get(request, operation);
      return;
    }
    if (!this.confirming.has(request)) host.hastenBeacons();
    this.confirming.set(request, sinceMs);
    const why = 'a replica does not confirm that this server is still the primary';
    host.park(request, operation, primary.bucket.id, Code.Unavailable, why);
  }

  /** Whether the bucket as a whole cannot be read now: then the operation is parked. */
  private unsettled(request: number, operation: Operation): boolean {
    const { bucket } = this.primary;
    if (bucket.intents.size === 0) return this.unleased(request, operation);
    for (const intent of bucket.intents.keys()) this.participant.hasten(intent);
    const why = 'a distributed commit is being settled';
    this.host.park(request, operation, bucket.id, Code.Unavailable, why);
    return true;
  }

  private count(request: number, operation: Operation): void {
    if (this.unsettled(request, operation)) return;
    const { bucket } = this.primary;
    let records = 0;
    const page = (some: readonly StoredRecord[]): boolean => {
      for (const record of some) {
        const isOther = isNamed(record.key) !== isNamed(operation.key);
        if (!isOther && !this.expiry.isDue(record)) records += 1;
      }
      return true;
    };
    walk(this.host, bucket.id, operation.key, page, (whole) => {
      if (!whole) this.host.onDamaged(request, operation, bucket.id);
      else if (!this.primary.holdsLease) this.host.route(request, operation);
      else this.host.answer(request, this.result(Code.Ok, true, null, records, 0, ''));
    });
  }

  private scan(request: number, operation: Operation): void {
    if (this.unsettled(request, operation)) return;
    const { bucket } = this.primary;
    const token = this.host.expect((completion) => {
      if (completion.type === 'damaged') this.host.onDamaged(request, operation, bucket.id);
      if (completion.type !== 'scanned') return;
      if (!this.primary.holdsLease) {
        this.host.route(request, operation);
        return;
      }
      const { id } = bucket;
      const { self, view } = this.host;
      const { Ok } = Code;
      const isOther = ({ key }: StoredRecord): boolean => isNamed(key) !== isNamed(operation.key);
      const end = completion.records.findIndex(isOther);
      const more = completion.more && end < 0;
      const read = end < 0 ? completion.records : completion.records.slice(0, end);
      const due = read.filter((record) => this.expiry.isDue(record));
      const left = due.length === 0 ? read : read.filter((record) => !due.includes(record));
      const records = left.map(unstamped);
      const result = new Result(Ok, true, null, 0, 0, view.epoch, id, self, '', records, more, 0);
      if (this.awaitsEnd(request, operation, due, result)) return;
      this.host.answer(request, result);
    });
    this.host.outbox.scan(token, bucket.id, operation.key, operation.limit, SCAN_BYTES);
  }

  private write(request: number, operation: Operation): void {
    if (!this.admitWrite(request, operation) || this.blocked(request, operation)) return;
    if (this.held(operation.key)) {
      this.awaitReader(request, operation);
      return;
    }
    if (isNamed(operation.key)) this.endWhatIsDue([operation.key]);
    const current = this.current(operation.key);
    if (!met(operation.condition, operation.ifVersion, current)) {
      const why =
        operation.condition === ConditionKind.IfAbsent
          ? 'the key exists'
          : `the key's version is ${current.version}, not ${operation.ifVersion}`;
      this.tellUnmet(request, operation, current, why);
      return;
    }
    // A delete of an absent key is logged, too: its copies must not delete a later value (D4).
    const deletes = operation.kind === OperationKind.Delete;
    const version = this.primary.bucket.version + 1;
    const previous = current.exists ? current.version : 0;
    const kind = deletes ? EntryKind.Delete : EntryKind.Set;
    const { key, ttlMs } = operation;
    const value = deletes ? null : this.expiry.stamped(key, operation.value ?? EMPTY, ttlMs);
    const entry = this.log(kind, version, previous, operation, key, value, null);
    const { sequence } = entry;
    this.overlay.set(key, { version, exists: !deletes, sequence });
    this.waits.add(sequence, request, operation, 'written');
    if (operation.client !== '') this.pending.add(entry);
  }

  private setr(request: number, operation: Operation): void {
    if (!this.admitWrite(request, operation)) return;
    const { id } = this.primary.bucket;
    const { view } = this.host;
    const isHere = (operation.writes ?? []).every(({ key }) => bucketOf(key, view) === id);
    if (isHere) this.commit(request, operation);
    else this.coordinator.start(request, operation);
  }

  /**
   * A setr of this bucket's keys alone needs no votes: one entry of the log commits all of it, or
   * records that it was refused. It holds nothing while it waits, so it may wait for any commit.
   */
  private commit(request: number, operation: Operation): void {
    const { bucket } = this.primary;
    const asked = operation.writes ?? [];
    if (asked.some(({ key }) => this.blocked(request, operation, key))) return;
    if (asked.some(({ key }) => this.held(key))) {
      this.awaitReader(request, operation);
      return;
    }
    this.endWhatIsDue(asked.map(({ key }) => key));
    const detail = this.objectionTo(asked);
    const commit = detail === '';
    const writes = commit ? asked.map((write) => this.stamped(write)) : [];
    const version = bucket.version + 1;
    const { id } = bucket;
    const body = { coordinatorBucket: id, participants: [id], writes, commit, detail };
    const entry = this.log(EntryKind.Commit, version, 0, operation, '', null, body);
    const { sequence } = entry;
    for (const { key, value } of writes) {
      this.overlay.set(key, { version, exists: value !== null, sequence });
    }
    this.waits.add(sequence, request, operation, 'written');
    this.pending.add(entry);
  }

  /** Why the writes are refused, by what the log says up to here; '': they are not. */
  private objectionTo(writes: readonly ConditionalWrite[]): string {
    for (const { key, condition, ifVersion } of writes) {
      if (condition === ConditionKind.None) continue;
      const current = this.current(key);
      if (!met(condition, ifVersion, current)) return unmetVersion(current, ifVersion);
    }
    return '';
  }

  /** A write of a setr as the log has it. */
  stamped({ key, value }: EntryWrite): EntryWrite {
    return { key, value: value === null ? null : this.expiry.stamped(key, value) };
  }

  private awaitReader(request: number, operation: Operation): void {
    const { id } = this.primary.bucket;
    this.host.park(request, operation, id, Code.Unavailable, 'a getr reads the key');
  }

  /** Say that a condition is not met, when what it was judged by is a fact. */
  private tellUnmet(request: number, operation: Operation, current: Current, why: string): void {
    if (current.sequence === 0 && this.unleased(request, operation)) return;
    const result = this.result(Code.ConditionNotMet, false, null, current.version, 0, why);
    if (current.sequence === 0) this.host.answer(request, result);
    else this.waits.add(current.sequence, request, operation, result);
  }

  /** False when the request was answered, joined to its former self, or refused. */
  private admitWrite(request: number, operation: Operation): boolean {
    const { primary, host } = this;
    const { id } = primary.bucket;
    if (!primary.writable) {
      const why = 'too few in-sync replicas for a write';
      host.park(request, operation, id, Code.NotEnoughReplicas, why);
      return false;
    }
    if (operation.client === '') return true;
    const verdict = primary.bucket.dedup.lookup(operation.client, operation.clientSequence);
    if (verdict === 'settled') {
      host.refuse(request, id, Code.AlreadySettled, 'the client has given this request up');
      return false;
    }
    if (verdict !== 'new') {
      this.answerAgain(request, verdict);
      return false;
    }
    const sequence = this.pending.find(operation.client, operation.clientSequence);
    if (sequence === undefined) return true;
    this.waits.add(sequence, request, operation, 'written');
    return false;
  }

  /** A retry of a write that took effect: the original outcome (D4). */
  answerAgain(request: number, known: DedupResult): void {
    const code = known.committed ? Code.Ok : Code.Conflict;
    const detail = known.committed ? '' : 'the commit was aborted';
    const { host, primary } = this;
    const { id } = primary.bucket;
    this.host.answer(
      request,
      new Result(
        code,
        known.found,
        null,
        known.version,
        known.previous,
        host.view.epoch,
        id,
        host.self,
        detail,
        NO_RECORDS,
        false,
        known.participants,
      ),
    );
  }

  /** Park a read until the lease is back. */
  private unleased(request: number, operation: Operation): boolean {
    if (this.primary.holdsLease) return false;
    const { id } = this.primary.bucket;
    const why = 'the primary has no lease: a secondary does not answer its beacons';
    this.host.park(request, operation, id, Code.Unavailable, why);
    return true;
  }

  private written(entry: Entry): Result {
    const { kind, version, previous, transaction } = entry;
    if (kind === EntryKind.Commit && transaction !== null) {
      const { commit, detail, participants } = transaction;
      const code = commit ? Code.Ok : Code.ConditionNotMet;
      return this.result(code, false, null, version, 0, detail, participants.length);
    }
    const found = kind === EntryKind.Delete && previous > 0;
    return this.result(Code.Ok, found, null, version, previous, '');
  }

  private result(
    code: Code,
    found: boolean,
    value: Uint8Array | null,
    version: Version,
    previous: Version,
    detail: string,
    participants = 0,
  ): Result {
    const { host, primary } = this;
    return new Result(
      code,
      found,
      value,
      version,
      previous,
      host.view.epoch,
      primary.bucket.id,
      host.self,
      detail,
      NO_RECORDS,
      false,
      participants,
    );
  }

  /** The entry of this sequence is committed: it covers the key no more. */
  private uncover(key: Key, sequence: Sequence): void {
    if (this.overlay.get(key)?.sequence === sequence) this.overlay.delete(key);
  }
}
