import type { Command } from 'commander';

import { comparePolicies, type Movement, type PolicyRow } from '../core/compare.js';
import { MemberState } from '../core/view.js';
import type {
  GetStatusResponse,
  MemberStatus,
  PreviewPlacementResponse,
  ViewChangeStatus,
} from '../wire/gen/kvs/v1/leader.js';
import { CommandError, Exit } from './exit-code.js';
import { parseSize, setting, wholeNumber } from './options.js';
import { count, plural, size, table } from './output.js';
import type { Session } from './session.js';
import { bar, changeLine, follow } from './view-change.js';

const MOST_ADDED = 1000;

interface DrainOptions {
  readonly undo?: boolean;
  readonly dryRun?: boolean;
  readonly wait: boolean;
}

/** `server`, `rebalance` and `placement`. */
export function addRebalanceCommands(program: Command, session: Session): void {
  addServerCommands(program, session);
  addSteeringCommands(program, session);
  const placement = program
    .command('placement')
    .description('where the placement policy puts what');
  placement
    .command('compare')
    .description('how even the policies are, and what a join and a leave move')
    .addOption(
      setting('--servers <number>', 'equal servers; by default as many as are up').argParser(
        wholeNumber(2, MOST_ADDED),
      ),
    )
    .addHelpText('after', '\nExample:\n  $ kvs-client placement compare --servers 10')
    .action((options: { servers?: number }) => compare(session, options.servers));
  placement
    .command('preview')
    .description('what a change of the membership would move; changes nothing')
    .addOption(setting('--add <number>', 'new servers').argParser(wholeNumber(1, MOST_ADDED)))
    .addOption(setting('--remove <id>', 'a server that leaves (repeatable)').argParser(gather))
    .addHelpText('after', '\nExample:\n  $ kvs-client placement preview --add 1')
    .action((options: { add?: number; remove?: string[] }) =>
      preview(session, options.add ?? 0, options.remove ?? []),
    );
}

function addServerCommands(program: Command, session: Session): void {
  const server = program.command('server').description('take a server out');
  server
    .command('drain')
    .description('let others take over what a server holds; it serves until they have')
    .argument('<id>', 'as `members` shows it')
    .addOption(setting('--undo', 'give it its share again'))
    .addOption(setting('--dry-run', 'only say what would move').conflicts('undo'))
    .addOption(setting('--no-wait', 'do not wait until it holds nothing'))
    .addHelpText(
      'after',
      '\nExample:\n  $ kvs-client server drain 48c92279-1bcf-41ae-b576-8be37fe3',
    )
    .action((id: string, options: DrainOptions) => drain(session, id, options));
  server
    .command('remove')
    .description('give a server that is down up for good')
    .argument('<id>', 'as `members` shows it')
    .addOption(
      setting(
        '--accept-data-loss',
        'give up all that only it has, also causal writes; it cannot come back',
      ),
    )
    .addOption(setting('--dry-run', 'only say what would move').conflicts('acceptDataLoss'))
    .addHelpText(
      'after',
      '\nExample:\n  $ kvs-client server remove 48c92279-1bcf-41ae-b576-8be37fe3fc23',
    )
    .action((id: string, options: { acceptDataLoss?: boolean; dryRun?: boolean }) =>
      options.dryRun === true
        ? preview(session, 0, [id])
        : removeServer(session, id, options.acceptDataLoss === true),
    );
}

function addSteeringCommands(program: Command, session: Session): void {
  const rebalance = program.command('rebalance').description('steer what moves');
  rebalance
    .command('status')
    .description('what each server has to send and to get, and why something waits')
    .action(() => showRebalance(session));
  rebalance
    .command('pause')
    .description('move nothing; what was lost is still rebuilt')
    .action(() => steer(session, { paused: true }));
  rebalance
    .command('resume')
    .description('go on, also with what was cancelled')
    .action(() => steer(session, { paused: false }));
  rebalance
    .command('cancel')
    .description('back to the table before the running view change')
    .action(() => steer(session, { cancel: true }));
  rebalance
    .command('rate')
    .description('the most that a server sends in a second; 0: no limit')
    .argument('<size>', 'such as 16MiB', parseSize)
    .addHelpText('after', '\nExample:\n  $ kvs-client rebalance rate 16MiB')
    .action((rateBytes: number) => steer(session, { rateBytes }));
}

function gather(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text];
}

async function removeServer(session: Session, id: string, acceptDataLoss: boolean): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch, buckets, bucketsLost } = await client.admin.removeServer(id, { acceptDataLoss });
    const lost = bucketsLost === 0 ? 'none lost' : `${plural(bucketsLost, 'bucket')} lost`;
    await session.output.result(
      { id, epoch, buckets, buckets_lost: bucketsLost },
      `removed ${id} at epoch ${epoch}: it had ${plural(buckets, 'replica')}, ${lost}` +
        (acceptDataLoss ? '; it is not let in again' : ''),
    );
  });
}

