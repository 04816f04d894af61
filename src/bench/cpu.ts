import { readFileSync } from 'node:fs';

/** `/proc` counts in these. */
const TICK_MS = 10;
/** Fields after the name, which may hold spaces: user and system time. */
const USER_FIELD = 11;
const SYSTEM_FIELD = 12;

/** CPU time that these processes, without their children, have used so far, in ms. */
export function cpuMs(pids: readonly number[]): number {
  return sumOf(pids.map((pid) => `/proc/${pid}/stat`));
}

/** Of their main threads only, which in Node.js run all JavaScript. */
export function mainThreadCpuMs(pids: readonly number[]): number {
  return sumOf(pids.map((pid) => `/proc/${pid}/task/${pid}/stat`));
}

function sumOf(files: readonly string[]): number {
  let ticks = 0;
  for (const file of files) {
    const text = readFileSync(file, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD]);
  }
  return ticks * TICK_MS;
}
