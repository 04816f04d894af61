// Debian: python3-grpcio python3-protobuf protobuf-compiler protobuf-compiler-grpc
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, jest, test } from '@jest/globals';

import { startCluster, temporaryDirectory } from './support.js';

jest.setTimeout(120_000);

const root = fileURLToPath(new URL('../../', import.meta.url));
const PYTHON = '/usr/bin/python3';
const PLUGIN = '/usr/bin/grpc_python_plugin';

const installed =
  existsSync(PLUGIN) &&
  spawnSync('protoc', ['--version']).status === 0 &&
  spawnSync(PYTHON, ['-c', 'import grpc']).status === 0;

(installed ? test : test.skip)(
  'an independent gRPC client does get, set, delete and setr',
  async () => {
    const generated = join(temporaryDirectory(), 'generated');
    mkdirSync(generated);
    execFileSync('protoc', [
      `--proto_path=${join(root, 'proto')}`,
      `--python_out=${generated}`,
      `--plugin=protoc-gen-grpc=${PLUGIN}`,
      `--grpc_out=${generated}`,
      ...['kv', 'view'].map((name) => join(root, 'proto', 'kvs', 'v1', `${name}.proto`)),
    ]);
    const cluster = await startCluster(3);
    const script = join(root, 'test', 'e2e', 'client.py');
    for (const server of cluster.servers) {
      const { status, stdout, stderr } = spawnSync(PYTHON, [script, generated, server.listen], {
        encoding: 'utf8',
        timeout: 60_000,
      });
      expect({ status, stdout, stderr }).toEqual({
        status: 0,
        stdout: 'all as expected\n',
        stderr: '',
      });
    }
  },
);
