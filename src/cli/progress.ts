import type { Terminal } from './output.js';

const REDRAW_MS = 100;
const LINE_MS = 2000;

/** How far a long task is (U2): a line that is redrawn on a terminal, else one now and then. */
export class Progress {
  private shownMs = performance.now();
  private drawn = false;

  constructor(
    private readonly stderr: Terminal,
    private readonly label: string,
  ) {}

  /** May be called as often as one likes; `text` is made only when it is shown. */
  update(text: () => string): void {
    const now = performance.now();
    const terminal = this.stderr.isTTY === true;
    if (now - this.shownMs < (terminal ? REDRAW_MS : LINE_MS)) return;
    this.shownMs = now;
    this.drawn = terminal;
    this.stderr.write(terminal ? `\r${this.label} ${text()}\u001b[K` : `${this.label} ${text()}\n`);
  }

  /** Take the line away. */
  end(): void {
    if (this.drawn) this.stderr.write('\r\u001b[K');
    this.drawn = false;
  }
}
