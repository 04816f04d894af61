import type { Draft } from './draft.js';
import type { Ordinal } from './ids.js';
import type { OperatorRefusal } from './operator.js';
import { evenSplit, LEAST_MEMBERS, seededSplit, type ShardTable } from './policy-shards.js';
import { candidates, type Member, MemberState } from './view.js';

export type ShardSpread = 'even' | 'seeded';
export const SPREADS: readonly ShardSpread[] = ['even', 'seeded'];

export type ShardAnswer = { readonly ok: true } | OperatorRefusal;

/** Which servers make up which shard (policy `shards`): kept in the members of the view. */
export class Shards {
  constructor(
    private readonly draft: Draft,
    private readonly plan: () => void,
  ) {}

  /**
   * Give every server a shard: all at once when the cluster is founded; later each newcomer to the
   * smallest one. Returns why that cannot be, or ''.
   */
  settle(): string {
    const { draft } = this;
    const { shardCount, shardSpread } = draft.parameters;
    const servers = candidates(draft.members());
    if (!draft.isFounded) {
      const split = splitOf(servers, shardCount, shardSpread);
      if (typeof split === 'string') return split;
      this.assign(split);
      return '';
    }
    for (const server of servers.filter(({ shard }) => shard === 0)) {
      draft.setMember({ ...server, shard: this.smallest() }, '');
    }
    this.fillUp();
    const empty = this.sizes().indexOf(0);
    return empty < 0 ? '' : `shard ${empty + 1} has no server left: add one`;
  }

  /** The server takes over the identity, table and data of a shard. */
  addMember(shard: number, id: string): ShardAnswer {
    const refusal = this.objection(shard);
    if (refusal !== null) return refusal;
    const member = this.draft.memberById(id);
    if (member === undefined) return cannot('UNKNOWN_SERVER', `there is no server ${id}`);
    if (member.shard === shard) return { ok: true };
    const left = this.sizes()[member.shard - 1] ?? Infinity;
    if (left <= LEAST_MEMBERS) {
      const kept = `${left - 1} of at least ${LEAST_MEMBERS} servers`;
      const why = `shard ${member.shard} would keep ${kept}`;
      return cannot('TOO_FEW_SERVERS', `server ${id} cannot leave: ${why}`);
    }
    this.draft.setMember({ ...member, shard }, `server ${member.ordinal} joins shard ${shard}`);
    this.plan();
    return { ok: true };
  }

  /** Another number of shards, spread anew over the servers there are. */
  reshard(shardCount: number): ShardAnswer {
    const split = this.splitInto(shardCount);
    if (typeof split === 'string') return cannot('TOO_FEW_SERVERS', split);
    const { draft } = this;
    const what = `resharded from ${draft.parameters.shardCount} to ${shardCount}`;
    draft.setParameters({ ...draft.parameters, shardCount }, what);
    this.assign(split);
    this.plan();
    return { ok: true };
  }

  /** How servers would be spread over so many shards, or why they cannot. */
  splitInto(shardCount: number): ShardTable | string {
    const { policy, shardSpread } = this.draft.parameters;
    if (policy !== 'shards') return `the placement policy is ${policy}, which has no shards`;
    return splitOf(candidates(this.draft.members()), shardCount, shardSpread);
  }

  /** A shard's servers are drained, and its data goes to the others. */
  remove(shard: number): ShardAnswer {
    const refusal = this.objection(shard);
    if (refusal !== null) return refusal;
    const { draft } = this;
    const { shardCount } = draft.parameters;
    if (shardCount === 1) return cannot('LAST_SHARD', 'it is the only shard: it has all the data');
    for (const member of draft.members()) {
      if (member.shard === shard) draft.setMember({ ...member, shard: 0, drained: true }, '');
      // The last one takes the number that is free, so that the others keep theirs.
      else if (member.shard === shardCount) draft.setMember({ ...member, shard }, '');
    }
    const parameters = { ...draft.parameters, shardCount: shardCount - 1 };
    draft.setParameters(parameters, `shard ${shard} is removed`);
    this.plan();
    return { ok: true };
  }

  private objection(shard: number): OperatorRefusal | null {
    const { policy, shardCount } = this.draft.parameters;
    if (policy !== 'shards') {
      return cannot('NO_SHARDS', `the placement policy is ${policy}, which has no shards`);
    }
    if (Number.isInteger(shard) && shard >= 1 && shard <= shardCount) return null;
    return cannot('UNKNOWN_SHARD', `there is no shard ${shard}: there are ${shardCount}`);
  }

  private assign(split: ShardTable): void {
    for (const [ordinal, shard] of split) {
      const member = this.draft.member(ordinal);
      if (member !== undefined) this.draft.setMember({ ...member, shard }, '');
    }
  }

  /** A shard that fell below two servers gets one of the largest, if that can spare one. */
  private fillUp(): void {
    for (;;) {
      const sizes = this.sizes();
      const short = sizes.findIndex((size) => size < LEAST_MEMBERS);
      const most = Math.max(...sizes);
      if (short < 0 || most <= LEAST_MEMBERS) return;
      const rich = sizes.indexOf(most) + 1;
      const spare = candidates(this.draft.members()).findLast(
        ({ shard, state }) => shard === rich && state === MemberState.Up,
      );
      if (spare === undefined) return;
      const what = `server ${spare.ordinal} joins shard ${short + 1}`;
      this.draft.setMember({ ...spare, shard: short + 1 }, what);
    }
  }

  private smallest(): number {
    const sizes = this.sizes();
    return sizes.indexOf(Math.min(...sizes)) + 1;
  }

  private sizes(): number[] {
    const sizes = Array.from({ length: this.draft.parameters.shardCount }, () => 0);
    for (const { shard } of candidates(this.draft.members())) {
      if (shard > 0 && shard <= sizes.length) sizes[shard - 1]! += 1;
    }
    return sizes;
  }
}

/** The members of a view by shard, from shard 1 on. */
export function shardMembers(members: Iterable<Member>, shardCount: number): Member[][] {
  const all = Array.from(members);
  return Array.from({ length: shardCount }, (_, at) =>
    candidates(all).filter(({ shard }) => shard === at + 1),
  );
}

function splitOf(
  servers: readonly Member[],
  shardCount: number,
  spread: string,
): ShardTable | string {
  if (servers.length < shardCount * LEAST_MEMBERS) {
    const needed = shardCount * LEAST_MEMBERS;
    return `${shardCount} shards need ${needed} servers, two each; there are ${servers.length}`;
  }
  const ordered = servers.toSorted((a, b): Ordinal => a.ordinal - b.ordinal);
  if (spread !== 'seeded') return evenSplit(ordered, shardCount);
  const split = seededSplit(ordered, shardCount);
  return split ?? `no seed gives ${shardCount} shards two servers each; spread them evenly`;
}

function cannot(code: string, message: string): OperatorRefusal {
  return { ok: false, code, message };
}
