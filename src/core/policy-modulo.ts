import type { Ordinal } from './ids.js';
import type { Candidate, PlacementParameters } from './policy.js';

/**
 * Bucket b is on server b mod N and on those that follow it. A change of N moves nearly everything:
 * this policy is here to be compared with.
 */
export function placeByModulo(
  servers: readonly Candidate[],
  { bucketCount, replicaCount }: PlacementParameters,
): Ordinal[][] {
  const order = servers.map(({ ordinal }) => ordinal).toSorted((a, b) => a - b);
  const replicas = Math.min(replicaCount, order.length);
  return Array.from({ length: bucketCount }, (_, bucket) =>
    Array.from({ length: replicas }, (_replica, at) => order[(bucket + at) % order.length] ?? 0),
  );
}
