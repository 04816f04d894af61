import { readFile, rename, writeFile } from 'node:fs/promises';

import { type Command, Option } from 'commander';

import { type KvsClient, Mode, type Namespace } from '../client/index.js';
import { LIMITS } from '../core/refusal.js';
import { CommandError } from './exit-code.js';
import { parseDuration, setting, wholeNumber } from './options.js';
import { durationText, plural, table } from './output.js';
import type { Session } from './session.js';

interface CreateOptions {
  readonly mode: 'strong' | 'causal';
  /** In ms. */
  readonly ttl?: number;
  readonly replicas?: number;
}

/** `namespace`: key spaces with a consistency mode and a time to live of their own. */
export function addNamespaceCommands(program: Command, session: Session): void {
  const namespace = program.command('namespace').description('key spaces with rules of their own');
  namespace
    .command('create')
    .description('a key space; asking again for the same one changes nothing')
    .argument('<name>', "a-z, 0-9, '.', '_', '-'")
    .addOption(
      new Option('--mode <mode>', 'strong: linearizable; causal: every replica takes writes')
        .choices(['strong', 'causal'])
        .makeOptionMandatory(),
    )
    .addOption(setting('--ttl <duration>', 'how long its values live').argParser(parseDuration))
    .addOption(
      setting('--replicas <number>', "of its values; default the cluster's number").argParser(
        wholeNumber(1, LIMITS.replicas),
      ),
    )
    .addHelpText('after', '\nExample:\n  $ kvs-client namespace create carts --mode causal')
    .action((name: string, options: CreateOptions) => create(session, name, options));
  namespace
    .command('list')
    .description('the namespaces there are, and how many records each has')
    .action(() => list(session));
  namespace
    .command('delete')
    .description('a key space and all its records; there is no way back')
    .argument('<name>')
    .addHelpText('after', '\nExample:\n  $ kvs-client namespace delete carts')
    .action((name: string) => remove(session, name));
}

async function create(session: Session, name: string, options: CreateOptions): Promise<void> {
  const mode = options.mode === 'causal' ? Mode.Causal : Mode.Strong;
  await session.withClient(async (client) => {
    const { ttl: ttlMs = 0, replicas = 0 } = options;
    const { epoch } = await client.admin.createNamespace(name, mode, { ttlMs, replicas });
    const lives = ttlMs > 0 ? `, values live for ${durationText(ttlMs)}` : '';
    const copies = replicas > 0 ? `, ${plural(replicas, 'replica')}` : '';
    const told = { name, mode: options.mode, ttlMs, replicas, epoch };
    await session.output.result(told, `${name}: ${options.mode}${copies}${lives}`);
  });
}

async function remove(session: Session, name: string): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch } = await client.admin.deleteNamespace(name);
    await session.output.result({ name, deleted: true, epoch }, `${name} deleted`);
  });
}

async function list(session: Session): Promise<void> {
  await session.withClient(async (client) => {
    const { namespaces, parameters } = await client.view();
    const { output } = session;
    const rows: string[][] = [];
    for (const namespace of namespaces.values()) {
      if (namespace.deleted) continue;
      const told = await fieldsOf(client, namespace, parameters.replicaCount);
      const { name, mode, ttlMs, replicas, records } = told;
      if (output.json) await output.result(told, '');
      else {
        const lives = ttlMs > 0 ? durationText(ttlMs) : '-';
        rows.push([name, mode, String(replicas), lives, String(records)]);
      }
    }
    if (!output.json) await output.result({}, table(HEAD, rows));
  });
}

const HEAD = ['NAME', 'MODE', 'REPLICAS', 'TTL', 'RECORDS'];

type NamespaceFields = {
  readonly name: string;
  readonly mode: 'strong' | 'causal';
  readonly ttlMs: number;
  readonly replicas: number;
  readonly records: number;
};

async function fieldsOf(
  client: KvsClient,
  { name, mode, ttlMs, replicas }: Namespace,
  usual: number,
): Promise<NamespaceFields> {
  const records = await (await client.namespace(name)).count();
  const told = { ttlMs, replicas: replicas || usual, records };
  return { name, mode: mode === Mode.Causal ? 'causal' : 'strong', ...told };
}

/** What `get`, `set` and `del` are done with. */
export type Keys = Pick<KvsClient, 'get' | 'set' | 'delete'>;

/** With the keys of `--namespace`; in the causal session that `file` keeps, if one is named. */
export async function withKeys(
  session: Session,
  file: string | undefined,
  use: (keys: Keys) => Promise<void>,
): Promise<void> {
  if (file === undefined) {
    await session.withKeys(use);
    return;
  }
  const { namespace } = session;
  if (namespace === undefined) {
    throw CommandError.usage('--session goes with --namespace', 'name the causal namespace');
  }
  await session.withClient(async (client) => {
    const causal = await client.session(namespace, await tokenIn(file));
    try {
      await use(causal);
    } finally {
      // Whole or not at all: half a token would be no session.
      await writeFile(`${file}.new`, `${causal.token}\n`);
      await rename(`${file}.new`, file);
    }
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
