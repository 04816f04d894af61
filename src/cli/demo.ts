import { strict as assert } from 'node:assert';
import { relative } from 'node:path';
import process from 'node:process';

import type { KvsClient, View } from '../client/index.js';
import { MemberState } from '../client/index.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';
import { changeLine } from './view-change.js';
import { checkExport, checkGets, checkSome, expectedRecords, type Records } from './demo-data.js';
import type { Daemon, LocalCluster } from './local-cluster.js';
import { count, plural, table } from './output.js';
import { Progress } from './progress.js';

const PREFIX = 'navaid/';
const SERVERS = 3;
const WAIT_MS = 60_000;
const READS_WHILE_MOVING = 64;

/** What one view change moved. */
interface Moved {
  readonly replicas: number;
  readonly records: number;
  readonly least: number;
  readonly seconds: number;
  /** Reads that were answered, correctly, meanwhile. */
  readonly reads: number;
}

/** The steps of the demonstration. Each throws when what it shows is not so. */
export class Demo {
  private readonly startMs = performance.now();
  private readonly epochs: { readonly epoch: number; readonly reason: string }[] = [];
  private expected: Records = new Map();

  constructor(
    private readonly cluster: LocalCluster,
    private readonly connect: (leader: string) => Promise<KvsClient>,
    private readonly dataFile: string,
  ) {}

  async run(): Promise<void> {
    const { cluster } = this;
    title(`A view leader and ${SERVERS} servers, each a process with a data directory`);
    await cluster.start(SERVERS);
    await cluster.waitForStatus('the first view', WAIT_MS, (status) => settled(status, SERVERS));
    say(
      cluster.daemons.map(({ name, pid, listen }) => `${name}: pid ${pid}, ${listen}`).join('\n'),
    );
    const client = await this.connect(cluster.leaderAddress);
    client.watchView(({ epoch, reason }) => this.epochs.push({ epoch, reason }));
    try {
      await this.load();
      const joined = await this.join(client);
      const replaced = await this.crash(client);
      await this.talk();
      await this.summary(client, joined, replaced);
    } finally {
      client.close();
    }
  }

  private async load(): Promise<void> {
    title('Real data: radio navigation aids of the world');
    const file = relative(process.cwd(), this.dataFile);
    this.expected = await expectedRecords(this.dataFile, PREFIX);
    await this.command(['import', file, '--prefix', PREFIX]);
    await this.waitForCopies(SERVERS);
    await this.command(['members']);
    say(spread(await this.cluster.status()));
  }

  private async join(client: KvsClient): Promise<Moved> {
    title('A fourth server joins: buckets move to it while the cluster serves');
    const before = await client.view();
    await this.cluster.addServer();
    const moved = await this.follow(client, before, (status) => settled(status, SERVERS + 1));
    await this.waitForCopies(SERVERS + 1);
    await this.command(['members']);
    say(spread(await this.cluster.status()));
    return moved;
  }

  private async crash(client: KvsClient): Promise<Moved> {
    const [victim] = this.cluster.servers;
    assert(victim !== undefined);
    title(`kill -9 of ${victim.name}: a new epoch without it, then new copies elsewhere`);
    const before = await client.view();
    await victim.kill();
    const down = await this.cluster.waitForStatus('the new epoch', WAIT_MS, (status) => {
      return status.epoch > before.epoch && stateOf(status, victim) === MemberState.Down;
    });
    say(`epoch ${before.epoch} → ${down.epoch}: ${down.reason}`);
    await this.command(['status']);
    await this.readBack(client, 'with one server dead');
    const moved = await this.follow(client, before, (status) => {
      return settled(status, SERVERS) && stateOf(status, victim) === MemberState.Replaced;
    });
    await this.waitForCopies(SERVERS);
    await this.command(['view']);
    await this.readBack(client, 'after the dead server was replaced');
    return moved;
  }

  /** Every record, from outside, byte by byte. */
  private async readBack(client: KvsClient, when: string): Promise<void> {
    await checkExport(this.cluster, PREFIX, this.expected);
    await checkGets(client, this.expected);
    say(
      `read back ${when}: ${count(this.expected.size)} records through kvs-client export and ` +
        'again through the library, every byte as in the file',
    );
  }

  private async talk(): Promise<void> {
    title('As a user: get, set, setr');
    await this.command(['set', 'greeting', 'hello']);
    assert.equal(await this.command(['get', 'greeting']), 'hello');
    const text = await this.command(['get', 'greeting', '-o', 'json']);
    const { version } = JSON.parse(text) as { version: string };
    const pairs = ['setr', 'alice', '90', 'bob', '110'];
    await this.command([...pairs, '--del', 'greeting', '--if', `greeting=${version}`]);
    assert.equal(await this.command(['get', 'alice']), '90');
    assert.equal(await this.command(['get', 'bob']), '110');
    await this.command(['get', 'greeting'], 3);
    say('The same condition again: it is not met, so nothing is written.');
    await this.command(['setr', 'alice', '0', 'bob', '0', '--if', `alice=${version}`], 4);
    assert.equal(await this.command(['get', 'alice']), '90');
    assert.equal(await this.command(['get', 'bob']), '110');
    await this.command(['locate', 'alice']);
    await this.command(['del', 'alice', 'bob']);
  }

  private async summary(client: KvsClient, joined: Moved, replaced: Moved): Promise<void> {
    const status = await this.waitForCopies(SERVERS);
    const copies = totalCopies(status);
    const seconds = (performance.now() - this.startMs) / 1000;
    const { epoch } = await client.view();
    title('Summary');
    say(history(this.epochs));
    const rows = [
      ['records', `${count(status.records)}, each read back and compared byte by byte`],
      ['copies', `${count(copies)} on ${plural(upServers(status), 'server')}`],
      ['epochs', `${epoch}`],
      ['moved by the join', movedLine(joined)],
      ['moved by the crash', movedLine(replaced)],
      ['seconds', seconds.toFixed(1)],
    ];
    say(table(['', ''], rows).trimStart());
  }

