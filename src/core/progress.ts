import type { Epoch } from './ids.js';

/** How far the running view change is, and how the last one went. */
export class Progress {
  fromEpoch: Epoch = 0;
  /** Replicas: to place in all, placed so far, and the fewest any plan could place. */
  planned = 0;
  placed = 0;
  least = 0;
  records = 0;
  bytes = 0;
  running = false;
  private beganMs = 0;
  private endedMs = 0;

  /** A plan was made: `missing` replicas are to be placed, `least` is the fewest possible. */
  begin(least: number, missing: number, epoch: Epoch, now: number): void {
    if (missing === 0) return;
    if (!this.running) this.reset(epoch, now);
    this.least = this.placed + least;
    this.planned = this.placed + missing;
  }

  moved(records: number, bytes: number, now: number): void {
    if (!this.running) this.reset(this.fromEpoch, now);
    this.placed += 1;
    this.records += records;
    this.bytes += bytes;
  }

  /** `missing` replicas are wanted and not there. */
  update(missing: number, now: number): void {
    if (missing > 0 && !this.running) {
      this.reset(this.fromEpoch, now);
      this.least = missing;
    }
    if (missing > 0) this.planned = this.placed + missing;
    if (missing > 0 || !this.running) return;
    this.running = false;
    this.endedMs = now;
  }

  elapsedMs(now: number): number {
    return Math.round((this.running ? now : this.endedMs) - this.beganMs);
  }

  private reset(epoch: Epoch, now: number): void {
    this.running = true;
    this.fromEpoch = epoch;
    this.beganMs = now;
    this.planned = 0;
    this.placed = 0;
    this.least = 0;
    this.records = 0;
    this.bytes = 0;
  }
}
