import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';

import type { KvsClient } from '../client/index.js';

const READERS = 512;
/** Many, so that a group of the log holds many. */
const WRITERS = 2048;
const POOL_BYTES = 1 << 20;

/**
 * Many records that can be checked without a list of them: the value follows from the number. Keys
 * have 16 bytes.
 */
export class Records {
  /** Nothing that a file system or an engine could make smaller. */
  private readonly pool = randomBytes(POOL_BYTES);
  readonly failures: string[] = [];
  readonly wrong: string[] = [];

  constructor(
    private readonly client: () => KvsClient,
    private readonly valueBytes: number,
  ) {}

  /** Writes the records `from` to `to` − 1 in an order without a pattern; records a second. */
  async fill(from: number, to: number): Promise<number> {
    const count = to - from;
    const step = stepThrough(count);
    const write = (number: number): Promise<void> => this.write(from + ((number * step) % count));
    return this.perSecond(count, WRITERS, write);
  }

  /** Reads records out of `of` at random for `ms`; reads a second. */
  async read(of: number, ms: number): Promise<number> {
    const endMs = performance.now() + ms;
    let reads = 0;
    const hand = async (): Promise<void> => {
      while (performance.now() < endMs) {
        await this.check(Math.floor(Math.random() * of));
        reads += 1;
      }
    };
    await Promise.all(Array.from({ length: READERS }, hand));
    return (reads / ms) * 1000;
  }

  /** Reads all records; reads a second. */
  async verify(of: number): Promise<number> {
    return this.perSecond(of, READERS, (number) => this.check(number));
  }

  async write(number: number): Promise<void> {
    try {
      await this.client().set(keyOf(number), this.valueOf(number));
    } catch (error) {
      this.failures.push(`${keyOf(number)}: ${String(error)}`);
    }
  }

  async check(number: number): Promise<void> {
    try {
      const found = await this.client().get(keyOf(number));
      if (found === null) this.wrong.push(`${keyOf(number)} is not there`);
      else if (!this.valueOf(number).equals(found.value)) this.wrong.push(keyOf(number));
    } catch (error) {
      this.failures.push(`${keyOf(number)}: ${String(error)}`);
    }
  }

  /** Throws when something failed, or a value was not what had been written. */
  expectNoTrouble(): void {
    const [failed] = this.failures;
    if (failed !== undefined) throw new Error(`${this.failures.length} failed: ${failed}`);
    const [wrong] = this.wrong;
    if (wrong !== undefined) throw new Error(`${this.wrong.length} records are wrong: ${wrong}`);
  }

  private valueOf(number: number): Buffer {
    const value = Buffer.allocUnsafe(this.valueBytes);
    const start = (number * 8191) % (POOL_BYTES - this.valueBytes);
    this.pool.copy(value, 0, start, start + this.valueBytes);
    value.writeDoubleBE(number, 0);
    return value;
  }

  private async perSecond(
    count: number,
    hands: number,
    work: (number: number) => Promise<void>,
  ): Promise<number> {
    const beganMs = performance.now();
    let next = 0;
    const hand = async (): Promise<void> => {
      while (next < count) await work(next++);
    };
    await Promise.all(Array.from({ length: hands }, hand));
    return (count / (performance.now() - beganMs)) * 1000;
  }
}

function keyOf(number: number): string {
  return `record/${String(number).padStart(9, '0')}`;
}

/** A step that visits every number below `count` once. */
function stepThrough(count: number): number {
  let step = Math.floor(count * 0.618) | 1;
  while (greatestDivisor(step, count) !== 1) step += 2;
  return step;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
