import { spawnSync } from 'node:child_process';
import process from 'node:process';

const NET = '10.213.77';
/** Where the process that made the islands can be reached, and reaches them from. */
const HERE = 254;

function ip(...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`ip ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}

/**
 * Network namespaces of this test's own, on one bridge, each of which can be cut off and brought
 * back. Nothing of them is seen outside; `remove` leaves nothing behind.
 */
export class Islands {
  private readonly tag = `kvs${process.pid % 100_000}`;
  private readonly made: string[] = [];

  /** Null when they can be made here; otherwise why not. */
  static obstacle(): string | null {
    const probe = `kvs-probe-${process.pid}`;
    try {
      ip('netns', 'add', probe);
      ip('netns', 'del', probe);
      return null;
    } catch (error) {
      return `network namespaces need Linux, root and the command ip: ${(error as Error).message}`;
    }
  }

  /** So many islands, from 1 on. */
  constructor(count: number) {
    const { tag } = this;
    this.add(this.hub);
    ip('-n', this.hub, 'link', 'add', 'bridge', 'type', 'bridge');
    ip('-n', this.hub, 'link', 'set', 'bridge', 'up');
    for (let island = 1; island <= count; island += 1) {
      const space = this.space(island);
      this.add(space);
      ip(
        '-n',
        this.hub,
        'link',
        'add',
        `port${island}`,
        'type',
        'veth',
        'peer',
        'eth',
        'netns',
        space,
      );
      this.join(`port${island}`);
      this.name(['-n', space], 'eth', island);
      ip('-n', space, 'link', 'set', 'lo', 'up');
    }
    ip(
      '-n',
      this.hub,
      'link',
      'add',
      'here',
      'type',
      'veth',
      'peer',
      `${tag}v`,
      'netns',
      `${process.pid}`,
    );
    this.join('here');
    this.name([], `${tag}v`, HERE);
  }

  address(island: number): string {
    return `${NET}.${island}`;
  }

  /** What runs a command on an island. */
  prefix(island: number): readonly string[] {
    return ['ip', 'netns', 'exec', this.space(island)];
  }

  cut(island: number): void {
    ip('-n', this.hub, 'link', 'set', `port${island}`, 'down');
  }

  heal(island: number): void {
    ip('-n', this.hub, 'link', 'set', `port${island}`, 'up');
    // Between sites the next hop stays known during a cut. Here all are neighbours, and the kernel
    // asks for one that did not answer only once a second.
    for (const space of this.made) ip('-n', space, 'neigh', 'flush', 'all');
  }

  /** Bytes that came from the island and went to it. */
  bytes(island: number): number {
    const args = ['-n', this.hub, '-s', '-j', 'link', 'show', `port${island}`];
    const { stdout } = spawnSync('ip', args, { encoding: 'utf8' });
    const [link] = JSON.parse(stdout) as { stats64: Record<'rx' | 'tx', { bytes: number }> }[];
    return (link?.stats64.rx.bytes ?? 0) + (link?.stats64.tx.bytes ?? 0);
  }

  remove(): void {
    for (const space of this.made.splice(0)) spawnSync('ip', ['netns', 'del', space]);
  }

  private get hub(): string {
    return `${this.tag}-hub`;
  }

  private space(island: number): string {
    return `${this.tag}-${island}`;
  }

  private add(space: string): void {
    ip('netns', 'add', space);
    this.made.push(space);
  }

  private join(port: string): void {
    ip('-n', this.hub, 'link', 'set', port, 'master', 'bridge');
    ip('-n', this.hub, 'link', 'set', port, 'up');
  }

  private name(where: readonly string[], device: string, host: number): void {
    ip(...where, 'address', 'add', `${this.address(host)}/24`, 'dev', device);
    ip(...where, 'link', 'set', device, 'up');
  }
}
