import type { ClientId } from './ids.js';
import type { DedupResult, DedupRow } from './message.js';

/** How long a silent client's results are remembered, in ms of the bucket's clock. */
export const DEDUP_AGE_MS = 600_000;

/** How many recorded results pass between two sweeps for silent clients. */
const SWEEP_EVERY = 1024;

interface ClientRow {
  floor: number;
  atMs: number;
  /** The highest number that was ever among them: a higher one is new without a search. */
  highest: number;
  /** Of the requests that are not settled, oldest first; few at a time. */
  readonly numbers: number[];
  readonly results: DedupResult[];
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
    const at = clientSequence > row.highest ? -1 : row.numbers.lastIndexOf(clientSequence);
    const result = row.results[at];
    if (result !== undefined) return result;
    return clientSequence < row.floor ? 'settled' : 'new';
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
      row = { floor: 0, atMs, highest: 0, numbers: [], results: [] };
      this.clients.set(client, row);
    }
    if (atMs > row.atMs) row.atMs = atMs;
    if (settledBelow > row.floor) {
      row.floor = settledBelow;
      // About in the order of their numbers: one behind a later one goes when its turn has come.
      while (row.numbers.length > 0 && row.numbers[0]! < settledBelow) {
        row.numbers.shift();
        row.results.shift();
      }
    }
    if (clientSequence > row.highest || !row.numbers.includes(clientSequence)) {
      row.highest = Math.max(row.highest, clientSequence);
      row.numbers.push(clientSequence);
      row.results.push(result);
    }
    if (++this.sinceSweep >= SWEEP_EVERY) this.sweep(atMs);
  }

  /** Rows for a checkpoint or snapshot. */
  rows(): DedupRow[] {
    return Array.from(this.clients, ([client, row]) => ({
      client,
      floor: row.floor,
      atMs: row.atMs,
      results: row.numbers.map((number, at) => [number, row.results[at]!] as const),
    }));
  }

  load(rows: readonly DedupRow[]): void {
    this.clients.clear();
    this.sinceSweep = 0;
    for (const { client, floor, atMs, results } of rows) {
      this.clients.set(client, {
        floor,
        atMs,
        highest: results.reduce((highest, [number]) => Math.max(highest, number), 0),
        numbers: results.map(([number]) => number),
        results: results.map(([, result]) => result),
      });
    }
  }

  private sweep(nowMs: number): void {
    this.sinceSweep = 0;
    for (const [client, row] of this.clients) {
      if (row.atMs < nowMs - DEDUP_AGE_MS) this.clients.delete(client);
    }
  }
}
