import { randomBytes } from 'node:crypto';

import { type Call, History, type Outcome, toBytes, toText } from '../checkers/history.js';
import { Numbering } from '../client/numbering.js';
import { Router } from '../client/router.js';
import { ViewSource } from '../client/views.js';
import type { ClientId, Key, Version } from '../core/ids.js';
import {
  ConditionKind,
  type ConditionalWrite,
  isRead,
  Operation,
  OperationKind,
  type ReadSet,
  type StoredRecord,
} from '../core/operation.js';
import { Code, CODES } from '../core/refusal.js';

const TIMEOUT_MS = 10_000;
const THINK_MS = 10;
/** A key is used for so long; then others follow, so that each history stays short. */
const KEY_LIFE_MS = 4000;
const KEYS = 4;
const ACCOUNTS = 6;
const LISTS = 3;
/** Every account begins with this much. */
export const BALANCE = 100;

type Wish = Pick<Operation, 'kind' | 'key' | 'value' | 'condition' | 'ifVersion' | 'writes'> & {
  readonly reads?: ReadSet;
};

function wishOf(
  kind: OperationKind,
  key: Key,
  value: string | null = null,
  condition: ConditionKind = ConditionKind.None,
  ifVersion: Version = 0,
  writes: readonly ConditionalWrite[] | null = null,
): Wish {
  const bytes = value === null ? null : toBytes(value);
  return { kind, key, value: bytes, condition, ifVersion, writes };
}

function getrOf(keys: readonly Key[]): Wish {
  return { ...wishOf(OperationKind.GetR, keys[0] ?? ''), reads: { keys, holdMs: 0 } };
}

/**
 * Clients that work on few keys of a real cluster through the library's router, and write down what
 * they asked and what they were told.
 */
