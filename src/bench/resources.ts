import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const ROOT = '/sys/fs/cgroup';

/** Where the two versions of control groups keep what we need. */
interface Layout {
  readonly parent: string;
  readonly limit: string;
  /** Memory and swap together, or swap alone; not on every kernel. */
  readonly swap: { readonly file: string; readonly value: (bytes: number) => string };
  readonly peak: string;
}

/**
 * A control group with a hard limit of memory, for one process. The cache of the file system counts
 * in it; the kernel takes it away when the limit is near.
 */
export class MemoryCell {
  private constructor(
    private readonly path: string,
    private readonly layout: Layout,
    readonly limitBytes: number,
  ) {}

  /** Null where this process may not make one. */
  static make(limitBytes: number): MemoryCell | null {
    const layout = layoutHere();
    if (layout === null) return null;
    const path = join(layout.parent, `kvs-bench-${process.pid}`);
    try {
      mkdirSync(path);
    } catch {
      return null;
    }
    const cell = new MemoryCell(path, layout, limitBytes);
    try {
      writeFileSync(join(path, layout.limit), String(limitBytes));
      const { file, value } = layout.swap;
      if (existsSync(join(path, file))) writeFileSync(join(path, file), value(limitBytes));
      return cell;
    } catch {
      cell.remove();
      return null;
    }
  }

  /** The command that runs what follows it inside. */
  get prefix(): readonly string[] {
    return ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(this.path, 'cgroup.procs')];
  }

  /** Most that was ever in use, cache included; 0 when the kernel does not tell. */
  get peakBytes(): number {
    const file = join(this.path, this.layout.peak);
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  }

  /** Call when its processes have ended. */
  remove(): void {
    try {
      rmdirSync(this.path);
    } catch {
      // The kernel still counts a process that has just ended; an empty group costs nothing.
    }
  }
}

function layoutHere(): Layout | null {
  const file = '/proc/self/cgroup';
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  for (const line of lines) {
    const [, controllers = '', own = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers.split(',').includes('memory')) {
      return {
        parent: join(ROOT, 'memory', own),
        limit: 'memory.limit_in_bytes',
        swap: { file: 'memory.memsw.limit_in_bytes', value: String },
        peak: 'memory.max_usage_in_bytes',
      };
    }
    const parent = join(ROOT, own);
    const offered = join(parent, 'cgroup.subtree_control');
    if (controllers !== '' || !existsSync(offered)) continue;
    if (!readFileSync(offered, 'utf8').includes('memory')) continue;
    const swap = { file: 'memory.swap.max', value: () => '0' };
    return { parent, limit: 'memory.max', swap, peak: 'memory.peak' };
  }
  return null;
}

/** What a process has in memory, bytes. */
export interface Resident {
  /** Of its own: heap, buffers, caches. */
  readonly own: number;
  /** Pages of files that it has mapped; the kernel drops them when it needs room. */
  readonly mapped: number;
}

/** Null when the process is gone, or the system does not tell. */
export function residentOf(pid: number): Resident | null {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return null;
  }
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return { own: field('RssAnon'), mapped: field('RssFile') };
}

/** Looks at a process again and again and keeps the most that it had. */
export class ResidentWatch {
  own = 0;
  mapped = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(pid: () => number) {
    this.timer = setInterval(() => {
      const seen = residentOf(pid());
      this.own = Math.max(this.own, seen?.own ?? 0);
      this.mapped = Math.max(this.mapped, seen?.mapped ?? 0);
    }, 100);
  }

  reset(): void {
    this.own = 0;
    this.mapped = 0;
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

/** Blocks that the files below a directory occupy, in bytes. */
export function diskBytes(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const stat = lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    bytes += (stat?.blocks ?? 0) * 512;
  }
  return bytes;
}

/** `12.3 MiB`. */
export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 100 * 2 ** 20 ? 1 : 0)} MiB`;
}
