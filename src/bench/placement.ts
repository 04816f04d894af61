import { comparePolicies, type Movement, type PolicyRow } from '../core/compare.js';

const SERVERS = [3, 5, 10, 32, 64];
const PARAMETERS = { bucketCount: 256, replicaCount: 3 };

/** Balance and movement of all placement policies, as a Markdown table. */
export function tellPlacement(say: (line: string) => void): void {
  const head = ['policy', 'servers', 'replicas', 'primaries', '+1 server', '−1 server'];
  say(`| ${head.join(' | ')} |`);
  say(`|${head.map(() => '---').join('|')}|`);
  for (const servers of SERVERS) {
    for (const row of comparePolicies(servers, PARAMETERS)) say(lineOf(row));
  }
}

function lineOf(row: PolicyRow): string {
  const { policy, servers, replicasOverMean, primariesOverMean, join, leave } = row;
  const cells = [
    policy,
    String(servers),
    replicasOverMean.toFixed(3),
    primariesOverMean.toFixed(3),
    moved(join),
    moved(leave),
  ];
  return `| ${cells.join(' | ')} |`;
}

function moved({ moved: replicas, least, all }: Movement): string {
  const percent = ((100 * replicas) / all).toFixed(1);
  return `${replicas} of ${all} (${percent} %), least ${least}`;
}
