import { murmur3 } from './hash.js';
import type { Ordinal } from './ids.js';

/** Virtual nodes of a server of weight 1. More of them spread a bucket's neighbours more evenly. */
const TOKENS = 64;

interface Token {
  readonly position: number;
  readonly ordinal: Ordinal;
}

/** The hash circle: every server's virtual nodes (Karger et al., Consistent Hashing, 1997). */
export class Ring {
  private readonly tokens: Token[] = [];

  constructor(servers: Iterable<{ ordinal: Ordinal; id: string; weight: number }>) {
    for (const { ordinal, id, weight } of servers) {
      const count = Math.max(1, Math.round(TOKENS * weight));
      for (let index = 0; index < count; index += 1) {
        this.tokens.push({ position: murmur3(`${id}#${index}`), ordinal });
      }
    }
    this.tokens.sort((a, b) => a.position - b.position || a.ordinal - b.ordinal);
  }

  /** Servers in the order in which a walk from the bucket's position meets them. */
  *walk(bucket: number): Generator<Ordinal> {
    const start = this.firstFrom(murmur3(`bucket ${bucket}`));
    const seen = new Set<Ordinal>();
    for (let step = 0; step < this.tokens.length; step += 1) {
      const token = this.tokens[(start + step) % this.tokens.length];
      if (token === undefined || seen.has(token.ordinal)) continue;
      seen.add(token.ordinal);
      yield token.ordinal;
    }
  }

  private firstFrom(position: number): number {
    let low = 0;
    let high = this.tokens.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.tokens[middle]?.position ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
