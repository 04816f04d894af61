import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { ViewSource } from '../client/views.js';
import { MemberState } from '../core/view.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';

const BIN = fileURLToPath(new URL('../../bin/', import.meta.url));
/** How long a wait pauses between two looks: longer and longer, so that it costs little. */
const POLL_MS = { least: 50, most: 500 } as const;
const POLL_SHARE = 0.02;
const START_MS = 20_000;
const STOP_MS = 15_000;
const STATUS_MS = 2000;
const SETTLE_MS = 60_000;
const LOG_TAIL_LINES = 15;

/** What a daemon writes with `--ports-file`. */
export interface Ports {
  readonly listen: string;
  readonly http: string;
  readonly id: string;
  readonly pid: number;
}

/** One kvs daemon, in a directory of its own: `data`, `ports.json` and `log`. */
export class Daemon {
  ports: Ports | null = null;
  private child: ChildProcess | null = null;

  constructor(
    readonly name: string,
    private readonly program: 'kvs-viewleader' | 'kvs-server',
    readonly directory: string,
    /** More arguments for the program. */
    readonly options: readonly string[],
    private readonly detached: boolean,
    private readonly nodeOptions: readonly string[],
    private readonly prefix: readonly string[],
  ) {
    mkdirSync(directory, { recursive: true });
  }

  get alive(): boolean {
    const { child } = this;
    return child !== null && child.exitCode === null && child.signalCode === null;
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** Where it listens; only once it is ready. */
  get listen(): string {
    if (this.ports === null) throw new Error(`${this.name} is not ready`);
    return this.ports.listen;
  }

  /** Starts the process, again too; `ready` waits for it. `more` overrides former options. */
  spawn(more: readonly string[] = []): void {
    this.ports = null;
    const portsFile = join(this.directory, 'ports.json');
    rmSync(portsFile, { force: true });
    const log = openSync(join(this.directory, 'log'), 'a');
    const fixed = ['--data-dir', join(this.directory, 'data'), '--ports-file', portsFile];
    const program = [process.execPath, ...this.nodeOptions, join(BIN, `${this.program}.js`)];
    const [command = '', ...args] = [
      ...this.prefix,
      ...program,
      ...fixed,
      ...this.options,
      ...more,
    ];
    const { detached } = this;
    this.child = spawn(command, args, {
      stdio: ['ignore', log, log],
      detached,
      env: environment({}),
    });
    closeSync(log);
  }

  async ready(): Promise<void> {
    const portsFile = join(this.directory, 'ports.json');
    await waitFor(`${this.name} to be ready`, START_MS, () => {
      if (!this.alive) throw new Error(`${this.name} ended at its start\n${this.logTail()}`);
      return existsSync(portsFile);
    });
    this.ports = JSON.parse(readFileSync(portsFile, 'utf8')) as Ports;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.alive) this.child?.kill(signal);
  }

  /** Asks it to stop; resolves to its exit code, null when it had to be killed. */
  async stop(): Promise<number | null> {
    const { child } = this;
    if (child === null) return null;
    if (this.alive) {
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      child.kill('SIGTERM');
      await once(child, 'exit');
      clearTimeout(timer);
    }
    return child.exitCode;
  }

  /** Ends it without warning, as a crash does. */
  async kill(): Promise<void> {
    if (!this.alive || this.child === null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }

  /** Lets this process end while the daemon goes on. */
  release(): void {
    this.child?.unref();
  }

  logTail(): string {
    const path = join(this.directory, 'log');
    const text = existsSync(path) ? readFileSync(path, 'utf8').trimEnd() : '';
    const lines = text.split('\n').slice(-LOG_TAIL_LINES);
    return [`--- ${this.name} (${path})`, ...lines].join('\n');
  }
}

export interface LocalClusterOptions {
  /** Holds one directory for each process; made when it does not exist. */
  readonly directory: string;
  readonly leaderOptions?: readonly string[];
  readonly serverOptions?: readonly string[];
  /** Options of Node.js for the servers. */
  readonly serverNodeOptions?: readonly string[];
  /** Variables `KVS_…` for the clients that the cluster runs. */
  readonly clientEnvironment?: Readonly<Record<string, string>>;
  /** Processes outlive this one and do not get its Ctrl-C. */
  readonly detached?: boolean;
  /** Where a process runs; without it on the loopback interface. */
  readonly place?: (name: string) => Place;
}

export interface Place {
  /** The command that runs it there, with its first arguments. */
  readonly prefix: readonly string[];
  /** Address that it listens on. */
  readonly host: string;
}

const HERE: Place = { prefix: [], host: '127.0.0.1' };

/** What a program prints and how it ends. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A cluster of real processes on this machine, on free ports; for the demo and the tests. */
export class LocalCluster {
  readonly leader: Daemon;
  readonly servers: Daemon[] = [];

  constructor(private readonly options: LocalClusterOptions) {
    this.leader = this.daemon('leader', 'kvs-viewleader', options.leaderOptions ?? []);
  }

