import { readFileSync } from 'node:fs';

/** `/proc` counts in these. */
const TICK_MS = 10;
/** Fields after the name, which may hold spaces: user and system time. */
const USER_FIELD = 11;
const SYSTEM_FIELD = 12;

/** CPU time that these processes, without their children, have used so far, in ms. */
export function cpuMs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD]);
  }
  return ticks * TICK_MS;
}
