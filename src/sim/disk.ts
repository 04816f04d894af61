import type { BucketId, Ordinal } from '../core/ids.js';
import type { BucketMeta } from '../core/message.js';
import { Recovery, type Recovered } from '../core/recovery.js';
import type { View } from '../core/view.js';
import type { Clock } from './clock.js';
import { type DiskSpeed, SimulatedLog } from './log.js';
import type { Prng } from '../checkers/prng.js';
import { SimulatedStore } from './store.js';

/** What a checkpoint leaves beside the records. */
interface Checkpoint {
  readonly metas: ReadonlyMap<BucketId, BucketMeta>;
  readonly view: View | null;
  readonly replayFrom: number;
}

/** The data directory of one server: it outlives the processes that open it. */
export class Disk {
  readonly log: SimulatedLog;
  readonly store: SimulatedStore;
  /** 0 until the view leader gave one. */
  ordinal: Ordinal = 0;
  /**
   * The log stays whole, as a real one does for long: else a slow move of what is written to may
   * begin anew for ever.
   */
  retains = false;
  /** How often it was opened. */
  incarnation = 0;
  private saved: Checkpoint = { metas: new Map(), view: null, replayFrom: 0 };
  private checkpointing = false;

  constructor(
    private readonly clock: Clock,
    private readonly random: Prng,
    private readonly speed: DiskSpeed,
    /** Random UUID of the directory (V7). */
    readonly id: string,
  ) {
    this.log = new SimulatedLog(clock, random, speed);
    this.store = new SimulatedStore(random);
  }

  /** Read what a former process left, as the real server does. */
  recover(): Recovered {
    const { metas, view, replayFrom } = this.saved;
    const recovery = new Recovery(metas, view, this.store, this.ordinal);
    this.log.replay(replayFrom, (position, record) => recovery.scan(position, record));
    this.log.replay(replayFrom, (position, record) => recovery.replay(position, record));
    return recovery.finish();
  }

  /** Make the state durable as of now, then give up the log before it. */
  checkpoint(
    changed: ReadonlyMap<BucketId, BucketMeta | null>,
    view: View,
    stillAlive: () => boolean,
  ): void {
    const metas = new Map(this.saved.metas);
    for (const [bucket, meta] of changed) {
      if (meta === null) metas.delete(bucket);
      else metas.set(bucket, meta);
    }
    const replayFrom = this.log.replayFrom(metas, view.epoch);
    const { writes } = this.store;
    const adopted = view.epoch === 0 ? this.saved.view : view;
    const { minFlushMs, maxFlushMs } = this.speed;
    this.checkpointing = true;
    this.log.whenDurable(() => {
      this.clock.after(this.random.between(minFlushMs, maxFlushMs) * 10, () => {
        if (!stillAlive()) return;
        this.checkpointing = false;
        this.store.checkpoint(writes);
        this.saved = { metas, view: adopted, replayFrom };
        if (!this.retains) this.log.truncateBefore(replayFrom);
      });
    });
  }

  /** A checkpoint is under way: one at a time. */
  get busy(): boolean {
    return this.checkpointing;
  }

  crash(lostLogRecords: number): void {
    this.checkpointing = false;
    this.log.crash(lostLogRecords);
    this.store.crash();
  }
}
