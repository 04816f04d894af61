import type { Ordinal } from '../core/ids.js';
import type { PeerMessage } from '../core/message.js';
import { NO_RECORDS, type Operation, Result } from '../core/operation.js';
import { Code } from '../core/refusal.js';
import type { View } from '../core/view.js';
import type { PeerSink } from '../transport/link.js';
import type { Answers, OperationSink } from '../transport/stream.js';
import type { Driver } from './driver.js';

/**
 * Where everything from outside comes in. The port must be bound before the server can register,
 * and the driver runs only when it belongs to a cluster: until then operations are refused.
 */
export class Door implements OperationSink, PeerSink {
  private driver: Driver | null = null;

  constructor(
    private readonly identity: () => { readonly clusterId: string; readonly ordinal: Ordinal },
    readonly greet: (from: Ordinal) => void,
  ) {}

  open(driver: Driver): void {
    this.driver = driver;
  }

  get clusterId(): string {
    return this.identity().clusterId;
  }

  get self(): Ordinal {
    return this.identity().ordinal;
  }

  /** The view held; null before there is one. */
  get view(): View | null {
    return this.driver?.machine.view ?? null;
  }

  submit(operations: readonly Operation[], ids: readonly number[], answers: Answers): void {
    if (this.driver !== null) {
      this.driver.submit(operations, ids, answers);
      return;
    }
    const detail = 'this server is starting: it waits for its view leader';
    const code = Code.Unavailable;
    const refusal = new Result(code, false, null, 0, 0, 0, 0, 0, detail, NO_RECORDS, false, 0);
    for (const id of ids) answers.answer(id, refusal);
  }

  /** What arrives too early is lost; the protocol says it again. */
  receive(from: Ordinal, messages: readonly PeerMessage[]): void {
    this.driver?.receive(from, messages);
  }
}
