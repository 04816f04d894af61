import { CAUSAL } from './causal.js';
import { CHANGES } from './changes.js';
import { COMMIT } from './commit.js';
import { REPLICATION } from './replication.js';
import type { Sabotage } from './sabotage.js';
import { STORAGE } from './storage.js';
import { VIEWS } from './views.js';

export const SABOTAGES: readonly Sabotage[] = [
  ...REPLICATION,
  ...VIEWS,
  ...COMMIT,
  ...STORAGE,
  ...CHANGES,
  ...CAUSAL,
];
