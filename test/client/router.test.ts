import { afterEach, describe, expect, test } from '@jest/globals';

import { Router, type Views } from '../../src/client/router.js';
import { NO_CONTEXT } from '../../src/core/causal-record.js';
import { keyIn, Mode, type Namespace } from '../../src/core/namespace.js';
import {
  NO_RECORDS,
  Operation,
  OperationKind,
  readdressed,
  Result,
} from '../../src/core/operation.js';
import { Code } from '../../src/core/refusal.js';
import type { View } from '../../src/core/view.js';
import { Listener } from '../../src/transport/server.js';
import { KEY_VALUE_METHODS, type KeyValueHandlers } from '../../src/transport/methods.js';
import { ExchangeServer } from '../../src/transport/stream.js';
import { rowOf, viewOf } from '../core/cluster.js';

const undo: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

type Serve = (operation: Operation, answer: (result: Result) => void, crash: () => void) => void;

/** A server that does as the test says; its address. */
async function serverOf(serve: Serve): Promise<string> {
  const listener = new Listener([]);
  undo.push(() => listener.server.forceShutdown());
  listener.server.addService(KEY_VALUE_METHODS, {
    exchange: (call) =>
      new ExchangeServer(call, {
        submit: (operations, ids, answers) => {
          for (const [at, operation] of operations.entries()) {
            const answer = (result: Result): void => answers.answer(ids[at]!, result);
            serve(operation, answer, () => listener.server.forceShutdown());
          }
        },
      }),
  } as Partial<KeyValueHandlers> as KeyValueHandlers);
  return listener.listen('127.0.0.1:0');
}

const carts: Namespace = {
  number: 1,
  name: 'carts',
  mode: Mode.Causal,
  ttlMs: 0,
  replicas: 0,
  pool: 0,
  deleted: false,
};

/** A router whose view has server 1 as the primary of everything. */
function routerOf(...addresses: string[]): { router: Router; views: Views & { asked: number[] } } {
  const ordinals = addresses.map((_, index) => index + 1);
  const view = viewOf(1, rowOf(1, ordinals), ordinals);
  const members = Array.from(view.members, ([ordinal, member]) => {
    return [ordinal, { ...member, address: addresses[ordinal - 1] ?? '' }] as const;
  });
  const namespaces = new Map([[carts.number, carts]]);
  const known: View = { ...view, members: new Map(members), namespaces };
  const asked: number[] = [];
  const views = { view: known, asked, newer: (epoch: number) => asked.push(epoch) };
  const router = new Router(views, []);
  undo.push(() => router.close());
  return { router, views };
}

function resultOf(code: Code, epoch = 1): Result {
  return new Result(code, false, null, 7, 0, epoch, 0, 1, 'why', NO_RECORDS, false, 0);
}

const write = new Operation(
  OperationKind.Set,
  'k',
  new Uint8Array(1),
  0,
  0,
  '0123456789abcdef',
  5,
  1,
  null,
  0,
  0,
  0,
  5000,
  0,
);

const causalWrite = new Operation(
  OperationKind.Set,
  keyIn(carts.number, 'k'),
  new Uint8Array(1),
  0,
  0,
  '0123456789abcdef',
  5,
  1,
  null,
  0,
  0,
  0,
  5000,
  0,
  null,
  NO_CONTEXT,
);

function within(operation: Operation, timeoutMs: number): Operation {
  return readdressed(operation, 0, timeoutMs, 0);
}

function ask(router: Router, operation: Operation): Promise<Result> {
  return new Promise((resolve) => router.submit(operation, { done: resolve }));
}