  /** Shows a view change until it is over, and reads all the time. */
  private async follow(
    client: KvsClient,
    before: View,
    over: (status: GetStatusResponse) => boolean,
  ): Promise<Moved> {
    const progress = new Progress(process.stderr, '  ');
    const keys = [...this.expected.keys()];
    let [reads, planned, moved, least, elapsedMs] = [0, 0, 0, 0, 0];
    await this.cluster.waitForStatus('the end of the view change', WAIT_MS, async (status) => {
      const change = status.viewChange;
      if (change !== undefined) {
        progress.update(() => changeLine(change));
        planned = Math.max(planned, change.recordsPlanned);
        moved = Math.max(moved, change.recordsMoved);
        least = Math.max(least, change.replicasLeast);
        elapsedMs = Math.max(elapsedMs, change.elapsedMs);
      }
      const start = (reads * 31) % Math.max(1, keys.length - READS_WHILE_MOVING);
      await checkSome(client, keys.slice(start, start + READS_WHILE_MOVING), this.expected);
      reads += READS_WHILE_MOVING;
      return over(status);
    });
    progress.end();
    const after = await client.view();
    const replicas = newReplicas(before, after);
    const result = { replicas, records: moved, least, seconds: elapsedMs / 1000, reads };
    say(`moved: ${movedLine(result)}`);
    return result;
  }

  /** Every record in as many copies as wanted, as the servers themselves count. */
  private waitForCopies(servers: number): Promise<GetStatusResponse> {
    const records = this.expected.size;
    return this.cluster.waitForStatus(`${records} records in all copies`, WAIT_MS, (status) => {
      const copies = records * Math.min(servers, status.replicaCount);
      return status.records === records && totalCopies(status) === copies;
    });
  }

  /** Runs `kvs-client` in sight of the reader; its output as text. */
  private async command(args: readonly string[], expectedCode = 0): Promise<string> {
    say(`$ kvs-client ${args.map(quoted).join(' ')}`);
    const { code, stdout, stderr } = await this.cluster.client(args);
    const text = stdout.toString('utf8');
    for (const shown of [text, stderr]) if (shown !== '') say(shown.trimEnd());
    if (expectedCode !== 0) say(`(exit code ${code})`);
    assert.equal(
      code,
      expectedCode,
      `kvs-client ${args[0]} ended with exit code ${code}, not ${expectedCode}`,
    );
    return text;
  }
}

function settled(status: GetStatusResponse, servers: number): boolean {
  const idle = status.viewChange === undefined || status.viewChange.phase === 'idle';
  return (
    idle &&
    upServers(status) === servers &&
    status.underReplicated === 0 &&
    status.members.every(({ member, buckets }) => {
      return buckets > 0 === (member?.state === MemberState.Up);
    })
  );
}

function upMembers(status: GetStatusResponse): GetStatusResponse['members'] {
  return status.members.filter(({ member }) => member?.state === MemberState.Up);
}

function upServers(status: GetStatusResponse): number {
  return upMembers(status).length;
}

function totalCopies(status: GetStatusResponse): number {
  return upMembers(status).reduce((sum, { records }) => sum + records, 0);
}

function stateOf(status: GetStatusResponse, daemon: Daemon): number | undefined {
  return status.members.find(({ member }) => member?.id === daemon.ports?.id)?.member?.state;
}

/** Copies of buckets that stand where none stood before. */
function newReplicas(before: View, after: View): number {
  return after.rows.reduce((sum, { replicas }, bucket) => {
    const old = before.rows[bucket]?.replicas ?? [];
    return sum + replicas.filter((ordinal) => !old.includes(ordinal)).length;
  }, 0);
}

function spread(status: GetStatusResponse): string {
  const held = upMembers(status).map(({ records }) => records);
  const mean = totalCopies(status) / held.length;
  const most = Math.max(...held);
  return (
    `${count(status.records)} records, ${count(totalCopies(status))} copies; the fullest server ` +
    `holds ${((100 * most) / mean - 100).toFixed(1)} % more than the mean`
  );
}

function movedLine({ replicas, records, least, seconds, reads }: Moved): string {
  return (
    `${count(replicas)} bucket copies (least possible ${count(least)}), ` +
    `${plural(records, 'record')} in ${seconds.toFixed(1)} s; ` +
    `${count(reads)} reads meanwhile, all correct`
  );
}

/** A line an epoch; those that only moved buckets share one. */
function history(epochs: readonly { readonly epoch: number; readonly reason: string }[]): string {
  const lines: string[] = [];
  let moves: number[] = [];
  const endMoves = (): void => {
    const [first] = moves;
    const span = moves.length > 1 ? `${first}–${moves.at(-1)}` : `${first}`;
    if (first !== undefined) lines.push(`epoch ${span}: buckets moved`);
    moves = [];
  };
  for (const { epoch, reason } of epochs) {
    if (reason.split('; ').every((part) => part.startsWith('moved buckets'))) moves.push(epoch);
    else {
      endMoves();
      lines.push(`epoch ${epoch}: ${reason}`);
    }
  }
  endMoves();
  return lines.join('\n');
}

function quoted(argument: string): string {
  return /^[\w./=:-]+$/.test(argument) ? argument : `'${argument}'`;
}

function title(text: string): void {
  say(`\n== ${text}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
