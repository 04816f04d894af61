import type { CausalBucket } from './causal-bucket.js';
import type { CausalMark } from './causal-message.js';
import {
  type CausalRecord,
  causalHalf,
  type Context,
  fromStored,
  isLive,
  NO_CONTEXT,
} from './causal-record.js';
import type { Host } from './host.js';
import type { BucketId, Epoch, Key, Ordinal } from './ids.js';
import { type Operation, OperationKind, type Result, type StoredRecord } from './operation.js';
import { Code } from './refusal.js';
import { including, joined, type Vector } from './vector.js';
import { type BucketRow, isGivenUp } from './view.js';
import { walk } from './walk.js';

/** A read that waits for what its context names. */
interface Waiting {
  readonly request: number;
  readonly operation: Operation;
  readonly untilMs: number;
}

/** What the reads use of the causal half of the server. */
interface Office {
  bucket(id: BucketId): CausalBucket;
  known(id: BucketId): Vector;
  /** Of the last own write. */
  number(): number;
  /** Lamport's clock of this server now. */
  time(): number;
  /** Hand the operation to a server that holds the bucket. */
  pass(request: number, operation: Operation, id: BucketId, row: BucketRow): void;
  answer(request: number, bucket: BucketId, found: Found, context: Context): void;
  /** Whatever is left of the writes of a server that was given up at that epoch is here. */
  hasRest(bucket: CausalBucket, server: Ordinal, epoch: Epoch): boolean;
}

/** What an operation found, or did. */
export type Found = Pick<Result, 'found' | 'value' | 'version'> &
  Partial<Pick<Result, 'records' | 'more'>>;

const NOTHING: Found = { found: false, value: null, version: 0 };
const SCAN_BYTES = 512 * 1024;

/**
 * Reads in causal namespaces (D5): one is answered when everything that its context names is here,
 * as far as it concerns the bucket, and waits until then.
 */
export class CausalReads {
  private readonly waiting = new Map<BucketId, Waiting[]>();
  private readonly marks = new Map<Ordinal, { epoch: Epoch; upTo: number }>();
  /** The last of each server that does not count yet. */
  private readonly announced = new Map<Ordinal, CausalMark>();

  constructor(
    private readonly host: Host,
    private readonly office: Office,
  ) {}

  submit(request: number, operation: Operation, bucket: BucketId, row: BucketRow): void {
    if (this.tryRead(request, operation, bucket, row)) return;
    const list = this.waiting.get(bucket) ?? [];
    this.waiting.set(bucket, list);
    list.push({ request, operation, untilMs: this.host.now + operation.timeoutMs });
  }

  private tryRead(request: number, operation: Operation, id: BucketId, row: BucketRow): boolean {
    const context = operation.context ?? NO_CONTEXT;
    const bucket = this.office.bucket(id);
    if (this.missing(bucket, row, context) !== null) return false;
    if (operation.kind === OperationKind.Scan) {
      this.scan(request, operation, id, operation.key, context);
    } else if (operation.kind === OperationKind.Count) this.count(request, operation, id, context);
    else this.get(request, operation, bucket, context);
    return true;
  }

  private get(request: number, { key }: Operation, bucket: CausalBucket, context: Context): void {
    const record = bucket.get(key, this.host.store);
    if (record === null) {
      // What was here may be over: it is for whoever has seen so.
      const clock = this.timeOf(context);
      this.office.answer(request, bucket.id, NOTHING, { ...context, clock });
      return;
    }
    const found = isLive(record, this.timeOf(context));
    const { value, clock: version } = record;
    const next = having(context, record, found);
    this.office.answer(request, bucket.id, { found, value: found ? value : null, version }, next);
  }

  private scan(
    request: number,
    operation: Operation,
    id: BucketId,
    after: Key,
    context: Context,
  ): void {
    const { host } = this;
    const token = host.expect((completion) => {
      if (completion.type === 'damaged') host.onDamaged(request, operation, id);
      if (completion.type !== 'scanned') return;
      const time = this.timeOf(context);
      const read = completion.records.map(fromStored);
      let next = context;
      for (const record of read) next = having(next, record, isLive(record, time));
      const records = read.flatMap((record) => {
        if (!isLive(record, time)) return [];
        return [{ key: record.key, value: record.value, version: record.clock }];
      });
      const { more } = completion;
      const last = completion.records.at(-1);
      // The next page begins after the last record that is shown: show one.
      if (more && records.length === 0 && last !== undefined) {
        this.scan(request, operation, id, last.key, next);
        return;
      }
      this.office.answer(
        request,
        id,
        { found: true, value: null, version: 0, records, more },
        next,
      );
    });
    host.outbox.scan(token, causalHalf(id), after, operation.limit, SCAN_BYTES);
  }

  private count(request: number, operation: Operation, id: BucketId, context: Context): void {
    const { host } = this;
    const time = this.timeOf(context);
    let version = 0;
    const page = (records: readonly StoredRecord[]): boolean => {
      for (const record of records) if (isLive(fromStored(record), time)) version += 1;
      return true;
    };
    walk(host, causalHalf(id), operation.key, page, (whole) => {
      if (!whole) host.onDamaged(request, operation, id);
      else this.office.answer(request, id, { found: true, value: null, version }, context);
    });
  }

  /** Now, for a session: what has expired for it does not come back. */
  private timeOf({ clock }: Context): number {
    return Math.max(clock, this.office.time());
  }

