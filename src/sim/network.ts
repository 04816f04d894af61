import type { Clock } from './clock.js';
import type { Prng } from '../checkers/prng.js';
import type { Trace } from './trace.js';

/** A machine in the simulation: 0 the view leader, 1 … the servers, from `CLIENTS` on clients. */
export type Node = number;
export const LEADER_NODE: Node = 0;
export const CLIENTS: Node = 100;

export interface Weather {
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  /** Probability that a message takes up to ten times the longest delay. */
  readonly tail: number;
  readonly loss: number;
  readonly duplication: number;
}

export const CALM: Weather = {
  minDelayMs: 0.2,
  maxDelayMs: 1,
  tail: 0,
  loss: 0,
  duplication: 0,
};

/** A run sends some ten thousand messages. This many are a storm, which would not end. */
const STORM = 1_000_000;

/**
 * The network: every message takes its own time, may be lost, doubled or overtaken; links may be
 * cut, each direction for itself, or slow. It promises less than the real one, whose streams are
 * ordered while they last.
 */
export class Network {
  weather: Weather = CALM;
  sent = 0;
  lost = 0;
  /** For faults: called as a message arrives. */
  onArrival: ((kind: string, from: Node, to: Node) => void) | null = null;
  private readonly cuts = new Set<string>();
  private readonly slow = new Map<string, number>();
  private readonly lastArrivalMs = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly random: Prng,
    private readonly trace: Trace,
    /** Messages of a link do not overtake each other. */
    private readonly ordered: boolean,
  ) {}

  send(from: Node, to: Node, kind: string, deliver: () => void): void {
    this.sendOnce(from, to, kind, deliver);
    if (this.random.chance(this.weather.duplication)) this.sendOnce(from, to, kind, deliver);
  }

  /** For operations and their answers: no stream doubles them, and D4 counts on it. */
  sendOnce(from: Node, to: Node, kind: string, deliver: () => void): void {
    this.sent += 1;
    if (this.sent > STORM) throw new Error(`a storm of messages: ${kind} from ${from} to ${to}`);
    if (this.isCut(from, to) || this.random.chance(this.weather.loss)) this.lost += 1;
    else this.carry(from, to, kind, deliver);
  }

  cut(from: Node, to: Node): void {
    this.cuts.add(`${from}>${to}`);
  }

  mend(from: Node, to: Node): void {
    this.cuts.delete(`${from}>${to}`);
  }

  /** From now on messages of this link take so much longer; 0 ends it. */
  slowDown(from: Node, to: Node, extraMs: number): void {
    if (extraMs === 0) this.slow.delete(`${from}>${to}`);
    else this.slow.set(`${from}>${to}`, extraMs);
  }

  /** End every fault. */
  calm(): void {
    this.weather = CALM;
    this.cuts.clear();
    this.slow.clear();
  }

  private isCut(from: Node, to: Node): boolean {
    return this.cuts.size > 0 && this.cuts.has(`${from}>${to}`);
  }

  private carry(from: Node, to: Node, kind: string, deliver: () => void): void {
    const { clock, trace } = this;
    this.clock.after(this.delayMs(from, to), () => {
      if (this.isCut(from, to)) {
        this.lost += 1;
        return;
      }
      trace.note(kind, clock.now, from, to);
      this.onArrival?.(kind, from, to);
      deliver();
    });
  }

  private delayMs(from: Node, to: Node): number {
    const { random, weather, clock } = this;
    const { minDelayMs, maxDelayMs } = weather;
    const far = random.chance(weather.tail) ? maxDelayMs * 10 : maxDelayMs;
    const link = `${from}>${to}`;
    const delayMs = random.between(minDelayMs, far) + (this.slow.get(link) ?? 0);
    if (!this.ordered) return delayMs;
    const arrivalMs = Math.max(clock.now + delayMs, this.lastArrivalMs.get(link) ?? 0);
    this.lastArrivalMs.set(link, arrivalMs);
    return arrivalMs - clock.now;
  }
}
