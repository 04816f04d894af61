import type { Ordinal } from './ids.js';
import type { PlacementTable } from './policy.js';
import { placeByModulo } from './policy-modulo.js';
import { placeByRing } from './policy-ring.js';
import { placeByShards, type ShardCandidate } from './policy-shards.js';
import type { ViewParameters } from './view.js';

export const POLICIES = ['ring', 'modulo', 'shards'] as const;

export type PolicyParameters = Pick<
  ViewParameters,
  'bucketCount' | 'replicaCount' | 'policy' | 'shardCount'
>;

/** What the policy of the view makes of these servers: for each bucket who holds it. */
export function place(
  servers: readonly ShardCandidate[],
  parameters: PolicyParameters,
  previous: PlacementTable | null,
): Ordinal[][] {
  switch (parameters.policy) {
    case 'modulo':
      return placeByModulo(servers, parameters);
    case 'shards':
      return placeByShards(servers, parameters, previous);
    default:
      return placeByRing(servers, parameters, previous);
  }
}