export class Workload {
  readonly history = new History();
  readonly accounts = Array.from({ length: ACCOUNTS }, (_, index) => `account${index}`);
  /** Every list that was ever used. */
  readonly lists = new Set<Key>();
  private readonly views: ViewSource;
  private readonly router: Router;
  private readonly numberings: Numbering[];
  private readonly id: ClientId[];
  private readonly startMs = performance.now();
  private made = 0;
  private stopping = false;
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    leader: string,
    private readonly clients: number,
  ) {
    this.views = new ViewSource(leader, '', TIMEOUT_MS);
    this.router = new Router(this.views, []);
    this.numberings = Array.from({ length: clients + 1 }, () => new Numbering());
    this.id = this.numberings.map(() => randomBytes(16).toString('latin1'));
  }

  /** Open the accounts, then start the clients. */
  async start(): Promise<void> {
    await this.views.current();
    const opening = this.accounts.map((key) => this.write(key, this.unique(BALANCE)));
    const { SetR } = OperationKind;
    const wish = wishOf(SetR, this.accounts[0] ?? '', null, 0, 0, opening);
    const opened = await this.perform(this.clients, wish);
    if (opened.outcome !== 'ok') throw new Error(`the accounts were not opened: ${opened.outcome}`);
    const work = Array.from({ length: this.clients }, (_, client) => this.work(client));
    this.running = Promise.all(work);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  /** Read every key that was ever used. */
  async readAll(): Promise<Map<Key, StoredRecord>> {
    const rest = new Map<Key, StoredRecord>();
    for (const key of this.history.keys()) {
      const { outcome, result } = await this.perform(this.clients, wishOf(OperationKind.Get, key));
      if (outcome !== 'ok' || result === null) throw new Error(`${key} cannot be read at rest`);
      const { value, version, found } = result;
      if (found && value !== null) rest.set(key, { key, value, version });
    }
    return rest;
  }

  close(): void {
    this.router.close();
    this.views.close();
  }

  /** Answered operations so far. */
  get answered(): number {
    return this.history.calls.filter(({ outcome }) => outcome === 'ok').length;
  }

  private async work(client: number): Promise<void> {
    const versions = new Map<Key, Version>();
    while (!this.stopping) {
      const draw = Math.random();
      const life = Math.floor((performance.now() - this.startMs) / KEY_LIFE_MS);
      if (draw < 0.2) await this.transfer(client);
      else if (draw < 0.35) await this.append(client, life);
      else {
        const key = `key${life}-${Math.floor(Math.random() * KEYS)}`;
        const call = await this.perform(client, this.single(key, versions.get(key) ?? 0));
        if (call.outcome === 'ok' && call.result) versions.set(key, call.result.version);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 2 * THINK_MS));
    }
  }

  private single(key: Key, version: Version): Wish {
    const draw = Math.random();
    const { Get, ConfirmedGet, Set: Write, Delete } = OperationKind;
    if (draw < 0.05) return wishOf(ConfirmedGet, key);
    if (draw < 0.45) return wishOf(Get, key);
    if (draw < 0.7) return wishOf(Write, key, this.unique('v'));
    if (draw < 0.9) return wishOf(Write, key, this.unique('c'), ConditionKind.IfVersion, version);
    return wishOf(Delete, key);
  }

  /** Move money between two accounts, if neither changed since it was read. */
  private async transfer(client: number): Promise<void> {
    const [from, to] = this.accounts.toSorted(() => Math.random() - 0.5);
    if (from === undefined || to === undefined) return;
    const amount = 1 + Math.floor(Math.random() * 20);
    const read = await this.perform(client, getrOf([from, to]));
    const [left, right] = [from, to].map((key) => {
      const { value, version } = read.sightOf(key);
      return value === null ? null : { balance: Number(value.split(':')[0]), version };
    });
    if (read.outcome !== 'ok' || !left || !right || left.balance < amount) return;
    const { SetR } = OperationKind;
    const { IfVersion } = ConditionKind;
    const writes = [
      this.write(from, this.unique(left.balance - amount), IfVersion, left.version),
      this.write(to, this.unique(right.balance + amount), IfVersion, right.version),
    ];
    await this.perform(client, wishOf(SetR, from, null, 0, 0, writes));
  }

  /** Read lists at one instant and append to some, if they are as they were read. */
  private async append(client: number, life: number): Promise<void> {
    const keys = Array.from({ length: LISTS }, (_, at) => `list${life}-${at}`);
    for (const key of keys) this.lists.add(key);
    const read = await this.perform(client, getrOf(keys));
    if (read.outcome !== 'ok') return;
    const chosen = keys.filter(() => Math.random() < 0.6);
    if (chosen.length === 0) return;
    const writes = chosen.map((key) => {
      const { value, version } = read.sightOf(key);
      this.made += 1;
      const grown = value === null ? `${this.made}` : `${value},${this.made}`;
      return this.write(key, grown, ConditionKind.IfVersion, version);
    });
    await this.perform(client, wishOf(OperationKind.SetR, chosen[0] ?? '', null, 0, 0, writes));
  }

  private write(
    key: Key,
    value: string,
    condition: ConditionKind = ConditionKind.None,
    ifVersion: Version = 0,
  ): ConditionalWrite {
    return { key, value: toBytes(value), condition, ifVersion };
  }

  private unique(text: string | number): string {
    this.made += 1;
    return `${text}:${this.made}`;
  }

  private perform(client: number, wish: Wish): Promise<Call> {
    const numbering = this.numberings[client];
    const id = this.id[client];
    if (numbering === undefined || id === undefined) throw new Error('bug: no such client');
    const number = isRead(wish.kind) ? 0 : numbering.next();
    const { kind, key, value, condition, ifVersion, writes, reads = null } = wish;
    const operation = new Operation(
      kind,
      key,
      value,
      condition,
      ifVersion,
      id,
      number,
      numbering.settledBelow,
      writes,
      0,
      0,
      0,
      TIMEOUT_MS,
      0,
      reads,
    );
    const call = this.history.begin(client, operation, performance.now());
    return new Promise((resolve) => {
      this.router.submit(operation, {
        done: (result) => {
          if (number > 0) numbering.settle(number);
          const outcome = outcomeOf(result.code);
          const failedRead = call.isRead && outcome !== 'ok';
          this.history.finish(call, failedRead ? 'nothing' : outcome, result, performance.now());
          resolve(call);
        },
      });
    });
  }
}

function outcomeOf(code: Code): Outcome {
  if (code === Code.Ok) return 'ok';
  if (code === Code.ConditionNotMet) return 'refused';
  return CODES[code].noEffect ? 'nothing' : 'unknown';
}

/** The balance in an account's value. */
export function balanceOf(record: StoredRecord | undefined): number {
  const text = toText(record?.value ?? null) ?? '0:';
  return Number(text.slice(0, text.indexOf(':')));
}
