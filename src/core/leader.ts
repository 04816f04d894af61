import { CountedChange } from './counted-change.js';
import { Draft } from './draft.js';
import type { BucketId, Epoch, Ordinal } from './ids.js';
import { type DetectorSettings, Detector } from './membership.js';
import {
  type BucketCount,
  type Heartbeat,
  type LeaderMessage,
  NOBODY,
  type Reconfigure,
  ViewUpdate,
} from './message.js';
import { Namespaces } from './namespaces.js';
import { Operator } from './operator.js';
import { placePools } from './pools.js';
import { type PreviewAnswer, previewOf, type Supposition } from './preview.js';
import { BrokenLinks } from './reachability.js';
import { Shards } from './shards.js';
import { type LeaderStatus, statusOf } from './status.js';
import {
  candidates,
  learnersOf,
  type Member,
  MemberState,
  NO_CHANGE,
  type View,
  type ViewDelta,
  type ViewParameters,
} from './view.js';
import {
  isReplaceable,
  learns,
  tidied,
  withAdmitted,
  withoutDown,
  withTarget,
} from './view-change.js';

export type { LeaderStatus } from './status.js';

export interface LeaderSettings extends DetectorSettings {
  /** Of a new cluster; of a known one, what may change is taken from here. */
  readonly parameters: ViewParameters;
  /** Joins within this time are one change, ms (V6). */
  readonly joinWindowMs: number;
  /** Hand-overs of buckets within this time are one epoch, ms (V6). */
  readonly handoverWindowMs: number;
}

/** What a server says of itself when it registers. */
export interface Registrant {
  readonly id: string;
  readonly address: string;
  readonly zone: string;
  readonly weight: number;
  readonly incarnation: number;
  /** '' for a server that never belonged to a cluster. */
  readonly clusterId: string;
  readonly epoch: Epoch;
}

