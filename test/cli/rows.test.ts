import { Readable } from 'node:stream';

import { describe, expect, test } from '@jest/globals';

import { type Format, readRows, type Row } from '../../src/cli/rows.js';

/** The rows of a text that arrives in pieces of `size` bytes. */
async function rowsOf(
  text: string | Buffer,
  format: Format,
  key?: string,
  size = 5,
): Promise<Row[]> {
  const bytes = Buffer.from(text);
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  return Readable.from(readRows(pieces(), format, key)).toArray() as Promise<Row[]>;
}

async function keyOf(text: string, key?: string): Promise<unknown> {
  const [row] = await rowsOf(text, 'csv', key);
  return row !== undefined && 'key' in row ? row.key : row;
}

describe('CSV', () => {
  test('the value is the row as an object of texts, in the order of the file', async () => {
    const rows = await rowsOf('id,2,1,name\r\n7,b,a,"x, ""y""\nz"\r\n8,,,ü\n', 'csv');
    expect(rows).toEqual([
      { line: 3, key: '7', value: '{"id":"7","2":"b","1":"a","name":"x, \\"y\\"\\nz"}' },
      { line: 4, key: '8', value: '{"id":"8","2":"","1":"","name":"ü"}' },
    ]);
  });

  test('the key is the column asked for, else id, else the first', async () => {
    expect(await keyOf('a,id\n1,2\n')).toBe('2');
    expect(await keyOf('a,b\n1,2\n')).toBe('1');
    expect(await keyOf('a,b\n1,2\n', 'b')).toBe('2');
    await expect(keyOf('a,b\n1,2\n', 'c')).rejects.toMatchObject({
      code: 'NO_COLUMN',
      exitCode: 2,
      hint: 'it has a, b',
    });
  });

  test('a mark at the start of the file belongs to no column', async () => {
    expect(await rowsOf('\uFEFF"id"\n1\n', 'csv')).toEqual([
      { line: 2, key: '1', value: '{"id":"1"}' },
    ]);
  });

  test('a bad row is told and the others are read', async () => {
    const text = Buffer.concat([
      Buffer.from('id,a\n1,x\n2\n3,y,z\n\n4,'),
      Buffer.from([0xff]),
      Buffer.from('\n,w\n5,v'),
    ]);
    expect(await rowsOf(text, 'csv')).toEqual([
      { line: 2, key: '1', value: '{"id":"1","a":"x"}' },
      { line: 3, problem: '1 columns instead of 2' },
      { line: 4, problem: '3 columns instead of 2' },
      { line: 6, problem: 'the text is not UTF-8' },
      { line: 7, problem: 'no value in the key column' },
      { line: 8, key: '5', value: '{"id":"5","a":"v"}' },
    ]);
  });

  test('a quote without end is told, and the rows before it are read', async () => {
    expect(await rowsOf('id,a\n1,x\n2,"y\n3,z\n', 'csv')).toEqual([
      { line: 2, key: '1', value: '{"id":"1","a":"x"}' },
      { line: 3, problem: 'a quote that opens here or later has no end' },
    ]);
  });

  test('a file without a header, or with a column twice, is refused', async () => {
    await expect(rowsOf('', 'csv')).rejects.toMatchObject({ code: 'BAD_FILE' });
    await expect(rowsOf('a,a\n1,2\n', 'csv')).rejects.toMatchObject({ code: 'BAD_FILE' });
  });
});

describe('NDJSON', () => {
  test('the value is the line as it is', async () => {
    const rows = await rowsOf('{"id": 12345678901234567890, "k": "a\u2028b"}\n\n', 'ndjson', 'k');
    expect(rows).toEqual([
      { line: 1, key: 'a\u2028b', value: '{"id": 12345678901234567890, "k": "a\u2028b"}' },
    ]);
  });

  test('a bad line is told and the others are read', async () => {
    const lines = ['{"id":1}', '[1]', '{"id":', '{"id":1.5}', '{"x":2}', 'null', '{"id":"two"}'];
    const rows = await rowsOf(lines.join('\n'), 'ndjson');
    expect(rows.map((row) => ('key' in row ? row.key : row.problem))).toEqual([
      '1',
      'not a JSON object in UTF-8',
      'not a JSON object in UTF-8',
      '"id" is neither a text nor a whole number',
      '"id" is neither a text nor a whole number',
      'not a JSON object in UTF-8',
      'two',
    ]);
  });
});
