import type { Host } from './host.js';
import type { Key } from './ids.js';
import {
  ConditionKind,
  Operation,
  OperationKind,
  Result,
  sizeOf,
  type StoredRecord,
} from './operation.js';
import { Code, LIMITS } from './refusal.js';
import { bucketOf } from './pools.js';
import type { View } from './view.js';

/** A `getr` of keys in several buckets, under way. */
interface Reading {
  readonly request: number;
  readonly operation: Operation;
  /** Keys of one bucket each. */
  readonly groups: readonly (readonly Key[])[];
  readonly deadlineMs: number;
  collects: number;
  /** The last whole collect; null before there is one. */
  before: readonly Result[] | null;
  /** The present collect, by group; null while its part is out. */
  readonly gathered: (Result | null)[];
}

/** A disturbed read makes writes of its keys wait for so long; doubled each time, ms. */
const HOLD_MS = { least: 10, most: 160 } as const;

/**
 * Reads of keys in several buckets at one instant (D3). All parts are collected until two collects
 * in a row agree: then no key changed from the end of the first to the start of the second, so that
 * any moment between them is the instant (double collect: Afek et al. 1993, "Atomic snapshots of
 * shared memory", §3). A key has changed when its version has; absence is told apart by the deletes
 * that the bucket's primary counted. Each part waits for commits that hold one of its keys.
 *
 * Parts are operations with request numbers below 0, which nobody outside of the machine knows.
 */
export class MultiReads {
  private readonly readings = new Set<Reading>();
  private readonly parts = new Map<number, { readonly reading: Reading; readonly place: number }>();
  private nextPart = -1;

  constructor(private readonly host: Host) {}

  /** Take a read over; false when all its keys are in one bucket, whose primary can answer it. */
  start(request: number, operation: Operation): boolean {
    const groups = groupsOf(operation.reads?.keys ?? [], this.host.view);
    if (groups.length < 2) return false;
    const deadlineMs = this.host.now + operation.timeoutMs;
    const gathered = groups.map(() => null);
    const reading = { request, operation, groups, deadlineMs, collects: 0, before: null, gathered };
    this.readings.add(reading);
    this.collect(reading);
    return true;
  }

  /** A part was answered, maybe one of a reading that has ended. */
  onAnswer(part: number, result: Result): void {
    const found = this.parts.get(part);
    this.parts.delete(part);
    if (found === undefined || !this.readings.has(found.reading)) return;
    const { reading, place } = found;
    if (result.code !== Code.Ok) {
      this.end(reading, result);
      return;
    }
    reading.gathered[place] = result;
    if (!isWhole(reading.gathered)) return;
    if (this.undisturbed(reading)) this.finish(reading);
    else {
      reading.before = reading.gathered.slice() as Result[];
      this.collect(reading);
    }
  }

  /** Refuse what is overdue. */
  tick(): void {
    for (const reading of this.readings) {
      if (this.host.now < reading.deadlineMs) continue;
      const why = 'a server that holds some of the keys did not answer, or they changed too often';
      this.readings.delete(reading);
      this.host.refuse(reading.request, 0, Code.Unavailable, why);
    }
    for (const [part, { reading }] of this.parts) {
      if (!this.readings.has(reading)) this.parts.delete(part);
    }
  }

  /** No key changed from the collect before to this one. */
  private undisturbed({ before, gathered, groups }: Reading): boolean {
    return groups.every((keys, place) => {
      const [first, second] = [before?.[place], gathered[place]];
      return first !== undefined && second && agree(first, second, keys);
    });
  }

  private collect(reading: Reading): void {
    const { operation, groups, deadlineMs, gathered } = reading;
    reading.collects += 1;
    gathered.fill(null);
    // The first collect that fails to agree may just have been unlucky.
    const disturbed = reading.collects - 3;
    const holdMs = disturbed < 0 ? 0 : Math.min(HOLD_MS.most, HOLD_MS.least * 2 ** disturbed);
    const { collects } = reading;
    for (const [place, keys] of groups.entries()) {
      // Parts that are answered at once may have ended this collect, or the reading.
      if (!this.readings.has(reading) || reading.collects !== collects) return;
      const part = this.nextPart--;
      this.parts.set(part, { reading, place });
      const leftMs = Math.max(1, deadlineMs - this.host.now);
      this.host.route(part, partOf(operation, keys, holdMs, leftMs));
    }
  }

  private finish(reading: Reading): void {
    const { host } = this;
    const results = reading.gathered as readonly Result[];
    const records = results.flatMap((result) => result.records);
    const bytes = sizeOf(records);
    if (bytes > LIMITS.getrBytes) {
      this.readings.delete(reading);
      host.refuse(reading.request, 0, Code.TooLarge, tooMuch(bytes));
      return;
    }
    const { epoch } = host.view;
    const bucket = results[0]?.bucket ?? 0;
    const { length } = results;
    this.end(
      reading,
      new Result(Code.Ok, true, null, 0, 0, epoch, bucket, host.self, '', records, false, length),
    );
  }

  private end(reading: Reading, result: Result): void {
    this.readings.delete(reading);
    this.host.answer(reading.request, result);
  }
}

/** Why records of that size cannot be answered together. */
export function tooMuch(bytes: number): string {
  const { getrBytes } = LIMITS;
  return `the values have ${bytes} bytes together; the limit of a getr is ${getrBytes} (3 MiB)`;
}

function partOf(
  { hops, context }: Operation,
  keys: readonly Key[],
  holdMs: number,
  timeoutMs: number,
): Operation {
  const { None } = ConditionKind;
  const { GetR } = OperationKind;
  const reads = { keys, holdMs };
  return new Operation(
    GetR,
    keys[0] ?? '',
    null,
    None,
    0,
    '',
    0,
    0,
    null,
    0,
    0,
    // The sender's bucket epoch is that of another bucket, but for one part.
    0,
    timeoutMs,
    hops,
    reads,
    context,
  );
}

function groupsOf(keys: readonly Key[], view: View): Key[][] {
  const groups = new Map<number, Key[]>();
  for (const key of keys) {
    const bucket = bucketOf(key, view);
    const group = groups.get(bucket);
    if (group === undefined) groups.set(bucket, [key]);
    else group.push(key);
  }
  return Array.from(groups.values());
}

function isWhole(gathered: readonly (Result | null)[]): gathered is readonly Result[] {
  return gathered.every((result) => result !== null);
}

/** None of `keys` changed from the one answer of their bucket to the other. */
function agree(first: Result, second: Result, keys: readonly Key[]): boolean {
  const versions = new Map(first.records.map(({ key, version }) => [key, version]));
  const same =
    first.records.length === second.records.length &&
    second.records.every(({ key, version }) => versions.get(key) === version);
  if (!same || first.records.length === keys.length) return same;
  // Something is absent: it must not have come and gone meanwhile.
  return first.version === second.version && first.previous === second.previous;
}

/** The answer to a part: records that exist, and what tells absence apart. */
export function partResult(
  records: readonly StoredRecord[],
  stamp: { readonly deletes: number; readonly ballot: number },
  from: Pick<Result, 'epoch' | 'bucket' | 'server'>,
): Result {
  const { epoch, bucket, server } = from;
  const { deletes, ballot } = stamp;
  const { Ok } = Code;
  return new Result(Ok, true, null, deletes, ballot, epoch, bucket, server, '', records, false, 1);
}
