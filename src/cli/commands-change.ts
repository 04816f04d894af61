import type { Command } from 'commander';

import type { ViewChangeStatus } from '../wire/gen/kvs/v1/leader.js';
import { showPreview } from './commands-rebalance.js';
import { CommandError } from './exit-code.js';
import { setting } from './options.js';
import { count, plural } from './output.js';
import type { Session } from './session.js';
import { changeLine, follow } from './view-change.js';

interface ChangeOptions {
  readonly servers: string;
  readonly dryRun?: boolean;
  readonly wait: boolean;
}

/** `view change`. */
export function addChangeCommand(view: Command, session: Session): void {
  view
    .command('change')
    .description('let these servers hold the data, and no others: one counted view change')
    .requiredOption('--servers <list>', 'ids or addresses, separated by commas')
    .addOption(setting('--dry-run', 'only say what would move'))
    .addOption(setting('--no-wait', 'do not wait until it is done'))
    .addHelpText(
      'after',
      '\nExample:\n  $ kvs-client view change --servers 127.0.0.1:7401,127.0.0.1:7402 --dry-run',
    )
    .action((options: ChangeOptions) => change(session, options));
}

async function change(session: Session, options: ChangeOptions): Promise<void> {
  const names = options.servers.split(',').map((name) => name.trim());
  const ids = await idsOf(
    session,
    names.filter((name) => name !== ''),
  );
  await session.withClient(async (client) => {
    const dryRun = options.dryRun === true;
    const { epoch, replicas, preview } = await client.admin.changeView(ids, { dryRun });
    if (preview !== undefined) {
      await showPreview(session, preview);
      return;
    }
    const done = options.wait && replicas > 0 ? await untilDone(session, epoch) : null;
    await session.output.result(
      { epoch, servers: ids, planned: replicas, ...(done !== null && resultFields(done)) },
      replicas === 0 ? 'nothing to move' : resultLine(replicas, done),
    );
  });
}

/** Ids as they are; addresses as the servers have them now. */
async function idsOf(session: Session, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) throw CommandError.usage('no server is named', 'name them by --servers');
  const { members } = await session.surroundings.status(session.target);
  return names.map((name) => {
    const known = members.find(({ member }) => member?.id === name || member?.address === name);
    return known?.member?.id ?? name;
  });
}

/** The change as it ended; null when the user did not wait for it. */
async function untilDone(session: Session, epoch: number): Promise<ViewChangeStatus | null> {
  let done: ViewChangeStatus | null = null;
  await follow(session, 'view change:', (answer) => {
    const { viewChange } = answer;
    if (viewChange === undefined) return null;
    if (answer.epoch < epoch || viewChange.phase !== 'idle') return changeLine(viewChange);
    done = viewChange;
    return null;
  });
  return done;
}

function resultFields(done: ViewChangeStatus): Record<string, unknown> {
  return {
    moved: done.replicasMoved,
    least_possible: done.replicasLeast,
    records: done.recordsMoved,
    seconds: done.elapsedMs / 1000,
  };
}

function resultLine(replicas: number, done: ViewChangeStatus | null): string {
  if (done === null)
    return `${plural(replicas, 'replica')} to move; \`rebalance status\` shows how`;
  const { replicasMoved, replicasLeast, recordsMoved, elapsedMs } = done;
  const records = `${plural(recordsMoved, 'record')}, in ${(elapsedMs / 1000).toFixed(1)} s`;
  const least = `(least possible ${count(replicasLeast)})`;
  return `moved ${plural(replicasMoved, 'replica')} ${least}, ${records}`;
}
