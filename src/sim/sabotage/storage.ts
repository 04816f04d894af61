import { toBytes } from '../../checkers/history.js';
import type { BucketId, Key } from '../../core/ids.js';
import { DamagedBucket } from '../../core/outbox.js';
import { Scrub } from '../../core/scrub.js';
import { SimulatedStore } from '../store.js';
import { wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

/** Breaks of the care for what is stored. */
export const STORAGE: readonly Sabotage[] = [
  {
    name: 'serve-damaged',
    breaks: 'D7: a record is served although its checksum is wrong',
    install: () =>
      wrap<SimulatedStore>(SimulatedStore.prototype, 'get', (original, self, args) => {
        try {
          return original(...args);
        } catch (error) {
          if (!(error instanceof DamagedBucket)) throw error;
          const [bucket, name] = args as [BucketId, Key];
          const record = self.records(bucket).find(({ key }) => key === name);
          return record && { ...record, value: toBytes('rotten') };
        }
      }),
  },
  {
    name: 'keep-damaged',
    breaks: 'D7: damage is not reported, so that no other replica takes over',
    install: () => wrap(Scrub.prototype, 'onDamage', () => undefined),
  },
];
