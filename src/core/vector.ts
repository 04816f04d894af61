import type { Ordinal } from './ids.js';

/**
 * For each server, the number of a write of its: all its writes up to that one (a version vector,
 * Parker et al. 1983). A server numbers its causal writes, over all buckets, from 1 on.
 */
export type Vector = ReadonlyMap<Ordinal, number>;

export const NOTHING_SEEN: Vector = new Map();

/** True when `vector` has all that `other` has. */
export function covers(vector: Vector, other: Vector): boolean {
  for (const [server, number] of other) if ((vector.get(server) ?? 0) < number) return false;
  return true;
}

/** What either of them has. */
export function joined(vector: Vector, other: Vector): Vector {
  if (covers(vector, other)) return vector;
  const both = new Map(vector);
  for (const [server, number] of other) raise(both, server, number);
  return both;
}

/** With the writes of one more server, up to that number. */
export function including(vector: Vector, server: Ordinal, number: number): Vector {
  if ((vector.get(server) ?? 0) >= number) return vector;
  return new Map(vector).set(server, number);
}

export function raise(vector: Map<Ordinal, number>, server: Ordinal, number: number): void {
  if (number > (vector.get(server) ?? 0)) vector.set(server, number);
}
