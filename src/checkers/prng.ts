const WORD = 2 ** 32;

/** Mixes a 32-bit state into a well spread 32-bit number (splitmix32). */
function mix(state: number): number {
  let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
  return (word ^ (word >>> 15)) >>> 0;
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

/**
 * Deterministic random numbers: xoshiro128** (Blackman and Vigna, 2018). Each concern of a run
 * (network, disk, faults, …) draws from a `fork` of its own, so that a change in one does not
 * shift the draws of the others.
 */
export class Prng {
  private readonly state: [number, number, number, number];

  constructor(seed: number) {
    const start = (seed % WORD) + Math.floor(seed / WORD) * 0x9e3779b9;
    const word = (index: number): number => mix((start + (index + 1) * 0x9e3779b9) | 0);
    this.state = [word(0), word(1), word(2), word(3) | 1];
  }

  /** 0 … 2³² - 1. */
  next(): number {
    const { state } = this;
    const result = Math.imul(rotate(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 11);
    return result;
  }

  /** A real number in [0, 1). */
  real(): number {
    return this.next() / WORD;
  }

  /** A real number in [low, high). */
  between(low: number, high: number): number {
    return low + this.real() * (high - low);
  }

  /** A whole number in low … high, both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.real() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.real() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.real() * list.length)];
    if (picked === undefined) throw new Error('bug: nothing to pick from');
    return picked;
  }

  /** A stream of its own, which depends on the seed and the label only. */
  fork(label: string): Prng {
    let seed = this.state[0];
    for (let at = 0; at < label.length; at++)
      seed = mix(seed ^ Math.imul(label.charCodeAt(at), 31));
    const child = new Prng(seed);
    child.state[2] ^= this.state[1];
    return child;
  }
}
