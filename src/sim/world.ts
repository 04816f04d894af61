import type { CausalChange } from '../core/causal-bucket.js';
import type { BucketId, Ordinal } from '../core/ids.js';
import type { LeaderSettings, RegisterAnswer } from '../core/leader.js';
import type { Operation, Result } from '../core/operation.js';
import { ViewUpdate } from '../core/message.js';
import type { Alarm } from '../core/outbox.js';
import type { View } from '../core/view.js';
import { Watch } from './watch.js';
import { Clock, ProcessClock } from './clock.js';
import { type Codec, codecOf } from './codec.js';
import { Disk } from './disk.js';
import { LeaderProcess, ViewDisk } from './leader-process.js';
import { LEADER_NODE, Network, type Node } from './network.js';
import type { Prng } from '../checkers/prng.js';
import type { Sabotage } from './sabotage/sabotage.js';
import { ServerProcess } from './server-process.js';
import { leaderSettingsOf, type Settings } from './settings.js';
import { Trace } from './trace.js';

const REGISTER_AGAIN_MS = 150;
const GIVE_UP_AGAIN_MS = 200;
const LOOK_MS = 5;

/** A machine with a data directory, and the server process that runs there, if any. */
export class Host {
  process: ServerProcess | null = null;
  /** What the server says of itself when it registers. */
  weight = 1;
  broken = false;
  /** Counts starts and crashes, so that a start under way can be called off. */
  private life = 0;
  private registeredWith: LeaderProcess | null = null;

  constructor(
    private readonly world: World,
    readonly node: Node,
    public disk: Disk,
    private readonly random: Prng,
  ) {}

  get up(): boolean {
    return this.life % 2 === 1;
  }

  start(): void {
    if (this.up || this.broken) return;
    this.life += 1;
    this.disk.incarnation += 1;
    if (this.disk.ordinal > 0) this.run();
    this.registeredWith = null;
    this.keepRegistered(this.life);
  }

  crash(): void {
    if (!this.up) return;
    this.life += 1;
    if (this.process !== null) this.process.crash();
    else this.disk.crash(0);
    this.process = null;
  }

  /** Dead, and not to be started before it has a disk again. */
  breakDown(): void {
    this.crash();
    this.broken = true;
  }

  mend(disk: Disk): void {
    disk.retains = this.disk.retains;
    this.disk = disk;
    this.broken = false;
    this.start();
  }

  /** The view leader does not count this start of the server any more. */
  forgotten(): void {
    this.registeredWith = null;
  }

  private run(): void {
    const { world, random } = this;
    this.process = new ServerProcess(world, this.node, this.disk, world.newClock(random), random);
  }

  /**
   * Register with every view leader process, until it answers. A server that was here before
   * serves meanwhile (V3).
   */
  private keepRegistered(life: number): void {
    if (this.life !== life) return;
    if (this.registeredWith !== this.world.leader) this.register(life);
    const delayMs = REGISTER_AGAIN_MS * this.random.between(0.5, 1.5);
    this.world.clock.after(delayMs, () => this.keepRegistered(life));
  }

  private register(life: number): void {
    const { world, disk, node } = this;
    const { clusterId = '', epoch = 0 } = this.process?.machine.view ?? {};
    const request = {
      id: disk.id,
      address: `host${node}:7000`,
      zone: '',
      weight: this.weight,
      incarnation: disk.incarnation,
      clusterId,
      epoch,
    };
    world.network.send(node, LEADER_NODE, 'register', () => {
      const { leader } = world;
      leader.register(request, (answer) => {
        world.network.send(LEADER_NODE, node, 'registered', () => {
          if (this.life !== life) return;
          if (answer.ok) this.registeredWith = leader;
          this.onRegistered(answer);
        });
      });
    });
  }

  private onRegistered(answer: RegisterAnswer): void {
    if (!answer.ok) {
      this.world.refusedRegistrations += 1;
      return;
    }
    this.disk.ordinal = answer.ordinal;
    this.world.nodes.set(answer.ordinal, this.node);
    if (this.process === null) this.run();
    this.process?.receive(0, new ViewUpdate(answer.view, null));
  }
}

/** A whole cluster: its machines, network, disks and clocks, on one virtual time. */
export class World {
  readonly clock = new Clock();
  readonly trace = new Trace();
  readonly network: Network;
  readonly codec: Codec;
  readonly watch = new Watch();
  readonly hosts: Host[] = [];
  readonly nodes = new Map<Ordinal, Node>();
  readonly clusterId = 'simulated';
  readonly leaderSettings: LeaderSettings;
  leader: LeaderProcess;
  refusedRegistrations = 0;
  shortChunks: number;
  /** Servers whose disks are lost, with all that only they had. */
  readonly lost = new Set<Ordinal>();
  /** For checkers: a server has logged a change of a causal bucket. */
  onCausal: (server: Ordinal, change: CausalChange) => void = () => undefined;
  /** Buckets of which a record rotted. */
  readonly damaged = new Set<BucketId>();
  private readonly viewDisk = new ViewDisk();
  private readonly leaderRandom: Prng;
  /** The fault phase has ended: clocks stay as they are. */
  private readonly clockRandom: Prng;

