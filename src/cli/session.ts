import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

import type { Command } from 'commander';

import type { ClientOptions, KvsClient } from '../client/index.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';
import { CommandError, Exit } from './exit-code.js';
import { Output, type Terminal } from './output.js';

const DEFAULT_LEADER = '127.0.0.1:7400';

/** What surrounds a run of `kvs-client`; tests put their own in its place. */
export interface Surroundings {
  readonly stdin: Readable;
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  /** Aborted by Ctrl-C. */
  readonly interrupted: AbortSignal;
  connect(options: ClientOptions): Promise<KvsClient>;
  /** Asks the view leader; works before the cluster has any server. */
  status(options: ClientOptions): Promise<GetStatusResponse>;
}

interface GlobalOptions {
  readonly leader?: string;
  readonly server?: string;
  /** In ms. */
  readonly timeout: number;
  readonly output: 'text' | 'json';
  readonly namespace?: string;
}

/** One run of `kvs-client`: its global options, its output and its exit code. */
export class Session {
  exitCode: number = Exit.Done;
  private stdinTaken = false;

  constructor(
    private readonly program: Command,
    readonly surroundings: Surroundings,
  ) {}

  get output(): Output {
    const { stdout, stderr } = this.surroundings;
    const { output } = this.program.opts<GlobalOptions>();
    return new Output(this.program.name(), stdout, stderr, output === 'json');
  }

  /** Whom to ask, and how long. */
  get target(): ClientOptions {
    const { leader, server, timeout } = this.program.opts<GlobalOptions>();
    return {
      ...(leader !== undefined && { leader }),
      ...(server !== undefined && { server }),
      ...(leader === undefined && server === undefined && { leader: DEFAULT_LEADER }),
      timeoutMs: timeout,
    };
  }

  /** Whose keys are meant; undefined: those without a namespace. */
  get namespace(): string | undefined {
    return this.program.opts<GlobalOptions>().namespace;
  }

  async withClient(use: (client: KvsClient) => Promise<void>): Promise<void> {
    const client = await this.surroundings.connect(this.target);
    try {
      await use(client);
    } finally {
      client.close();
    }
  }

  /** For commands on keys: those of `--namespace`. */
  async withKeys(use: (client: KvsClient) => Promise<void>): Promise<void> {
    const { namespace } = this;
    await this.withClient(async (client) => {
      await use(namespace === undefined ? client : await client.namespace(namespace));
    });
  }

  /** A value argument: itself, or all of standard input for `-`. */
  async value(text: string): Promise<string | Uint8Array> {
    if (text !== '-') return text;
    if (this.stdinTaken) {
      throw CommandError.usage('standard input can be read only once', 'use "-" for one value');
    }
    this.stdinTaken = true;
    return buffer(this.surroundings.stdin);
  }
}
