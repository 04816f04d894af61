import { Code } from '../core/refusal.js';
import { KvsError } from './status.js';

/** Host and port of `HOST:PORT`, `[IPv6]:PORT`, or `HOST` with a default port. */
export function parseAddress(text: string, defaultPort: number | null): [string, number] {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]+))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port === null || port > 65_535) {
    const form = defaultPort === null ? 'HOST:PORT' : 'HOST[:PORT]';
    throw KvsError.ofCode(Code.Invalid, `"${text}" is not an address of the form ${form}`);
  }
  return [host, port];
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `HOST[:PORT],…` as a list of `HOST:PORT`. */
export function parseAddresses(text: string, defaultPort: number | null): string[] {
  return text.split(',').map((part) => formatAddress(...parseAddress(part, defaultPort)));
}