  constructor(
    readonly settings: Settings,
    random: Prng,
    readonly sabotage: Sabotage,
  ) {
    this.leaderSettings = leaderSettingsOf(settings);
    this.shortChunks = settings.shortChunks;
    this.clockRandom = random.fork('clocks');
    this.leaderRandom = random.fork('leader');
    const { orderedLinks } = settings;
    this.codec = codecOf(settings);
    this.network = new Network(this.clock, random.fork('network'), this.trace, orderedLinks);
    this.network.weather = settings.weather;
    this.leader = this.newLeader();
    for (let node = 1; node <= settings.servers + settings.joinsLater; node++) {
      const own = random.fork(`server ${node}`);
      this.hosts.push(new Host(this, node, this.newDisk(node, own), own));
    }
    this.lookAgain();
  }

  newClock(random: Prng): ProcessClock {
    const { drift } = this.settings;
    const wallOffsetMs = 1_700_000_000_000 + random.between(-3_600_000, 3_600_000);
    return new ProcessClock(this.clock, random.between(1, drift), wallOffsetMs);
  }

  /**
   * The disk of a server that is dead breaks, once the cluster has gone on without it: what others
   * must still have from it then, beyond causal writes, would take two failures to lose. Its
   * operator gives it up, and starts another server in its place.
   */
  loseDisk(host: Host, random: Prng, untilMs: number): void {
    const { id, ordinal } = host.disk;
    const isNeeded = ordinal === 0 || this.leader.dependsOn(ordinal);
    if (!isNeeded) {
      this.lost.add(ordinal);
      this.giveUp(id, ordinal);
      host.mend(this.newDisk(host.node, random.fork('new disk')));
    } else if (this.clock.now >= untilMs) host.mend(host.disk);
    else this.clock.after(GIVE_UP_AGAIN_MS, () => this.loseDisk(host, random, untilMs));
  }

  restartLeader(): void {
    this.leader = this.newLeader();
  }

  host(ordinal: Ordinal): Host | undefined {
    const node = this.nodes.get(ordinal);
    return node === undefined ? undefined : this.hosts[node - 1];
  }

  /** Carry a message to whatever process serves under `to` when it arrives. */
  toServer(from: Node, to: Ordinal, kind: string, deliver: (process: ServerProcess) => void): void {
    const host = this.host(to);
    if (host === undefined) return;
    this.network.send(from, host.node, kind, () => {
      // Another server may be in its place by now.
      if (host.process?.machine.self === to) deliver(host.process);
    });
  }

  /** The view leader refused a heartbeat. */
  tellToRegister(server: Ordinal): void {
    const host = this.host(server);
    if (host === undefined) return;
    this.network.send(LEADER_NODE, host.node, 'refusal', () => host.forgotten());
  }

  /** Hand an operation to a server, which answers over the network; either may be lost. */
  operate(from: Node, to: Ordinal, operation: Operation, onAnswer: (result: Result) => void): void {
    const host = this.host(to);
    if (host === undefined) return;
    const { network, codec } = this;
    const arriving = codec.operation(operation);
    network.sendOnce(from, host.node, 'operation', () => {
      host.process?.submit(arriving, (result) => {
        const answer = codec.result(result);
        network.sendOnce(host.node, from, 'answer', () => onAnswer(answer));
      });
    });
  }

  /** Nothing here makes replicas differ: such an alarm is false. */
  onAlarm({ kind, bucket, sequence, detail }: Alarm): void {
    if (kind !== 'differs') return;
    const what = `a false alarm: bucket ${bucket} at entry ${sequence}: ${detail}`;
    this.watch.violations.push({ promise: 'D7', what, keys: [] });
  }

  get running(): ServerProcess[] {
    return this.hosts.flatMap(({ process }) => (process === null ? [] : [process]));
  }

  get view(): View {
    return this.leader.durable;
  }

  /** Again and again, until the view says so. */
  private giveUp(id: string, ordinal: Ordinal): void {
    if ((this.view.members.get(ordinal)?.givenUp ?? 0) > 0) return;
    if (!this.leader.dependsOn(ordinal)) this.leader.remove(id, true);
    this.clock.after(GIVE_UP_AGAIN_MS, () => this.giveUp(id, ordinal));
  }

  private newDisk(node: Node, random: Prng): Disk {
    const life = String(this.lost.size).padStart(3, '0');
    const id = `00000000-0000-4000-8${life}-${String(node).padStart(12, '0')}`;
    return new Disk(this.clock, random.fork('disk'), this.settings.disk, id);
  }

  private newLeader(): LeaderProcess {
    const { leaderRandom } = this;
    return new LeaderProcess(this, this.viewDisk, this.newClock(this.clockRandom), leaderRandom);
  }

  private lookAgain(): void {
    this.clock.after(LOOK_MS, () => {
      const running = this.running.map(({ machine, nowMs }) => ({ machine, nowMs }));
      this.watch.look(running, this.clock.now);
      this.lookAgain();
    });
  }
}
