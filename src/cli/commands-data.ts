import type { Command } from 'commander';

import type { Deleted, SetrWrite, WriteOptions, Written } from '../client/index.js';
import { withKeys } from './commands-namespaces.js';
import { CommandError, Exit, type Failure, failureOf } from './exit-code.js';
import { parseDuration, parseVersion, setting } from './options.js';
import { bytesField, plural, printable } from './output.js';
import type { Session } from './session.js';

interface GetOptions extends InSession {
  readonly confirm?: boolean;
}

interface SetCommandOptions extends WriteOptions, InSession {
  /** In ms. */
  readonly ttl?: number;
}

/** `get`, `set`, `del`, `setr` and `getr`. */
export function addDataCommands(program: Command, session: Session): void {
  program
    .command('get')
    .description('read one key; text output is the value and nothing else')
    .argument('<key>')
    .addOption(
      setting('--confirm', 'trust no clock: the other replicas confirm the read first').conflicts(
        'session',
      ),
    )
    .addOption(sessionFile())
    .addHelpText('after', '\nExample:\n  $ kvs-client get greeting')
    .action((key: string, options: GetOptions) => get(session, key, options));
  program
    .command('set')
    .description('write one key')
    .argument('<key>')
    .argument('<value>', 'the value, or - for standard input')
    .addOption(
      setting('--if-absent', 'only if the key does not exist').conflicts(['ifVersion', 'session']),
    )
    .addOption(ifVersion())
    .addOption(
      setting('--ttl <duration>', 'with --namespace: how long it lives').argParser(parseDuration),
    )
    .addOption(sessionFile())
    .addHelpText('after', '\nExamples:\n  $ kvs-client set greeting hello')
    .addHelpText('after', '  $ kvs-client set photo - < photo.jpg')
    .action((key: string, value: string, options: SetCommandOptions) =>
      set(session, key, value, options),
    );
  program
    .command('del')
    .description('delete keys; one that does not exist is no error')
    .argument('<key...>')
    .addOption(ifVersion())
    .addOption(sessionFile())
    .addHelpText('after', '\nExample:\n  $ kvs-client del greeting farewell')
    .action((keys: string[], options: WriteOptions & InSession) => del(session, keys, options));
  program
    .command('setr')
    .description('write several keys: all or nothing, on every replica')
    .argument('[key value...]', 'keys and values in turn; one value may be - for standard input')
    .addOption(setting('--del <key>', 'delete this key (repeatable)').argParser(gather))
    .addOption(
      setting(
        '--if <key=version>',
        'only if the key has this version; 0: absent (repeatable)',
      ).argParser(gather),
    )
    .addHelpText('after', '\nExample:\n  $ kvs-client setr from 90 to 110 --if from=4294967301')
    .action((pairs: string[], options: { del?: string[]; if?: string[] }) =>
      setr(session, pairs, options.del ?? [], options.if ?? []),
    );
  program
    .command('getr')
    .description('read several keys as they were at one instant; a line a key')
    .argument('<key...>')
    .addHelpText('after', '\nExample:\n  $ kvs-client getr from to')
    .action((keys: string[]) => getr(session, keys));
}

interface InSession {
  readonly session?: string;
}

function sessionFile(): ReturnType<typeof setting> {
  return setting('--session <file>', 'of a causal --namespace: keeps what the session has seen');
}

function ifVersion(): ReturnType<typeof setting> {
  return setting('--if-version <version>', 'only if the key has this version; 0: does not exist')
    .argParser(parseVersion)
    .conflicts('session');
}

