import { bucketInPool } from './hash.js';
import type { BucketId, Key, Ordinal } from './ids.js';
import { isNamed, namespaceOf } from './namespace.js';
import { place } from './policies.js';
import type { PlacementTable } from './policy.js';
import type { ShardCandidate } from './policy-shards.js';
import type { View } from './view.js';

/**
 * Buckets with one number of replicas: `bucketCount` rows of the table, one pool after the other.
 * The first pool is the cluster's; the others belong to namespaces with a number of their own.
 */
export interface Pool {
  readonly first: BucketId;
  readonly replicaCount: number;
}

type Spaces = Pick<View, 'parameters' | 'namespaces'>;

/** The bucket of a key as it is stored. */
export function bucketOf(key: Key, { parameters, namespaces }: Spaces): BucketId {
  const bucket = bucketInPool(key, parameters);
  if (!isNamed(key)) return bucket;
  return bucket + firstOf(namespaces.get(namespaceOf(key))?.pool ?? 0, parameters.bucketCount);
}

/** The first bucket of a pool. */
export function firstOf(pool: number, bucketCount: number): BucketId {
  return pool * bucketCount;
}

/** In the order of their buckets. */
export function poolsOf({ parameters, namespaces }: Spaces): Pool[] {
  const { bucketCount, replicaCount } = parameters;
  const counts = [replicaCount];
  for (const { pool, replicas } of namespaces.values()) if (pool > 0) counts[pool] = replicas;
  return counts.map((count, at) => ({ first: firstOf(at, bucketCount), replicaCount: count }));
}

/** What the policy makes of these servers, pool by pool; `previous` may lack the last ones. */
export function placePools(
  servers: readonly ShardCandidate[],
  spaces: Spaces,
  previous: PlacementTable,
): Ordinal[][] {
  const { parameters } = spaces;
  return poolsOf(spaces).flatMap(({ first, replicaCount }) => {
    const before = previous.slice(first, first + parameters.bucketCount);
    return place(servers, { ...parameters, replicaCount }, before.length > 0 ? before : null);
  });
}

/** Tells how many replicas a bucket should have, of so many servers. */
export function replicasWanted(spaces: Spaces): (bucket: BucketId, servers: number) => number {
  const { policy, bucketCount } = spaces.parameters;
  if (policy === 'shards') return (_, servers) => servers;
  const pools = poolsOf(spaces);
  return (bucket, servers) =>
    Math.min(pools[Math.floor(bucket / bucketCount)]?.replicaCount ?? 0, servers);
}
