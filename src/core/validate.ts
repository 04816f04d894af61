import { isNamed, plainKey } from './namespace.js';
import { keysOf, type Operation, OperationKind, sizeOf } from './operation.js';
import { Code, LIMITS } from './refusal.js';
import type { View } from './view.js';

/** Why an operation cannot be accepted at all, or null. Every limit is named in its text (U3). */
export function objection(
  operation: Operation,
  { rows, epoch }: Pick<View, 'rows' | 'epoch'>,
): { readonly code: Code; readonly detail: string } | null {
  const { context, kind, ttlMs } = operation;
  // A namespace's key comes with what its client has seen.
  if (context === null && namesAny(operation)) {
    return invalid('keys that begin with the bytes ff ff are reserved for namespaces');
  }
  if (ttlMs !== 0) {
    const isPlace = kind === OperationKind.Set && isNamed(operation.key);
    if (!isPlace) return invalid('only what is set in a namespace can have a time to live');
    if (!(ttlMs > 0 && ttlMs <= LIMITS.ttlMs)) return invalid('a value lives for 1 ms to 10 years');
  }
  switch (operation.kind) {
    case OperationKind.Get:
    case OperationKind.ConfirmedGet:
    case OperationKind.Delete:
      return keyObjection(operation.key);
    case OperationKind.Set:
      return keyObjection(operation.key) ?? valueObjection(operation.value);
    case OperationKind.SetR:
      return writesObjection(operation);
    case OperationKind.GetR:
      return keysObjection(operation.reads?.keys ?? []);
    case OperationKind.Scan:
    case OperationKind.Count:
      // A newer view may have it.
      if (rows.length > 0 && operation.bucket >= rows.length && (context?.epoch ?? 0) <= epoch) {
        return invalid(`bucket ${operation.bucket} does not exist: there are ${rows.length}`);
      }
      return null;
  }
}

/** Some key of the operation is a namespace's. */
function namesAny(operation: Operation): boolean {
  if (isNamed(operation.key)) return true;
  if (operation.writes === null && operation.reads === null) return false;
  return keysOf(operation).some(isNamed);
}

/** Why a key is refused, or null. */
export function keyObjection(stored: string): { code: Code; detail: string } | null {
  const key = plainKey(stored);
  if (key.length === 0) return invalid('the key is empty');
  if (key.length > LIMITS.keyBytes) {
    return tooLarge(`the key has ${key.length} bytes; the limit is ${LIMITS.keyBytes} (4 KiB)`);
  }
  return null;
}

/** Why a value is refused, or null. */
export function valueObjection(value: Uint8Array | null): { code: Code; detail: string } | null {
  if (value === null || value.length <= LIMITS.valueBytes) return null;
  return tooLarge(`the value has ${value.length} bytes; the limit is ${LIMITS.valueBytes} (1 MiB)`);
}

function keysObjection(keys: readonly string[]): { code: Code; detail: string } | null {
  if (keys.length === 0) return invalid('a getr needs at least one key');
  if (keys.length > LIMITS.getrKeys) {
    return tooLarge(`the getr has ${keys.length} keys; the limit is ${LIMITS.getrKeys}`);
  }
  if (new Set(keys).size < keys.length) return invalid('a key appears twice in the getr');
  for (const key of keys) {
    const problem = keyObjection(key);
    if (problem !== null) return problem;
  }
  return null;
}

function writesObjection(operation: Operation): { code: Code; detail: string } | null {
  const writes = operation.writes ?? [];
  if (writes.length === 0) return invalid('a setr needs at least one key');
  if (writes.length > LIMITS.setrWrites) {
    return tooLarge(`the setr has ${writes.length} keys; the limit is ${LIMITS.setrWrites}`);
  }
  if (operation.client === '') return invalid('a setr needs a client id and a request number');
  const keys = new Set<string>();
  for (const { key, value } of writes) {
    const problem = keyObjection(key) ?? valueObjection(value);
    if (problem !== null) return problem;
    if (keys.has(key)) return invalid('a key appears twice in the setr');
    keys.add(key);
  }
  const bytes = sizeOf(writes);
  if (bytes > LIMITS.setrBytes) {
    return tooLarge(`the setr has ${bytes} bytes; the limit is ${LIMITS.setrBytes} (3 MiB)`);
  }
  return null;
}

function invalid(detail: string): { code: Code; detail: string } {
  return { code: Code.Invalid, detail };
}

function tooLarge(detail: string): { code: Code; detail: string } {
  return { code: Code.TooLarge, detail };
}
