import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import process from 'node:process';

const STOP_MS = 5000;
const running = new Set<ChildProcess>();

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** The path of a program; null: it is not installed. */
export function programPath(name: string): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return null;
}

/** A server that is stopped in the end, also when this process ends before. */
export class Spawned {
  readonly pid: number;

  constructor(
    program: string,
    args: readonly string[],
    private readonly child = spawn(program, args, { stdio: 'ignore' }),
  ) {
    this.pid = child.pid ?? 0;
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.once('error', () => running.delete(child));
  }

  async stop(): Promise<void> {
    if (!running.has(this.child)) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const force = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await gone;
    clearTimeout(force);
  }
}

/** Runs a program to its end; its standard output. Throws when it fails. */
export async function output(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const child = spawn(program, args, { env: { ...process.env, ...env } });
  running.add(child);
  const parts: Record<'out' | 'err', string> = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (parts.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (parts.err += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  running.delete(child);
  if (code === 0) return parts.out;
  throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${parts.err.trim()}`);
}

/** Ports that nobody listens on at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
