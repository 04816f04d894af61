import { once } from 'node:events';

import type { Command } from 'commander';

import { murmur3 } from '../core/hash.js';
import { poolsOf } from '../core/pools.js';
import { sha1 } from '../core/sha1.js';
import { type Member, MemberState, type View } from '../core/view.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';
import { addChangeCommand } from './commands-change.js';
import { setting } from './options.js';
import { bytesField, count, type Output, plural, printable, size, table } from './output.js';
import type { Session } from './session.js';
import { changeFields, changeLine } from './view-change.js';

/** `status`, `members`, `view` and `locate`. */
export function addClusterCommands(program: Command, session: Session): void {
  program
    .command('status')
    .description('one screen: is the cluster well, what is going on')
    .addHelpText('after', '\nExample:\n  $ kvs-client status')
    .action(() => showStatus(session));
  program
    .command('members')
    .description('the servers of the view and what they hold')
    .addHelpText('after', '\nExample:\n  $ kvs-client members -o json')
    .action(() => showMembers(session));
  const view = program
    .command('view')
    .description('the current view')
    .addOption(setting('--watch', 'follow the epochs, one line each, until interrupted'))
    .addHelpText('after', '\nExample:\n  $ kvs-client view --watch')
    .action((options: { watch?: boolean }) => showView(session, options.watch === true));
  addChangeCommand(view, session);
  program
    .command('locate')
    .description('where a key lives, and why')
    .argument('<key>')
    .addHelpText('after', '\nExample:\n  $ kvs-client locate greeting')
    .action((key: string) => showLocation(session, key));
}

async function showStatus(session: Session): Promise<void> {
  const answer = await session.surroundings.status(session.target);
  const states = answer.members.map(({ member }) => stateName(member?.state));
  const up = states.filter((state) => state === 'up').length;
  const down = states.filter((state) => state === 'down').length;
  const change = answer.viewChange;
  await session.output.result(
    {
      cluster_id: answer.clusterId,
      well: isWell(answer, up, down),
      epoch: answer.epoch,
      reason: answer.reason,
      servers: up + down,
      servers_up: up,
      servers_down: down,
      buckets: answer.bucketCount,
      replicas: answer.replicaCount,
      pool_replicas: answer.poolReplicas,
      records: answer.records,
      under_replicated: answer.underReplicated,
      unavailable: answer.unavailable,
      view_change: change === undefined ? null : changeFields(change),
      brake: answer.brake,
      warnings: answer.warnings,
    },
    statusScreen(session.output, answer, up, down),
  );
}

function isWell(answer: GetStatusResponse, up: number, down: number): boolean {
  const { unavailable, underReplicated, brake } = answer;
  return up > 0 && down === 0 && unavailable === 0 && underReplicated === 0 && brake === '';
}

function statusScreen(output: Output, answer: GetStatusResponse, up: number, down: number): string {
  const { unavailable, underReplicated, bucketCount, replicaCount, poolReplicas } = answer;
  const lines = [
    ['cluster', answer.clusterId],
    ['health', health(output, answer, up, down)],
    ['epoch', `${answer.epoch} (${answer.reason})`],
    ['servers', `${up} up, ${down} down`],
    ['buckets', `${count(bucketCount)}, ${plural(replicaCount, 'replica')} each`],
    ...poolReplicas.map((replicas) => [
      '',
      `${count(bucketCount)} of namespaces, ${plural(replicas, 'replica')} each`,
    ]),
    ['', `${count(underReplicated)} under-replicated, ${count(unavailable)} unavailable`],
    ['records', count(answer.records)],
    ['view change', answer.viewChange === undefined ? 'none' : changeLine(answer.viewChange)],
    ...(answer.brake === '' ? [] : [['held back', answer.brake]]),
    ...answer.warnings.map((warning) => ['warning', warning]),
  ];
  return lines.map(([name = '', text = '']) => `${name.padEnd(12)} ${text}`).join('\n');
}

function health(output: Output, answer: GetStatusResponse, up: number, down: number): string {
  const { green, yellow, red } = output.colors;
  if (up === 0) return red('no server is up');
  if (answer.unavailable > 0) return red(`${plural(answer.unavailable, 'bucket')} unavailable`);
  if (isWell(answer, up, down)) return green('well');
  return yellow('serving, with fewer servers or copies than wanted');
}

interface MemberRow {
  readonly id: string;
  readonly address: string;
  readonly state: string;
  readonly zone: string;
  readonly weight: number;
  readonly buckets: number;
  readonly primaries: number;
  /** Null when the view leader was not asked: only it gathers them. */
  readonly records: number | null;
  readonly bytes: number | null;
}

async function showMembers(session: Session): Promise<void> {
  const { output } = session;
  const rows: MemberRow[] = [];
  if (session.target.leader === undefined) {
    await session.withClient(async (client) => {
      rows.push(...membersOfView(await client.view()));
    });
  } else {
    rows.push(...membersOfStatus(await session.surroundings.status(session.target)));
  }
  if (output.json) {
    for (const row of rows) await output.result({ ...row }, '');
    return;
  }
  const head = 'ID ADDRESS STATE ZONE WEIGHT BUCKETS PRIMARIES RECORDS SIZE'.split(' ');
  const cells = rows.map(({ bytes, ...row }) => [
    ...Object.values(row).map((cell) => (cell === null ? '-' : String(cell))),
    bytes === null ? '-' : size(bytes),
  ]);
  await output.result({}, table(head, cells));
}

