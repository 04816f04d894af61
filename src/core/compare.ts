import type { Ordinal } from './ids.js';
import { place, POLICIES, type PolicyParameters } from './policies.js';
import type { PlacementTable } from './policy.js';
import { evenSplit, type ShardCandidate } from './policy-shards.js';

/** How a policy does with so many equal servers. */
export interface PolicyRow {
  readonly policy: string;
  readonly servers: number;
  /** The fullest server over the mean, in replicas and in primaries. */
  readonly replicasOverMean: number;
  readonly primariesOverMean: number;
  readonly join: Movement;
  readonly leave: Movement;
}

/** Replicas that one server more, or less, moves. */
export interface Movement {
  readonly moved: number;
  /** The fewest that any way to the new loads moves. */
  readonly least: number;
  readonly all: number;
}

/** Servers per shard, about. */
const SHARD_SIZE = 3;

/** Compare all policies, with `servers` equal servers. */
export function comparePolicies(
  servers: number,
  parameters: { readonly bucketCount: number; readonly replicaCount: number },
): PolicyRow[] {
  return POLICIES.map((policy) => rowOf(policy, servers, parameters));
}

function rowOf(
  policy: string,
  count: number,
  { bucketCount, replicaCount }: { readonly bucketCount: number; readonly replicaCount: number },
): PolicyRow {
  const shardCount = policy === 'shards' ? Math.max(1, Math.floor(count / SHARD_SIZE)) : 0;
  const parameters = { bucketCount, replicaCount, policy, shardCount };
  const servers = serversOf(count, shardCount);
  const table = place(servers, parameters, null);
  const more = [...servers, newcomer(servers, shardCount)];
  return {
    policy,
    servers: count,
    replicasOverMean: overMean(table, servers),
    primariesOverMean: overMean(
      table.map((set) => set.slice(0, 1)),
      servers,
    ),
    join: movement(table, more, parameters),
    leave: movement(table, servers.slice(0, -1), parameters),
  };
}

function serversOf(count: number, shardCount: number): ShardCandidate[] {
  const servers = Array.from({ length: count }, (_, at) => {
    const id = `00000000-0000-4000-8000-${String(at + 1).padStart(12, '0')}`;
    return { ordinal: at + 1, id, zone: '', weight: 1, shard: 0 };
  });
  if (shardCount === 0) return servers;
  const split = evenSplit(servers, shardCount);
  return servers.map((server) => ({ ...server, shard: split.get(server.ordinal) ?? 0 }));
}

/** The next server; it goes to the smallest shard. */
function newcomer(servers: readonly ShardCandidate[], shardCount: number): ShardCandidate {
  const sizes = Array.from(
    { length: shardCount },
    (_, at) => servers.filter(({ shard }) => shard === at + 1).length,
  );
  const shard = shardCount === 0 ? 0 : sizes.indexOf(Math.min(...sizes)) + 1;
  const ordinal = servers.length + 1;
  const id = `00000000-0000-4000-8000-${String(ordinal).padStart(12, '0')}`;
  return { ordinal, id, zone: '', weight: 1, shard };
}

function movement(
  before: PlacementTable,
  servers: readonly ShardCandidate[],
  parameters: PolicyParameters,
): Movement {
  const after = place(servers, parameters, before);
  const gained = after.map((set, bucket) => set.filter((one) => !before[bucket]?.includes(one)));
  const was = loadsOf(before);
  const least = Array.from(loadsOf(after)).reduce(
    (sum, [server, load]) => sum + Math.max(0, load - (was.get(server) ?? 0)),
    0,
  );
  const all = after.reduce((sum, set) => sum + set.length, 0);
  return { moved: gained.flat().length, least, all };
}

function overMean(table: PlacementTable, servers: readonly ShardCandidate[]): number {
  const loads = loadsOf(table);
  const held = table.reduce((sum, set) => sum + set.length, 0);
  return Math.max(...loads.values()) / (held / servers.length);
}

function loadsOf(table: PlacementTable): Map<Ordinal, number> {
  const loads = new Map<Ordinal, number>();
  for (const set of table) for (const one of set) loads.set(one, (loads.get(one) ?? 0) + 1);
  return loads;
}
