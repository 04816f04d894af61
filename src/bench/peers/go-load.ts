import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Report } from '../report.js';
import { RECORDS, VALUE_BYTES } from './sample.js';
import { output, programPath } from './spawned.js';

const ROOT = new URL('../../../', import.meta.url);
const SOURCE = fileURLToPath(new URL('src/bench/peers/load/main.go', ROOT));
const BINARY = fileURLToPath(new URL('.cache/peers/load', ROOT));
/** Where Debian puts the sources of Go packages. */
const SOURCES = '/usr/share/gocode';
const CLIENT_SOURCES = `${SOURCES}/src/go.etcd.io/etcd/clientv3`;

/** Debian packages that the load generator of the peers needs and that are not here. */
export function missingForLoad(): string[] {
  const missing: string[] = [];
  if (programPath('go') === null) missing.push('golang-go');
  if (!existsSync(CLIENT_SOURCES)) missing.push('golang-etcd-server-dev');
  return missing;
}

/** Compiles it, unless that is done. */
export async function buildLoad(): Promise<void> {
  if (existsSync(BINARY) && statSync(BINARY).mtimeMs > statSync(SOURCE).mtimeMs) return;
  mkdirSync(dirname(BINARY), { recursive: true });
  const env = { GO111MODULE: 'off', GOPATH: SOURCES, GOFLAGS: '' };
  await output('go', ['build', '-o', BINARY, SOURCE], env);
}

export interface LoadPoint {
  readonly work: 'put' | 'get' | 'txn' | 'load' | 'setwait';
  readonly endpoints: string;
  readonly concurrency?: number;
  readonly connections?: number;
  readonly warm?: number;
  readonly seconds?: number;
  readonly servers?: readonly number[];
}

/** Runs one process of it; null of `load`. */
export async function goLoad(point: LoadPoint): Promise<Report | null> {
  const { servers = [], ...rest } = point;
  const all = {
    ...rest,
    keys: RECORDS,
    'value-bytes': VALUE_BYTES,
    servers: servers.join(','),
  };
  const args = Object.entries(all).map(([name, value]) => `-${name}=${value}`);
  const line = await output(BINARY, args);
  return line === '' ? null : (JSON.parse(line) as Report);
}
