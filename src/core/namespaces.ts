import type { Draft } from './draft.js';
import { LIMITS } from './refusal.js';
import { Mode, MOST_NAMESPACES, type Namespace } from './namespace.js';
import type { OperatorRefusal } from './operator.js';

export type NamespaceAnswer =
  { readonly ok: true; readonly namespace: Namespace } | OperatorRefusal;

/** What a name may look like: it stands in commands, paths and metrics. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** The namespaces of the cluster: a part of the view, like everything that must be agreed. */
export class Namespaces {
  constructor(private readonly draft: Draft) {}

  /** Asking again for what is there already changes nothing. */
  create(name: string, mode: Mode, ttlMs: number): NamespaceAnswer {
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
    const all = Array.from(draft.namespaces.values());
    const present = this.find(name);
    if (present !== null) {
      if (present.mode === mode && present.ttlMs === ttlMs) return { ok: true, namespace: present };
      return refused('EXISTS', `namespace ${name} is there already, with other settings`);
    }
    const number = all.reduce((most, one) => Math.max(most, one.number), 0) + 1;
    if (number > MOST_NAMESPACES) {
      return refused('TOO_MANY', `a cluster has at most ${MOST_NAMESPACES} namespaces`);
    }
    const namespace = { number, name, mode, ttlMs, deleted: false };
    const next = new Map(draft.namespaces).set(number, namespace);
    draft.setNamespaces(next, `namespace ${name} created`);
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

  private find(name: string): Namespace | null {
    const all = Array.from(this.draft.namespaces.values());
    return all.find((one) => one.name === name && !one.deleted) ?? null;
  }
}

function refused(code: string, message: string): OperatorRefusal {
  return { ok: false, code, message: `${message}; nothing was changed` };
}
