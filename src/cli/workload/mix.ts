import { parse } from 'csv-parse/sync';

import { type Distribution, Latest, type Random, Ranked, Scrambled } from './distribution.js';

/** What an operation does. */
export const Kind = { Read: 0, Update: 1, Insert: 2, Delete: 3, Scan: 4, Modify: 5 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** How operations choose their records. `zipf`: exponent of Zipf's law, 0 for no skew. */
export type Skew =
  | { readonly by: 'scrambled' }
  | { readonly by: 'latest' }
  | { readonly by: 'zipf'; readonly exponent: number };

/** One workload, apart from how many and how fast. */
export interface Mix {
  readonly name: string;
  /** What it does, for people. */
  readonly about: string;
  /** Out of 1, those that occur. */
  readonly shares: readonly (readonly [Kind, number])[];
  readonly skew: Skew;
  readonly keyBytes: number;
  readonly valueBytes: number;
}

export const KEY_BYTES = 16;
export const VALUE_BYTES = 128;

const SCRAMBLED: Skew = { by: 'scrambled' };
const SIZES = { keyBytes: KEY_BYTES, valueBytes: VALUE_BYTES };
const { Read, Update, Insert, Delete, Scan, Modify } = Kind;

function ycsb(name: string, about: string, shares: Mix['shares'], skew = SCRAMBLED): Mix {
  return { name, about, shares, skew, ...SIZES };
}

/** One kind of operation only; the reads are YCSB's `c`. */
export const UPDATES = ycsb('updates', 'updates only', [[Update, 1]]);
export const READS = ycsb('c', 'reads only', [[Read, 1]]);

/** The core workloads of YCSB (Cooper et al., SoCC 2010), with smaller records. */
export const YCSB: readonly Mix[] = [
  ycsb('a', '50 % reads, 50 % updates', [
    [Read, 0.5],
    [Update, 0.5],
  ]),
  ycsb('b', '95 % reads, 5 % updates', [
    [Read, 0.95],
    [Update, 0.05],
  ]),
  READS,
  ycsb(
    'd',
    '95 % reads of the latest, 5 % inserts',
    [
      [Read, 0.95],
      [Insert, 0.05],
    ],
    { by: 'latest' },
  ),
  // Keys are scattered over buckets by a hash: a range has to be gathered from every bucket.
  ycsb('e', '95 % scans of up to 100 keys, each of all buckets, 5 % inserts', [
    [Scan, 0.95],
    [Insert, 0.05],
  ]),
  ycsb('f', '50 % reads, 50 % read-modify-writes with a condition', [
    [Read, 0.5],
    [Modify, 0.5],
  ]),
];

export function distributionOf(skew: Skew, records: number, random: Random): Distribution {
  switch (skew.by) {
    case 'scrambled':
      return new Scrambled(records, random);
    case 'latest':
      return new Latest(records, random);
    case 'zipf':
      return new Ranked(records, skew.exponent, random);
  }
}

/** What the cache's operations are here; those that change a value in place write it whole. */
const OPERATIONS: Readonly<Record<string, Kind>> = {
  get: Read,
  gets: Read,
  delete: Delete,
  set: Update,
  add: Update,
  cas: Update,
  incr: Update,
  prepend: Update,
};

/**
 * Mixes from a table of production caches, a line each: columns `cluster`, `key_bytes`,
 * `value_bytes`, `operations` (`get:0.90 set:0.10`) and `zipf_alpha`. Throws on other text.
 */
export function cacheMixes(text: string): Mix[] {
  const rows = parse(text, { columns: true, skip_empty_lines: true }) as Record<string, string>[];
  return rows.map((row, index) => {
    const where = `line ${index + 2}`;
    const { cluster = '', key_bytes: key, value_bytes: value, operations, zipf_alpha } = row;
    if (operations === undefined || !(Number(key) > 0) || !(Number(value) > 0)) {
      throw new Error(`${where} does not tell key_bytes, value_bytes and operations`);
    }
    const shares = sharesOf(operations, where);
    const alpha = Number(zipf_alpha);
    return {
      name: cluster,
      about: shares
        .map(([kind, share]) => `${Math.round(share * 100)} % ${NAMES[kind]}`)
        .join(', '),
      shares,
      // Not known of some: then as if without skew.
      skew: { by: 'zipf', exponent: alpha > 0 ? alpha : 0 },
      keyBytes: Number(key),
      valueBytes: Number(value),
    };
  });
}

const NAMES: Readonly<Record<Kind, string>> = {
  [Read]: 'reads',
  [Update]: 'updates',
  [Insert]: 'inserts',
  [Delete]: 'deletions',
  [Scan]: 'scans',
  [Modify]: 'read-modify-writes',
};

function sharesOf(operations: string, where: string): [Kind, number][] {
  const shares = new Map<Kind, number>();
  for (const part of operations.split(' ')) {
    const [name = '', share] = part.split(':');
    const kind = OPERATIONS[name];
    if (kind === undefined || !(Number(share) >= 0)) {
      throw new Error(`${where}: "${part}" is no operation with its share`);
    }
    shares.set(kind, (shares.get(kind) ?? 0) + Number(share));
  }
  // Published to two digits: the sum is about 1.
  const sum = Array.from(shares.values()).reduce((all, share) => all + share, 0);
  return Array.from(shares, ([kind, share]) => [kind, share / sum]);
}
