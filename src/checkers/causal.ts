import { type CausalRecord, STEPS } from '../core/causal-record.js';
import type { Key, Ordinal } from '../core/ids.js';
import { plainKey } from '../core/namespace.js';
import type { Violation } from './history.js';

/** As far as a client knows it: of a write that it only read, nobody told it the server. */
interface Seen {
  readonly clock: number;
  readonly writer: Ordinal | null;
  /** A delete, or it was seen to have expired. */
  readonly deletes: boolean;
}

/** The latest write to each key that somebody must see. */
type Past = ReadonlyMap<Key, Seen>;

/** One write of one session. */
export interface CausalWrite {
  readonly session: number;
  readonly key: Key;
  /** Occurs once in a run; null: a delete. */
  readonly value: string | null;
  /** How long it lives, ms; 0: for ever. */
  readonly ttlMs: number;
  /** What its session had seen when it began. */
  readonly past: Past;
  /** Null: not answered. */
  stamp: { readonly clock: number; readonly writer: Ordinal } | null;
}

/** A violation, if the write that was missed is not lost. */
interface Found {
  readonly key: Key;
  readonly what: string;
  readonly missed: number | null;
}

function isOlder(left: Seen, right: Seen): boolean {
  if (left.clock !== right.clock) return left.clock < right.clock;
  if (right.deletes && !left.deletes && left.writer === right.writer) return true;
  return left.writer !== null && right.writer !== null && left.writer < right.writer;
}

/**
 * Causal consistency (D5; Ahamad et al. 1995; with last-writer-wins, "causal+" of COPS, Lloyd et
 * al. 2011): happens-before is the order of each session, and from a write to whoever read it, and
 * so on. A read must not return less than the latest write to its key that happened before it.
 */
export class CausalHistory {
  private found: Found[] = [];
  /** Whom servers gave which number, by key and clock. */
  private readonly taken = new Map<string, { writer: Ordinal; number: number }[]>();
  readonly writes: CausalWrite[] = [];
  reads = 0;
  private readonly byValue = new Map<string, CausalWrite>();
  private readonly sessions = new Map<number, Map<Key, Seen>>();

  get violations(): Violation[] {
    return this.found.map(({ key, what }) => ({ promise: 'D5', what, keys: [key] }));
  }

  /** A server logs a write that it takes. */
  took({ key: stored, clock, writer, number }: CausalRecord): void {
    const name = nameOf(plainKey(stored), clock);
    const those = this.taken.get(name) ?? [];
    this.taken.set(name, those);
    if (!those.some((one) => one.writer === writer)) those.push({ writer, number });
  }

  /** What was lost with the only server that had it need not be seen. */
  forgive(isLost: (key: Key, writer: Ordinal, number: number) => boolean): void {
    this.found = this.found.filter(({ key, missed }) => {
      const those = missed === null ? [] : (this.taken.get(nameOf(key, missed)) ?? []);
      return !those.some(({ writer, number }) => isLost(key, writer, number));
    });
  }

  begin(session: number, key: Key, value: string | null, ttlMs = 0): CausalWrite {
    const past = new Map(this.sessionOf(session));
    const write: CausalWrite = { session, key, value, ttlMs, past, stamp: null };
    this.writes.push(write);
    if (value !== null) this.byValue.set(value, write);
    return write;
  }

  answered(write: CausalWrite, clock: number, writer: Ordinal): void {
    write.stamp = { clock, writer };
    const seen = { clock, writer, deletes: write.value === null };
    const before = write.past.get(write.key);
    if (before !== undefined && isOlder(seen, before)) {
      this.violated(write.key, `a write got clock ${clock}, after ${before.clock} was seen`);
    }
    note(this.sessionOf(write.session), write.key, seen);
  }

