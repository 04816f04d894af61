import { type ChildProcess, spawn } from 'node:child_process';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { LocalCluster } from '../cli/local-cluster.js';
import { connect, Mode } from '../client/index.js';
import type { Errand, Held, Wrote } from './islander.js';
import { Islands } from './islands.js';

const ISLANDER = fileURLToPath(new URL('./islander.js', import.meta.url));
const NAMESPACE = 'carts';
/** Differing keys, both sides together. */
const KEYS = 10_000;
const RECORD_BYTES = 128 + 8;
const SAME_WITHIN_MS = 60_000;
/** What is promised. */
const MOST = { convergeMs: 2000, bytesTimes: 3 } as const;
const BEFORE_MS = 10_000;
/** Keys of most buckets. */
const SAMPLE = 200;

/** A client process on an island, which talks to the server there. */
class Islander {
  private readonly child: ChildProcess;
  private readonly answers: AsyncIterator<string>;

  constructor(prefix: readonly string[], server: string) {
    const [command = '', ...args] = [...prefix, process.execPath, ISLANDER, server, NAMESPACE];
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.answers = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async ask<A>(errand: Errand): Promise<A> {
    this.child.stdin?.write(`${JSON.stringify(errand)}\n`);
    const { value, done } = await this.answers.next();
    if (done === true) throw new Error('a client on an island ended');
    return JSON.parse(value) as A;
  }

  end(): void {
    this.child.kill('SIGKILL');
  }
}

/**
 * Two servers, each with a client beside it, are cut apart; both sides go on writing in a causal
 * namespace. Then the cut is healed (D5). The view leader is on the second side. Throws when a
 * write fails, or the replicas do not become equal in time, and with few bytes.
 */
export async function cutInTwo(
  directory: string,
  seconds: number,
  say: (line: string) => void,
  /** How soon they are equal, and with how many bytes, counts: on a machine that is quiet. */
  timed: boolean,
): Promise<void> {
  const islands = new Islands(3);
  const cluster = new LocalCluster({
    directory,
    leaderOptions: ['--replicas', '2', '--buckets', '64'],
    place: (name) => {
      const island = Number(/^server-(\d)$/.exec(name)?.[1] ?? 3);
      return { prefix: islands.prefix(island), host: islands.address(island) };
    },
  });
  const islanders: Islander[] = [];
  try {
    await cluster.start(2);
    await cluster.settled(2);
    const client = await connect({ leader: cluster.leaderAddress });
    await client.admin.createNamespace(NAMESPACE, Mode.Causal);
    client.close();
    for (const [at, { listen }] of cluster.servers.entries()) {
      islanders.push(new Islander(islands.prefix(at + 1), listen));
    }
    const perMs = KEYS / 2 / (seconds * 1000);
    const write = (prefix: string, forMs: number): Promise<Wrote[]> =>
      Promise.all(
        islanders.map((islander, at) => {
          const keys = Math.round(perMs * forMs);
          return islander.ask<Wrote>({ do: 'write', prefix: `${prefix}${at}/`, keys, forMs });
        }),
      );
    const before = await write('before', BEFORE_MS);
    islands.cut(1);
    const during = await write('cut', seconds * 1000);
    for (const [at, wrote] of during.entries()) {
      const { writes, failed, p50Ms, p99Ms, firstError } = wrote;
      const earlier = before[at]!;
      say(
        `side ${at + 1}: ${writes} writes in ${seconds} s of cut, ${failed} failed; p50 ` +
          `${p50Ms.toFixed(1)} ms (before ${earlier.p50Ms.toFixed(1)}), ` +
          `p99 ${p99Ms.toFixed(1)} ms ` +
          `(before ${earlier.p99Ms.toFixed(1)}) ${firstError}`,
      );
    }
    const last = during.map(({ writes }, at) => lastKeys(`cut${at}/`, writes));
    await heal(islands, islanders, last, say, timed);
    const failed = during.reduce((sum, wrote) => sum + wrote.failed, 0);
    if (failed > 0) throw new Error(`${failed} writes failed while the sides were cut apart`);
  } finally {
    for (const islander of islanders) islander.end();
    await cluster.killAll();
    islands.remove();
  }
}

function lastKeys(prefix: string, keys: number): string[] {
  const count = Math.min(keys, SAMPLE);
  return Array.from({ length: count }, (_, at) => `${prefix}${keys - 1 - at}`);
}

async function heal(
  islands: Islands,
  islanders: readonly Islander[],
  /** Some of what each side wrote last. */
  last: readonly (readonly string[])[],
  say: (line: string) => void,
  timed: boolean,
): Promise<void> {
  const bytesBefore = islands.bytes(1);
  const healedMs = performance.now();
  islands.heal(1);
  let records = 0;
  for (;;) {
    // To read everything takes processors from the servers: not before it may be over.
    const found = await Promise.all(
      islanders.map((each, at) => each.ask<boolean>({ do: 'find', keys: last[1 - at] ?? [] })),
    );
    if (found.every(Boolean)) {
      const [one, two] = await Promise.all(islanders.map((each) => each.ask<Held>({ do: 'read' })));
      records = one?.records ?? 0;
      if (typeof one?.digest === 'string' && one.digest === two?.digest) break;
    }
    if (performance.now() - healedMs > SAME_WITHIN_MS)
      throw new Error('the replicas stay different');
    await pause(20);
  }
  const tookMs = performance.now() - healedMs;
  const bytes = islands.bytes(1) - bytesBefore;
  const times = bytes / (KEYS * RECORD_BYTES);
  say(
    `healed: ${records} records byte-identical on both servers after ` +
      `${(tookMs / 1000).toFixed(2)} s; ` +
      `${(bytes / 1024).toFixed(0)} KiB crossed the wire, ` +
      `${times.toFixed(2)} x the ${KEYS} differing records`,
  );
  if (!timed) return;
  if (tookMs > MOST.convergeMs) throw new Error(`equal only after ${tookMs.toFixed(0)} ms`);
  if (times > MOST.bytesTimes) throw new Error(`${times.toFixed(2)} x the differing bytes`);
}
