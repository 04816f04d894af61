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
  private readonly zoneCount: number;
  private readonly walks = new Map<number, readonly Ordinal[]>();
  /** Buckets that each server got just now. */
  private readonly placed = new Map<Ordinal, Set<number>>();

  constructor(
    private readonly servers: readonly Candidate[],
    bucketCount: number,
    private readonly replicas: number,
    previous: PlacementTable | null,
  ) {
    const present = new Set(servers.map(({ ordinal }) => ordinal));
    this.ring = new Ring(servers);
    this.zones = new Map(servers.map(({ ordinal, zone }) => [ordinal, zone]));
    this.zoneCount = new Set(this.zones.values()).size;
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
      .map(({ set, order }) => ({ set, order, alone: this.aloneInZone(set, ordinal) }))
      .toSorted((a, b) => Number(a.alone) - Number(b.alone) || a.order - b.order);
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

  /** Bring every set to its size: in zones not yet used where that can be, then anywhere. */
  fill(): void {
    for (const { ordinal } of this.servers) if (!this.open(ordinal)) this.ring.leave(ordinal);
    for (const distinct of [true, false]) {
      // What a failed search saw cannot get room any more: no later path leads through it.
      const dead = new Set<Ordinal>();
      for (const [bucket, set] of this.sets.entries()) {
        const lacks = (): boolean =>
          set.length < this.replicas && (!distinct || this.hasFreeZone(set));
        while (lacks() && this.add(bucket, set, distinct, dead));
      }
    }
    for (const set of this.sets) while (set.length < this.replicas) this.exchange(set);
  }

  /** The first server on the walk that has room; or one that can get room. */
  private add(bucket: number, set: Ordinal[], distinct: boolean, dead: Set<Ordinal>): boolean {
    for (const ordinal of this.ring.walkOpen(bucket)) {
      if (!this.fits(set, ordinal, distinct)) continue;
      this.place(bucket, set, ordinal);
      return true;
    }
    const seen = new Set(dead);
    if (this.augment(bucket, set, distinct, seen)) return true;
    for (const ordinal of seen) dead.add(ordinal);
    return false;
  }

  /**
   * Let a server give up a place that it got just now, if that place can be filled otherwise: an
   * augmenting path (Kuhn). Nothing that stood before moves.
   */
  private augment(bucket: number, set: Ordinal[], distinct: boolean, seen: Set<Ordinal>): boolean {
    for (const ordinal of this.walk(bucket)) {
      if (seen.has(ordinal) || !this.fits(set, ordinal, distinct)) continue;
      seen.add(ordinal);
      if (this.open(ordinal)) {
        this.place(bucket, set, ordinal);
        return true;
      }
      for (const other of this.placed.get(ordinal) ?? []) {
        const otherSet = this.sets[other] ?? [];
        const at = otherSet.indexOf(ordinal);
        otherSet.splice(at, 1);
        if (this.augment(other, otherSet, distinct, seen)) {
          this.placed.get(ordinal)?.delete(other);
          this.count(ordinal, -1);
          this.place(bucket, set, ordinal);
          return true;
        }
        otherSet.splice(at, 0, ordinal);
      }
    }
    return false;
  }

  /** Kept: searches for a path come back to the same buckets again and again. */
  private walk(bucket: number): readonly Ordinal[] {
    let walk = this.walks.get(bucket);
    if (walk === undefined) {
      walk = Array.from(this.ring.walk(bucket));
      this.walks.set(bucket, walk);
    }
    return walk;
  }

  private place(bucket: number, set: Ordinal[], ordinal: Ordinal): void {
    set.push(ordinal);
    this.count(ordinal, 1);
    // From here on places are only exchanged: who is full stays full.
    if (!this.open(ordinal)) this.ring.leave(ordinal);
    const placed = this.placed.get(ordinal);
    if (placed === undefined) this.placed.set(ordinal, new Set([bucket]));
    else placed.add(bucket);
  }

  private fits(set: readonly Ordinal[], ordinal: Ordinal, distinct: boolean): boolean {
    return !set.includes(ordinal) && (!distinct || this.aloneInZone(set, ordinal));
  }

  private hasFreeZone(set: readonly Ordinal[]): boolean {
    return new Set(set.map((ordinal) => this.zones.get(ordinal))).size < this.zoneCount;
  }

  private aloneInZone(set: readonly Ordinal[], ordinal: Ordinal): boolean {
    const zone = this.zones.get(ordinal);
    return set.every((other) => other === ordinal || this.zones.get(other) !== zone);
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
