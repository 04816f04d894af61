import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';

import { parse } from 'csv-parse';

import { CommandError, Exit } from './exit-code.js';

export type Format = 'csv' | 'ndjson';

/** One record of a file, or what is wrong with it. `line` is where it ends, counted from 1. */
export type Row =
  | { readonly line: number; readonly key: string; readonly value: string }
  | { readonly line: number; readonly problem: string };

/**
 * The records of a CSV or NDJSON file. The key is the column `keyColumn` (default `id`, else the
 * first); the value is the row as a JSON object: all cells as strings for CSV, the line as it is
 * for NDJSON. A bad row is told, not thrown; a file that cannot be used is thrown.
 */
export function readRows(
  source: AsyncIterable<Buffer>,
  format: Format,
  keyColumn: string | undefined,
): AsyncGenerator<Row> {
  const bytes = withoutByteOrderMark(source);
  return format === 'csv' ? csvRows(bytes, keyColumn) : ndjsonRows(bytes, keyColumn);
}

async function* withoutByteOrderMark(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let first = true;
  for await (const chunk of source) {
    const marked = first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
    yield marked ? chunk.subarray(3) : chunk;
    first = false;
  }
}

async function* csvRows(
  source: AsyncIterable<Buffer>,
  keyColumn: string | undefined,
): AsyncGenerator<Row> {
  let broken = false;
  const parser = parse({
    // Cells stay bytes, so that those that are not UTF-8 are seen instead of replaced.
    encoding: null,
    info: true,
    record_delimiter: ['\r\n', '\n'],
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip: () => {
      broken = true;
    },
  });
  const input = Readable.from(source);
  input.on('error', (error) => parser.destroy(error)).pipe(parser);
  let columns: Columns | null = null;
  let line = 0;
  try {
    for await (const row of parser as AsyncIterable<CsvRow>) {
      line = row.info.lines;
      if (columns === null) columns = new Columns(row.record, keyColumn);
      else yield columns.row(row.record, line);
    }
  } finally {
    input.destroy();
  }
  // The one error that is left: the rest of the file became one long cell.
  if (broken) yield { line: line + 1, problem: 'a quote that opens here or later has no end' };
  if (columns === null)
    throw unusable('the file has no header', 'its first line names the columns');
}

interface CsvRow {
  readonly info: { readonly lines: number };
  readonly record: readonly Buffer[];
}

/** The header of a CSV file. */
class Columns {
  private readonly labels: readonly string[];
  private readonly keyIndex: number;

  constructor(header: readonly Buffer[], keyColumn: string | undefined) {
    const names = header.map(String);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) {
      throw unusable(`the file has two columns "${twice}"`, 'give each column its own name');
    }
    this.keyIndex = names.indexOf(keyColumn ?? 'id');
    if (this.keyIndex < 0 && keyColumn !== undefined) throw noColumn(keyColumn, names);
    if (this.keyIndex < 0) this.keyIndex = 0;
    this.labels = names.map((name) => JSON.stringify(name));
  }

  row(cells: readonly Buffer[], line: number): Row {
    const { labels } = this;
    if (cells.length !== labels.length) {
      return { line, problem: `${cells.length} columns instead of ${labels.length}` };
    }
    if (!cells.every((cell) => isUtf8(cell))) return { line, problem: 'the text is not UTF-8' };
    const key = String(cells[this.keyIndex]);
    if (key === '') return { line, problem: `no value in the key column` };
    // By hand: an object would put columns with numbers for names first.
    const members = labels.map((label, at) => `${label}:${JSON.stringify(String(cells[at]))}`);
    return { line, key, value: `{${members.join(',')}}` };
  }
}

async function* ndjsonRows(
  source: AsyncIterable<Buffer>,
  keyColumn: string | undefined,
): AsyncGenerator<Row> {
  let column = keyColumn;
  let line = 0;
  for await (const bytes of linesOf(source)) {
    line += 1;
    const text = bytes.toString('utf8').trim();
    if (text === '') continue;
    const object = isUtf8(bytes) ? objectOf(text) : null;
    if (object === null) {
      yield { line, problem: 'not a JSON object in UTF-8' };
      continue;
    }
    column ??= 'id' in object ? 'id' : Object.keys(object)[0];
    const key = Object.hasOwn(object, column ?? '') ? object[column ?? ''] : undefined;
    const usable = typeof key === 'string' ? key !== '' : Number.isSafeInteger(key);
    // The text of the line, not the parsed object: numbers keep every digit.
    if (usable) yield { line, key: String(key), value: text };
    else yield { line, problem: `"${column}" is neither a text nor a whole number` };
  }
}

/** Only LF ends a line: JSON text may hold the other characters that end lines elsewhere. */
async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = [];
  for await (const chunk of source) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...pieces, chunk.subarray(start, end)]);
      pieces = [];
      start = end + 1;
    }
    pieces.push(chunk.subarray(start));
  }
  yield Buffer.concat(pieces);
}

function objectOf(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function unusable(message: string, hint: string): CommandError {
  return new CommandError('BAD_FILE', message, hint, Exit.Refused);
}

function noColumn(column: string, names: readonly string[]): CommandError {
  const what = `the file has no column "${column}"`;
  return new CommandError('NO_COLUMN', what, `it has ${names.join(', ')}`, Exit.Usage);
}
