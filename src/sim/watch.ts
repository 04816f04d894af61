import type { Ordinal } from '../core/ids.js';
import type { StorageServer } from '../core/server.js';
import type { View } from '../core/view.js';
import type { Violation } from '../checkers/history.js';

/** A running server and the time on its own clock. */
export interface Watched {
  readonly machine: StorageServer;
  readonly nowMs: number;
}

/** Promises that must hold at every instant, looked at while the run goes on. */
export class Watch {
  readonly violations: Violation[] = [];
  private readonly adopted = new Map<Ordinal, number>();
  private readonly views = new Map<number, string>();
  private readonly known = new WeakSet<View>();
  private readonly told = new Set<string>();

  /** Once every few milliseconds of virtual time. */
  look(running: readonly Watched[], virtualMs: number): void {
    for (const { machine } of running) this.watchView(machine, virtualMs);
    const buckets = Math.max(0, ...running.map(({ machine }) => machine.view.rows.length));
    for (let bucket = 0; bucket < buckets; bucket++) {
      let serving = 0;
      for (const { machine, nowMs } of running) {
        if (machine.servesReads(bucket, nowMs)) serving += 1;
      }
      if (serving < 2) continue;
      const who = running
        .filter(({ machine, nowMs }) => machine.servesReads(bucket, nowMs))
        .map(({ machine }) => `${machine.self} (epoch ${machine.view.epoch})`);
      const what = `servers ${who.join(' and ')} serve reads of bucket ${bucket}`;
      this.report(`two primaries ${bucket}`, 'V2', `${what} at ${virtualMs.toFixed(1)} ms`);
    }
  }

  private watchView({ self, view }: StorageServer, virtualMs: number): void {
    const before = this.adopted.get(self) ?? 0;
    if (view.epoch === before && this.known.has(view)) return;
    // A server that restarts has adopted nothing for a moment.
    if (view.epoch > 0 && view.epoch < before) {
      const what = `server ${self} went back from epoch ${before} to ${view.epoch}`;
      this.report(`epoch ${self}`, 'V1', `${what} at ${virtualMs.toFixed(1)} ms`);
    }
    this.adopted.set(self, Math.max(before, view.epoch));
    if (this.known.has(view) || view.epoch === 0) return;
    this.known.add(view);
    const content = contentOf(view);
    const same = this.views.get(view.epoch) ?? content;
    this.views.set(view.epoch, same);
    if (same === content) return;
    this.report(`view ${view.epoch}`, 'V1', `there are two views with epoch ${view.epoch}`);
  }

  /** Each kind of trouble once. */
  private report(kind: string, promise: string, what: string): void {
    if (this.told.has(kind)) return;
    this.told.add(kind);
    this.violations.push({ promise, what, keys: [] });
  }
}

/** The same for equal views, in whatever order their fields were made. */
function contentOf({ clusterId, parameters, rows, members, change }: View): string {
  const parts = [
    sorted(parameters),
    sorted(change),
    rows.map(sorted),
    Array.from(members.values(), sorted),
  ];
  return JSON.stringify([clusterId, ...parts]);
}

function sorted(fields: object): unknown {
  return Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1));
}
