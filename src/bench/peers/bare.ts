import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { type Report, figuresOf } from '../report.js';
import type { EchoTask } from './echo.js';
import type { LogTask } from './bare-log.js';
import { type RoundOptions, WARM_SECONDS } from './sample.js';

/** In flight, and operations of a frame. */
const ECHOES = [
  { work: 'echo', inFlight: 64, frame: 64 },
  { work: 'echo', inFlight: 1024, frame: 1024 },
  { work: 'echo64', inFlight: 1024, frame: 64 },
] as const;
const LOG_WRITERS = 64;
const FIRST_WARM_MS = 3000;

/** gRPC and the codec alone: the ceiling for reads. */
export async function measureEcho({ seconds, emit }: RoundOptions): Promise<void> {
  const server = start('echo.js');
  try {
    const address = await ask<string>(server, { type: 'serve' } satisfies EchoTask);
    const client = start('echo.js');
    try {
      const of = { type: 'ask', address, server: server.pid ?? 0 } as const;
      const run = (frame: number, inFlight: number, warmMs: number, forMs: number) =>
        ask<Report>(client, { ...of, frame, inFlight, warmMs, forMs } satisfies EchoTask);
      await run(64, 256, FIRST_WARM_MS, 1);
      for (const { work, frame, inFlight } of ECHOES) {
        const report = await run(frame, inFlight, WARM_SECONDS * 1000, seconds * 1000);
        emit('bare stream', work, inFlight, figuresOf([report]));
      }
    } finally {
      await stop(client);
    }
  } finally {
    await stop(server);
  }
}

/** The log of a server alone: the ceiling for writes to one replica. */
export async function measureLog({ seconds, directory, emit }: RoundOptions): Promise<void> {
  const child = start('bare-log.js');
  try {
    const report = await ask<Report>(child, {
      directory: `${directory}/log`,
      writers: LOG_WRITERS,
      warmMs: FIRST_WARM_MS,
      forMs: seconds * 1000,
    } satisfies LogTask);
    emit('bare log', 'single', LOG_WRITERS, figuresOf([report]));
  } finally {
    await stop(child);
  }
}

type Child = ReturnType<typeof fork>;

function start(program: string): Child {
  return fork(fileURLToPath(new URL(program, import.meta.url)));
}

async function stop(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function ask<T>(child: Child, task: EchoTask | LogTask): Promise<T> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error('a process of the measurement ended'));
    child.once('exit', gone);
    child.once('message', (answer) => {
      child.off('exit', gone);
      resolve(answer as T);
    });
    child.send(task);
  });
}
