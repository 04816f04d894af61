import { readFile } from 'node:fs/promises';

import { parse } from 'csv-parse/sync';

import type { KvsClient } from '../client/index.js';
import type { LocalCluster } from './local-cluster.js';

const READS_AT_ONCE = 1024;

/** Key → value, as they should be in the cluster. */
export type Records = ReadonlyMap<string, Buffer>;

/** What an import of the file should store; made without the code of the import. */
export async function expectedRecords(file: string, prefix: string): Promise<Records> {
  const rows: Record<string, string>[] = parse(await readFile(file), { columns: true });
  return new Map(rows.map((row) => [prefix + row['id'], Buffer.from(JSON.stringify(row))]));
}

/** Reads everything back through `kvs-client export` and compares it byte by byte. */
export async function checkExport(
  cluster: LocalCluster,
  prefix: string,
  expected: Records,
): Promise<void> {
  const { code, stdout, stderr } = await cluster.client(['export', prefix, '-o', 'json']);
  if (code !== 0) throw new Error(`the export ended with exit code ${code}: ${stderr}`);
  const lines = stdout.toString('utf8').split('\n').slice(0, -1);
  const seen = new Set<string>();
  for (const line of lines) {
    const { key, value } = JSON.parse(line) as { key: string; value: string };
    compare(key, Buffer.from(value), expected);
    if (seen.has(key)) throw new Error(`the export has ${key} twice`);
    seen.add(key);
  }
  if (seen.size !== expected.size) {
    throw new Error(`the export has ${seen.size} records instead of ${expected.size}`);
  }
}

/** Reads everything back with the library's `get` and compares it byte by byte. */
export async function checkGets(client: KvsClient, expected: Records): Promise<void> {
  const keys = [...expected.keys()];
  for (let start = 0; start < keys.length; start += READS_AT_ONCE) {
    await checkSome(client, keys.slice(start, start + READS_AT_ONCE), expected);
  }
}

/** Reads these keys at once and compares them byte by byte. */
export async function checkSome(
  client: KvsClient,
  keys: readonly string[],
  expected: Records,
): Promise<void> {
  const found = await Promise.all(keys.map((key) => client.get(key)));
  for (const [index, key] of keys.entries()) {
    compare(key, found[index]?.value ?? null, expected);
  }
}

function compare(key: string, value: Uint8Array | null, expected: Records): void {
  const wanted = expected.get(key);
  if (wanted === undefined) throw new Error(`the key ${key} is not in the file`);
  if (value === null) throw new Error(`the key ${key} is lost`);
  if (!wanted.equals(value)) throw new Error(`the value of ${key} differs from the file`);
}
