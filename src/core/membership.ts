import type { Ordinal } from './ids.js';

export interface DetectorSettings {
  /** Silence after which a server is down, ms. */
  readonly downAfterMs: number;
  /** Time down after which its replicas are rebuilt elsewhere, ms (V5). */
  readonly replaceAfterMs: number;
  /** After a start of the view leader nobody is down before this, ms. */
  readonly startupGraceMs: number;
}

/** What a look at the clock says. */
export interface Findings {
  readonly down: readonly Ordinal[];
  readonly replaced: readonly Ordinal[];
  /** Why nothing is to be changed although servers are silent; empty when all is normal (V6). */
  readonly brake: string;
}

const LEAST_WINDOW_MS = 5000;

/**
 * Failure detector: who is silent for how long. When more than half of the servers vanish within
 * one window it is more likely that the view leader is cut off than that they all died: then
 * nothing is changed (V6).
 */
export class Detector {
  private readonly heardMs = new Map<Ordinal, number>();
  private readonly downMs = new Map<Ordinal, number>();

  constructor(private readonly settings: DetectorSettings) {}

  /** Servers known before this process started get time to come back. */
  expect(server: Ordinal, down: boolean, now: number): void {
    const { startupGraceMs, downAfterMs } = this.settings;
    this.heardMs.set(server, now + startupGraceMs - downAfterMs);
    if (down) this.downMs.set(server, now);
  }

  heard(server: Ordinal, now: number): void {
    this.heardMs.set(server, Math.max(now, this.heardMs.get(server) ?? now));
    this.downMs.delete(server);
  }

  markDown(server: Ordinal, now: number): void {
    this.downMs.set(server, now);
  }

  silentMs(server: Ordinal, now: number): number {
    return Math.max(0, now - (this.heardMs.get(server) ?? now));
  }

  /** `up` and `down`: servers in these states. `leaving` ones are as good as silent. */
  look(
    up: readonly Ordinal[],
    down: readonly Ordinal[],
    leaving: ReadonlySet<Ordinal>,
    now: number,
  ): Findings {
    const { downAfterMs, replaceAfterMs } = this.settings;
    const windowMs = Math.max(LEAST_WINDOW_MS, 2 * downAfterMs);
    const silent = up.filter(
      (server) => leaving.has(server) || this.silentMs(server, now) >= downAfterMs,
    );
    const lately = down.filter((server) => now - (this.downMs.get(server) ?? now) < windowMs);
    const vanished = silent.length + lately.length;
    const present = up.length + lately.length;
    if (silent.length > 0 && vanished * 2 > present) {
      const brake =
        `${vanished} of ${present} servers vanished within ${Math.round(windowMs / 1000)} s; ` +
        'nothing is changed until enough of them are back';
      return { down: [], replaced: [], brake };
    }
    const replaced = down.filter(
      (server) => now - (this.downMs.get(server) ?? now) >= replaceAfterMs,
    );
    return { down: silent, replaced, brake: '' };
  }
}
