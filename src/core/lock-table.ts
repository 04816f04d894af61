import type { Entry } from './entry.js';
import type { Key } from './ids.js';

/** Keys held by transactions whose decision is not known yet. At most one holder a key. */
export class LockTable {
  private readonly holders = new Map<Key, string>();

  holder(key: Key): string | undefined {
    return this.holders.get(key);
  }

  /** Lock what the intent writes for its transaction. */
  lock(intent: Entry, transaction: string): void {
    for (const write of intent.transaction?.writes ?? []) {
      this.holders.set(write.key, transaction);
    }
  }

  release(intent: Entry, transaction: string): void {
    for (const { key } of intent.transaction?.writes ?? []) {
      if (this.holders.get(key) === transaction) this.holders.delete(key);
    }
  }
}
