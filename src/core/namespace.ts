import type { Key } from './ids.js';

/** The numbers are those of `ConsistencyMode` on the wire. */
export const Mode = { Strong: 1, Causal: 2 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];

/** A named key space. The one without a name has number 0, is strong, and always there. */
export interface Namespace {
  /** Never used again, so that a key of a deleted namespace is not one of its successor's. */
  readonly number: number;
  readonly name: string;
  readonly mode: Mode;
  /** How long a value lives that was written without a time of its own, ms; 0: for ever. */
  readonly ttlMs: number;
  /** Replicas of its buckets; 0: as many as the cluster's. */
  readonly replicas: number;
  /** Which buckets are its own: see `Pool`; 0: the cluster's. */
  readonly pool: number;
  /** Its name is free again, and its records are being removed. */
  readonly deleted: boolean;
}

/** Begins the keys of every namespace but the first; refused at the start of a plain key. */
export const RESERVED = '\xff\xff';
const NUMBER_BYTES = 2;
export const MOST_NAMESPACES = 2 ** (8 * NUMBER_BYTES) - 1;

/** The key as it is stored and hashed: two reserved bytes, the number, then the user's key. */
export function keyIn(namespace: number, key: Key): Key {
  if (namespace === 0) return key;
  return RESERVED + String.fromCharCode(namespace >> 8, namespace & 0xff) + key;
}

/** The namespace of a key as it is stored; 0 for a plain one. */
export function namespaceOf(key: Key): number {
  if (!key.startsWith(RESERVED) || key.length < RESERVED.length + NUMBER_BYTES) return 0;
  return key.charCodeAt(RESERVED.length) * 256 + key.charCodeAt(RESERVED.length + 1);
}

/** Quick: the keys that begin with the reserved bytes are a namespace's. */
export function isNamed(key: Key): boolean {
  return key.charCodeAt(0) === 0xff && key.startsWith(RESERVED);
}

/** The user's part of a key as it is stored. */
export function plainKey(key: Key): Key {
  return namespaceOf(key) === 0 ? key : key.slice(RESERVED.length + NUMBER_BYTES);
}
