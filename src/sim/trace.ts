const FNV_PRIME = 0x01000193;

function hexadecimal(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}

/**
 * A running hash of everything that happens, in order. Two runs of one seed must end with the same
 * hash: that is what makes a failure replay.
 */
export class Trace {
  private low = 0x811c9dc5;
  private high = 0xcbf29ce4;
  events = 0;

  note(what: string, timeMs: number, one: number, two: number): void {
    this.events += 1;
    for (let at = 0; at < what.length; at++) this.word(what.charCodeAt(at));
    this.word(Math.floor(timeMs * 1000));
    this.word(one);
    this.word(two);
  }

  get hash(): string {
    return hexadecimal(this.high) + hexadecimal(this.low);
  }

  private word(word: number): void {
    this.low = Math.imul(this.low ^ word, FNV_PRIME);
    this.high = Math.imul(this.high ^ (this.low >>> 7) ^ word, FNV_PRIME);
  }
}
