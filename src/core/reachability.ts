import type { Ordinal } from './ids.js';
import type { RowChange } from './view-change.js';
import type { BucketRow } from './view.js';

/**
 * The pairs of servers that do not hear each other although each of them talks to the view leader:
 * a link between them is cut, in one direction at least.
 */
export class BrokenLinks {
  private readonly links = new Map<Ordinal, Set<Ordinal>>();

  /** The two do not hear each other. */
  add(one: Ordinal, other: Ordinal): void {
    this.link(one, other);
    this.link(other, one);
  }

  get any(): boolean {
    return this.links.size > 0;
  }

  /**
   * Take servers out of a replica set until all that are left hear each other. The one with the
   * most broken links within the set goes first, then the one with the most anywhere, then the last
   * in the row, so that the primary stays where it can. Those that leave stay in the target: they
   * are learners, and come back when they can be reached.
   */
  without(row: BucketRow): RowChange | null {
    const left = [...row.replicas];
    for (;;) {
      const within = (one: Ordinal): number =>
        left.filter((other) => this.links.get(one)?.has(other) === true).length;
      const everywhere = (one: Ordinal): number => this.links.get(one)?.size ?? 0;
      const worst = left
        .filter((one) => within(one) > 0)
        .toReversed()
        .toSorted((a, b) => within(b) - within(a) || everywhere(b) - everywhere(a))[0];
      if (worst === undefined) break;
      left.splice(left.indexOf(worst), 1);
    }
    if (left.length === row.replicas.length) return null;
    return { replicas: left, target: row.target, floor: row.floor, sets: true };
  }

  private link(from: Ordinal, to: Ordinal): void {
    const known = this.links.get(from);
    if (known === undefined) this.links.set(from, new Set([to]));
    else known.add(to);
  }
}
