import { rename, writeFile } from 'node:fs/promises';
import process from 'node:process';

import { type Command, CommanderError, type OptionValues } from 'commander';

import { LOG_LEVELS, type Logger, type LogLevel, makeLogger } from '../transport/log.js';
import { Exit, failureJson, failureLine, failureOf } from './exit-code.js';
import { applyConfig, makeProgram, setting, usageFailure } from './options.js';

/** After the work is done, a handle that somebody forgot may not keep the process for longer. */
const LINGER_MS = 1000;
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** A server or view leader at work. */
export interface Running {
  /** Real address of the gRPC port. */
  readonly listen: string;
  /** Real address of the HTTP port. */
  readonly http: string;
  /** Id of the server or of the cluster. */
  readonly id: string;
  /** Graceful, within a deadline of its own. */
  stop(): Promise<void>;
  /** Resolves when the process cannot go on. */
  readonly failed: Promise<Error>;
}

interface CommonOptions {
  readonly logLevel: LogLevel;
  readonly logFormat: 'text' | 'json';
  readonly portsFile?: string;
  readonly checkConfig?: boolean;
  readonly config?: string;
}

/** What one of the daemons adds to the common part. `Settings` has what its room's start takes. */
export interface Daemon<Settings> {
  /** From the options; throws when they are wrong or contradict each other. */
  settings(options: OptionValues): Settings;
  start(settings: Settings, log: Logger): Promise<Running>;
}

/** A program with the options that both daemons have. */
export function daemonProgram(name: string, description: string): Command {
  return makeProgram(name, description)
    .allowExcessArguments(false)
    .addOption(
      setting('--log-level <level>', 'how much to log')
        .choices([...LOG_LEVELS])
        .default('info'),
    )
    .addOption(
      setting('--log-format <format>', 'of the log, the ready line and errors')
        .choices(['text', 'json'])
        .default('text'),
    )
    .addOption(
      setting('--ports-file <file>', 'write the real addresses there, as JSON, once ready'),
    )
    .addOption(setting('--check-config', 'check the settings, print them and stop'))
    .addOption(setting('--config <file>', 'settings in YAML, named as these options'));
}

/** Wrong addresses are usage errors, told before anything is opened. */
async function checkAddresses(options: Record<string, string | undefined>): Promise<void> {
  const { parseAddresses } = await import('../transport/address.js');
  for (const name of ['leader', 'listen', 'advertise', 'http']) {
    const text = options[name];
    // A port may be left out: it has a default, or 0 takes a free one.
    if (text !== undefined) parseAddresses(text, name === 'advertise' ? null : 0);
  }
}

/** Runs a daemon until it is told to stop or fails; resolves to the exit code. */
export async function runDaemon<Settings>(
  program: Command,
  argv: string[],
  daemon: Daemon<Settings>,
): Promise<number> {
  try {
    program.parse(argv, { from: 'user' });
    const { config } = program.opts<CommonOptions>();
    if (config !== undefined) await applyConfig(program, config);
    const settings = daemon.settings(program.opts());
    await checkAddresses(program.opts());
    const options = program.opts<CommonOptions>();
    if (options.checkConfig === true) {
      process.stdout.write(`${JSON.stringify(settings)}\n`);
      return Exit.Done;
    }
    const log = makeLogger(options.logLevel, options.logFormat, program.name());
    const code = await live(program, options, () => daemon.start(settings, log));
    setTimeout(() => process.exit(code), LINGER_MS).unref();
    return code;
  } catch (error) {
    return told(program, error);
  }
}

async function live(
  program: Command,
  options: CommonOptions,
  start: () => Promise<Running>,
): Promise<number> {
  let running: Running | null = null;
  const stopping = firstSignal(() => running !== null);
  running = await start();
  const ended = running.failed.then((error) => ({ error }));
  await ready(running, options);
  const end = await Promise.race([stopping.then(() => null), ended]);
  if (end !== null) {
    // Nothing in this process can be trusted to end by itself.
    process.exit(told(program, end.error));
  }
  await running.stop();
  return Exit.Done;
}

/**
 * Resolves with the first SIGINT or SIGTERM; the second one ends the process at once, and so does
 * the first while nothing runs yet that could be stopped.
 */
function firstSignal(runs: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    let seen = false;
    for (const [signal, code] of Object.entries(SIGNALS)) {
      process.on(signal, () => {
        if (seen || !runs()) process.exit(code);
        seen = true;
        resolve();
      });
    }
  });
}

async function ready(running: Running, options: CommonOptions): Promise<void> {
  const { listen, http, id } = running;
  if (options.portsFile !== undefined) {
    // Whoever waits for the file must not see half of it.
    const temporary = `${options.portsFile}.${process.pid}`;
    await writeFile(temporary, `${JSON.stringify({ listen, http, id, pid: process.pid })}\n`);
    await rename(temporary, options.portsFile);
  }
  const line =
    options.logFormat === 'json'
      ? JSON.stringify({ event: 'ready', listen, http, id })
      : `ready listen=${listen} http=${http} id=${id}`;
  process.stdout.write(`${line}\n`);
}

/** One line on stderr; the exit code. */
function told(program: Command, error: unknown): number {
  const isUsage = error instanceof CommanderError;
  const failure = isUsage ? usageFailure(error, program.name()) : failureOf(error);
  if (failure === null) return Exit.Done;
  const json = program.opts<CommonOptions>().logFormat === 'json';
  process.stderr.write(json ? failureJson(failure) : failureLine(program.name(), failure));
  return failure.exitCode;
}