  /** Starts the view leader and the servers; resolves when all of them serve. */
  async start(servers: number): Promise<void> {
    this.leader.spawn();
    await this.leader.ready();
    // Together, so that one epoch takes them all in.
    const added = Array.from({ length: servers }, () => this.spawnServer());
    await Promise.all(added.map((server) => server.ready()));
  }

  async addServer(options: readonly string[] = []): Promise<Daemon> {
    const server = this.spawnServer(options);
    await server.ready();
    return server;
  }

  /** `--leader` of every client and server. */
  get leaderAddress(): string {
    return this.leader.listen;
  }

  /** Every process, the view leader first. */
  get daemons(): readonly Daemon[] {
    return [this.leader, ...this.servers];
  }

  /** What the view leader says. */
  async status(): Promise<GetStatusResponse> {
    const source = new ViewSource(this.leaderAddress, '', STATUS_MS);
    try {
      return await source.status();
    } finally {
      source.close();
    }
  }

  /** Waits until the status is as wanted; `what` names the wish in the error. */
  async waitForStatus(
    what: string,
    deadlineMs: number,
    wanted: (status: GetStatusResponse) => boolean | Promise<boolean>,
  ): Promise<GetStatusResponse> {
    const seen: { status: GetStatusResponse | null; trouble: string } = {
      status: null,
      trouble: '',
    };
    try {
      await waitFor(what, deadlineMs, async () => {
        try {
          seen.status = await this.status();
        } catch (error) {
          // The view leader may be down for a while: that is what some wait for.
          seen.trouble = String(error);
          return false;
        }
        return wanted(seen.status);
      });
    } catch (error) {
      const last = seen.status === null ? seen.trouble : JSON.stringify(seen.status);
      throw new Error(`${(error as Error).message}; the last status: ${last}`, { cause: error });
    }
    if (seen.status === null) throw new Error(`there is no status: ${seen.trouble}`);
    return seen.status;
  }

  /** So many servers are up, each holds buckets, and nothing is left to move. */
  settled(servers: number, deadlineMs = SETTLE_MS): Promise<GetStatusResponse> {
    return this.waitForStatus(`${servers} settled servers`, deadlineMs, (status) => {
      const up = status.members.filter(({ member }) => member?.state === MemberState.Up);
      const idle = status.viewChange?.phase === 'idle' && status.underReplicated === 0;
      return up.length === servers && idle && up.every(({ buckets }) => buckets > 0);
    });
  }

  /** Runs the real `kvs-client` against this cluster. */
  async client(args: readonly string[], input: string | Uint8Array = ''): Promise<Ran> {
    const { clientEnvironment } = this.options;
    const env = environment({ KVS_LEADER: this.leaderAddress, ...clientEnvironment });
    const child = spawn(process.execPath, [join(BIN, 'kvs-client.js'), ...args], { env });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    // A program that does not read its input may be gone before it is written.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
  }

  /** Stops every process, servers first; the names of those that did not end with exit code 0. */
  async stopAll(): Promise<string[]> {
    const alive = this.servers.filter((server) => server.alive);
    const codes = await Promise.all(alive.map((server) => server.stop()));
    const bad = alive.filter((_, index) => codes[index] !== 0);
    if (this.leader.alive && (await this.leader.stop()) !== 0) bad.push(this.leader);
    return bad.map(({ name }) => name);
  }

  /** Ends every process at once. */
  async killAll(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => daemon.kill()));
  }

  private spawnServer(options: readonly string[] = []): Daemon {
    const server = this.daemon(`server-${this.servers.length + 1}`, 'kvs-server', [
      '--leader',
      this.leaderAddress,
      ...(this.options.serverOptions ?? []),
      ...options,
    ]);
    this.servers.push(server);
    server.spawn();
    return server;
  }

  private daemon(
    name: string,
    program: 'kvs-viewleader' | 'kvs-server',
    options: readonly string[],
  ): Daemon {
    const directory = join(this.options.directory, name);
    const { detached = false, serverNodeOptions = [], place = () => HERE } = this.options;
    const nodeOptions = program === 'kvs-server' ? serverNodeOptions : [];
    const { prefix, host } = place(name);
    const listens = program === 'kvs-viewleader' || host !== HERE.host;
    const free = listens ? ['--listen', `${host}:0`, '--http', `${host}:0`] : [];
    const all = [...free, ...options];
    return new Daemon(name, program, directory, all, detached, nodeOptions, prefix);
  }
}

/** Asks until `condition` holds; throws when it does not in time. */
export async function waitFor(
  what: string,
  deadlineMs: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const start = performance.now();
  while (!(await condition())) {
    const waitedMs = performance.now() - start;
    if (waitedMs > deadlineMs) {
      throw new Error(`waited ${deadlineMs / 1000} s in vain for ${what}`);
    }
    await pause(Math.min(POLL_MS.most, Math.max(POLL_MS.least, waitedMs * POLL_SHARE)));
  }
}

/** The environment without settings of the caller's own cluster. */
function environment(more: Record<string, string>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('KVS_'));
  return { ...Object.fromEntries(kept), ...more };
}
