// A client on one island: writes at a steady rate, and tells how that went. Run by `cut.ts`.
import { createHash } from 'node:crypto';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

import { connect, type KvsClient } from '../client/index.js';

/** What it is to do; one line of JSON on standard input each. */
export type Errand =
  | { readonly do: 'write'; readonly prefix: string; readonly keys: number; readonly forMs: number }
  /** Whether the server next door has these keys, itself. */
  | { readonly do: 'find'; readonly keys: readonly string[] }
  /** What it holds, and whether it was that server that said it. */
  | { readonly do: 'read' };

export interface Wrote {
  readonly writes: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly firstError: string;
}

export interface Held {
  /** Of the records in key order, SHA-256; null: another server answered, or none. */
  readonly digest: string | null;
  readonly records: number;
}

const VALUE_BYTES = 128;
/** Not longer, since a read may wait for what comes after the cut. */
const ANSWER_MS = 500;

async function write(
  { prefix, keys, forMs }: Errand & { do: 'write' },
  server: string,
  namespace: string,
): Promise<Wrote> {
  const client = await connect({ server, timeoutMs: 10_000 });
  const session = await client.session(namespace);
  const took: number[] = [];
  let failed = 0;
  let firstError = '';
  const begin = performance.now();
  const one = async (key: number): Promise<void> => {
    const at = performance.now();
    try {
      await session.set(`${prefix}${key}`, `${prefix}${key}`.padEnd(VALUE_BYTES, '.'));
      took.push(performance.now() - at);
    } catch (error) {
      failed += 1;
      firstError ||= String(error);
    }
  };
  const open: Promise<void>[] = [];
  for (let key = 0; key < keys;) {
    const due = Math.min(keys, Math.floor(((performance.now() - begin) / forMs) * keys));
    while (key < due) open.push(one(key++));
    await pause(5);
  }
  await Promise.all(open);
  client.close();
  took.sort((left, right) => left - right);
  const at = (share: number): number => took[Math.floor(took.length * share)] ?? 0;
  return { writes: took.length, failed, p50Ms: at(0.5), p99Ms: at(0.99), firstError };
}

/** Asks again and again, beside what it looks at: without a new connection each time. */
class Reader {
  private client: Promise<KvsClient> | null = null;

  constructor(
    private readonly server: string,
    private readonly namespace: string,
  ) {}

  async find(keys: readonly string[]): Promise<boolean> {
    return this.ask(false, async (client) => {
      const session = await client.session(this.namespace);
      for (const key of keys) {
        if ((await session.get(key))?.server !== this.server) return false;
      }
      return true;
    });
  }

  async read(): Promise<Held> {
    const nothing = { digest: null, records: 0 };
    return this.ask(nothing, async (client) => {
      const lines: string[] = [];
      for await (const record of (await client.namespace(this.namespace)).export()) {
        if (record.server !== this.server) return nothing;
        const { key, value, version } = record;
        lines.push(`${key.toString()} ${Buffer.from(value).toString()} ${version}`);
      }
      const text = lines.toSorted().join('\n');
      return { digest: createHash('sha256').update(text).digest('hex'), records: lines.length };
    });
  }

  private async ask<A>(otherwise: A, asking: (client: KvsClient) => Promise<A>): Promise<A> {
    try {
      this.client ??= connect({ server: this.server, timeoutMs: ANSWER_MS });
      return await asking(await this.client);
    } catch {
      await this.close();
      return otherwise;
    }
  }

  private async close(): Promise<void> {
    const client = await this.client?.catch(() => null);
    this.client = null;
    client?.close();
  }
}

const [server = '', namespace = ''] = process.argv.slice(2);
const reader = new Reader(server, namespace);

function answer(errand: Errand): Promise<Wrote | boolean | Held> {
  if (errand.do === 'write') return write(errand, server, namespace);
  return errand.do === 'find' ? reader.find(errand.keys) : reader.read();
}

process.stdin.setEncoding('utf8');
let text = '';
for await (const chunk of process.stdin) {
  text += String(chunk);
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
    const errand = JSON.parse(text.slice(0, end)) as Errand;
    text = text.slice(end + 1);
    process.stdout.write(`${JSON.stringify(await answer(errand))}\n`);
  }
}
