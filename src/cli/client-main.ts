import process from 'node:process';

import { type Command, CommanderError, InvalidArgumentError } from 'commander';

import { LIMITS } from '../core/refusal.js';
import { addBenchCommand } from './commands-bench.js';
import { addBulkCommands } from './commands-bulk.js';
import { addClusterCommands } from './commands-cluster.js';
import { addRebalanceCommands } from './commands-rebalance.js';
import { addNamespaceCommands } from './commands-namespaces.js';
import { addShardCommands } from './commands-shards.js';
import { addDataCommands } from './commands-data.js';
import { Exit, type Failure, failureOf } from './exit-code.js';
import { applyConfig, makeProgram, parseDuration, setting, usageFailure } from './options.js';
import { Output } from './output.js';
import { Session, type Surroundings } from './session.js';

/** After Ctrl-C a command may take this long to say what it has done. */
const FAREWELL_MS = 500;

/** Runs `kvs-client` with the arguments after its name; resolves to its exit code. */
export async function main(argv: string[]): Promise<number> {
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort());
  // A reader that has seen enough, such as `head`, ends us quietly.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(Exit.Done);
      throw error;
    });
  }
  const code = await run(argv, processSurroundings(interrupt.signal));
  // Whatever was still being waited for is given up.
  if (interrupt.signal.aborted) process.exit(Exit.Interrupted);
  return code;
}

/** `main` in given surroundings; never throws. */
export async function run(argv: string[], surroundings: Surroundings): Promise<number> {
  const program = makeClientProgram(surroundings);
  const session = new Session(program, surroundings);
  addDataCommands(program, session);
  addBulkCommands(program, session);
  addClusterCommands(program, session);
  addRebalanceCommands(program, session);
  addShardCommands(program, session);
  addNamespaceCommands(program, session);
  addBenchCommand(program, session);
  try {
    await untilInterrupted(program.parseAsync(argv, { from: 'user' }), surroundings.interrupted);
    return surroundings.interrupted.aborted ? Exit.Interrupted : session.exitCode;
  } catch (error) {
    if (surroundings.interrupted.aborted) return Exit.Interrupted;
    const isUsage = error instanceof CommanderError;
    const failure = isUsage ? usageFailure(error, helpOf(program, argv)) : failureOf(error);
    if (failure !== null) tell(failure, program, argv, surroundings);
    return failure?.exitCode ?? Exit.Done;
  }
}

function makeClientProgram(surroundings: Surroundings): Command {
  const program = makeProgram('kvs-client', 'Reads, writes and watches a kvs cluster.');
  return program
    .usage('[options] COMMAND …')
    .configureOutput({
      writeOut: (text) => void surroundings.stdout.write(text),
      writeErr: (text) => void surroundings.stderr.write(text),
    })
    .addOption(setting('--leader <host[:port],…>', 'view leader; default 127.0.0.1:7400'))
    .addOption(setting('--server <host:port>', 'use this server as the door; it forwards'))
    .addOption(setting('--namespace <name>', 'the key space that is meant'))
    .addOption(
      setting('--timeout <duration>', 'for an operation in all')
        .argParser(parseTimeout)
        .default(5000, '5s'),
    )
    .addOption(
      setting('-o, --output <format>', 'text for people, json for programs')
        .choices(['text', 'json'])
        .default('text'),
    )
    .addOption(setting('--config <file>', 'settings in YAML, named as these options'))
    .addHelpText('after', '\nExample:\n  $ kvs-client --leader 127.0.0.1:7400 set greeting hello')
    .hook('preAction', async () => {
      const { config } = program.opts<{ config?: string }>();
      if (config !== undefined) await applyConfig(program, config);
    });
}

function parseTimeout(text: string): number {
  const ms = parseDuration(text);
  if (ms <= LIMITS.timeoutMs) return ms;
  throw new InvalidArgumentError(`The longest timeout is ${LIMITS.timeoutMs / 1000}s.`);
}

/** Waits for the command, or shortly beyond Ctrl-C. */
async function untilInterrupted(command: Promise<unknown>, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const farewell = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      timer = setTimeout(resolve, FAREWELL_MS);
    });
  });
  try {
    await Promise.race([command, farewell]);
  } finally {
    clearTimeout(timer);
  }
}

/** The command whose help tells more. */
function helpOf(program: Command, argv: readonly string[]): string {
  const names = new Set(program.commands.map((command) => command.name()));
  const name = argv.find((argument) => names.has(argument));
  return name === undefined ? program.name() : `${program.name()} ${name}`;
}

function tell(
  failure: Failure,
  program: Command,
  argv: readonly string[],
  { stdout, stderr }: Surroundings,
): void {
  // When the command line could not be read to its end, what it says of the output still counts.
  const { output } = program.opts<{ output?: string }>();
  const asked = /(?:^|\n)(?:-o\n?|--output[=\n])json(?:\n|$)/.test(argv.join('\n'));
  const json = output === 'json' || asked || process.env['KVS_OUTPUT'] === 'json';
  new Output(program.name(), stdout, stderr, json).fail(failure);
}

/** The library is loaded when a command needs it: usage errors and help need not wait for gRPC. */
function processSurroundings(interrupted: AbortSignal): Surroundings {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interrupted,
    connect: async (options) => (await import('../client/index.js')).connect(options),
    status: async ({ leader = '', server = '', timeoutMs = 0 }) => {
      const { ViewSource } = await import('../client/views.js');
      const source = new ViewSource(leader, server, timeoutMs);
      try {
        return await source.status();
      } finally {
        source.close();
      }
    },
  };
}
