import type { Key, Version } from '../core/ids.js';
import {
  ConditionKind,
  isRead,
  type Operation,
  OperationKind,
  type Result,
} from '../core/operation.js';

/**
 * What a client knows of an operation. ok: done · refused: a condition was false, so not done ·
 * nothing: nothing was done · unknown: it may have taken effect, or may yet
 */
export type Outcome = 'ok' | 'refused' | 'nothing' | 'unknown';

/** Never completed, as far as its client knows. */
export const NEVER = Infinity;

export function toBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function toText(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : String.fromCharCode(...bytes);
}

/** One key's part in an operation; `value` null deletes. */
export interface Change {
  readonly key: Key;
  readonly value: string | null;
  readonly condition: ConditionKind;
  readonly ifVersion: Version;
}

/** One operation of one client, from its invocation to what the client learned. */
export class Call {
  /** Order among all invocations and completions of the run. */
  completed = NEVER;
  completedMs = NEVER;
  outcome: Outcome = 'unknown';
  result: Result | null = null;
  /** How often it was sent. */
  sends = 0;
  /** Empty for a read. */
  readonly changes: readonly Change[];

  constructor(
    readonly client: number,
    readonly operation: Operation,
    readonly invoked: number,
    readonly invokedMs: number,
  ) {
    const { kind, key, condition, ifVersion } = operation;
    const parts = kind === OperationKind.SetR ? (operation.writes ?? []) : [operation];
    this.changes = isRead(kind)
      ? []
      : parts.map((part) => ({
          key: part.key,
          value: kind === OperationKind.Delete ? null : toText(part.value),
          condition: kind === OperationKind.SetR ? part.condition : condition,
          ifVersion: kind === OperationKind.SetR ? part.ifVersion : ifVersion,
        }));
    const { SetR } = OperationKind;
    this.keys = operation.reads?.keys ?? (kind === SetR ? parts.map((part) => part.key) : [key]);
  }

  /** Those that it read or wrote; of a scan those of its page, present or not. */
  keys: readonly Key[];

  get isRead(): boolean {
    return isRead(this.operation.kind);
  }

  /** Of an answered read of one key: what it saw; null when the key did not exist. */
  get seen(): string | null {
    return this.sightOf(this.operation.key).value;
  }

  /** Of an answered read: what it saw of a key; a version of 0 is none. */
  sightOf(key: Key): { readonly value: string | null; readonly version: Version } {
    const { result, operation } = this;
    if (operation.kind === OperationKind.GetR || operation.kind === OperationKind.Scan) {
      const record = result?.records.find((one) => one.key === key);
      return { value: toText(record?.value ?? null), version: record?.version ?? 0 };
    }
    const value = result?.found === true ? toText(result.value) : null;
    return { value, version: value === null ? 0 : (result?.version ?? 0) };
  }

  /** One line for people. */
  describe(): string {
    const ended = this.completedMs === NEVER ? '…' : this.completedMs.toFixed(1);
    const span = `${this.invokedMs.toFixed(1)}–${ended} ms`;
    const told = `${this.outcome} (code ${this.result?.code ?? '-'}, sent ${this.sends} times)`;
    const version = this.result === null ? '' : ` version ${this.result.version}`;
    return `client ${this.client} ${span}: ${this.asked()} → ${told}${version}${this.answered()}`;
  }

  private asked(): string {
    const { kind, bucket } = this.operation;
    if (kind === OperationKind.Scan) return `scan bucket ${bucket} for ${this.keys.join(' ')}`;
    if (this.isRead) return `${this.keys.length === 1 ? 'get' : 'getr'} ${this.keys.join(' ')}`;
    const parts = this.changes.map(({ key, value, condition, ifVersion }) => {
      const effect = value === null ? `delete ${key}` : `${key} = ${value}`;
      if (condition === ConditionKind.None) return effect;
      return condition === ConditionKind.IfAbsent
        ? `${effect} if absent`
        : `${effect} if version ${ifVersion}`;
    });
    return parts.length === 1 ? parts[0]! : `setr ${parts.join(', ')}`;
  }

  private answered(): string {
    if (this.outcome !== 'ok') return '';
    if (this.isRead) {
      return `: ${this.keys.map((key) => this.sightOf(key).value ?? 'absent').join(' · ')}`;
    }
    if (this.operation.kind !== OperationKind.Delete) return '';
    return this.result?.found === true ? ' found' : ' not found';
  }
}

/** Everything that clients asked and were told, in order. */
export class History {
  readonly calls: Call[] = [];
  private order = 0;

  begin(client: number, operation: Operation, nowMs: number): Call {
    const call = new Call(client, operation, this.order++, nowMs);
    this.calls.push(call);
    return call;
  }

  finish(call: Call, outcome: Outcome, result: Result | null, nowMs: number): void {
    call.outcome = outcome;
    call.result = result;
    call.completedMs = nowMs;
    const last = result?.more === true ? result.records.at(-1) : undefined;
    if (last !== undefined) call.keys = call.keys.filter((key) => key <= last.key);
    // An unknown outcome may take effect at any later time: it never completes.
    if (outcome !== 'unknown') call.completed = this.order++;
  }

  /** The operations that touch a key, in the order of their invocation. */
  of(key: Key): Call[] {
    return this.calls.filter((call) => call.keys.includes(key));
  }

  keys(): Key[] {
    return Array.from(new Set(this.calls.flatMap((call) => call.keys))).toSorted();
  }
}

/** A broken promise. */
export interface Violation {
  /** As numbered in the design: D1, V2 … */
  readonly promise: string;
  readonly what: string;
  /** Whose story to print. */
  readonly keys: readonly Key[];
  /** Where in the story the trouble shows, virtual ms. */
  readonly aroundMs?: number;
}