describe('the router', () => {
  test('tries again, under the same number, what may be tried again (D4)', async () => {
    const numbers: number[] = [];
    const address = await serverOf(({ clientSequence }, answer) => {
      numbers.push(clientSequence);
      answer(resultOf(numbers.length < 3 ? Code.Unavailable : Code.Ok));
    });
    expect((await ask(routerOf(address).router, write)).code).toBe(Code.Ok);
    expect(numbers).toEqual([5, 5, 5]);
  });

  test('reports a final refusal at once, when no other attempt can have had an effect', async () => {
    let attempts = 0;
    const address = await serverOf((_, answer) => {
      attempts += 1;
      answer(resultOf(Code.ConditionNotMet));
    });
    expect((await ask(routerOf(address).router, write)).code).toBe(Code.ConditionNotMet);
    expect(attempts).toBe(1);
  });

  test('reports a final refusal of a second attempt as unknown, if the first may have been done', async () => {
    let attempts = 0;
    const address = await serverOf((_, answer) => {
      attempts += 1;
      answer(resultOf(attempts === 1 ? Code.OutcomeUnknown : Code.ConditionNotMet));
    });
    const result = await ask(routerOf(address).router, write);
    expect(result.code).toBe(Code.OutcomeUnknown);
    expect(result.detail).toMatch(/earlier attempt may have taken effect/);
  });

  test('gives up at the deadline: unknown if it was sent, unavailable if it never was', async () => {
    const silent = await serverOf(() => undefined);
    const sent = await ask(routerOf(silent).router, within(write, 300));
    expect(sent.code).toBe(Code.OutcomeUnknown);
    const unsent = await ask(routerOf('127.0.0.1:1').router, within(write, 300));
    expect(unsent.code).toBe(Code.Unavailable);
  });

  test('gives up at the deadline also while others begin', async () => {
    const { router } = routerOf(await serverOf(() => undefined));
    // Connected, and its code warm: no turn of the event loop is long.
    await Promise.all(Array.from({ length: 200 }, () => ask(router, within(write, 200))));
    const seen = { ended: false };
    const first = ask(router, within(write, 10)).finally(() => (seen.ended = true));
    for (let more = 0; !seen.ended && more < 100; more += 1) {
      void ask(router, within(write, 10));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(seen.ended).toBe(true);
    expect((await first).code).toBe(Code.OutcomeUnknown);
  });

  test('goes to another server when the primary cannot be reached', async () => {
    const other = await serverOf((_, answer) => answer(resultOf(Code.Ok)));
    const { router } = routerOf('127.0.0.1:1', other);
    expect((await ask(router, write)).code).toBe(Code.Ok);
  });

  test('goes to another server when the primary is silent', async () => {
    const numbers: number[] = [];
    const silent = await serverOf(({ clientSequence }) => numbers.push(clientSequence));
    const other = await serverOf(({ clientSequence }, answer) => {
      numbers.push(clientSequence);
      answer(resultOf(Code.Ok));
    });
    const { router } = routerOf(silent, other);
    expect((await ask(router, write)).code).toBe(Code.Ok);
    expect(numbers).toEqual([5, 5]);
  });

  test('does not repeat a causal write elsewhere that a crashed server may have taken', async () => {
    const taken: Operation[] = [];
    const serve: Serve = (operation, answer, crash) => {
      taken.push(operation);
      if (taken.length === 1) crash();
      else answer(resultOf(Code.Ok));
    };
    const { router } = routerOf(await serverOf(serve), await serverOf(serve));
    const result = await ask(router, causalWrite);
    expect(result.code).toBe(Code.OutcomeUnknown);
    expect(result.detail).toMatch(/went silent/);
    expect(taken).toHaveLength(1);
    // The next one goes where somebody is.
    expect((await ask(router, causalWrite)).code).toBe(Code.Ok);
  });

  test('asks for the view when an answer comes from a newer one', async () => {
    const address = await serverOf((_, answer) => answer(resultOf(Code.Ok, 9)));
    const { router, views } = routerOf(address);
    await ask(router, write);
    expect(views.asked).toEqual([9]);
  });

  test('that is closed leaves nobody waiting', async () => {
    const silent = await serverOf(() => undefined);
    const { router } = routerOf(silent);
    const waiting = ask(router, write);
    router.close();
    expect([Code.OutcomeUnknown, Code.Unavailable]).toContain((await waiting).code);
  });
});
