/** A method, seen from outside its class. */
export type Method = (...args: readonly unknown[]) => unknown;

/** Replace properties of a prototype; the returned function puts the old ones back. */
export function replace<T extends object>(
  prototype: T,
  properties: { [K in keyof T]?: PropertyDescriptor },
): () => void {
  const names = Object.keys(properties) as (keyof T & string)[];
  const old = names.map(
    (name) => [name, Object.getOwnPropertyDescriptor(prototype, name)] as const,
  );
  for (const name of names) {
    Object.defineProperty(prototype, name, { configurable: true, ...properties[name] });
  }
  return () => {
    for (const [name, descriptor] of old) {
      if (descriptor !== undefined) Object.defineProperty(prototype, name, descriptor);
    }
  };
}

/**
 * Put `make(original, self)` in the place of a method, private ones included. `Self` names what the
 * break needs to see of the object.
 */
export function wrap<Self extends object>(
  prototype: object,
  name: string,
  make: (original: Method, self: Self, args: readonly unknown[]) => unknown,
): () => void {
  const original = (prototype as Record<string, Method | undefined>)[name];
  if (original === undefined) throw new Error(`bug: there is no method ${name} to break`);
  const value = function (this: Self, ...args: readonly unknown[]): unknown {
    return make(original.bind(this), this, args);
  };
  return replace(prototype as Record<string, Method>, { [name]: { value } });
}
