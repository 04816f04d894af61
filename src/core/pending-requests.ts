import type { Entry } from './entry.js';
import type { ClientId, Sequence } from './ids.js';

/**
 * Requests whose entries are in the log and not committed: their retries join them (D4). Found by
 * the request's number, since few clients use the same one at a time; no string is built for it.
 */
export class PendingRequests {
  private readonly byNumber = new Map<number, Entry | Entry[]>();

  add(entry: Entry): void {
    const { clientSequence } = entry;
    const there = this.byNumber.get(clientSequence);
    if (there === undefined) this.byNumber.set(clientSequence, entry);
    else if (Array.isArray(there)) there.push(entry);
    else this.byNumber.set(clientSequence, [there, entry]);
  }

  /** Sequence of the request's entry; undefined when it has none. */
  find(client: ClientId, clientSequence: number): Sequence | undefined {
    const there = this.byNumber.get(clientSequence);
    if (there === undefined) return undefined;
    if (!Array.isArray(there)) return there.client === client ? there.sequence : undefined;
    return there.find((entry) => entry.client === client)?.sequence;
  }

  /** The entry is committed. */
  remove({ client, clientSequence }: Entry): void {
    const there = this.byNumber.get(clientSequence);
    if (Array.isArray(there)) {
      const left = there.filter((entry) => entry.client !== client);
      if (left.length > 0) this.byNumber.set(clientSequence, left);
      else this.byNumber.delete(clientSequence);
    } else if (there?.client === client) this.byNumber.delete(clientSequence);
  }
}