async function drain(session: Session, id: string, options: DrainOptions): Promise<void> {
  if (options.dryRun === true) {
    await preview(session, 0, [id]);
    return;
  }
  const undo = options.undo === true;
  await session.withClient(async (client) => {
    const { epoch, buckets } = await client.admin.drainServer(id, { undo });
    if (undo) {
      await session.output.result({ id, epoch, drained: false }, `${id} gets its share again`);
      return;
    }
    const held = options.wait ? await waitUntilEmpty(session, id, buckets) : buckets;
    const said = held === 0 ? 'it holds nothing and can be stopped' : `it holds ${count(held)}`;
    await session.output.result(
      { id, epoch, drained: true, replicas: held },
      `${id} is drained: ${said} (it held ${plural(buckets, 'replica')})`,
    );
  });
}

/** Shows progress until the server holds nothing; Ctrl-C leaves it draining. */
async function waitUntilEmpty(session: Session, id: string, before: number): Promise<number> {
  let held = before;
  await follow(session, 'drain:', (answer) => {
    held = answer.members.find(({ member }) => member?.id === id)?.buckets ?? 0;
    if (held === 0) return null;
    const waits = answer.viewChange?.waitsFor ?? '';
    const moved = `${count(before - held)} of ${plural(before, 'replica')} moved`;
    return waits === '' ? moved : `${moved}; waits: ${waits}`;
  });
  return held;
}

async function steer(
  session: Session,
  steering: { paused?: boolean; rateBytes?: number; cancel?: boolean },
): Promise<void> {
  await session.withClient(async (client) => {
    const { epoch, paused, rateBytes } = await client.admin.steerRebalance(steering);
    const rate = rateBytes === 0 ? 'no limit' : `${size(rateBytes)} per second and server`;
    const state = paused ? 'paused' : 'on';
    await session.output.result(
      { epoch, paused, rate_bytes: rateBytes },
      `rebalancing is ${state}, rate ${rate}${steering.cancel === true ? '; cancelled' : ''}`,
    );
  });
}

async function showRebalance(session: Session): Promise<void> {
  const answer = await session.surroundings.status(session.target);
  const { viewChange } = answer;
  if (viewChange === undefined) {
    throw new CommandError('OLD_LEADER', 'the view leader does not say', '', Exit.Refused);
  }
  const eta = viewChange.secondsLeft < 0 ? null : viewChange.secondsLeft;
  const rows = answer.members.filter(({ member }) => member?.state === MemberState.Up);
  await session.output.result(
    {
      phase: viewChange.phase,
      planned: viewChange.replicasPlanned,
      moved: viewChange.replicasMoved,
      least_possible: viewChange.replicasLeast,
      records: viewChange.recordsMoved,
      bytes: viewChange.bytesMoved,
      seconds: viewChange.elapsedMs / 1000,
      eta,
      waits_for: viewChange.waitsFor,
      paused: viewChange.paused,
      rate_bytes: viewChange.rateBytes,
      servers: rows.map(workFields),
    },
    rebalanceScreen(answer, viewChange, eta, rows),
  );
}

function workFields(row: MemberStatus): Record<string, unknown> {
  return {
    id: row.member?.id,
    expected: row.recordsToSend,
    sent: row.recordsSent,
    bytes_sent: row.bytesSent,
    to_get: row.recordsToGet,
    got: row.recordsGot,
  };
}

function rebalanceScreen(
  answer: GetStatusResponse,
  change: ViewChangeStatus,
  eta: number | null,
  rows: readonly MemberStatus[],
): string {
  const rate = change.rateBytes === 0 ? 'no limit' : `${size(change.rateBytes)} per second each`;
  const left = change.phase === 'idle' ? '' : eta === null ? 'unknown' : `${eta.toFixed(0)} s`;
  const lines = [
    `epoch     ${answer.epoch} (${answer.reason})`,
    `change    ${changeLine(change)}`,
    `rate      ${rate}${change.paused ? ', paused' : ''}`,
    ...(left === '' ? [] : [`time left ${left}`]),
    '',
  ];
  const head = ['ID', 'TO SEND', 'SENT', 'BYTES SENT', 'TO GET', 'GOT'];
  const cells = rows.map((row) => [
    row.member?.id ?? '',
    count(row.recordsToSend),
    count(row.recordsSent),
    size(row.bytesSent),
    count(row.recordsToGet),
    count(row.recordsGot),
  ]);
  return lines.join('\n') + table(head, cells);
}

async function preview(session: Session, added: number, without: string[]): Promise<void> {
  await session.withClient(async (client) => {
    await showPreview(session, await client.admin.previewPlacement(added, without));
  });
}

