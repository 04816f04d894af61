import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import type { Mix } from '../cli/workload/mix.js';
import type { Answer, Task } from './crew-member.js';
import type { Report } from './report.js';

const PROGRAM = fileURLToPath(new URL('crew-member.js', import.meta.url));

export interface CrewPoint {
  readonly mix: Mix;
  readonly records: number;
  /** In flight in all processes together; a multiple of their number. */
  readonly concurrency: number;
  /** Operations that are begun in one turn of the event loop, as one. Default 1. */
  readonly batch?: number;
  /** A batch is one setr. */
  readonly commits?: boolean;
  readonly warmMs: number;
  readonly forMs: number;
}

/** Client processes, apart from this one so that their CPU and their event loops are their own. */
export class Crew {
  private constructor(
    private readonly members: readonly ChildProcess[],
    private readonly servers: readonly number[],
  ) {}

  /** `clients`: in each process, each with connections of its own. `servers`: pids to watch. */
  static async start(
    leader: string,
    processes: number,
    clients: number,
    servers: readonly number[],
  ): Promise<Crew> {
    const members = Array.from({ length: processes }, () => fork(PROGRAM));
    const crew = new Crew(members, servers);
    try {
      await crew.all(() => ({ type: 'connect', leader, clients }));
    } catch (error) {
      await crew.stop();
      throw error;
    }
    return crew;
  }

  async load(mix: Mix, records: number): Promise<void> {
    await ask(this.members[0]!, { type: 'load', mix, records });
  }

  async run({ concurrency, batch = 1, commits = false, ...point }: CrewPoint): Promise<Report[]> {
    const count = this.members.length;
    const reports = await this.all((index) => ({
      type: 'run',
      ...point,
      concurrency: concurrency / count,
      batch,
      commits,
      process: [index, count],
      servers: index === 0 ? this.servers : [],
    }));
    return reports.filter((report) => report !== null);
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.members.map(async (member) => {
        if (member.exitCode !== null || member.signalCode !== null) return;
        member.kill('SIGKILL');
        await once(member, 'exit');
      }),
    );
  }

  private all(taskOf: (index: number) => Task): Promise<(Report | null)[]> {
    return Promise.all(this.members.map((member, index) => ask(member, taskOf(index))));
  }
}

async function ask(member: ChildProcess, task: Task): Promise<Report | null> {
  const answer = await new Promise<Answer>((resolve) => {
    const gone = (): void => resolve({ problem: 'a client process ended' });
    member.once('exit', gone);
    member.once('message', (said) => {
      member.off('exit', gone);
      resolve(said as Answer);
    });
    member.send(task);
  });
  if ('problem' in answer) throw new Error(answer.problem);
  return answer.report;
}
