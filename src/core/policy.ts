import type { Ordinal } from './ids.js';

/** A server as a placement policy sees it. */
export interface Candidate {
  readonly ordinal: Ordinal;
  readonly id: string;
  readonly zone: string;
  readonly weight: number;
}

/** Per bucket: the servers that should hold it, primary first. */
export type PlacementTable = readonly (readonly Ordinal[])[];

export interface PlacementParameters {
  readonly bucketCount: number;
  readonly replicaCount: number;
}

/** A pure function to the table; the previous table is an input, so that what can stays put. */
export type PlacementPolicy = (
  servers: readonly Candidate[],
  parameters: PlacementParameters,
  previous: PlacementTable | null,
) => Ordinal[][];

/**
 * Split `total` over servers by weight, in whole parts, none over `most`. Where rounding leaves a
 * part over, it goes to the largest remainder, then to who holds more already: that moves less.
 */
export function quotas(
  servers: readonly Candidate[],
  total: number,
  most: number,
  held: ReadonlyMap<Ordinal, number>,
): Map<Ordinal, number> {
  const result = new Map<Ordinal, number>();
  let open = [...servers];
  let left = total;
  for (;;) {
    const weights = open.reduce((sum, { weight }) => sum + weight, 0);
    const full = open.filter(({ weight }) => (left * weight) / weights >= most);
    if (full.length === 0) {
      spread(open, left, weights, held, result);
      return result;
    }
    for (const { ordinal } of full) result.set(ordinal, most);
    left -= most * full.length;
    open = open.filter((server) => !full.includes(server));
    if (open.length === 0) return result;
  }
}

function spread(
  servers: readonly Candidate[],
  total: number,
  weights: number,
  held: ReadonlyMap<Ordinal, number>,
  result: Map<Ordinal, number>,
): void {
  const shares = servers.map(({ ordinal, weight }) => {
    const exact = (total * weight) / weights;
    return { ordinal, whole: Math.floor(exact), rest: exact - Math.floor(exact) };
  });
  let over = total - shares.reduce((sum, { whole }) => sum + whole, 0);
  shares.sort(
    (a, b) =>
      b.rest - a.rest ||
      (held.get(b.ordinal) ?? 0) - (held.get(a.ordinal) ?? 0) ||
      a.ordinal - b.ordinal,
  );
  for (const { ordinal, whole } of shares) {
    result.set(ordinal, whole + (over > 0 ? 1 : 0));
    over -= 1;
  }
}
