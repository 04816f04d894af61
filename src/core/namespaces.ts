import { MOST_BUCKETS } from './causal-record.js';
import type { Draft } from './draft.js';
import { LIMITS } from './refusal.js';
import { Mode, MOST_NAMESPACES, type Namespace } from './namespace.js';
import type { OperatorRefusal } from './operator.js';
import { firstOf } from './pools.js';

export type NamespaceAnswer =
  { readonly ok: true; readonly namespace: Namespace } | OperatorRefusal;

/** What a name may look like: it stands in commands, paths and metrics. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** The namespaces of the cluster: a part of the view, like everything that must be agreed. */
export class Namespaces {
  constructor(
    private readonly draft: Draft,
    /** Give every pool its buckets. */
    private readonly found: () => void,
  ) {}

  /** Asking again for what is there already changes nothing. */
  create(name: string, mode: Mode, ttlMs: number, replicas: number): NamespaceAnswer {
    const { draft } = this;
    if (!NAME.test(name)) {
      return refused(
        'BAD_NAME',
        `${JSON.stringify(name)} cannot name a namespace: 1 to 63 of a-z, 0-9, '.', '_' and '-', ` +
          'beginning with a letter or a digit',
      );
    }
    if (mode !== Mode.Strong && mode !== Mode.Causal) {
      return refused('BAD_MODE', 'the mode of a namespace is strong or causal');
    }
    if (!(ttlMs >= 0 && ttlMs <= LIMITS.ttlMs)) {
      return refused('BAD_TTL', 'values live for at most 10 years');
    }
    const problem = this.objectionTo(replicas);
    if (problem !== null) return problem;
    const all = Array.from(draft.namespaces.values());
    const present = this.find(name);
    if (present !== null) {
      const isSame = present.mode === mode && present.ttlMs === ttlMs;
      if (isSame && present.replicas === replicas) return { ok: true, namespace: present };
      return refused('EXISTS', `namespace ${name} is there already, with other settings`);
    }
    const number = all.reduce((most, one) => Math.max(most, one.number), 0) + 1;
    if (number > MOST_NAMESPACES) {
      return refused('TOO_MANY', `a cluster has at most ${MOST_NAMESPACES} namespaces`);
    }
    const pool = this.poolFor(replicas);
    const namespace = { number, name, mode, ttlMs, replicas, pool, deleted: false };
    const next = new Map(draft.namespaces).set(number, namespace);
    draft.setNamespaces(next, `namespace ${name} created`);
    this.found();
    return { ok: true, namespace };
  }

  /** Refused from now on; the servers remove its records. */
  delete(name: string): NamespaceAnswer {
    const { draft } = this;
    const present = this.find(name);
    if (present === null) return refused('NOT_FOUND', `there is no namespace ${name}`);
    const namespace = { ...present, deleted: true };
    const next = new Map(draft.namespaces).set(namespace.number, namespace);
    draft.setNamespaces(next, `namespace ${name} deleted`);
    return { ok: true, namespace };
  }

  private objectionTo(replicas: number): OperatorRefusal | null {
    const { bucketCount, policy } = this.draft.parameters;
    if (!Number.isInteger(replicas) || replicas < 0 || replicas > LIMITS.replicas) {
      return refused('BAD_REPLICAS', `a namespace has 1 to ${LIMITS.replicas} replicas`);
    }
    if (replicas > 0 && policy === 'shards') {
      return refused(
        'NOT_WITH_SHARDS',
        'with the policy shards every server of a shard holds its data: replicas are not counted',
      );
    }
    if (firstOf(this.poolFor(replicas) + 1, bucketCount) <= MOST_BUCKETS) return null;
    return refused(
      'TOO_MANY_BUCKETS',
      `a number of replicas of its own takes another ${bucketCount} buckets, and a cluster has ` +
        `at most ${MOST_BUCKETS}`,
    );
  }

  /** Once made it stays, for the next namespace with that number. */
  private poolFor(replicas: number): number {
    if (replicas === 0) return 0;
    const all = Array.from(this.draft.namespaces.values());
    const present = all.find((one) => one.replicas === replicas);
    return present?.pool ?? all.reduce((most, { pool }) => Math.max(most, pool), 0) + 1;
  }

  private find(name: string): Namespace | null {
    const all = Array.from(this.draft.namespaces.values());
    return all.find((one) => one.name === name && !one.deleted) ?? null;
  }
}

function refused(code: string, message: string): OperatorRefusal {
  return { ok: false, code, message: `${message}; nothing was changed` };
}
