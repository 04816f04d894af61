import { checkLists } from '../checkers/lists.js';
import { checkHistory, checkLastWrites } from '../checkers/register.js';
import { checkAtomicity, checkTotal } from '../checkers/transactions.js';
import type { Daemon, LocalCluster } from '../cli/local-cluster.js';
import { BALANCE, Workload } from './workload.js';

const SERVERS = 4;
const CLIENTS = 8;

/** What is done to the cluster while clients work; `say` tells what. */
export type Scenario = (cluster: LocalCluster, say: (line: string) => void) => Promise<void>;

/** Stop a process longer than its lease lasts, and let it go on, again and again. */
export function pauses(times: number): Scenario {
  return async (cluster, say) => {
    for (let time = 1; time <= times; time += 1) {
      const victim = pick(cluster.servers);
      const forMs = 800 + Math.random() * 1700;
      victim.signal('SIGSTOP');
      await pause(forMs);
      victim.signal('SIGCONT');
      say(`${time}: SIGSTOP ${victim.name} for ${forMs.toFixed(0)} ms`);
      await pause(300 + Math.random() * 700);
    }
  };
}

/** kill -9 of a random process, the view leader included, every two seconds. */
export function kills(forMs: number): Scenario {
  return async (cluster, say) => {
    const listen = ['--listen', cluster.leader.listen];
    const endMs = performance.now() + forMs;
    const restarts: Promise<void>[] = [];
    const running = new Set(cluster.daemons);
    while (performance.now() < endMs) {
      const victim = pick([...running]);
      running.delete(victim);
      const backMs = Math.random() * 1500;
      await victim.kill();
      say(`kill -9 ${victim.name}, back in ${backMs.toFixed(0)} ms`);
      const restart = async (): Promise<void> => {
        await pause(backMs);
        victim.spawn(victim === cluster.leader ? listen : []);
        await victim.ready();
        running.add(victim);
      };
      restarts.push(restart());
      await pause(2000);
    }
    await Promise.all(restarts);
  };
}

/**
 * Run a scenario under a workload, let the cluster heal, read everything, and judge all that the
 * clients saw. Throws when a promise is broken.
 */
export async function underFaults(
  cluster: LocalCluster,
  scenario: Scenario,
  say: (line: string) => void,
): Promise<void> {
  await cluster.start(SERVERS);
  await cluster.settled(SERVERS);
  const workload = new Workload(cluster.leaderAddress, CLIENTS);
  try {
    await workload.start();
    await scenario(cluster, say);
    const healing = performance.now();
    await cluster.settled(SERVERS);
    await workload.stop();
    const rest = await workload.readAll();
    const healedMs = performance.now() - healing;
    const { history, accounts, lists } = workload;
    const { violations, undecided } = checkHistory(history, []);
    violations.push(...checkLastWrites(history), ...checkAtomicity(history, rest));
    violations.push(...checkLists(history, Array.from(lists)));
    violations.push(...checkTotal(accounts, rest, accounts.length * BALANCE));
    const count = (outcome: string): number =>
      history.calls.filter((call) => call.outcome === outcome).length;
    say(
      `${history.calls.length} operations: ${count('ok')} done, ${count('refused')} refused, ` +
        `${count('nothing')} not done, ${count('unknown')} unknown; ${undecided.length} keys ` +
        `undecided; healed and read back in ${(healedMs / 1000).toFixed(1)} s; ` +
        `${violations.length} promises broken`,
    );
    for (const { promise, what, keys } of violations) {
      say(`broken ${promise}: ${what}`);
      for (const call of history.of(keys[0] ?? '')) say(`  ${call.describe()}`);
    }
    if (violations.length > 0) throw new Error(`${violations.length} promises were broken`);
  } finally {
    workload.close();
  }
}

function pick(daemons: readonly Daemon[]): Daemon {
  const one = daemons[Math.floor(Math.random() * daemons.length)];
  if (one === undefined) throw new Error('there is nobody to harm');
  return one;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
