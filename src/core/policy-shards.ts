import { murmur3 } from './hash.js';
import type { Ordinal } from './ids.js';
import type { Candidate, PlacementTable } from './policy.js';
import { balancePrimaries } from './policy-primaries.js';

/** A shard has at least so many servers. */
export const LEAST_MEMBERS = 2;

/** The seed is counted up so far; then the servers are too few for chance to spread them. */
const MOST_SEEDS = 100_000;

/** Server → shard, from 1 on. */
export type ShardTable = ReadonlyMap<Ordinal, number>;

/** A server as the `shards` policy sees it; shard 0: not assigned. */
export interface ShardCandidate extends Candidate {
  readonly shard: number;
}

/**
 * Every server of a shard holds all its buckets; bucket b belongs to shard 1 + b mod `shardCount`.
 * Each shard needs a member. Former primaries stay where that leaves them spread.
 */
export function placeByShards(
  servers: readonly ShardCandidate[],
  parameters: { readonly bucketCount: number; readonly shardCount: number },
  previous: PlacementTable | null,
): Ordinal[][] {
  const { bucketCount, shardCount } = parameters;
  const members = Array.from({ length: shardCount }, (_, at) =>
    servers.filter(({ shard }) => shard === at + 1).map(({ ordinal }) => ordinal),
  );
  const sets = Array.from({ length: bucketCount }, (_, bucket) => {
    const own = members[bucket % shardCount] ?? [];
    const first = Math.floor(bucket / shardCount) % Math.max(1, own.length);
    return [...own.slice(first), ...own.slice(0, first)];
  });
  balancePrimaries(servers, sets, previous);
  return sets;
}

/** Contiguous groups of equal size, in the order given; the last one takes what is left over. */
export function evenSplit(servers: readonly Candidate[], shardCount: number): ShardTable {
  const size = Math.max(1, Math.floor(servers.length / shardCount));
  return new Map(
    servers.map(({ ordinal }, at) => [ordinal, Math.min(shardCount, 1 + Math.floor(at / size))]),
  );
}

/**
 * Hash of the server's identity mod shard count, under the first seed from 0 on that gives every
 * shard at least two servers; null when none of many does.
 */
export function seededSplit(servers: readonly Candidate[], shardCount: number): ShardTable | null {
  for (let seed = 0; seed < MOST_SEEDS; seed += 1) {
    const table = new Map(
      servers.map(({ ordinal, id }) => [ordinal, 1 + (murmur3(id, seed) % shardCount)]),
    );
    const sizes = Array.from({ length: shardCount }, () => 0);
    for (const shard of table.values()) sizes[shard - 1]! += 1;
    if (sizes.every((size) => size >= LEAST_MEMBERS)) return table;
  }
  return null;
}
