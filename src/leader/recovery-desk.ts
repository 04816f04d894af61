import { asDelta, type ViewRecovery } from '../core/view-recovery.js';
import type { View } from '../core/view.js';
import type { Logger } from '../transport/log.js';
import { viewFromWire } from '../wire/convert-view.js';
import type { RegisterRequest } from '../wire/gen/kvs/v1/leader.js';
import type { ViewStore } from '../viewstore/port.js';
import type { LeaderDriver } from './driver.js';

/**
 * Stands in for the view leader while its view is rebuilt from the servers' copies. Without a
 * recovery the view leader is there at once.
 */
export class RecoveryDesk {
  driver: LeaderDriver | null = null;
  /** For people: what the recovery waits for. */
  waitsFor = 'the view leader waits for the servers to bring their views';
  private finishing: Promise<LeaderDriver> | null = null;

  constructor(
    private readonly recovery: ViewRecovery | null,
    private readonly store: ViewStore,
    private readonly begin: (view: View | null) => LeaderDriver,
    private readonly log: Logger,
    recovered: View | null,
  ) {
    if (recovery === null) this.driver = begin(recovered);
  }

  /** A server registers and brings its view; the view leader, once the recovery is complete. */
  async offer({ id, clusterId, view }: RegisterRequest): Promise<LeaderDriver | null> {
    if (this.recovery === null || this.finishing !== null) return this.finishing;
    const brought = view === undefined ? null : viewFromWire(view);
    const problem = this.recovery.offer({ id, clusterId, view: brought });
    if (problem !== '') this.log.warn(`server ${id} cannot help to recover the view: ${problem}`);
    const missing = this.recovery.missing();
    if (missing !== null && missing.length > 0) {
      this.waitsFor =
        `the view leader recovers its view and waits for ${missing.join(', ')}; ` +
        'if one is gone for good, start it with --recover-without ID';
      this.log.warn(this.waitsFor);
    }
    const result = this.recovery.result(Date.now());
    if (result === null) return null;
    this.finishing = this.finish(result);
    return this.finishing;
  }

  /** The recovered view is durable before anybody hears of it (V1). */
  private async finish(view: View): Promise<LeaderDriver> {
    await this.store.append(asDelta(view), view);
    this.log.info({ epoch: view.epoch }, view.reason);
    this.driver = this.begin(view);
    return this.driver;
  }
}
