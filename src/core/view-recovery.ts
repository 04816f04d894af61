import type { Ordinal } from './ids.js';
import { MemberState, type View, type ViewDelta } from './view.js';

/**
 * Added to the newest epoch that was found: higher than any that the lost view leader can have
 * given out to servers that are not here now (V1).
 */
export const EPOCHS_SKIPPED = 1_000_000;

/** What a server that registers brings along. */
export interface Offer {
  readonly id: string;
  /** '' for a server that never belonged to a cluster. */
  readonly clusterId: string;
  /** The newest view that it holds durably. */
  readonly view: View | null;
}

/**
 * Rebuilds the view from the copies that the servers keep, when the view leader lost its own.
 *
 * The newest copy is the last word once everyone was heard who, in that copy, holds a bucket or
 * should: whoever acts under a newer view has adopted it durably first, and a newer view gives a
 * bucket only to servers that held it, or were to hold it, before. So a newer view under which
 * anything was done is held by one of them.
 */
export class ViewRecovery {
  private newest: View | null = null;
  private readonly heard = new Set<string>();

  constructor(
    /** Ids of servers that are gone for good: what only they knew is given up. */
    private readonly without: ReadonlySet<string>,
  ) {}

  /** Take a server's copy into account; why not, when it cannot be. */
  offer({ id, clusterId, view }: Offer): string {
    const known = this.newest?.clusterId ?? '';
    if (clusterId === '') return 'a new server joins after the recovery';
    if (known !== '' && clusterId !== known) {
      return `it belongs to cluster ${clusterId}, others here to ${known}`;
    }
    if (view === null || view.rows.length === 0) return 'it has no view of its cluster';
    this.heard.add(id);
    if (view.epoch > (this.newest?.epoch ?? -1)) this.newest = view;
    return '';
  }

  /** Ids of the servers that must still be heard; null while nobody was. */
  missing(): string[] | null {
    const { newest } = this;
    if (newest === null) return null;
    const concerned = new Set<Ordinal>();
    for (const { replicas, target } of newest.rows) {
      for (const server of [...replicas, ...target]) concerned.add(server);
    }
    return Array.from(newest.members.values())
      .filter(({ ordinal }) => concerned.has(ordinal))
      .map(({ id }) => id)
      .filter((id) => !this.heard.has(id) && !this.without.has(id));
  }

  /** The recovered view, once nobody is missing; everyone in it has yet to register. */
  result(atMs: number): View | null {
    const { newest } = this;
    if (newest === null || this.missing()?.length !== 0) return null;
    const members = Array.from(newest.members.values(), (member) => {
      const gone = this.without.has(member.id) && member.state === MemberState.Up;
      return { ...member, state: gone ? MemberState.Down : member.state };
    });
    return {
      ...newest,
      epoch: newest.epoch + EPOCHS_SKIPPED,
      members: new Map(members.map((member) => [member.ordinal, member])),
      reason: `recovered from ${this.heard.size} servers, which knew epoch ${newest.epoch}`,
      atMs,
    };
  }
}

/** A view as the delta from nothing that makes it. */
export function asDelta(view: View): ViewDelta {
  const { clusterId, epoch, parameters, change, namespaces, reason, atMs } = view;
  const members = Array.from(view.members.values());
  const rows = new Map(view.rows.entries());
  const span = { fromEpoch: 0, toEpoch: epoch };
  const said = { change, namespaces, reason, atMs };
  return { clusterId, ...span, parameters, members, rows, ...said };
}