  /** The first server of which writes that the context names may be missing here, or null. */
  missing(
    bucket: CausalBucket,
    row: BucketRow,
    { seen, epoch }: Context,
  ): { readonly server: Ordinal; readonly have: number; readonly want: number } | null {
    const { self, view } = this.host;
    for (const [server, want] of seen) {
      // A server that never held the bucket has written nothing there, if our view is not old.
      const holds = row.replicas.includes(server) || row.target.includes(server);
      const givenUp = view.members.get(server)?.givenUp ?? 0;
      const held = holds || bucket.former.has(server) || givenUp > 0;
      const counts = held || epoch > view.epoch;
      if (server !== self && !counts) continue;
      const have = server === self ? this.office.number() : this.knownOf(bucket, row, server);
      if (have >= want) continue;
      const isOver = givenUp > 0 && epoch <= view.epoch;
      if (!isOver || !this.office.hasRest(bucket, server, givenUp)) return { server, have, want };
    }
    return null;
  }

  private knownOf(bucket: CausalBucket, row: BucketRow, server: Ordinal): number {
    const known = bucket.known.get(server) ?? 0;
    const mark = this.marks.get(server);
    const counts = mark !== undefined && mark.epoch <= this.host.view.epoch;
    // The row of that epoch is the present one: the server counted us among its holders.
    if (!counts || row.epoch > mark.epoch || !row.replicas.includes(server)) return known;
    return Math.max(known, mark.upTo);
  }

  /** Something of the bucket became known. */
  onKnown(id: BucketId): void {
    this.retry(id);
    for (const { underWay } of this.announced.values()) {
      if (underWay.has(id)) {
        this.takeMarks();
        return;
      }
    }
  }

  retry(id: BucketId): void {
    const list = this.waiting.get(id);
    const row = this.host.view.rows[id];
    if (list === undefined || row === undefined) return;
    this.waiting.delete(id);
    for (const waiting of list) {
      const { request, operation } = waiting;
      if (!row.replicas.includes(this.host.self)) this.office.pass(request, operation, id, row);
      else if (!this.tryRead(request, operation, id, row)) {
        const left = this.waiting.get(id) ?? [];
        this.waiting.set(id, left);
        left.push(waiting);
      }
    }
  }

  private expire(id: BucketId, list: readonly Waiting[]): void {
    const { host } = this;
    const row = host.view.rows[id];
    const late = list.filter(({ untilMs }) => host.now >= untilMs);
    const left = list.filter(({ untilMs }) => host.now < untilMs);
    if (left.length > 0) this.waiting.set(id, left);
    else this.waiting.delete(id);
    for (const { request, operation } of late) {
      const missing =
        row === undefined
          ? null
          : this.missing(this.office.bucket(id), row, operation.context ?? NO_CONTEXT);
      const why =
        missing === null
          ? 'this server was too slow'
          : `server ${host.self} lacks what the session has seen: writes ${missing.have + 1} to ` +
            `${missing.want} of server ${missing.server}${this.hope(missing.server)}`;
      host.refuse(request, id, Code.Unavailable, why);
    }
  }

  /** What a missing write waits for, where that is not the server that took it. */
  private hope(server: Ordinal): string {
    if (!isGivenUp(this.host.view, server)) return '';
    return ', which was given up: not all who may have them have answered yet';
  }

  onMark(from: Ordinal, mark: CausalMark): void {
    this.announced.set(from, mark);
    this.takeMarks();
  }

  onAdopted(): void {
    this.takeMarks();
    this.retryAll();
  }

  /** Those count from now on of which nothing is under way any more. */
  private takeMarks(): void {
    const present = this.host.view.epoch;
    let news = false;
    for (const [from, { epoch, upTo, underWay }] of this.announced) {
      const mark = this.marks.get(from);
      // One for a view that is still on its way must not hide the one that counts now.
      if (mark !== undefined && mark.epoch <= present && epoch > present) continue;
      if (!this.hasTaken(from, underWay)) continue;
      this.announced.delete(from);
      this.marks.set(from, { epoch, upTo });
      news = true;
    }
    if (news) this.retryAll();
  }

  private hasTaken(from: Ordinal, underWay: ReadonlyMap<BucketId, number>): boolean {
    for (const [id, number] of underWay) {
      if ((this.office.known(id).get(from) ?? 0) < number) return false;
    }
    return true;
  }

  tick(): void {
    const { now } = this.host;
    for (const [bucket, list] of Array.from(this.waiting)) {
      if (list.some(({ untilMs }) => now >= untilMs)) this.expire(bucket, list);
    }
  }

  /**
   * What the marks said of the bucket while `row` was in force, in a view with that epoch: they say
   * nothing of a row that follows.
   */
  markedUnder(row: BucketRow, epoch: Epoch): Map<Ordinal, number> {
    const { self } = this.host;
    const marked = new Map<Ordinal, number>();
    // A row keeps its epoch when learners come: only replicas were counted all the time.
    if (!row.replicas.includes(self)) return marked;
    for (const server of row.replicas) {
      const mark = this.marks.get(server);
      if (mark === undefined || mark.epoch > epoch || row.epoch > mark.epoch) continue;
      marked.set(server, mark.upTo);
    }
    return marked;
  }

  retryAll(): void {
    for (const id of Array.from(this.waiting.keys())) this.retry(id);
  }
}

/** What a session has seen when it has seen the record too, alive or expired. */
function having({ clock, epoch, seen }: Context, record: CausalRecord, isAlive: boolean): Context {
  const { writer, number, past, expires } = record;
  const since = isAlive || record.value === null ? record.clock : Math.max(record.clock, expires);
  const both = including(joined(seen, past), writer, number);
  const newest = Math.max(epoch, record.epoch);
  return { clock: Math.max(clock, since), epoch: newest, seen: both };
}
