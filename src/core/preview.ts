import type { BucketId, Ordinal } from './ids.js';
import type { BucketCount } from './message.js';
import type { PlacementTable } from './policy.js';
import { placePools } from './pools.js';
import type { ShardCandidate } from './policy-shards.js';
import { shardMembers } from './shards.js';
import { candidates, type Member, type View } from './view.js';

/** A membership that somebody thinks of. */
export interface Supposition {
  /** So many new servers of weight 1. */
  readonly added: number;
  /** Ids of servers that would hold nothing. */
  readonly without: readonly string[];
  /** Ids of those that would hold everything, drained ones too; null: whoever may. */
  readonly only: readonly string[] | null;
}

/** What one server would send to another. */
export interface PreviewMove {
  readonly from: Ordinal;
  /** Above every ordinal of the view: a new server. */
  readonly to: Ordinal;
  readonly replicas: number;
  readonly records: number;
  readonly bytes: number;
}

export interface PreviewLoad {
  readonly server: Ordinal;
  readonly replicasBefore: number;
  readonly replicasAfter: number;
  readonly primariesBefore: number;
  readonly primariesAfter: number;
}

/** What would move, and how even it would be. Nothing is changed. */
export interface Preview {
  readonly moves: readonly PreviewMove[];
  readonly loads: readonly PreviewLoad[];
  /** The fewest replicas that any way to the new loads moves. */
  readonly replicasLeast: number;
  /** At the present rate; 0 when it is unlimited. */
  readonly seconds: number;
}

export type PreviewAnswer =
  | { readonly ok: true; readonly preview: Preview }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** How large each bucket is; those without an entry are empty, or not known yet. */
export type Census = ReadonlyMap<BucketId, BucketCount>;

/** What the placement policy would do, with the records and bytes that the primaries counted. */
export function previewOf(view: View, census: Census, supposed: Supposition): PreviewAnswer {
  const known = Array.from(view.members.values());
  const { added, without, only } = supposed;
  const named = [...without, ...(only ?? [])];
  const missing = named.find((id) => !known.some((member) => member.id === id));
  if (missing !== undefined) {
    return { ok: false, code: 'UNKNOWN_SERVER', message: `there is no server ${missing}` };
  }
  const servers: ShardCandidate[] = [
    ...(only === null ? candidates(known) : known.filter(({ id }) => only.includes(id))).filter(
      ({ id }) => !without.includes(id),
    ),
    ...newServers(known, added, view.parameters.shardCount),
  ];
  if (servers.length === 0 || view.rows.length === 0) {
    return { ok: false, code: 'NO_SERVERS', message: 'no server would be left to hold anything' };
  }
  const targets = view.rows.map(({ target }) => target);
  const table = placePools(servers, view, targets);
  const moves = movesTo(table, view, census);
  const loads = loadsOf(table, view);
  const replicasLeast = loads.reduce(
    (sum, load) => sum + Math.max(0, load.replicasAfter - load.replicasBefore),
    0,
  );
  return { ok: true, preview: { moves, loads, replicasLeast, seconds: secondsFor(moves, view) } };
}

/** Each goes to the shard that is the smallest then, where there are shards. */
function newServers(known: readonly Member[], count: number, shardCount: number): ShardCandidate[] {
  const sizes = shardMembers(known, shardCount).map((members) => members.length);
  const highest = known.reduce((most, { ordinal }) => Math.max(most, ordinal), 0);
  return Array.from({ length: count }, (_, at) => {
    const ordinal = highest + 1 + at;
    const smallest = sizes.indexOf(Math.min(...sizes));
    if (sizes.length > 0) sizes[smallest]! += 1;
    return { ordinal, id: `new server ${ordinal}`, zone: '', weight: 1, shard: smallest + 1 };
  });
}

function movesTo(table: PlacementTable, view: View, census: Census): PreviewMove[] {
  const counts = new Map<string, { -readonly [Field in keyof PreviewMove]: number }>();
  for (const [bucket, target] of table.entries()) {
    const replicas = view.rows[bucket]?.replicas ?? [];
    const from = replicas[0] ?? 0;
    for (const to of target) {
      if (replicas.includes(to)) continue;
      const name = `${from}>${to}`;
      const count = counts.get(name) ?? { from, to, replicas: 0, records: 0, bytes: 0 };
      const { records = 0, bytes = 0 } = census.get(bucket) ?? {};
      count.replicas += 1;
      count.records += records;
      count.bytes += bytes;
      counts.set(name, count);
    }
  }
  return Array.from(counts.values()).toSorted((a, b) => a.from - b.from || a.to - b.to);
}

function holding(table: PlacementTable, server: Ordinal): PlacementTable {
  return table.filter((set) => set.includes(server));
}

function loadsOf(table: PlacementTable, view: View): PreviewLoad[] {
  const before = view.rows.map(({ replicas }) => replicas);
  const servers = new Set([...before.flat(), ...table.flat()]);
  return Array.from(servers)
    .toSorted((a, b) => a - b)
    .map((server) => ({
      server,
      replicasBefore: holding(before, server).length,
      replicasAfter: holding(table, server).length,
      primariesBefore: before.filter((set) => set[0] === server).length,
      primariesAfter: table.filter((set) => set[0] === server).length,
    }));
}

/** Servers send at the same time, each at the rate. */
function secondsFor(moves: readonly PreviewMove[], { parameters }: View): number {
  const { rebalanceRateBytes } = parameters;
  if (rebalanceRateBytes === 0) return 0;
  const sent = new Map<Ordinal, number>();
  for (const { from, bytes } of moves) sent.set(from, (sent.get(from) ?? 0) + bytes);
  return Math.max(0, ...sent.values()) / rebalanceRateBytes;
}
