import { Causal } from '../../core/causal.js';
import { CausalBucket } from '../../core/causal-bucket.js';
import { CausalGossip } from '../../core/causal-gossip.js';
import { CausalReads } from '../../core/causal-reads.js';
import { replace, wrap } from './patch.js';
import type { Sabotage } from './sabotage.js';

const CLIENTS = 4;

/** Breaks of causal namespaces. */
export const CAUSAL: readonly Sabotage[] = [
  {
    name: 'context-ignored',
    breaks: 'D5: a replica answers although it lacks what the session has seen',
    causal: CLIENTS,
    install: () => replace(CausalReads.prototype, { missing: { value: () => null } }),
  },
  {
    name: 'seen-before-durable',
    breaks: 'D5: a write is seen, and sent on, before it is durable anywhere',
    causal: CLIENTS,
    install: () =>
      wrap(CausalBucket.prototype, 'apply', (original, _, [change, store]) =>
        original(change, store, false),
      ),
  },
  {
    name: 'tombstones-dropped-early',
    breaks: 'D5: a tombstone goes before every holder has seen it',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { allKnow: { value: () => true } }),
  },
  {
    name: 'known-forgotten',
    breaks: 'D5: a late copy of what was deleted counts as new',
    causal: CLIENTS,
    install: () => replace(CausalBucket.prototype, { knows: { value: () => false } }),
  },
  {
    name: 'gossip-said-once',
    breaks: 'D5: what a replica took is sent once, and nobody compares',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { tick: { value: () => undefined } }),
  },
  {
    name: 'learner-without-causal-half',
    breaks: 'D5: a learner is admitted that lacks the causal half of the bucket',
    causal: CLIENTS,
    install: () => replace(Causal.prototype, { isReady: { value: () => true } }),
  },
  {
    name: 'leaves-with-its-writes',
    breaks: 'D5: a server drops a bucket although others lack what it took for it',
    causal: CLIENTS,
    install: () => replace(CausalGossip.prototype, { isDrained: { value: () => true } }),
  },
];