function membersOfStatus(answer: GetStatusResponse): MemberRow[] {
  return answer.members.flatMap(({ member, buckets, primaries, records, bytes }) => {
    if (member === undefined) return [];
    const { id, address, zone, weight } = member;
    const held = { buckets, primaries, records, bytes };
    return [{ id, address, state: stateOf(member, buckets), zone, weight, ...held }];
  });
}

function membersOfView(view: View): MemberRow[] {
  return Array.from(view.members.values(), (member) => {
    const { ordinal, id, address, zone, weight } = member;
    const held = view.rows.filter(({ replicas }) => replicas.includes(ordinal));
    const primaries = held.filter(({ replicas }) => replicas[0] === ordinal).length;
    const counts = { buckets: held.length, primaries, records: null, bytes: null };
    return { id, address, state: stateOf(member, held.length), zone, weight, ...counts };
  });
}

function stateName(state: number | undefined): string {
  const names = { [MemberState.Up]: 'up', [MemberState.Down]: 'down' } as const;
  return names[state as keyof typeof names] ?? 'replaced';
}

/** As `stateName`; of one that is drained, that it is. */
function stateOf(
  { state, drained }: { readonly state: number; readonly drained: boolean },
  buckets: number,
): string {
  if (!drained || state !== MemberState.Up) return stateName(state);
  return buckets > 0 ? 'draining' : 'drained';
}

async function showView(session: Session, watch: boolean): Promise<void> {
  const { output, surroundings } = session;
  await session.withClient(async (client) => {
    if (watch) {
      client.watchView((newer) => void output.result(viewFields(newer), viewLine(newer)));
      if (!surroundings.interrupted.aborted) await once(surroundings.interrupted, 'abort');
      return;
    }
    const now = await client.view();
    await output.result(viewFields(now), viewScreen(now));
  });
}

function viewFields(view: View): Record<string, unknown> {
  const rows = membersOfView(view);
  return {
    cluster_id: view.clusterId,
    epoch: view.epoch,
    reason: view.reason,
    at: new Date(view.atMs).toISOString(),
    policy: view.parameters.policy,
    buckets: view.parameters.bucketCount,
    replicas: view.parameters.replicaCount,
    members: rows.map(({ records: _records, bytes: _bytes, ...row }) => row),
  };
}

function viewLine(view: View): string {
  const states = Array.from(view.members.values(), (member: Member) => member.state);
  const up = states.filter((state) => state === MemberState.Up).length;
  const down = states.filter((state) => state === MemberState.Down).length;
  const at = new Date(view.atMs).toISOString();
  return `epoch ${view.epoch}  ${at}  ${up} up, ${down} down  ${view.reason}`;
}

function viewScreen(view: View): string {
  const { bucketCount, replicaCount, minInSync, policy } = view.parameters;
  const lines = [
    `cluster  ${view.clusterId}`,
    `epoch    ${view.epoch}`,
    `reason   ${view.reason}`,
    `at       ${new Date(view.atMs).toISOString()}`,
    `policy   ${policy}, ${plural(bucketCount, 'bucket')}`,
    `copies   ${replicaCount}, of which a write needs ${minInSync}`,
    ...poolsOf(view)
      .slice(1)
      .map(
        (pool) => `         ${pool.replicaCount} in further ${bucketCount} buckets, of namespaces`,
      ),
    '',
  ];
  const head = 'ID ADDRESS STATE ZONE WEIGHT BUCKETS PRIMARIES'.split(' ');
  const cells = membersOfView(view).map(({ records: _records, bytes: _bytes, ...row }) =>
    Object.values(row).map(String),
  );
  return lines.join('\n') + table(head, cells);
}

async function showLocation(session: Session, key: string): Promise<void> {
  await session.withKeys(async (client) => {
    const { hashed, bucket, epoch, primary, replicas } = await client.locate(key);
    const { bucketCount, policy } = (await client.view()).parameters;
    const hash = policy === 'modulo' ? hexadecimal(sha1(hashed)) : murmur3(hashed);
    const first = bucket - (bucket % bucketCount);
    const pool = first > 0 ? `${first} + ` : '';
    const hashName = policy === 'modulo' ? 'SHA-1' : 'murmur3';
    const others = replicas.slice(1);
    await session.output.result(
      { ...bytesField('key', key), hash, bucket, epoch, primary, replicas },
      [
        `key      ${printable(key)}`,
        `hash     ${hash} (${hashName})`,
        `bucket   ${bucket} (${pool}hash mod ${bucketCount}), unchanged since epoch ${epoch}`,
        `primary  ${primary}`,
        `others   ${others.length === 0 ? 'none' : others.join(', ')}`,
      ].join('\n'),
    );
  });
}

function hexadecimal(words: readonly number[]): string {
  return words.map((word) => word.toString(16).padStart(8, '0')).join('');
}