function gather(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

async function get(session: Session, key: string, options: GetOptions): Promise<void> {
  await withKeys(session, options.session, async (keys) => {
    const found = await keys.get(key, options);
    if (found === null) {
      const what = `there is no key "${printable(key)}"`;
      throw new CommandError('NOT_FOUND', what, 'check the key', Exit.NotFound);
    }
    const { output } = session;
    if (!output.json) {
      await output.raw(found.value);
      return;
    }
    const { value, version, epoch, bucket, server } = found;
    const content = { ...bytesField('key', key), ...bytesField('value', value) };
    await output.result({ ...content, version: String(version), epoch, bucket, server }, '');
  });
}

async function set(
  session: Session,
  key: string,
  text: string,
  { ttl, session: file, ...conditions }: SetCommandOptions,
): Promise<void> {
  const value = await session.value(text);
  await withKeys(session, file, async (keys) => {
    const written = await keys.set(key, value, {
      ...conditions,
      ...(ttl !== undefined && { ttlMs: ttl }),
    });
    const was = written.previous === 0 ? '' : ` (was ${written.previous})`;
    await session.output.result(
      { ...bytesField('key', key), ...writtenFields(written) },
      `OK version ${written.version}${was}`,
    );
  });
}

function writtenFields(written: Written): Record<string, unknown> {
  const { version, previous, epoch, bucket, server } = written;
  return { version: String(version), previous: String(previous), epoch, bucket, server };
}

async function del(
  session: Session,
  keys: string[],
  options: WriteOptions & InSession,
): Promise<void> {
  if (options.ifVersion !== undefined && keys.length > 1) {
    throw CommandError.usage(
      '--if-version goes with one key',
      'use setr --del KEY --if KEY=VERSION',
    );
  }
  await withKeys(session, options.session, async (place) => {
    const outcomes = await Promise.allSettled(keys.map((key) => place.delete(key, options)));
    const failures: Failure[] = [];
    for (const [index, outcome] of outcomes.entries()) {
      const key = keys[index] ?? '';
      if (outcome.status === 'fulfilled') await tellDeleted(session, key, outcome.value);
      else {
        const failure = failureOf(outcome.reason);
        const message = keys.length > 1 ? `${printable(key)}: ${failure.message}` : failure.message;
        session.output.fail({ ...failure, message });
        failures.push(failure);
      }
    }
    session.exitCode = exitCodeOf(failures, keys.length);
  });
}

async function tellDeleted(session: Session, key: string, deleted: Deleted): Promise<void> {
  await session.output.result(
    { ...bytesField('key', key), deleted: deleted.deleted, ...writtenFields(deleted) },
    `${printable(key)} ${deleted.deleted ? 'deleted' : 'did not exist'}`,
  );
}

/** The common code of all keys; when only some failed, "nothing changed" would be wrong. */
function exitCodeOf(failures: readonly Failure[], keys: number): number {
  const codes = new Set(failures.map(({ exitCode }) => exitCode));
  if (failures.length === keys && codes.size === 1) return failures[0]?.exitCode ?? Exit.Done;
  return failures.length === 0 ? Exit.Done : Exit.Unknown;
}

async function setr(
  session: Session,
  pairs: string[],
  deletions: string[],
  conditions: string[],
): Promise<void> {
  const writes = setrWrites(pairs, deletions, conditions);
  const filled: SetrWrite[] = [];
  for (const write of writes) {
    const { value } = write;
    filled.push(value === undefined ? write : { ...write, value: await session.value(value) });
  }
  await session.withKeys(async (client) => {
    const { txid, version, participants, epoch } = await client.setr(filled);
    await session.output.result(
      { committed: true, txid, version: String(version), participants, epoch },
      `committed version ${version} in ${plural(participants, 'bucket')}, transaction ${txid}`,
    );
  });
}

async function getr(session: Session, keys: string[]): Promise<void> {
  await session.withKeys(async (client) => {
    const { output } = session;
    const records = await client.getr(keys);
    for (const [index, record] of records.entries()) {
      const key = keys[index] ?? '';
      const name = bytesField('key', key);
      if (record === null) {
        await output.result({ ...name, found: false }, `${printable(key)} (not found)`);
        continue;
      }
      const version = String(record.version);
      await output.result(
        { ...name, found: true, ...bytesField('value', record.value), version },
        `${printable(key)} ${printable(record.value)} ${version}`,
      );
    }
    if (records.includes(null)) session.exitCode = Exit.NotFound;
  });
}

type TextWrite = WriteOptions & { key: string; value?: string; delete?: boolean };

/** The writes of a `setr` command line; each key once, and conditions only on keys written. */
export function setrWrites(
  pairs: readonly string[],
  deletions: readonly string[],
  conditions: readonly string[],
): TextWrite[] {
  if (pairs.length % 2 !== 0) {
    const last = printable(pairs.at(-1) ?? '');
    throw CommandError.usage(`the key "${last}" has no value`, 'give keys and values in turn');
  }
  const writes = new Map<string, TextWrite>();
  const add = (write: TextWrite): void => {
    if (writes.has(write.key)) {
      const what = `the key "${printable(write.key)}" appears twice`;
      throw CommandError.usage(what, 'write or delete each key once');
    }
    writes.set(write.key, write);
  };
  for (let at = 0; at < pairs.length; at += 2) {
    add({ key: pairs[at] ?? '', value: pairs[at + 1] ?? '' });
  }
  for (const key of deletions) add({ key, delete: true });
  if (writes.size === 0) throw CommandError.usage('no key is given', 'see kvs-client setr --help');
  for (const condition of conditions) addCondition(writes, condition);
  return [...writes.values()];
}

function addCondition(writes: Map<string, TextWrite>, condition: string): void {
  const match = /^(.*)=(\d+)$/s.exec(condition);
  const version = Number(match?.[2]);
  if (match === null || !Number.isSafeInteger(version)) {
    const what = `--if "${printable(condition)}" is not KEY=VERSION`;
    throw CommandError.usage(what, 'versions are what get and set print; 0 means absent');
  }
  const key = match[1] ?? '';
  const write = writes.get(key);
  if (write === undefined) {
    const what = `--if names "${printable(key)}", which this commit does not write`;
    throw CommandError.usage(what, 'conditions apply to keys written or deleted in the commit');
  }
  if (write.ifVersion !== undefined) {
    const what = `the key "${printable(key)}" has two conditions`;
    throw CommandError.usage(what, 'give one --if for each key');
  }
  writes.set(key, { ...write, ifVersion: version });
}
