import { randomBytes } from 'node:crypto';

import type { ClientId } from '../core/ids.js';
import { afterDoubt, type Operation, readdressed, type Result } from '../core/operation.js';
import { CODES } from '../core/refusal.js';
import type { OperationSink } from '../transport/stream.js';
import { monotonicMs } from './driver.js';

const RETRY_MS = 50;

/**
 * Unary calls come from clients without our library, so the server does what the library would:
 * it numbers writes that carry no number, and tries again under the same number until the
 * deadline (D4).
 */
export class Gateway {
  private readonly id: ClientId = randomBytes(16).toString('latin1');
  private last = 0;
  private readonly open = new Set<number>();

  constructor(private readonly sink: OperationSink) {}

  /** Client id, number and settled mark for a write that came without. */
  number(): { client: ClientId; clientSequence: number; settledBelow: number } {
    const clientSequence = ++this.last;
    this.open.add(clientSequence);
    // Insertion order is number order: the first open one is the lowest.
    const settledBelow = this.open.values().next().value ?? clientSequence;
    return { client: this.id, clientSequence, settledBelow };
  }

  submit(operation: Operation, answer: (result: Result) => void): void {
    const deadlineMs = monotonicMs() + operation.timeoutMs;
    this.attempt(operation, deadlineMs, false, (result) => {
      if (operation.client === this.id) this.open.delete(operation.clientSequence);
      answer(result);
    });
  }

  private attempt(
    operation: Operation,
    deadlineMs: number,
    uncertain: boolean,
    answer: (result: Result) => void,
  ): void {
    const left = Math.max(1, Math.round(deadlineMs - monotonicMs()));
    const onAnswer = (_: number, result: Result): void => {
      const { retryable, noEffect } = CODES[result.code];
      const unsure = uncertain || !noEffect;
      if (retryable && monotonicMs() + RETRY_MS < deadlineMs) {
        setTimeout(() => this.attempt(operation, deadlineMs, unsure, answer), RETRY_MS);
      } else answer(uncertain ? afterDoubt(operation, result) : result);
    };
    this.sink.submit([readdressed(operation, 0, left, 0)], [0], { answer: onAnswer });
  }
}
