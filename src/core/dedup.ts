import type { ClientId } from './ids.js';
import type { DedupResult, DedupRow } from './message.js';

/** How long a silent client's results are remembered, in ms of the bucket's clock. */
export const DEDUP_AGE_MS = 600_000;

/** How many recorded results pass between two sweeps for silent clients. */
const SWEEP_EVERY = 1024;

interface ClientRow {
  floor: number;
  atMs: number;
  /** Of the requests that are not settled, in the order of their coming. */
  readonly results: Map<number, DedupResult>;
}

/** The table's word on a request: its result, 'settled' (the client gave it up), or 'new'. */
export type DedupVerdict = DedupResult | 'settled' | 'new';

/**
 * (client, request number) → result of the writes of one bucket (D4). Part of the bucket's state:
 * it changes only by applying entries, so every replica holds the same table. A client says with
 * each write below which number all its writes are settled; those results are dropped, and a
 * straggler below that floor is refused for ever instead of being taken for a new request.
 */
export class DedupTable {
  private readonly clients = new Map<ClientId, ClientRow>();
  private sinceSweep = 0;

  lookup(client: ClientId, clientSequence: number): DedupVerdict {
    const row = this.clients.get(client);
    if (row === undefined) return 'new';
    return row.results.get(clientSequence) ?? (clientSequence < row.floor ? 'settled' : 'new');
  }

  /** The first result recorded for a request stays. */
  record(
    client: ClientId,
    clientSequence: number,
    settledBelow: number,
    atMs: number,
    result: DedupResult,
  ): void {
    if (client === '') return;
    let row = this.clients.get(client);
    if (row === undefined) {
      row = { floor: 0, atMs, results: new Map() };
      this.clients.set(client, row);
    }
    if (atMs > row.atMs) row.atMs = atMs;
    if (settledBelow > row.floor) {
      row.floor = settledBelow;
      // About in the order of their numbers: one behind a later one goes when its turn has come.
      for (const number of row.results.keys()) {
        if (number >= settledBelow) break;
        row.results.delete(number);
      }
    }
    if (!row.results.has(clientSequence)) row.results.set(clientSequence, result);
    if (++this.sinceSweep >= SWEEP_EVERY) this.sweep(atMs);
  }

  /** Rows for a checkpoint or snapshot. */
  rows(): DedupRow[] {
    return Array.from(this.clients, ([client, row]) => ({
      client,
      floor: row.floor,
      atMs: row.atMs,
      results: Array.from(row.results),
    }));
  }

  load(rows: readonly DedupRow[]): void {
    this.clients.clear();
    this.sinceSweep = 0;
    for (const { client, floor, atMs, results } of rows) {
      this.clients.set(client, { floor, atMs, results: new Map(results) });
    }
  }

  private sweep(nowMs: number): void {
    this.sinceSweep = 0;
    for (const [client, row] of this.clients) {
      if (row.atMs < nowMs - DEDUP_AGE_MS) this.clients.delete(client);
    }
  }
}
