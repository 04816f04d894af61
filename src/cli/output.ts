import { isUtf8 } from 'node:buffer';
import type { Writable } from 'node:stream';

import pico from 'picocolors';

import { type Failure, failureJson, failureLine } from './exit-code.js';

/** Standard output or standard error. */
export type Terminal = Writable & { readonly isTTY?: boolean };

/** Results to stdout, everything else to stderr; for people or for programs. */
export class Output {
  constructor(
    private readonly program: string,
    private readonly stdout: Terminal,
    private readonly stderr: Terminal,
    /** One JSON object per line instead of text. */
    readonly json: boolean,
  ) {}

  /** One result in both forms; text gets a line end. */
  async result(json: Record<string, unknown>, text: string): Promise<void> {
    await this.write(`${this.json ? JSON.stringify(json) : text}\n`);
  }

  /** A value as it is: no line end unless a person looks at it. */
  async raw(value: Uint8Array): Promise<void> {
    await this.write(value);
    if (this.stdout.isTTY === true) await this.write('\n');
  }

  /** Waits while the reader is behind. */
  write(chunk: string | Uint8Array): Promise<void> {
    if (this.stdout.write(chunk)) return Promise.resolve();
    return new Promise((resolve) => this.stdout.once('drain', resolve));
  }

  note(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  fail(failure: Failure): void {
    this.stderr.write(this.json ? failureJson(failure) : failureLine(this.program, failure));
  }

  /** Colours, where the reader is a terminal and `NO_COLOR` is not set. */
  get colors(): ReturnType<typeof pico.createColors> {
    return pico.createColors(this.stdout.isTTY === true && pico.isColorSupported);
  }
}

/** `{name: text}`, or `{name_base64: …}` where the bytes are not UTF-8. */
export function bytesField(name: string, bytes: Uint8Array | string): Record<string, string> {
  const buffer = Buffer.from(bytes);
  if (isUtf8(buffer)) return { [name]: buffer.toString('utf8') };
  return { [`${name}_base64`]: buffer.toString('base64') };
}

/** Bytes for a line of text: control characters, line ends above all, are shown as escapes. */
export function printable(bytes: Uint8Array | string): string {
  return Buffer.from(bytes)
    .toString('utf8')
    .replaceAll(/\p{Cc}/gu, (control) => {
      const hex = control.charCodeAt(0).toString(16).padStart(2, '0');
      return control === '\n' ? '\\n' : `\\x${hex}`;
    });
}

/** Columns as wide as their widest cell; columns that hold only numbers are aligned right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const columns = head.map((title, index) => {
    const cells = rows.map((row) => row[index] ?? '');
    const numeric = cells.every((cell) => /^[\d,.]*$/.test(cell));
    return { numeric, width: Math.max(...[title, ...cells].map((cell) => cell.length)) };
  });
  const line = (row: readonly string[]): string =>
    columns
      .map(({ numeric, width }, index) => {
        const cell = row[index] ?? '';
        return numeric ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [head, ...rows].map(line).join('\n');
}

/** `11,008`. */
export function count(number: number): string {
  return number.toLocaleString('en-US');
}

/** `3.1 MiB`. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const scaled = bytes / 2 ** (10 * power);
  return `${power === 0 ? scaled : scaled.toFixed(1)} ${units[power]}`;
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

/** Milliseconds as they are written in options: `90m`, `250ms`. */
export function durationText(ms: number): string {
  const unit = UNITS.find(([, length]) => ms % length === 0);
  return unit === undefined ? `${ms}ms` : `${ms / unit[1]}${unit[0]}`;
}

/** `1 server`, `2 servers`. */
export function plural(number: number, word: string): string {
  return `${count(number)} ${word}${number === 1 ? '' : 's'}`;
}
