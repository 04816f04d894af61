import { PassThrough, Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';

import { run } from '../../src/cli/client-main.js';
import type { Surroundings } from '../../src/cli/session.js';
import type { ClientOptions, KvsClient } from '../../src/client/index.js';
import type { GetStatusResponse } from '../../src/wire/gen/kvs/v1/leader.js';

export interface Fakes {
  readonly client?: Partial<KvsClient>;
  readonly status?: GetStatusResponse;
  readonly stdin?: string;
  readonly terminal?: boolean;
  readonly interrupted?: AbortSignal;
}

export interface Told {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What the command wanted to connect to. */
  readonly targets: readonly ClientOptions[];
}

/** Runs `kvs-client` in this process, on fakes. */
export async function kvsClient(argv: string[], fakes: Fakes = {}): Promise<Told> {
  const stdout = Object.assign(new PassThrough(), { isTTY: fakes.terminal ?? false });
  const stderr = new PassThrough();
  const read = Promise.all([textOf(stdout), textOf(stderr)]);
  const targets: ClientOptions[] = [];
  const surroundings: Surroundings = {
    stdin: Readable.from([Buffer.from(fakes.stdin ?? '')]),
    stdout,
    stderr,
    interrupted: fakes.interrupted ?? new AbortController().signal,
    connect: (options) => {
      targets.push(options);
      return Promise.resolve({ close: () => undefined, ...fakes.client } as KvsClient);
    },
    status: (options) => {
      targets.push(options);
      return Promise.resolve(fakes.status as GetStatusResponse);
    },
  };
  const code = await run(argv, surroundings);
  stdout.end();
  stderr.end();
  const [out, err] = await read;
  return { code, stdout: out, stderr: err, targets };
}

/** Where a fake write says that it took place. */
export const WRITTEN = { version: 7, previous: 0, epoch: 3, bucket: 12, server: '127.0.0.1:1' };