  /**
   * `clock`: of the value, or of the tombstone that was met; 0: there was none. `now`: that of the
   * session when it asked.
   */
  read(session: number, key: Key, value: string | null, clock: number, now = 0): void {
    this.reads += 1;
    const past = this.sessionOf(session);
    const must = past.get(key);
    if (value === null) {
      this.readNothing(past, key, must, clock);
      return;
    }
    const write = this.byValue.get(value);
    if (write === undefined || write.key !== key) {
      this.violated(key, `session ${session} read ${value}, which nobody wrote there`);
      return;
    }
    const seen = { clock, writer: write.stamp?.writer ?? null, deletes: false };
    if (must !== undefined && isOlder(seen, must)) {
      const what = `${value} of clock ${clock}, but had seen, or depended on, clock ${must.clock}`;
      this.violated(
        key,
        `session ${session} read ${what}${must.deletes ? ', a delete' : ''}`,
        must.clock,
      );
    }
    if (write.ttlMs > 0 && now >= clock + write.ttlMs * STEPS) {
      this.violated(key, `session ${session} read ${value}, which had expired for it`);
    }
    for (const [other, dependency] of write.past) note(past, other, dependency);
    note(past, key, seen);
  }

  /** All was healed, and a read got no answer all the same. */
  unanswered(key: Key): void {
    this.violated(key, 'not answered although all was healed');
  }

  /** What a session has seen ends with it; a new one has seen nothing. */
  end(session: number): void {
    this.sessions.delete(session);
  }

  /** At rest, `held` is what every replica holds: the write with the highest stamp of each key. */
  checkRest(
    held: ReadonlyMap<Key, { readonly clock: number; readonly value: string | null }>,
  ): void {
    for (const { key, value, stamp } of this.writes) {
      if (stamp === null) continue;
      const rest = held.get(key);
      if (rest !== undefined && rest.clock >= stamp.clock) continue;
      // The tombstone of a later delete may have been dropped.
      if (rest === undefined && (value === null || this.mayBeDeleted(key, stamp.clock))) continue;
      const what = value === null ? 'a delete' : value;
      const found = rest === undefined ? 'nothing' : `${rest.value} of clock ${rest.clock}`;
      this.violated(
        key,
        `${what} of clock ${stamp.clock} was answered; at rest there is ${found}`,
        stamp.clock,
      );
    }
  }

  private readNothing(past: Map<Key, Seen>, key: Key, must: Seen | undefined, clock: number): void {
    const met = this.writes.filter(
      (write) =>
        write.key === key &&
        (write.value === null || write.ttlMs > 0) &&
        write.stamp?.clock === clock,
    );
    if (must !== undefined && !must.deletes && !this.mayBeDeleted(key, must.clock)) {
      this.violated(key, `nothing was read, but clock ${must.clock} had been seen`, must.clock);
    }
    // Whatever was there does not come back.
    if (must !== undefined) note(past, key, { ...must, deletes: true });
    const [only] = met;
    // Two servers may have given out one clock; a client was not told of both yet.
    const isTie = (this.taken.get(nameOf(key, clock)) ?? []).length > 1;
    if (only === undefined || only.stamp === null || met.length > 1 || isTie) return;
    for (const [other, dependency] of only.past) note(past, other, dependency);
    note(past, key, { ...only.stamp, deletes: true });
  }

  /** A delete with that clock or a later one, as far as anybody knows, or what may have expired. */
  private mayBeDeleted(key: Key, clock: number): boolean {
    return this.writes.some(
      (write) =>
        write.key === key &&
        (write.value === null || write.ttlMs > 0) &&
        (write.stamp === null || write.stamp.clock >= clock),
    );
  }

  /** `missed`: clock of the write that should have been seen. */
  private violated(key: Key, what: string, missed: number | null = null): void {
    this.found.push({ key, what: `${key}: ${what}`, missed });
  }

  private sessionOf(session: number): Map<Key, Seen> {
    let past = this.sessions.get(session);
    if (past === undefined) {
      past = new Map();
      this.sessions.set(session, past);
    }
    return past;
  }
}

function nameOf(key: Key, clock: number): string {
  return `${key}/${clock}`;
}

function note(past: Map<Key, Seen>, key: Key, seen: Seen): void {
  const present = past.get(key);
  if (present === undefined || isOlder(present, seen)) past.set(key, seen);
}
