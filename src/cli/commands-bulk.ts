import type { ReadStream } from 'node:fs';
import { open } from 'node:fs/promises';

import type { Command } from 'commander';
import { Option } from 'commander';

import type { KvsClient } from '../client/index.js';
import { Exit, type Failure, failureOf } from './exit-code.js';
import { setting } from './options.js';
import { bytesField, count, plural, printable, size } from './output.js';
import { Progress } from './progress.js';
import type { Format, Row } from './rows.js';
import type { Session } from './session.js';

const WRITES_AT_ONCE = 1024;
const PROBLEMS_SHOWN = 10;
const CHUNK_CHARACTERS = 64 * 1024;

interface ImportOptions {
  readonly format?: Format;
  readonly key?: string;
  readonly prefix: string;
}

/** `import` and `export`. */
export function addBulkCommands(program: Command, session: Session): void {
  program
    .command('import')
    .description('write the rows of a file: the key is a column, the value the row as JSON')
    .argument('<file>', 'a file, or - for standard input')
    .addOption(
      setting('--format <format>', 'default: by the name of the file, else csv').choices([
        'csv',
        'ndjson',
      ]),
    )
    // No variable: KVS_KEY is the name of a TLS key.
    .addOption(new Option('--key <column>', 'the column of the key; default: id, or the first'))
    .addOption(setting('--prefix <prefix>', 'put this before every key').default('', 'none'))
    .addHelpText('after', '\nExample:\n  $ kvs-client import data/navaids.csv --prefix navaid/')
    .action((file: string, options: ImportOptions) => importFile(session, file, options));
  program
    .command('export')
    .description('print every record, in no particular order: key, value, version')
    .argument('[prefix]', 'only keys that start with this', '')
    .addHelpText('after', '\nExample:\n  $ kvs-client export navaid/ -o json > navaids.ndjson')
    .action((prefix: string) => exportRecords(session, prefix));
}

async function importFile(session: Session, file: string, options: ImportOptions): Promise<void> {
  const { stdin, stderr, interrupted } = session.surroundings;
  const source = file === '-' ? stdin : await openFile(file);
  const { readRows } = await import('./rows.js');
  const byName: Format = /\.(ndjson|jsonl)$/.test(file) ? 'ndjson' : 'csv';
  const rows = readRows(source, options.format ?? byName, options.key);
  try {
    await session.withKeys(async (client) => {
      const load = new Load(client, options.prefix, new Progress(stderr, 'import:'));
      await load.run(rows, interrupted);
      await tellImport(session, load);
    });
  } finally {
    source.destroy();
  }
}

/** Opened before anything else happens, so that a wrong name is told at once. */
async function openFile(file: string): Promise<ReadStream> {
  const handle = await open(file);
  if ((await handle.stat()).isDirectory()) {
    await handle.close();
    throw Object.assign(new Error('is a directory'), { code: 'EISDIR', path: file });
  }
  return handle.createReadStream();
}

async function tellImport(session: Session, load: Load): Promise<void> {
  const { output } = session;
  const { records, bytes, failed, problems, seconds } = load;
  for (const problem of problems) output.note(problem);
  if (failed > problems.length) {
    output.note(`… and ${plural(failed - problems.length, 'more row')} failed`);
  }
  await output.result(
    { records, bytes, seconds: Number(seconds.toFixed(3)), failed },
    `imported ${plural(records, 'record')}, ${size(bytes)} in ${seconds.toFixed(1)} s; ` +
      `${count(failed)} failed`,
  );
  if (load.stopped !== null) {
    const { code, message, hint, retryable } = load.stopped;
    const left = `the import stopped, rows that follow were not sent: ${message}`;
    output.fail({ code, message: left, hint, exitCode: Exit.Refused, retryable });
  }
  if (failed > 0) session.exitCode = Exit.Refused;
}

/** Writes rows, many at a time; of rows with the same key the last one stays. */
class Load {
  records = 0;
  /** Of the keys and values written. */
  bytes = 0;
  failed = 0;
  readonly problems: string[] = [];
  /** The cluster cannot be reached: going on would only wait for every row in turn. */
  stopped: Failure | null = null;
  seconds = 0;
  private readonly inFlight = new Map<string, Promise<void>>();
  private wake: () => void = () => undefined;

  constructor(
    private readonly client: KvsClient,
    private readonly prefix: string,
    private readonly progress: Progress,
  ) {}

  async run(rows: AsyncIterable<Row>, interrupted: AbortSignal): Promise<void> {
    const startMs = performance.now();
    for await (const row of rows) {
      if (interrupted.aborted || this.stopped !== null) break;
      if ('problem' in row) this.fail(row.line, row.problem);
      else await this.start(row.line, this.prefix + row.key, row.value);
      this.progress.update(() => plural(this.records, 'record'));
    }
    await Promise.all(this.inFlight.values());
    this.progress.end();
    this.seconds = (performance.now() - startMs) / 1000;
  }

  private async start(line: number, key: string, value: string): Promise<void> {
    await this.inFlight.get(key);
    while (this.inFlight.size >= WRITES_AT_ONCE) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    this.inFlight.set(key, this.write(line, key, value));
  }

  private async write(line: number, key: string, value: string): Promise<void> {
    try {
      await this.client.set(key, value);
      this.records += 1;
      this.bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    } catch (error) {
      const failure = failureOf(error);
      this.fail(line, `${failure.code}: ${failure.message}`);
      const lost: readonly number[] = [Exit.Unavailable, Exit.Unknown];
      if (lost.includes(failure.exitCode)) this.stopped ??= failure;
    }
    this.inFlight.delete(key);
    this.wake();
  }

  private fail(line: number, problem: string): void {
    this.failed += 1;
    if (this.problems.length < PROBLEMS_SHOWN) this.problems.push(`line ${line}: ${problem}`);
  }
}

async function exportRecords(session: Session, prefix: string): Promise<void> {
  const { output, surroundings } = session;
  const progress = new Progress(surroundings.stderr, 'export:');
  await session.withKeys(async (client) => {
    let records = 0;
    let chunk = '';
    for await (const { key, value, version } of client.export(prefix)) {
      if (surroundings.interrupted.aborted) break;
      chunk += output.json
        ? JSON.stringify({
            ...bytesField('key', key),
            ...bytesField('value', value),
            version: String(version),
          })
        : `${printable(key)} ${printable(value)} ${version}`;
      chunk += '\n';
      records += 1;
      if (chunk.length >= CHUNK_CHARACTERS) {
        await output.write(chunk);
        chunk = '';
      }
      progress.update(() => plural(records, 'record'));
    }
    await output.write(chunk);
    progress.end();
  });
}
