import type { Key } from './ids.js';
import { isNamed, Mode, namespaceOf } from './namespace.js';
import { ConditionKind, keysOf, type Operation, OperationKind } from './operation.js';
import type { View } from './view.js';

/** Why a causal namespace does not take the operation, or null. */
export function objectionTo({ kind, condition }: Operation): string | null {
  const { SetR, GetR, ConfirmedGet } = OperationKind;
  if (kind === SetR || kind === GetR || kind === ConfirmedGet) {
    return 'a causal namespace takes get, set and delete: nothing orders its writes in time';
  }
  if (condition === ConditionKind.None) return null;
  return 'a causal namespace takes no condition: another replica may write at the same time';
}

/** One causal key makes the whole operation causal: if it is more than that, it is refused. */
export function isForCausal(operation: Operation, { namespaces }: View): boolean {
  const isCausalKey = (key: Key): boolean => namespaces.get(namespaceOf(key))?.mode === Mode.Causal;
  return keysOf(operation).some(isCausalKey);
}

/** What is wrong with the namespaces of the keys, or null. */
export function namesObjection(operation: Operation, { namespaces }: View): string | null {
  for (const key of keysOf(operation)) {
    if (!isNamed(key)) continue;
    const number = namespaceOf(key);
    const namespace = namespaces.get(number);
    if (namespace === undefined) return `there is no namespace with number ${number}`;
    if (namespace.deleted) return `namespace ${namespace.name} was deleted`;
  }
  return null;
}

export function hasCausal({ namespaces }: View): boolean {
  return Array.from(namespaces.values()).some((one) => one.mode === Mode.Causal && !one.deleted);
}
