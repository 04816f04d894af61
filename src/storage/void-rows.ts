import type { Buffer } from 'node:buffer';

import type { BucketId } from '../core/ids.js';
import type { Database } from './engine-open.js';
import { countsKey, encodeCounts, recordRange } from './engine-rows.js';

/** Rows of one batch, which the event loop makes in one go. */
const DELETES_AT_ONCE = 256;
/** Between two batches that nobody waits for. */
const PAUSE_MS = 100;

/**
 * Buckets whose rows are void, as their counts say durably. The rows are deleted beside everything
 * else, slowly: a server that has just handed buckets over has better things to do. Whoever wants
 * to write into such a bucket has it emptied first.
 *
 * Every batch is flushed. The engine's own way of clearing a range flushes nothing, and the table
 * file that would make it durable keeps every read waiting until it is written.
 */
export class VoidRows {
  /** With the row that was deleted last, or where the bucket begins. */
  private readonly buckets = new Map<BucketId, Buffer>();
  private timer: NodeJS.Timeout | null = null;
  /** One batch at a time: the end of the last one. */
  private last: Promise<void> = Promise.resolve();
  private stopped = false;

  constructor(
    private readonly database: Database,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  /** Whether the engine's rows of the bucket are to be overlooked. */
  has(bucket: BucketId): boolean {
    return this.buckets.has(bucket);
  }

  add(bucket: BucketId): void {
    this.buckets.set(bucket, recordRange(bucket).gte);
    this.schedule();
  }

  /** Resolves when the bucket is empty, and its counts say so durably. */
  empty(bucket: BucketId): Promise<void> {
    return this.inTurn(async () => {
      while (this.has(bucket)) await this.deleteSome(bucket);
    });
  }

  /** What is left is deleted after the next start. */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.last;
  }

  private schedule(): void {
    if (this.timer !== null || this.stopped) return;
    this.timer = setTimeout(() => {
      this.inTurn(async () => {
        this.timer = null;
        const [bucket] = this.buckets.keys();
        if (bucket === undefined) return;
        await this.deleteSome(bucket);
        this.schedule();
      }).catch(this.onFailure);
    }, PAUSE_MS);
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.last.then(work);
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async deleteSome(bucket: BucketId): Promise<void> {
    const { lt } = recordRange(bucket);
    const gte = this.buckets.get(bucket)!;
    const rows = await this.database.keys({ gte, lt, limit: DELETES_AT_ONCE }).all();
    const batch = this.database.batch();
    for (const row of rows) batch.del(row);
    const isLast = rows.length < DELETES_AT_ONCE;
    if (isLast) {
      const key = countsKey(bucket);
      batch.put(key, encodeCounts(key, { records: 0, bytes: 0, clearing: false }));
    }
    await batch.write({ sync: true });
    if (isLast) this.buckets.delete(bucket);
    else this.buckets.set(bucket, rows.at(-1)!);
  }
}
