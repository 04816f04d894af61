import type { Ordinal } from './ids.js';
import { type Candidate, type PlacementTable, quotas } from './policy.js';

/**
 * Put a primary at the head of each set so that primaries are spread by weight. The former primary
 * stays where that allows. Changing a primary inside its set moves no data.
 */
export function balancePrimaries(
  servers: readonly Candidate[],
  sets: Ordinal[][],
  previous: PlacementTable | null,
): void {
  const led = new Map<Ordinal, Set<number>>(servers.map(({ ordinal }) => [ordinal, new Set()]));
  for (const [bucket, set] of sets.entries()) {
    const former = previous?.[bucket]?.[0];
    if (former !== undefined && set.includes(former)) lead(set, former);
    const head = set[0];
    if (head !== undefined) led.get(head)?.add(bucket);
  }
  const counts = new Map(Array.from(led, ([ordinal, buckets]) => [ordinal, buckets.size]));
  const quota = quotas(servers, sets.length, sets.length, counts);
  const over = (ordinal: Ordinal): number =>
    (led.get(ordinal)?.size ?? 0) - (quota.get(ordinal) ?? 0);
  for (const { ordinal } of servers) {
    while (over(ordinal) > 0) {
      const chain = chainFrom(ordinal, sets, led, (other) => over(other) < 0);
      if (chain === null) break;
      for (const { bucket, to } of chain) {
        const set = sets[bucket];
        const from = set?.[0];
        if (set === undefined || from === undefined) continue;
        lead(set, to);
        led.get(from)?.delete(bucket);
        led.get(to)?.add(bucket);
      }
    }
  }
}

interface Step {
  readonly bucket: number;
  readonly to: Ordinal;
}

/**
 * The shortest chain of hand-overs from a server with too many primaries to one with too few: an
 * augmenting path, breadth first over servers.
 */
function chainFrom(
  start: Ordinal,
  sets: readonly Ordinal[][],
  led: ReadonlyMap<Ordinal, ReadonlySet<number>>,
  wanting: (ordinal: Ordinal) => boolean,
): Step[] | null {
  const cameBy = new Map<Ordinal, { from: Ordinal; bucket: number }>();
  const queue: Ordinal[] = [start];
  for (let next = 0; next < queue.length; next += 1) {
    const from = queue[next] ?? start;
    for (const bucket of led.get(from) ?? []) {
      for (const to of sets[bucket]?.slice(1) ?? []) {
        if (to === start || cameBy.has(to)) continue;
        cameBy.set(to, { from, bucket });
        if (wanting(to)) return chainTo(to, start, cameBy);
        queue.push(to);
      }
    }
  }
  return null;
}

function chainTo(
  end: Ordinal,
  start: Ordinal,
  cameBy: ReadonlyMap<Ordinal, { from: Ordinal; bucket: number }>,
): Step[] {
  const steps: Step[] = [];
  for (let at = end; at !== start;) {
    const step = cameBy.get(at);
    if (step === undefined) break;
    steps.push({ bucket: step.bucket, to: at });
    at = step.from;
  }
  return steps;
}

function lead(set: Ordinal[], primary: Ordinal): void {
  const place = set.indexOf(primary);
  if (place > 0) set.unshift(...set.splice(place, 1));
}
