/**
 * Numbers a client's writes and knows below which number all are settled: answered, or given up.
 * Servers drop remembered results below that mark (D4).
 */
export class Numbering {
  private last = 0;
  private floor = 1;
  private readonly settledAbove = new Set<number>();

  /** A number for a new write. */
  next(): number {
    return ++this.last;
  }

  /** Every write with a smaller number is settled. */
  get settledBelow(): number {
    return this.floor;
  }

  /** 0, which reads have: nothing to settle. */
  settle(number: number): void {
    if (number === this.floor) this.floor += 1;
    else if (number > this.floor) this.settledAbove.add(number);
    else return;
    while (this.settledAbove.size > 0 && this.settledAbove.delete(this.floor)) this.floor += 1;
  }
}
