import type { Command } from 'commander';

import type { Shard } from '../wire/gen/kvs/v1/leader.js';
import { showPreview } from './commands-rebalance.js';
import { CommandError, Exit } from './exit-code.js';
import { setting, wholeNumber } from './options.js';
import { count, plural, table } from './output.js';
import type { Session } from './session.js';

const MOST_SHARDS = 1024;

/** `shards`, for clusters with that placement policy. */
export function addShardCommands(program: Command, session: Session): void {
  const shards = program.command('shards').description('shards and their servers');
  const number = wholeNumber(1, MOST_SHARDS);
  shards
    .command('list')
    .description('the shards, their servers and key counts')
    .action(() => list(session));
  shards
    .command('members')
    .description('the servers of a shard')
    .argument('<shard>', 'its number', number)
    .action((shard: number) => members(session, shard));
  shards
    .command('of')
    .description('the shard of a server')
    .argument('<server>', 'id, as `members` shows it')
    .action((id: string) => shardOf(session, id));
  shards
    .command('keys')
    .description('how many keys a shard has')
    .argument('<shard>', 'its number', number)
    .action((shard: number) => keys(session, shard));
  shards
    .command('add-member')
    .description('a server takes over the table and the data of a shard')
    .argument('<shard>', 'its number', number)
    .argument('<server>', 'id, as `members` shows it')
    .action((shard: number, id: string) => addMember(session, shard, id));
  shards
    .command('reshard')
    .description('another number of shards, two servers each at least')
    .argument('<count>', 'how many', number)
    .addOption(setting('--dry-run', 'only say what would move'))
    .addHelpText('after', '\nExample:\n  $ kvs-client shards reshard 2 --dry-run')
    .action((shardCount: number, options: { dryRun?: boolean }) =>
      reshard(session, shardCount, options.dryRun === true),
    );
  shards
    .command('remove')
    .description('drain all servers of a shard; its data goes to the others')
    .argument('<shard>', 'its number', number)
    .action((shard: number) => remove(session, shard));
}

async function list(session: Session): Promise<void> {
  await session.withClient(async (client) => {
    const all = await client.admin.shards();
    const { output } = session;
    if (output.json) {
      for (const one of all) await output.result(fieldsOf(one), '');
      return;
    }
    const cells = all.map((one) => [
      String(one.shard),
      count(one.members.length),
      keyCount(one),
      one.members.map(({ id }) => id).join(' '),
    ]);
    await output.result({}, table(['SHARD', 'SERVERS', 'KEYS', 'MEMBERS'], cells));
  });
}

async function members(session: Session, shard: number): Promise<void> {
  await withShard(session, shard, async (one) => {
    const cells = one.members.map(({ id, address, records }) => [id, address, count(records)]);
    await session.output.result(fieldsOf(one), table(['ID', 'ADDRESS', 'KEYS'], cells));
  });
}

async function keys(session: Session, shard: number): Promise<void> {
  await withShard(session, shard, (one) => {
    return session.output.result(fieldsOf(one), keyCount(one));
  });
}

async function shardOf(session: Session, id: string): Promise<void> {
  await session.withClient(async (client) => {
    const all = await client.admin.shards();
    const found = all.find((one) => one.members.some((member) => member.id === id));
    if (found === undefined) {
      const what = `server ${id} belongs to no shard`;
      throw new CommandError('NOT_FOUND', what, '`kvs-client shards list`', Exit.NotFound);
    }
    await session.output.result({ server: id, shard: found.shard }, String(found.shard));
  });
}

async function addMember(session: Session, shard: number, id: string): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch } = await client.admin.addShardMember(shard, id);
    await session.output.result({ shard, id, epoch }, `${id} joins shard ${shard}, epoch ${epoch}`);
  });
}

async function reshard(session: Session, shards: number, dryRun: boolean): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch, preview } = await client.admin.reshard(shards, { dryRun });
    if (preview !== undefined) {
      await showPreview(session, preview);
      return;
    }
    const said = `resharding to ${plural(shards, 'shard')}, epoch ${epoch}`;
    await session.output.result({ shards, epoch }, `${said}; see kvs-client rebalance status`);
  });
}

async function remove(session: Session, shard: number): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch } = await client.admin.removeShard(shard);
    const said = `shard ${shard} is removed, its servers are drained, epoch ${epoch}`;
    await session.output.result({ shard, epoch }, `${said}; see kvs-client rebalance status`);
  });
}

async function withShard(
  session: Session,
  shard: number,
  use: (shard: Shard) => Promise<void>,
): Promise<void> {
  await session.withClient(async (client) => {
    const all = await client.admin.shards();
    const found = all.find((one) => one.shard === shard);
    if (found === undefined) {
      const what = `there is no shard ${shard}: there are ${all.length}`;
      throw new CommandError('NOT_FOUND', what, '`kvs-client shards list`', Exit.NotFound);
    }
    await use(found);
  });
}

function fieldsOf({ shard, members: servers }: Shard): Record<string, unknown> {
  const records = servers.map((member) => member.records);
  return {
    shard,
    members: servers.map(({ id, address, records: held }) => ({ id, address, keys: held })),
    keys: Math.max(0, ...records),
    at_rest: new Set(records).size <= 1,
  };
}

/** One number when all members agree; else what each has. */
function keyCount({ members: servers }: Shard): string {
  const counts = new Set(servers.map(({ records }) => records));
  if (counts.size <= 1) return count(servers[0]?.records ?? 0);
  return `${Array.from(counts, count).join(' / ')} (moving)`;
}
