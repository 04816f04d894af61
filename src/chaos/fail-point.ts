// Loaded into a server with `--import`; ends the process at an exact point of a distributed commit,
// once, when the file that names the point is there. Production code knows nothing of it.
import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { Coordinator } from '../core/coordinator.js';
import { type Entry, EntryKind } from '../core/entry.js';

interface Private {
  decide(transaction: unknown, commit: boolean): void;
}

const directory = new URL(import.meta.url).searchParams.get('directory') ?? '';

function dieAt(point: string): void {
  try {
    // Of servers that get there together, the one that removes the file dies.
    unlinkSync(join(directory, point));
  } catch {
    return;
  }
  process.kill(process.pid, 'SIGKILL');
}

const prototype = Coordinator.prototype as unknown as Private & Pick<Coordinator, 'onCommitted'>;
const { decide, onCommitted } = prototype;

/** Every participant has voted yes; the decision is not logged. */
prototype.decide = function (transaction, commit) {
  if (commit) dieAt('before-decision');
  decide.call(this, transaction, commit);
};

/** The decision is on every replica; neither the client nor a participant has heard of it. */
prototype.onCommitted = function (entry: Entry) {
  const { commit = false, participants = [] } = entry.transaction ?? {};
  if (entry.kind === EntryKind.Commit && commit && participants.length > 1) {
    dieAt('after-decision');
  }
  onCommitted.call(this, entry);
};
