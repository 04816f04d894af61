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
  private readonly tokens: readonly Token[];
  /** Those of the servers that had not left when they were gathered. */
  private open: readonly Token[];
  private readonly left = new Set<Ordinal>();
  private openServers: number;
  private leftSince = 0;

  constructor(servers: Iterable<{ ordinal: Ordinal; id: string; weight: number }>) {
    const tokens: Token[] = [];
    for (const { ordinal, id, weight } of servers) {
      const count = Math.max(1, Math.round(TOKENS * weight));
      for (let index = 0; index < count; index += 1) {
        tokens.push({ position: murmur3(`${id}#${index}`), ordinal });
      }
    }
    this.tokens = tokens.toSorted((a, b) => a.position - b.position || a.ordinal - b.ordinal);
    this.open = this.tokens;
    this.openServers = new Set(tokens.map(({ ordinal }) => ordinal)).size;
  }

  /** Servers in the order in which a walk from the bucket's position meets them. */
  walk(bucket: number): Generator<Ordinal> {
    return walkFrom(this.tokens, bucket);
  }

  /** The same walk without those that have left. */
  *walkOpen(bucket: number): Generator<Ordinal> {
    for (const ordinal of walkFrom(this.open, bucket)) if (!this.left.has(ordinal)) yield ordinal;
  }

  /** The server takes no part in open walks any more. */
  leave(ordinal: Ordinal): void {
    if (this.left.has(ordinal)) return;
    this.left.add(ordinal);
    this.leftSince += 1;
    // So that a walk passes few that have left, at little cost for each that does.
    if (this.leftSince * 2 < this.openServers) return;
    this.open = this.open.filter((token) => !this.left.has(token.ordinal));
    this.openServers -= this.leftSince;
    this.leftSince = 0;
  }
}

function* walkFrom(tokens: readonly Token[], bucket: number): Generator<Ordinal> {
  const start = firstFrom(tokens, murmur3(`bucket ${bucket}`));
  const seen = new Set<Ordinal>();
  for (let step = 0; step < tokens.length; step += 1) {
    const token = tokens[(start + step) % tokens.length];
    if (token === undefined || seen.has(token.ordinal)) continue;
    seen.add(token.ordinal);
    yield token.ordinal;
  }
}

function firstFrom(tokens: readonly Token[], position: number): number {
  let low = 0;
  let high = tokens.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((tokens[middle]?.position ?? 0) < position) low = middle + 1;
    else high = middle;
  }
  return low;
}
