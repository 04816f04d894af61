/** Draws which record comes next, 0 for the first. */
export interface Distribution {
  next(): number;
}

export type Random = () => number;

/** YCSB's constant of skew. */
export const THETA = 0.99;
/** YCSB scrambles ranks out of so many, whatever the number of records. */
const SCRAMBLED_RANKS = 10_000_000_000;
/** The sum of `1 / rank ** THETA` over them, as YCSB has it. */
const SCRAMBLED_ZETA = 26.46902820178302;
const WORD = 2 ** 32;

/**
 * Ranks by Zipf's law with an exponent below 1, the likeliest being 0: the method of Gray et al.,
 * "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994), section 5, as YCSB does.
 */
export class Zipfian implements Distribution {
  private zeta: number;
  private eta = 0;
  private readonly second: number;
  private readonly alpha: number;

  constructor(
    private ranks: number,
    private readonly random: Random,
    private readonly theta = THETA,
    zeta?: number,
  ) {
    this.second = 1 + 0.5 ** theta;
    this.alpha = 1 / (1 - theta);
    this.zeta = zeta ?? this.sum(0, 0);
    this.prepare();
  }

  /** Takes in more ranks; costs only what is new. */
  grow(ranks: number): void {
    if (ranks <= this.ranks) return;
    const before = this.ranks;
    this.ranks = ranks;
    this.zeta = this.sum(before, this.zeta);
    this.prepare();
  }

  next(): number {
    const part = this.random();
    const scaled = part * this.zeta;
    if (scaled < 1) return 0;
    if (scaled < this.second) return 1;
    return Math.floor(this.ranks * (this.eta * part - this.eta + 1) ** this.alpha);
  }

  private sum(from: number, before: number): number {
    let zeta = before;
    for (let rank = from; rank < this.ranks; rank += 1) zeta += 1 / (rank + 1) ** this.theta;
    return zeta;
  }

  private prepare(): void {
    const share = (2 / this.ranks) ** (1 - this.theta);
    this.eta = (1 - share) / (1 - this.second / this.zeta);
  }
}

/** YCSB's `zipfian`: as skewed, but the likely records are scattered by a hash of their rank. */
export class Scrambled implements Distribution {
  private readonly ranks: Zipfian;

  constructor(
    private readonly records: number,
    random: Random,
  ) {
    this.ranks = new Zipfian(SCRAMBLED_RANKS, random, THETA, SCRAMBLED_ZETA);
  }

  next(): number {
    return scrambled(this.ranks.next(), this.records);
  }
}

/** YCSB's `latest`: the newest record is the likeliest. */
export class Latest implements Distribution {
  private readonly ages: Zipfian;

  constructor(
    private records: number,
    random: Random,
  ) {
    this.ages = new Zipfian(records, random);
  }

  /** So many records can be read now. */
  grow(records: number): void {
    this.records = Math.max(this.records, records);
    this.ages.grow(records);
  }

  next(): number {
    return Math.max(0, this.records - 1 - this.ages.next());
  }
}

/** Zipf's law with any exponent, from a table; 0: all records alike. The likeliest is 0. */
export class Ranked implements Distribution {
  private readonly cumulated: Float64Array;

  constructor(
    records: number,
    exponent: number,
    private readonly random: Random,
  ) {
    this.cumulated = new Float64Array(records);
    let sum = 0;
    for (let rank = 0; rank < records; rank += 1) {
      sum += 1 / (rank + 1) ** exponent;
      this.cumulated[rank] = sum;
    }
  }

  next(): number {
    const { cumulated } = this;
    let [low, high] = [0, cumulated.length - 1];
    const wanted = this.random() * cumulated[high]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (cumulated[middle]! > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * The absolute value of the 64-bit FNV-1a hash that YCSB takes of a rank's eight bytes, modulo
 * `records`. In halves of 32 bits: the prime is 2⁴⁰ + 0x1b3, and big integers are slow.
 */
export function scrambled(rank: number, records: number): number {
  const [lower, upper] = [rank % WORD, rank / WORD];
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let octet = 0; octet < 8; octet += 1) {
    const bits = (octet < 4 ? lower : upper) >>> ((octet & 3) * 8);
    low = (low ^ (bits & 0xff)) >>> 0;
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / WORD) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  if (high >= WORD / 2) {
    low = -low >>> 0;
    high = (low === 0 ? -high : ~high) >>> 0;
  }
  const first = ((high % records) * 65_536 + (low >>> 16)) % records;
  return (first * 65_536 + (low & 0xffff)) % records;
}
