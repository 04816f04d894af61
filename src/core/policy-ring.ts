import { murmur3 } from './hash.js';
import type { Ordinal } from './ids.js';
import { type Candidate, type PlacementParameters, type PlacementTable, quotas } from './policy.js';
import { balancePrimaries } from './policy-primaries.js';
import { Ring } from './ring.js';

/**
 * Consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam 2018, with the bound at the
 * rounded fair share). A bucket prefers the servers that its walk on the ring meets first; no
 * server gets more than its quota. Replicas stay where they were unless their server left or is
 * over its quota, so a join moves only the newcomer's share and a leave only what was lost.
 */
export function placeByRing(
  servers: readonly Candidate[],
  parameters: PlacementParameters,
  previous: PlacementTable | null,
): Ordinal[][] {
  const { bucketCount } = parameters;
  const replicas = Math.min(parameters.replicaCount, servers.length);
  const placement = new Placement(servers, bucketCount, replicas, previous);
  placement.shed();
  placement.fill();
  balancePrimaries(servers, placement.sets, previous);
  return placement.sets;
}

class Placement {
  readonly sets: Ordinal[][];
  private readonly loads = new Map<Ordinal, number>();
  private readonly quota: Map<Ordinal, number>;
  private readonly ring: Ring;
  private readonly zones: ReadonlyMap<Ordinal, string>;

  constructor(
    private readonly servers: readonly Candidate[],
    bucketCount: number,
    private readonly replicas: number,
    previous: PlacementTable | null,
  ) {
    const present = new Set(servers.map(({ ordinal }) => ordinal));
    this.ring = new Ring(servers);
    this.zones = new Map(servers.map(({ ordinal, zone }) => [ordinal, zone]));
    this.sets = Array.from({ length: bucketCount }, (_, bucket) =>
      (previous?.[bucket] ?? []).filter((ordinal) => present.has(ordinal)).slice(0, replicas),
    );
    for (const set of this.sets) for (const ordinal of set) this.count(ordinal, 1);
    this.quota = quotas(servers, bucketCount * replicas, bucketCount, this.loads);
  }

  /**
   * Take replicas from servers that are over their quota; first where another server can take
   * every place of the set that is free then, since otherwise a third one has to move.
   */
  shed(): void {
    for (const allPlaces of [true, false]) {
      for (const server of this.servers) this.shedFrom(server, allPlaces);
    }
  }

  private shedFrom({ ordinal, id }: Candidate, allPlaces: boolean): void {
    let over = this.load(ordinal) - this.room(ordinal);
    if (over <= 0) return;
    const held = this.sets
      .map((set, bucket) => ({ set, order: murmur3(`${id}/${bucket}`) }))
      .filter(({ set }) => set.includes(ordinal))
      .toSorted((a, b) => a.order - b.order);
    for (const { set } of held) {
      if (over === 0) return;
      const takers = this.servers.filter(
        (other) => this.open(other.ordinal) && !set.includes(other.ordinal),
      );
      const free = allPlaces ? this.replicas - set.length + 1 : 1;
      if (takers.length < free) continue;
      set.splice(set.indexOf(ordinal), 1);
      this.count(ordinal, -1);
      over -= 1;
    }
  }

  /** Bring every set to its size. */
  fill(): void {
    for (const [bucket, set] of this.sets.entries()) {
      while (set.length < this.replicas) {
        const chosen = this.choose(bucket, set);
        if (chosen === undefined) {
          this.exchange(set);
          continue;
        }
        set.push(chosen);
        this.count(chosen, 1);
      }
    }
  }

  /** The first server on the walk that has room, of a zone not yet used if there is one. */
  private choose(bucket: number, set: readonly Ordinal[]): Ordinal | undefined {
    const used = new Set(set.map((ordinal) => this.zones.get(ordinal)));
    let second: Ordinal | undefined;
    for (const ordinal of this.ring.walk(bucket)) {
      if (set.includes(ordinal) || !this.open(ordinal)) continue;
      if (!used.has(this.zones.get(ordinal))) return ordinal;
      second ??= ordinal;
    }
    return second;
  }

  /**
   * Only servers already in the set have room: let such a one take a place elsewhere whose present
   * holder can come here.
   */
  private exchange(set: Ordinal[]): void {
    for (const { ordinal: taker } of this.servers) {
      if (!this.open(taker)) continue;
      for (const other of this.sets) {
        if (other === set || other.includes(taker)) continue;
        const place = other.findIndex((ordinal) => !set.includes(ordinal));
        const giver = other[place];
        if (giver === undefined) continue;
        other[place] = taker;
        set.push(giver);
        this.count(taker, 1);
        return;
      }
    }
    throw new Error('bug: no placement within the quotas');
  }

  private open(ordinal: Ordinal): boolean {
    return this.load(ordinal) < this.room(ordinal);
  }

  private load(ordinal: Ordinal): number {
    return this.loads.get(ordinal) ?? 0;
  }

  private room(ordinal: Ordinal): number {
    return this.quota.get(ordinal) ?? 0;
  }

  private count(ordinal: Ordinal, by: number): void {
    this.loads.set(ordinal, this.load(ordinal) + by);
  }
}