export type RegisterAnswer =
  | {
      readonly ok: true;
      readonly ordinal: Ordinal;
      readonly clusterId: string;
      readonly view: View;
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

export interface LeaderRefusal {
  readonly type: 'refusal';
  readonly code: string;
  readonly message: string;
}

/** Effects of the view leader's machine. */
export interface LeaderOutbox {
  /** Make the view durable, then tell everybody; nobody hears of it before (V1). */
  publish(delta: ViewDelta, view: View): void;
  /** After everything published so far is durable. */
  send(to: Ordinal, message: ViewUpdate | LeaderRefusal): void;
}

/** Code of the refusal after which a server ends. */
export const GIVEN_UP = 'SERVER_IS_GIVEN_UP';

/** Rows whose primary is swapped in one epoch. */
const SWAPS = 64;

/**
 * The view leader as a synchronous state machine. It keeps two tables: who holds a bucket, and who
 * should. Their difference is the view change; there is no other plan to lose. All changes between
 * two calls of `flush` make one epoch.
 */
export class ViewLeader {
  private readonly draft: Draft;
  private readonly detector: Detector;
  private readonly reports = new Map<Ordinal, Heartbeat>();
  /** How large the buckets are, as their primaries said last. */
  private readonly census = new Map<BucketId, BucketCount>();
  private readonly leaving = new Set<Ordinal>();
  /** What made the present view of the one before. */
  private lastDelta: ViewDelta | null = null;
  /** The present view, and what was last changed, as they are told. */
  private whole: ViewUpdate | null = null;
  private newest: ViewUpdate | null = null;
  private readonly change: CountedChange;
  /** The draft's revision at which everything was in its place. */
  private settledAt = -1;
  /** Whom each server does not hear, as of its last heartbeat, and since when it says so. */
  private readonly unheard = new Map<Ordinal, ReadonlyMap<Ordinal, number>>();
  private brake = '';
  private planMs = Infinity;
  readonly operator: Operator;
  readonly shards: Shards;
  readonly namespaces: Namespaces;
  /** Why nothing can be placed; '' when it can. */
  private lacks = '';
  private wallOffsetMs = 0;

  constructor(
    private readonly settings: LeaderSettings,
    recovered: View | null,
    newClusterId: string,
    now: number,
  ) {
    this.detector = new Detector(settings);
    const view = recovered ?? {
      clusterId: newClusterId,
      epoch: 0,
      parameters: settings.parameters,
      members: new Map(),
      rows: [],
      reason: 'created',
      change: NO_CHANGE,
      namespaces: new Map(),
      atMs: 0,
    };
    this.draft = new Draft(view);
    this.change = new CountedChange(this.draft);
    this.namespaces = new Namespaces(this.draft, () => {
      if (this.draft.isFounded) this.foundPools();
    });
    this.shards = new Shards(this.draft, () => this.plan());
    this.operator = new Operator(this.draft, {
      plan: () => this.plan(),
      settleRows: () => this.settleRows(),
      change: this.change,
      forgetPlan: () => {
        this.planMs = Infinity;
      },
    });
    for (const { ordinal, state } of view.members.values()) {
      this.detector.expect(ordinal, state === MemberState.Down, now);
    }
    if (recovered === null) return;
    this.takeParameters(settings.parameters);
    // A plan that was due when the former process ended; not one that was taken back.
    if (!view.change.cancelled) this.planMs = now + settings.joinWindowMs;
  }

  /** The newest view, durable or about to be. */
  get view(): View {
    return this.draft.view;
  }

  /** A server joins or comes back. */
  register(request: Registrant, now: number): RegisterAnswer {
    const refusal = this.objection(request);
    if (refusal !== null) return refusal;
    const known = this.draft.memberById(request.id);
    const ordinal = known?.ordinal ?? this.draft.nextOrdinal();
    const { id, address, zone, weight, incarnation } = request;
    const { drained = false, shard = 0, givenUp = 0 } = known ?? {};
    const { Up } = MemberState;
    const self = { ordinal, id, address, zone, weight, incarnation };
    const member = { ...self, state: Up, drained, shard, givenUp };
    this.leaving.delete(ordinal);
    this.detector.heard(ordinal, now);
    if (known === undefined) {
      this.draft.setMember(member, `server ${ordinal} joined`);
      this.planSoon(now);
    } else if (!same(known, member)) {
      if (known.state === MemberState.Up)
        this.draft.setMember(member, `server ${ordinal} restarted`);
      else this.welcomeBack({ ...member, state: known.state }, now);
      if (known.weight !== weight || known.zone !== zone) this.planSoon(now);
    }
    const { clusterId } = this.draft.view;
    return { ok: true, ordinal, clusterId, view: this.draft.view };
  }

  step(from: Ordinal, message: LeaderMessage, now: number, outbox: LeaderOutbox): void {
    if (message.type === 'heartbeat') this.onHeartbeat(from, message, now, outbox);
    else this.onReconfigure(from, message, now);
  }

  /** What a membership that somebody thinks of would move. */
  preview(supposed: Supposition): PreviewAnswer {
    return previewOf(this.draft.view, this.census, supposed);
  }

  /** What another number of shards would move. */
  previewReshard(shardCount: number): PreviewAnswer {
    const split = this.shards.splitInto(shardCount);
    if (typeof split === 'string') return { ok: false, code: 'TOO_FEW_SERVERS', message: split };
    const { view } = this.draft;
    const members = new Map(
      Array.from(view.members, ([ordinal, member]) => {
        return [ordinal, { ...member, shard: split.get(ordinal) ?? 0 }];
      }),
    );
    const parameters = { ...view.parameters, shardCount };
    const supposed = { ...view, members, parameters };
    return previewOf(supposed, this.census, { added: 0, without: [], only: null });
  }

  /** Call every 20–100 ms. */
  tick(now: number): void {
    this.detect(now);
    if (now >= this.planMs && this.brake === '') this.plan();
    this.settle();
  }

  /** Bring the view change on, and finish hand-overs. */
  private settle(): void {
    const { revision } = this.draft;
    if (revision === this.settledAt) return;
    const isTidy = this.tidy();
    if (this.change.missing() > 0) {
      this.change.repair();
      if (this.brake === '') this.change.start(this.reports);
    } else {
      this.change.finish();
      if (isTidy && !this.change.runs) this.settledAt = this.draft.revision;
    }
  }

  /** End of a batch: what changed becomes one new epoch, when it is due. */
  flush(now: number, wallMs: number, outbox: LeaderOutbox): void {
    this.wallOffsetMs = wallMs - now;
    const delta = this.draft.publish(now, wallMs);
    if (delta === null) return;
    this.lastDelta = delta;
    outbox.publish(delta, this.draft.view);
  }

  /** What brings a server with that epoch to the present view. */
  updateFor(epoch: Epoch): ViewUpdate {
    const last = this.lastDelta;
    if (last?.fromEpoch !== epoch) return this.wholeView();
    if (this.newest?.delta !== last) this.newest = new ViewUpdate(null, last);
    return this.newest;
  }

  status(now: number): LeaderStatus {
    return statusOf(this.draft.view, {
      now,
      brake: this.brake,
      lacks: this.lacks,
      waiting: this.planMs !== Infinity,
      reports: this.reports,
      wallMs: now + this.wallOffsetMs,
      change: this.change,
      silentMs: (ordinal) => this.detector.silentMs(ordinal, now),
    });
  }

  /** The same object for all who are behind: it is encoded once. */
  private wholeView(): ViewUpdate {
    const { view } = this.draft;
    if (this.whole?.view !== view) this.whole = new ViewUpdate(view, null);
    return this.whole;
  }

  private onHeartbeat(from: Ordinal, beat: Heartbeat, now: number, outbox: LeaderOutbox): void {
    const member = this.draft.member(from);
    const isKnown = member?.incarnation === beat.incarnation && member.givenUp === 0;
    if (member === undefined || !isKnown) {
      const message = 'this view leader does not know this start of the server';
      outbox.send(from, { type: 'refusal', code: 'REGISTER_AGAIN', message });
      return;
    }
    const before = this.reports.get(from);
    this.reports.set(from, beat);
    for (const count of beat.census) this.census.set(count.bucket, count);
    this.takeUnheard(from, beat.unheard, now);
    this.takeDamaged(from, beat);
    if (beat.leaving) this.leaving.add(from);
    else {
      this.detector.heard(from, now);
      if (member.state !== MemberState.Up) this.welcomeBack(member, now);
    }
    // Every update was sent as it was made. One that says twice that it is behind has missed it.
    const isBehind = beat.epoch < this.draft.view.epoch && beat.epoch === before?.epoch;
    if (isBehind) outbox.send(from, this.updateFor(beat.epoch));
  }

  private onReconfigure(from: Ordinal, request: Reconfigure, now: number): void {
    const { bucket, bucketEpoch, admit } = request;
    const row = this.draft.row(bucket);
    const stale =
      row === undefined ||
      row.epoch !== bucketEpoch ||
      this.draft.changesSet(bucket) ||
      row.replicas[0] !== from ||
      request.recordsSent !== request.recordsTaken ||
      (admit !== NOBODY && (!learns(row, admit) || !this.draft.isUp(admit)));
    // The view that made it stale is on its way to the sender.
    if (stale) return;
    const dueMs = now + this.settings.handoverWindowMs;
    if (admit === NOBODY) {
      this.draft.setRow(bucket, row, { ...row, sets: true }, 'proposals voided', dueMs);
      return;
    }
    const { minInSync } = this.draft.parameters;
    const change = withAdmitted(row, admit, minInSync, (ordinal) => this.draft.isUp(ordinal));
    this.draft.setRow(bucket, row, change, `moved buckets to server ${admit}`, dueMs);
    this.change.moved(from, request, dueMs);
  }

  /** Why a registration is refused; null when it is not. */
  private objection(request: Registrant): RegisterAnswer | null {
    const { clusterId, epoch } = this.draft.view;
    if (request.clusterId !== '' && request.clusterId !== clusterId) {
      return refuse(
        'FOREIGN_CLUSTER',
        `this server belongs to cluster ${request.clusterId}, the view leader to ${clusterId}; ` +
          'its data is kept; name the view leader of its own cluster, or another data directory',
      );
    }
    if (request.epoch > epoch) {
      return refuse(
        'LEADER_IS_BEHIND',
        `this server knows epoch ${request.epoch}, the view leader only ${epoch}: its data ` +
          'directory is an old copy; start it with the newest one',
      );
    }
    const known = this.draft.memberById(request.id);
    if (known !== undefined && known.givenUp > 0) {
      return refuse(
        GIVEN_UP,
        `server ${request.id} was given up with all that only it has; its data is kept; to join ` +
          'again, as a new server, it takes another data directory',
      );
    }
    if (known !== undefined && known.incarnation > request.incarnation) {
      return refuse(
        'STALE_INCARNATION',
        `server ${request.id} already started ${known.incarnation} times, this is start ` +
          `${request.incarnation}: its data directory is an old copy; empty it to join anew`,
      );
    }
    return null;
  }

  private detect(now: number): void {
    const inState = (state: MemberState): Ordinal[] =>
      this.draft.members().flatMap((member) => (member.state === state ? [member.ordinal] : []));
    const up = inState(MemberState.Up);
    const { down, replaced, brake } = this.detector.look(
      up,
      inState(MemberState.Down),
      this.leaving,
      now,
    );
    this.brake = brake;
    for (const ordinal of down) {
      this.leaving.delete(ordinal);
      this.detector.markDown(ordinal, now);
      this.setState(ordinal, MemberState.Down, `server ${ordinal} is down`);
    }
    if (down.length > 0) this.settleRows();
    if (brake === '') this.settleLinks(now);
    this.replace(replaced, now);
  }

  private replace(servers: readonly Ordinal[], now: number): void {
    if (servers.length === 0) return;
    const { draft } = this;
    const others = candidates(draft.members()).filter(({ ordinal }) => draft.isUp(ordinal));
    const up = new Set(others.map(({ ordinal }) => ordinal));
    const rows = draft.rows().map(([, row]) => row);
    for (const server of servers) {
      if (!isReplaceable(rows, server, up)) continue;
      this.setState(server, MemberState.Replaced, `server ${server} is replaced`);
      this.planMs = now;
    }
  }

  /** A replica with damaged records leaves the set, unless it is the last; it learns again (D7). */
  private takeDamaged(from: Ordinal, { damaged, epoch }: Heartbeat): void {
    for (const bucket of damaged) {
      const row = this.draft.row(bucket);
      // It did not know this row yet when it said so.
      if (row === undefined || epoch < row.epoch || !row.replicas.includes(from)) continue;
      const isSound = (other: Ordinal): boolean => other !== from && this.draft.isUp(other);
      const change = withoutDown(row, isSound);
      if (change === null) continue;
      this.draft.setRow(bucket, row, change, `server ${from} has damaged records`);
    }
  }

  private takeUnheard(from: Ordinal, others: readonly Ordinal[], now: number): void {
    const before = this.unheard.get(from);
    const since = others.map((other) => [other, before?.get(other) ?? now] as const);
    this.unheard.set(from, new Map(since));
  }

  /**
   * Replicas that do not hear each other cannot serve together: take one of them out. A server that
   * died is not heard either: a link counts as cut only when this process has heard both ends long
   * after the silence began.
   */
  private settleLinks(now: number): void {
    const { downAfterMs } = this.settings;
    const broken = new BrokenLinks();
    for (const [server, others] of this.unheard) {
      for (const [other, sinceMs] of others) {
        const aliveUntil = now - Math.max(...[server, other].map((one) => this.silentMs(one, now)));
        if (!this.draft.isUp(server) || !this.draft.isUp(other)) continue;
        if (aliveUntil - sinceMs >= downAfterMs / 2) broken.add(server, other);
      }
    }
    if (!broken.any) return;
    for (const [bucket, row] of this.draft.rows()) {
      const change = broken.without(row);
      if (change !== null)
        this.draft.setRow(bucket, row, change, 'servers that do not hear each other');
    }
  }

  /** A server that was down or replaced is heard again: it catches up where it is wanted. */
  private welcomeBack(member: Member, now: number): void {
    const up = { ...member, state: MemberState.Up };
    this.draft.setMember(up, `server ${member.ordinal} is back`);
    this.settleRows();
    if (member.state === MemberState.Replaced) this.planSoon(now);
  }

  /** Bring every row in line with who is up. */
  private settleRows(): void {
    const isUp = (ordinal: Ordinal): boolean => this.draft.isUp(ordinal);
    for (const [bucket, row] of this.draft.rows()) {
      const change = withoutDown(row, isUp);
      if (change !== null) this.draft.setRow(bucket, row, change, '');
      // Whatever was proposed for a learner that is down is void.
      else if (learnersOf(row).some((learner) => !isUp(learner))) {
        this.draft.setRow(bucket, row, { ...row, sets: true }, '');
      }
    }
    if (this.change.missing() > 0) this.change.repair();
  }

  /** Ask the policy for a target and take it over. */
  private plan(): void {
    this.planMs = Infinity;
    const parameters = this.draft.parameters;
    this.lacks = parameters.policy === 'shards' ? this.shards.settle() : '';
    const servers = candidates(this.draft.members());
    if (servers.length === 0 || this.lacks !== '') return;
    const founding = !this.draft.isFounded;
    const table = this.place(servers);
    for (const [bucket, target] of table.entries()) {
      const row = this.draft.row(bucket);
      if (row === undefined) {
        this.found(bucket, target);
        continue;
      }
      const change = withTarget(row, target);
      if (change !== null) this.draft.setRow(bucket, row, change, '');
    }
    if (this.draft.changesRows) {
      const founders = `founded with ${servers.length} server${servers.length > 1 ? 's' : ''}`;
      this.draft.because(founding ? founders : 'placement planned');
    }
    if (!founding) this.change.plan();
  }

  private place(servers: readonly Member[]): Ordinal[][] {
    const previous = this.draft.isFounded ? this.draft.rows().map(([, { target }]) => target) : [];
    return placePools(servers, this.draft, previous);
  }

  /** A pool is new: its buckets are empty, and on the servers that are there. */
  private foundPools(): void {
    const servers = candidates(this.draft.members());
    // The next plan does it.
    if (servers.length === 0) return;
    for (const [bucket, target] of this.place(servers).entries()) {
      if (this.draft.row(bucket) === undefined) this.found(bucket, target);
    }
    if (this.change.missing() > 0) this.change.repair();
  }

  private found(bucket: BucketId, target: readonly Ordinal[]): void {
    const { draft } = this;
    const up = target.filter((ordinal) => draft.isUp(ordinal));
    const someone = draft.members().find(({ state }) => state === MemberState.Up);
    const present = someone === undefined ? target : [someone.ordinal];
    const replicas = up.length > 0 ? up : present;
    const floor = Math.min(draft.parameters.minInSync, target.length);
    const fresh = { epoch: 0, founded: 0, before: [] };
    draft.setRow(bucket, fresh, { replicas, target, floor, sets: true }, '');
  }

  /**
   * Finish hand-overs: primaries as wanted, nobody kept who is not wanted. True when there was
   * nothing to do.
   */
  private tidy(): boolean {
    let swaps = 0;
    for (const [bucket, row] of this.draft.rows()) {
      if (swaps >= SWAPS) return false;
      const change = tidied(row, (ordinal) => this.draft.isUp(ordinal));
      if (change === null) continue;
      this.draft.setRow(bucket, row, change, 'primaries balanced');
      swaps += 1;
    }
    return swaps === 0;
  }

  private takeParameters(wanted: ViewParameters): void {
    const { parameters } = this.draft.view;
    const { replicaCount, minInSync } = wanted;
    const steered = parameters.rateSteered;
    const { rebalanceRateBytes } = steered ? parameters : wanted;
    if (
      parameters.replicaCount === replicaCount &&
      parameters.minInSync === minInSync &&
      parameters.rebalanceRateBytes === rebalanceRateBytes
    ) {
      return;
    }
    const changed = { ...parameters, replicaCount, minInSync, rebalanceRateBytes };
    this.draft.setParameters(changed, 'settings changed');
  }

  private planSoon(now: number): void {
    this.planMs = now + this.settings.joinWindowMs;
  }

  private setState(ordinal: Ordinal, state: MemberState, reason: string): void {
    const member = this.draft.member(ordinal);
    if (member !== undefined) this.draft.setMember({ ...member, state }, reason);
  }

  private silentMs(ordinal: Ordinal, now: number): number {
    return this.detector.silentMs(ordinal, now);
  }
}

function refuse(code: string, message: string): RegisterAnswer {
  return { ok: false, code, message };
}

function same(a: Member, b: Member): boolean {
  return (
    a.address === b.address &&
    a.zone === b.zone &&
    a.weight === b.weight &&
    a.state === b.state &&
    a.incarnation === b.incarnation
  );
}
