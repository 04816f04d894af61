// A view leader and its servers, as far as it sees them, for tests.
import {
  type LeaderOutbox,
  type LeaderSettings,
  type Registrant,
  type RegisterAnswer,
  ViewLeader,
} from '../../src/core/leader.js';
import {
  type BucketCount,
  Heartbeat,
  Reconfigure,
  type TransferCount,
} from '../../src/core/message.js';
import type { Operator } from '../../src/core/operator.js';
import { learnersOf, type View, type ViewParameters } from '../../src/core/view.js';

const SETTINGS: LeaderSettings = {
  parameters: {
    bucketCount: 32,
    replicaCount: 3,
    minInSync: 2,
    policy: 'ring',
    shardCount: 0,
    shardSpread: 'even',
    leaseMs: 700,
    graceMs: 800,
    rebalanceRateBytes: 0,
    rateSteered: false,
    rebalancePaused: false,
  },
  downAfterMs: 1000,
  replaceAfterMs: 30_000,
  startupGraceMs: 10_000,
  joinWindowMs: 500,
  handoverWindowMs: 200,
};

/** A view leader with servers that send heartbeats while they are in `alive`. */
export class Office implements LeaderOutbox {
  now = 100_000;
  readonly published: View[] = [];
  readonly sent: { to: number; message: Parameters<LeaderOutbox['send']>[1] }[] = [];
  readonly alive = new Map<number, number>();
  /** What each server says of others. */
  readonly unheard = new Map<number, number[]>();
  /** What each server says that it has to send. */
  readonly vectors = new Map<number, TransferCount[]>();
  /** How large its buckets are, as each server says. */
  readonly census = new Map<number, BucketCount[]>();
  /** Servers that have not adopted the newest view. */
  readonly behind = new Set<number>();
  readonly leader: ViewLeader;

  constructor(
    recovered: View | null = null,
    /** Instead of those in `SETTINGS`. */
    more: Partial<ViewParameters> = {},
  ) {
    const parameters = { ...SETTINGS.parameters, ...more };
    this.leader = new ViewLeader({ ...SETTINGS, parameters }, recovered, 'cluster', this.now);
  }

  publish(_delta: unknown, view: View): void {
    this.published.push(view);
  }

  send(to: number, message: Parameters<LeaderOutbox['send']>[1]): void {
    this.sent.push({ to, message });
  }

  get operator(): Operator {
    return this.leader.operator;
  }

  /** Another process takes over what this one published. */
  restart(): Office {
    const again = new Office(this.view);
    again.now = this.now;
    return again;
  }

  get view(): View {
    return this.leader.view;
  }

  register(server: number, more: Partial<Registrant> = {}): RegisterAnswer {
    const request = {
      id: `id ${server}`,
      address: `host:${server}`,
      zone: '',
      weight: 1,
      incarnation: 1,
      clusterId: '',
      epoch: 0,
      ...more,
    };
    const answer = this.leader.register(request, this.now);
    if (answer.ok) this.alive.set(answer.ordinal, request.incarnation);
    this.leader.flush(this.now, this.now, this);
    return answer;
  }

  beat(server: number, incarnation: number, leaving = false, damaged: number[] = []): void {
    const epoch = this.behind.has(server) ? this.view.epoch - 1 : this.view.epoch;
    const unheard = this.unheard.get(server) ?? [];
    const beat = new Heartbeat(
      server,
      incarnation,
      epoch,
      0,
      0,
      0,
      this.vectors.get(server) ?? [],
      leaving,
      unheard,
      damaged,
      [],
      this.census.get(server) ?? [],
    );
    this.leader.step(server, beat, this.now, this);
    this.leader.flush(this.now, this.now, this);
  }

  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 50) {
      this.now += 50;
      for (const [server, incarnation] of this.alive) this.beat(server, incarnation);
      this.leader.tick(this.now);
      this.leader.flush(this.now, this.now, this);
    }
  }

  /** Every primary says that its first learner has caught up. */
  admitAll(): void {
    for (const [bucket, row] of this.view.rows.entries()) {
      const learner = learnersOf(row)[0];
      if (learner === undefined) continue;
      const request = new Reconfigure(bucket, row.epoch, learner, 10, 10, 100);
      this.leader.step(row.replicas[0]!, request, this.now, this);
    }
    this.leader.flush(this.now, this.now, this);
  }

  state(server: number): number | undefined {
    return this.view.members.get(server)?.state;
  }
}

/** A view leader whose first servers have joined. */
export function founded(servers: number): Office {
  const office = new Office();
  for (let server = 1; server <= servers; server += 1) office.register(server);
  office.pass(1000);
  return office;
}
