import type { Sequence, Version } from './ids.js';
import { ConditionKind } from './operation.js';

/** What is known of a key: committed, or prepared on top of that. */
export interface Current {
  readonly exists: boolean;
  readonly version: Version;
  /** The entry that must commit before this is a fact; 0 when it is one. */
  readonly sequence: Sequence;
}

/** Whether a condition holds on what is known of the key. */
export function met(condition: ConditionKind, ifVersion: Version, current: Current): boolean {
  switch (condition) {
    case ConditionKind.None:
      return true;
    case ConditionKind.IfAbsent:
      return !current.exists;
    case ConditionKind.IfVersion:
      return current.exists ? current.version === ifVersion : ifVersion === 0;
  }
}

/** Why a setr is refused, for people. */
export function unmetVersion(current: Current, ifVersion: Version): string {
  return `one key's version is ${current.version}, not ${ifVersion}`;
}
