import { readFile, rename, writeFile } from 'node:fs/promises';

import { type Command, Option } from 'commander';

import { type CausalSession, type KvsClient, Mode, type Namespace } from '../client/index.js';
import { CommandError, Exit } from './exit-code.js';
import { bytesField, printable, table } from './output.js';
import type { Session } from './session.js';

/** `namespace`: key spaces with a consistency mode of their own. */
export function addNamespaceCommands(program: Command, session: Session): void {
  const namespace = program.command('namespace').description('key spaces that are not strong');
  namespace
    .command('create')
    .description('a key space whose replicas all take writes, alone too')
    .argument('<name>', "a-z, 0-9, '.', '_', '-'")
    .addOption(
      new Option('--mode <mode>', 'what it promises').choices(['causal']).makeOptionMandatory(),
    )
    .addHelpText('after', '\nExample:\n  $ kvs-client namespace create carts --mode causal')
    .action((name: string) => create(session, name));
  namespace
    .command('list')
    .description('the namespaces there are')
    .action(() => list(session));
}

async function create(session: Session, name: string): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch } = await client.admin.createNamespace(name, Mode.Causal);
    await session.output.result({ name, mode: 'causal', epoch }, `${name}: causal`);
  });
}

async function list(session: Session): Promise<void> {
  await session.withClient(async (client) => {
    const { namespaces } = await client.view();
    const { output } = session;
    const all = Array.from(namespaces.values(), fieldsOf);
    if (output.json) for (const one of all) await output.result(one, '');
    else
      await output.result(
        {},
        table(
          ['NAME', 'MODE'],
          all.map(({ name, mode }) => [name, mode]),
        ),
      );
  });
}

function fieldsOf({ name, mode }: Namespace): { name: string; mode: string } {
  return { name, mode: mode === Mode.Causal ? 'causal' : 'strong' };
}

/** One operation in a causal namespace, in the session that a file keeps, if one is named. */
export interface CausalPlace {
  readonly namespace: string;
  readonly file: string | undefined;
}

async function within(
  session: Session,
  { namespace, file }: CausalPlace,
  use: (causal: CausalSession, client: KvsClient) => Promise<void>,
): Promise<void> {
  await session.withClient(async (client) => {
    const causal = await client.session(namespace, file === undefined ? '' : await tokenIn(file));
    await use(causal, client);
    if (file === undefined) return;
    // Whole or not at all: half a token would be no session.
    await writeFile(`${file}.new`, `${causal.token}\n`);
    await rename(`${file}.new`, file);
  });
}

async function tokenIn(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

export async function getCausal(session: Session, place: CausalPlace, key: string): Promise<void> {
  await within(session, place, async (causal) => {
    const found = await causal.get(key);
    if (found === null) {
      const what = `there is no key "${printable(key)}" in ${place.namespace}`;
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

export async function setCausal(
  session: Session,
  place: CausalPlace,
  key: string,
  value: string | Uint8Array,
): Promise<void> {
  await within(session, place, async (causal) => {
    const { version, epoch, bucket, server } = await causal.set(key, value);
    const told = { version: String(version), epoch, bucket, server };
    await session.output.result(
      { ...bytesField('key', key), ...told },
      `OK clock ${version} at ${server}`,
    );
  });
}

export async function deleteCausal(
  session: Session,
  place: CausalPlace,
  keys: readonly string[],
): Promise<void> {
  await within(session, place, async (causal) => {
    for (const key of keys) {
      const { version, epoch, bucket, server } = await causal.delete(key);
      const told = { version: String(version), epoch, bucket, server };
      await session.output.result(
        { ...bytesField('key', key), ...told },
        `${printable(key)} deleted`,
      );
    }
  });
}
