import type { CausalBucket } from './causal-bucket.js';
import type { CausalGossip } from './causal-gossip.js';
import { CausalBehind } from './causal-message.js';
import type { Host } from './host.js';
import type { BucketId, Ordinal } from './ids.js';
import { covers, type Vector } from './vector.js';
import { isUp } from './view.js';

/** A learner that gets what it lacks by gossip is not told to compare before that time. */
const GOSSIP_MS = 1000;

/** What a learner must know before it is admitted: what the primary knew when it came. */
interface Need {
  readonly known: Vector;
  /** When it was told to compare, or came. */
  toldMs: number;
}

/** Which learners have the causal half of their bucket, as its primary sees it. */
export class CausalLearners {
  private readonly needs = new Map<BucketId, Map<Ordinal, Need>>();

  constructor(
    private readonly host: Pick<Host, 'self' | 'view' | 'now' | 'settings' | 'send'>,
    private readonly gossip: CausalGossip,
  ) {}

  /** Whether the learner has what this primary had when it came; if not, that is seen to. */
  isReady(bucket: CausalBucket, learner: Ordinal): boolean {
    const { now } = this.host;
    const { id } = bucket;
    const needs = this.needs.get(id) ?? new Map<Ordinal, Need>();
    this.needs.set(id, needs);
    const need = needs.get(learner) ?? { known: new Map(bucket.known), toldMs: now };
    needs.set(learner, need);
    const known = this.gossip.knownBy(id, learner);
    if (covers(known, need.known)) return true;
    const isHeard = this.gossip.toldIn(id, learner) > 0;
    const isCopied = isHeard && !this.isGossiped(id, known, need.known);
    if (now - need.toldMs < (isCopied ? this.host.settings.resendMs : GOSSIP_MS)) return false;
    need.toldMs = now;
    this.host.send(learner, new CausalBehind(id));
    return false;
  }

  /** No learner any more, or admitted; should it come again it needs what is known then. */
  forget(bucket: BucketId, learner: Ordinal): void {
    this.needs.get(bucket)?.delete(learner);
  }

  /** All that is lacking was taken by servers that hold the bucket, and send it themselves. */
  private isGossiped(id: BucketId, known: Vector, need: Vector): boolean {
    const { view } = this.host;
    const replicas = view.rows[id]?.replicas ?? [];
    return Array.from(need).every(
      ([writer, number]) =>
        number <= (known.get(writer) ?? 0) || (replicas.includes(writer) && isUp(view, writer)),
    );
  }
}
