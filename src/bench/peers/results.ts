import type { Figures } from '../report.js';
import type { Machine } from './machine.js';
import type { Sample, SystemName, Work } from './sample.js';

/** What a run leaves behind: all that the page is made of. */
export interface Results {
  readonly date: string;
  readonly commit: string;
  readonly command: string;
  readonly machine: Machine;
  /** Of each system that was measured, for people. */
  readonly versions: Readonly<Record<string, string>>;
  /** What was left out, and why. */
  readonly leftOut: readonly string[];
  readonly rounds: number;
  /** Counted at each point. */
  readonly seconds: number;
  readonly samples: readonly Sample[];
}

/** One number over the rounds. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Where a number comes from. */
export interface Selector {
  readonly system: SystemName;
  readonly work: Work;
  readonly inFlight: number;
  readonly figure: keyof Figures;
}

/** That number of each round in which it was measured. */
export function perRound({ samples }: Results, selector: Selector): Map<number, number> {
  const { system, work, inFlight, figure } = selector;
  const found = samples.filter(
    (sample) => sample.system === system && sample.work === work && sample.inFlight === inFlight,
  );
  return new Map(found.map(({ round, figures }) => [round, figures[figure]]));
}

/** Null: not measured. */
export function spreadOf(results: Results, selector: Selector): Spread | null {
  return spread(Array.from(perRound(results, selector).values()));
}

/** Of one number over another: the medians' ratio, and the ratios of the single rounds. */
export function ratioOf(results: Results, over: Selector, under: Selector): Spread | null {
  const [above, below] = [perRound(results, over), perRound(results, under)];
  const ratios = Array.from(above).flatMap(([round, value]) => {
    const other = below.get(round);
    return other === undefined ? [] : [value / other];
  });
  const [one, two, each] = [spreadOf(results, over), spreadOf(results, under), spread(ratios)];
  if (one === null || two === null || each === null) return null;
  return { ...each, median: one.median / two.median };
}

export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1]!, sorted[sorted.length >> 1]!];
  return { median: (low + high) / 2, least: sorted[0]!, most: sorted.at(-1)! };
}
