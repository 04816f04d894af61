/** What V8's sampling profiler writes (`--cpu-prof`, `Profiler.stop`); times in microseconds. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
    readonly children?: readonly number[];
  }[];
  /** On the clock that `process.hrtime` has. */
  readonly startTime: number;
  /** The node that ran, and how long after the sample before it. */
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Where time goes, in the order of the page. */
export const PARTS = [
  'protocol',
  'server and streams',
  'client library',
  'load generator',
  'codec',
  'log and engine',
  'durable write',
  'grpc-js',
  'HTTP/2 and sockets',
  'event loop, timers, promises',
  'garbage collection',
  'outside of JavaScript',
] as const;
export type Part = (typeof PARTS)[number];

/** The first one that is found in the address of a script decides. */
const SCRIPTS: readonly (readonly [string, Part])[] = [
  ['/node_modules/@grpc/', 'grpc-js'],
  ['/node_modules/@bufbuild/', 'codec'],
  ['/node_modules/classic-level/', 'log and engine'],
  ['/node_modules/abstract-level/', 'log and engine'],
  ['/dist/core/', 'protocol'],
  ['/dist/wire/', 'codec'],
  ['/dist/storage/', 'log and engine'],
  ['/dist/client/', 'client library'],
  ['/dist/server/', 'server and streams'],
  ['/dist/transport/', 'server and streams'],
  ['/dist/cli/workload/', 'load generator'],
  ['/dist/bench/', 'load generator'],
  ['node:internal/http2/', 'HTTP/2 and sockets'],
  ['node:internal/stream', 'HTTP/2 and sockets'],
  ['node:net', 'HTTP/2 and sockets'],
];
const PSEUDO: Readonly<Record<string, Part | null>> = {
  '(garbage collector)': 'garbage collection',
  '(program)': 'outside of JavaScript',
  '(idle)': null,
  '(root)': null,
};
/** Calls of Node.js that return when the disk has done its work. */
const DURABLE = new Set(['writevSync', 'writeSync', 'fdatasyncSync', 'fsyncSync']);
const REST: Part = 'event loop, timers, promises';

/**
 * Splits the time that a thread was busy from `fromUs` to `toUs`: each sample counts for the part
 * whose function was running. What is part of the machine, such as the copy of bytes, counts for
 * the caller. Idle time is left out.
 */
export function splitProfile(
  { nodes, samples, timeDeltas, startTime }: CpuProfile,
  fromUs: number,
  toUs: number,
): Map<Part, number> {
  const partOf = partsOf(nodes);
  const split = new Map<Part, number>();
  let at = startTime;
  for (const [index, node] of samples.entries()) {
    const tookUs = timeDeltas[index] ?? 0;
    at += tookUs;
    if (at <= fromUs || at > toUs) continue;
    const part = partOf.get(node) ?? null;
    if (part !== null) split.set(part, (split.get(part) ?? 0) + tookUs);
  }
  return split;
}

function partsOf(nodes: CpuProfile['nodes']): Map<number, Part | null> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parts = new Map<number, Part | null>();
  const visit = (id: number, caller: Part): void => {
    const node = byId.get(id)!;
    const pseudo = PSEUDO[node.callFrame.functionName];
    const part = pseudo === undefined ? partOfFrame(node.callFrame, caller) : pseudo;
    parts.set(id, part);
    for (const child of node.children ?? []) visit(child, part ?? REST);
  };
  if (nodes[0] !== undefined) visit(nodes[0].id, REST);
  return parts;
}

function partOfFrame({ functionName, url }: { functionName: string; url: string }, caller: Part) {
  if (caller === 'durable write') return caller;
  if (url === 'node:fs' && DURABLE.has(functionName)) return 'durable write';
  return SCRIPTS.find(([piece]) => url.includes(piece))?.[1] ?? caller;
}
