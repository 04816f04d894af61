import { bucketInPool } from '../core/hash.js';
import type { KvsClient } from '../client/index.js';

/** One write, as its sender saw it. Monotonic ms. */
export interface Sample {
  readonly bucket: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly ok: boolean;
}

/** What a key may hold: the last acknowledged value, or one of later writes of unknown outcome. */
interface Expected {
  acknowledged: string;
  readonly unknown: string[];
}

const LOADERS = 64;

/**
 * Writes from many hands at once, one write at a time each, and keeps a ledger of what was
 * acknowledged, so that everything can be read back and compared.
 */
export class Load {
  readonly samples: Sample[] = [];
  readonly failures: string[] = [];
  private readonly ledger = new Map<string, Expected>();
  private running: Promise<unknown> = Promise.resolve();
  private stopping = false;
  private written = 0;

  constructor(
    private readonly client: KvsClient,
    private readonly bucketCount: number,
    private readonly records: number,
    private readonly valueBytes: number,
  ) {}

  /** Writes every record once. */
  async fill(): Promise<void> {
    let next = 0;
    const loader = async (): Promise<void> => {
      while (next < this.records) await this.write(next++, false);
    };
    await Promise.all(Array.from({ length: LOADERS }, loader));
  }

  /** Starts `hands` writers over all records; `stop` ends them. */
  start(hands: number): void {
    this.stopping = false;
    const hand = async (index: number): Promise<void> => {
      // Each has its own records, so that the order of the writes of one record is known.
      for (let record = index; !this.stopping; record += hands) {
        if (record >= this.records) record = index;
        await this.write(record, true);
      }
    };
    this.running = Promise.all(Array.from({ length: hands }, (_, index) => hand(index)));
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  /** Reads every record back; what does not hold what it must. */
  async verify(): Promise<string[]> {
    const wrong: string[] = [];
    const keys = Array.from(this.ledger);
    let next = 0;
    const reader = async (): Promise<void> => {
      for (let at = next++; at < keys.length; at = next++) {
        const [key, { acknowledged, unknown }] = keys[at] ?? [
          '',
          { acknowledged: '', unknown: [] },
        ];
        const read = await this.client.get(key);
        const value = read === null ? 'nothing' : Buffer.from(read.value).toString();
        if (value !== acknowledged && !unknown.includes(value)) {
          wrong.push(`${key}: ${value.slice(0, 20)} instead of ${acknowledged.slice(0, 20)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: LOADERS }, reader));
    return wrong;
  }

  private async write(record: number, sampled: boolean): Promise<void> {
    const key = `record/${record}`;
    this.written += 1;
    const value = `${this.written}/`.padEnd(this.valueBytes, '.');
    const startMs = performance.now();
    let ok = true;
    try {
      await this.client.set(key, value);
      this.ledger.set(key, { acknowledged: value, unknown: [] });
    } catch (error) {
      ok = false;
      this.failures.push(String(error));
      const known = this.ledger.get(key) ?? { acknowledged: 'nothing', unknown: [] };
      known.unknown.push(value);
      this.ledger.set(key, known);
    }
    if (!sampled) return;
    const bucket = bucketInPool(key, { bucketCount: this.bucketCount, policy: 'ring' });
    this.samples.push({ bucket, startMs, endMs: performance.now(), ok });
  }
}

/** The value below which `share` of a list lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}
