// A process to be killed: `node child.js log|engine|directory PATH`. Uses the built storage.
import process from 'node:process';

const [what, path, seed] = process.argv.slice(2);
const built = new URL('../../dist/storage/', import.meta.url);

function fatal(error) {
  console.error(error);
  process.exit(1);
}

/** Appends entries without end and prints each sequence once it is durable. */
async function appendToLog() {
  const { Log } = await import(new URL('log.js', built));
  const { Entry } = await import(new URL('../core/entry.js', built));
  const settings = { segmentBytes: 64 * 1024, retainBytes: 2 ** 40 };
  const log = await Log.open(path, settings, { onFatal: fatal });
  let sequence = 0;
  const appendGroup = () => {
    for (let left = 1 + (sequence % 7); left > 0; left--) {
      sequence++;
      const value = new Uint8Array(sequence % 500);
      const entry = new Entry(1, sequence, 1, sequence, 0, 1, '', 0, 0, 'key', value, null);
      log.append({ type: 'entry', bucket: 3, entry, commitPoint: 0 });
    }
    const durable = sequence;
    log.whenDurable(() => {
      process.stdout.write(`${durable}\n`);
      appendGroup();
    });
  };
  appendGroup();
}

/** Puts, removes, clears and ingests without end; prints a line for each hundred rounds. */
async function changeEngine() {
  const { DEFAULT_ENGINE_SETTINGS, Engine } = await import(new URL('engine.js', built));
  const engine = await Engine.open(path, DEFAULT_ENGINE_SETTINGS, { onFatal: fatal });
  let state = Number(seed);
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const record = (version) => ({
    key: `key${random(500)}`,
    value: new Uint8Array(random(200)),
    version,
  });
  for (let round = 1; ; round++) {
    const bucket = random(4);
    const action = random(1000);
    if (action === 0 && random(10) === 0) engine.clear(bucket);
    else if (action < 300) engine.remove(bucket, record(round).key);
    else engine.put(bucket, record(round));
    if (action === 1) void engine.ingest(bucket, [record(round), record(round)], random(9) === 0);
    if (random(50) === 0) await engine.settled();
    if (round % 100 === 0) process.stdout.write(`${round}\n`);
  }
}

async function holdDirectory() {
  const { DataDirectory } = await import(new URL('data-directory.js', built));
  const directory = await DataDirectory.open(path, 'server');
  process.stdout.write(`${directory.identity.incarnation}\n`);
  setInterval(() => undefined, 1000);
}

if (what === 'log') await appendToLog();
else if (what === 'engine') await changeEngine();
else await holdDirectory();