async function compare(session: Session, servers: number | undefined): Promise<void> {
  await session.withClient(async (client) => {
    const { members, parameters } = await client.view();
    const up = Array.from(members.values()).filter(({ state }) => state === MemberState.Up);
    const rows = comparePolicies(servers ?? Math.max(2, up.length), parameters);
    const { output } = session;
    if (output.json) {
      for (const row of rows) await output.result(comparisonFields(row), '');
      return;
    }
    const cells = rows.map((row) => [
      row.policy,
      String(row.servers),
      row.replicasOverMean.toFixed(3),
      row.primariesOverMean.toFixed(3),
      movement(row.join),
      movement(row.leave),
    ]);
    const head = ['POLICY', 'SERVERS', 'REPLICAS', 'PRIMARIES', '+1 SERVER MOVES', '-1 MOVES'];
    await output.result({}, `fullest over mean; replicas moved\n${table(head, cells)}`);
  });
}

function comparisonFields(row: PolicyRow): Record<string, unknown> {
  return {
    policy: row.policy,
    servers: row.servers,
    max_over_mean: row.replicasOverMean,
    primaries_max_over_mean: row.primariesOverMean,
    moved_on_join: row.join.moved,
    least_possible_on_join: row.join.least,
    moved_on_leave: row.leave.moved,
    least_possible_on_leave: row.leave.least,
  };
}

/** Moved replicas as a share of all. */
function movement({ moved, least, all }: Movement): string {
  const share = moved / Math.max(1, all);
  return `${bar(share)} ${count(moved)} (least ${count(least)})`;
}

/** What would move, and how even it would be. */
export async function showPreview(
  session: Session,
  answer: PreviewPlacementResponse,
): Promise<void> {
  const { members } = await session.surroundings.status(session.target);
  const names = new Map(members.map(({ member }) => [member?.ordinal ?? 0, member?.id ?? '']));
  const nameOf = (ordinal: number): string => names.get(ordinal) ?? `new server ${ordinal}`;
  await session.output.result(previewFields(answer, nameOf), previewScreen(answer, nameOf));
}

type NameOf = (ordinal: number) => string;

function totals({ moves }: PreviewPlacementResponse): {
  replicas: number;
  records: number;
  bytes: number;
} {
  return moves.reduce(
    (sum, { replicas, records, bytes }) => ({
      replicas: sum.replicas + replicas,
      records: sum.records + records,
      bytes: sum.bytes + bytes,
    }),
    { replicas: 0, records: 0, bytes: 0 },
  );
}

/** The fullest server over the mean, of those that hold anything. */
function evenness(loads: readonly number[]): number {
  const held = loads.filter((load) => load > 0);
  const mean = held.reduce((sum, load) => sum + load, 0) / Math.max(1, held.length);
  return mean === 0 ? 1 : Math.max(...held) / mean;
}

function previewFields(answer: PreviewPlacementResponse, nameOf: NameOf): Record<string, unknown> {
  const { moves, loads, replicasLeast, seconds } = answer;
  const { replicas, records, bytes } = totals(answer);
  return {
    moved: replicas,
    least_possible: replicasLeast,
    records,
    bytes,
    seconds,
    max_over_mean: evenness(loads.map(({ replicasAfter }) => replicasAfter)),
    max_over_mean_before: evenness(loads.map(({ replicasBefore }) => replicasBefore)),
    moves: moves.map(({ from, to, ...rest }) => ({ from: nameOf(from), to: nameOf(to), ...rest })),
    servers: loads.map(({ server, ...rest }) => ({
      id: nameOf(server),
      replicas_before: rest.replicasBefore,
      replicas_after: rest.replicasAfter,
      primaries_before: rest.primariesBefore,
      primaries_after: rest.primariesAfter,
    })),
  };
}

function previewScreen(answer: PreviewPlacementResponse, nameOf: NameOf): string {
  const { moves, loads, replicasLeast, seconds } = answer;
  const { replicas, records, bytes } = totals(answer);
  const time = seconds === 0 ? '' : `, about ${Math.ceil(seconds)} s at the present rate`;
  const lines = [
    `would move ${plural(replicas, 'replica')} (least possible ${count(replicasLeast)}), ` +
      `about ${plural(records, 'record')}, ${size(bytes)}${time}`,
    '',
    table(
      ['FROM', 'TO', 'REPLICAS', 'RECORDS', 'SIZE'],
      moves.map((move) => [
        nameOf(move.from),
        nameOf(move.to),
        count(move.replicas),
        count(move.records),
        size(move.bytes),
      ]),
    ),
    '',
    table(
      ['SERVER', 'REPLICAS', 'THEN', 'PRIMARIES', 'THEN'],
      loads.map((load) => [
        nameOf(load.server),
        count(load.replicasBefore),
        count(load.replicasAfter),
        count(load.primariesBefore),
        count(load.primariesAfter),
      ]),
    ),
  ];
  return replicas === 0 ? 'nothing would move' : lines.join('\n');
}
