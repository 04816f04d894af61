import type { Entry } from './entry.js';
import type { Sequence } from './ids.js';

/** Places of committed entries that are tolerated before the array is compacted. */
const SLACK = 64;

/**
 * The tail of one bucket's log that is not known to be committed: contiguous entries with
 * sequences `base + 1 … last`. (PacificA §2.3 calls it the prepared list beyond the commit point.)
 */
export class PrepareList {
  /** Undefined before `head`: a committed entry is not to be kept in memory. */
  private entries: (Entry | undefined)[] = [];
  private head = 0;
  private baseSequence: Sequence;

  constructor(base: Sequence) {
    this.baseSequence = base;
  }

  /** Sequence before the first entry: the commit point. */
  get base(): Sequence {
    return this.baseSequence;
  }

  get last(): Sequence {
    return this.baseSequence + this.entries.length - this.head;
  }

  get(sequence: Sequence): Entry | undefined {
    if (sequence <= this.baseSequence) return undefined;
    return this.entries[this.head + sequence - this.baseSequence - 1];
  }

  append(entry: Entry): void {
    if (entry.sequence !== this.last + 1) {
      throw new Error(`bug: entry ${entry.sequence} appended after ${this.last}`);
    }
    this.entries.push(entry);
  }

  /** Entries `from … to`, both within the list. */
  range(from: Sequence, to: Sequence): Entry[] {
    const start = this.head + from - this.baseSequence - 1;
    return this.entries.slice(start, start + to - from + 1) as Entry[];
  }

  /** Remove what follows `sequence`. */
  cutAfter(sequence: Sequence): void {
    this.entries.length = this.head + Math.max(0, sequence - this.baseSequence);
  }

  /** Take the first entry out: it is committed. */
  shift(): Entry {
    const entry = this.entries[this.head];
    if (entry === undefined) throw new Error('bug: commit beyond the prepared entries');
    this.entries[this.head] = undefined;
    this.head += 1;
    this.baseSequence += 1;
    if (this.head === this.entries.length) {
      this.entries.length = 0;
      this.head = 0;
    } else if (this.head > SLACK && this.head * 2 > this.entries.length) {
      this.entries = this.entries.slice(this.head);
      this.head = 0;
    }
    return entry;
  }

  reset(base: Sequence): void {
    this.entries = [];
    this.head = 0;
    this.baseSequence = base;
  }
}
