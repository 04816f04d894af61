import type { Key } from './ids.js';

/** Keys held by transactions that have not ended here. At most one holder a key. */
export class LockTable {
  private readonly holders = new Map<Key, string>();

  holder(key: Key): string | undefined {
    return this.holders.get(key);
  }

  /** Lock what a transaction writes. */
  lock(writes: readonly { readonly key: Key }[], transaction: string): void {
    for (const { key } of writes) this.holders.set(key, transaction);
  }

  release(writes: readonly { readonly key: Key }[], transaction: string): void {
    for (const { key } of writes) {
      if (this.holders.get(key) === transaction) this.holders.delete(key);
    }
  }
}
