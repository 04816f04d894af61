import { randomBytes } from 'node:crypto';

import type { KvsClient } from '../../client/index.js';
import { type Distribution, Latest, type Random } from './distribution.js';
import { distributionOf, Kind, type Mix } from './mix.js';

/** What is loaded: the library's client, or something in its place. */
export type Store = Pick<KvsClient, 'get' | 'set' | 'setr' | 'delete' | 'export'>;

export interface WorkloadOptions {
  readonly mix: Mix;
  /** Loaded before. */
  readonly records: number;
  /** Starts every key. */
  readonly prefix?: string;
  /** Of several processes that insert, which one this is, and how many there are. */
  readonly process?: readonly [index: number, count: number];
  readonly random?: Random;
}

/** So many different values, cut out of one random slab: an engine may compress what repeats. */
const VALUES = 256;
const SCAN_DIGITS = 2;
const LOADS_AT_ONCE = 512;
/** Keys of so many records are made beforehand. */
const READY_KEYS = 1_000_000;
const PREFIX = 'key';

/** Draws operations of a mix and begins them. An operation costs a draw and the store's promise. */
export class Workload {
  /** Read-modify-writes that began again, since another one came between. */
  conflicts = 0;
  readonly mix: Mix;
  readonly records: number;
  private readonly random: Random;
  private readonly distribution: Distribution;
  private readonly kinds: readonly (readonly [Kind, number])[];
  private readonly values: readonly Buffer[];
  private readonly keys: readonly string[];
  private readonly prefix: string;
  private readonly digits: number;
  private readonly process: readonly [number, number];
  private turn = 0;
  private inserted: number;
  private readonly acknowledged = new Set<number>();
  private readable: number;

  constructor({ mix, records, prefix = PREFIX, process = [0, 1], ...rest }: WorkloadOptions) {
    this.mix = mix;
    this.records = records;
    this.prefix = prefix;
    this.process = process;
    this.random = rest.random ?? Math.random;
    this.inserted = records;
    this.readable = records;
    this.digits = Math.max(String(records).length, mix.keyBytes - prefix.length);
    this.distribution = distributionOf(mix.skew, records, this.random);
    this.kinds = thresholds(mix.shares);
    const slab = randomBytes(mix.valueBytes + VALUES);
    this.values = Array.from({ length: VALUES }, (_, at) => {
      return slab.subarray(at, at + mix.valueBytes);
    });
    const ready = Math.min(records, READY_KEYS);
    this.keys = Array.from({ length: ready }, (_, record) => this.makeKey(record));
  }

  keyOf(record: number): string {
    return this.keys[record] ?? this.makeKey(record);
  }

  /** Writes every record once. */
  async load(store: Store, onProgress?: (loaded: number) => void): Promise<void> {
    let next = 0;
    const loader = async (): Promise<void> => {
      while (next < this.records) {
        await store.set(this.keyOf(next++), this.value());
        onProgress?.(next);
      }
    };
    const loaders = Math.min(LOADS_AT_ONCE, this.records);
    await Promise.all(Array.from({ length: loaders }, loader));
  }

  draw(): Kind {
    const part = this.random();
    for (const [kind, upTo] of this.kinds) if (part < upTo) return kind;
    return this.kinds[0]![0];
  }

  /** Not async: one more promise for each operation would be the generator's, not the store's. */
  begin(kind: Kind, store: Store): Promise<unknown> {
    switch (kind) {
      case Kind.Read:
        return store.get(this.nextKey());
      case Kind.Update:
        return store.set(this.nextKey(), this.value());
      case Kind.Delete:
        return store.delete(this.nextKey());
      case Kind.Insert:
        return this.insert(store);
      case Kind.Modify:
        return this.modify(store, this.nextKey());
      case Kind.Scan:
        return this.scan(store, this.nextKey());
    }
  }

  /** One setr of so many different keys. Throws when there are not that many. */
  commit(store: Store, count: number): Promise<unknown> {
    if (count > this.records) throw new RangeError(`${count} keys of ${this.records}`);
    const keys = new Set<string>();
    while (keys.size < count) keys.add(this.nextKey());
    return store.setr(Array.from(keys, (key) => ({ key, value: this.value() })));
  }

  private nextKey(): string {
    return this.keyOf(this.distribution.next());
  }

  private value(): Buffer {
    return this.values[this.turn++ % VALUES]!;
  }

  private makeKey(record: number): string {
    const [index, count] = this.process;
    const beyond = record - this.records;
    const number = beyond < 0 ? record : this.records + beyond * count + index;
    return this.prefix + String(number).padStart(this.digits, '0');
  }

  private async insert(store: Store): Promise<void> {
    const record = this.inserted++;
    await store.set(this.keyOf(record), this.value());
    // As YCSB does it: read is what is acknowledged, with all before it.
    this.acknowledged.add(record);
    while (this.acknowledged.delete(this.readable)) this.readable += 1;
    if (this.distribution instanceof Latest) this.distribution.grow(this.readable);
  }

  /** Begins again until nobody came between the read and the write. */
  private async modify(store: Store, key: string): Promise<void> {
    for (;;) {
      const read = await store.get(key);
      try {
        await store.set(key, this.value(), { ifVersion: read?.version ?? 0 });
        return;
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'CONDITION_NOT_MET') throw error;
        this.conflicts += 1;
      }
    }
  }

  /** The keys that differ from `key` in the last two digits, in order. */
  private async scan(store: Store, key: string): Promise<void> {
    const found: Uint8Array[] = [];
    for await (const record of store.export(key.slice(0, -SCAN_DIGITS))) found.push(record.key);
    found.sort(Buffer.compare);
  }
}

function thresholds(shares: Mix['shares']): [Kind, number][] {
  let upTo = 0;
  return shares.map(([kind, share]) => {
    upTo += share;
    return [kind, upTo];
  });
}
