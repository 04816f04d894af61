import { Metadata, type ServiceError, status } from '@grpc/grpc-js';

import { type Code, CODES } from '../core/refusal.js';

/** What is known of an operation that failed. */
export type Outcome = 'not-done' | 'unknown';

/** Metadata key that carries the name of a refusal over gRPC. */
const CODE_KEY = 'kvs-code';

/** Every error that the library, the daemons and the command line show (U1). */
export class KvsError extends Error {
  override readonly name = 'KvsError';

  constructor(
    /** Stable, for programs: `CONDITION_NOT_MET`, `ADDRESS_IN_USE`, … */
    readonly code: string,
    message: string,
    /** What to do next. */
    readonly hint: string,
    readonly exitCode: number,
    readonly retryable: boolean,
    readonly outcome: Outcome,
    cause?: unknown,
  ) {
    super(message, { cause });
  }

  static ofCode(code: Code, detail: string): KvsError {
    const { name, hint, exitCode, retryable, noEffect } = CODES[code];
    return new KvsError(name, detail, hint, exitCode, retryable, noEffect ? 'not-done' : 'unknown');
  }

  /** A process cannot start or go on. */
  static ofProcess(code: string, message: string, hint: string, cause?: unknown): KvsError {
    return new KvsError(code, message, hint, 1, false, 'not-done', cause);
  }
}

/** A refusal as a gRPC error: status, one line, and its stable name in the metadata. */
export function serviceError(code: Code, detail: string): Partial<ServiceError> {
  const { name, grpcStatus, hint } = CODES[code];
  return { code: grpcStatus, details: `${detail}; ${hint}`, metadata: codeMetadata(name) };
}

/** A refusal that is not in the table of operations, such as that of a registration. */
export function preconditionError(code: string, detail: string): Partial<ServiceError> {
  return { code: status.FAILED_PRECONDITION, details: detail, metadata: codeMetadata(code) };
}

/** Not now, but maybe soon. */
export function unavailableError(code: string, detail: string): Partial<ServiceError> {
  return { code: status.UNAVAILABLE, details: detail, metadata: codeMetadata(code) };
}

export function codeOf(error: ServiceError): string {
  return String(error.metadata.get(CODE_KEY)[0] ?? status[error.code]);
}

/** What went wrong with a call, without the words that the gRPC library puts around it. */
export function reasonOf({ details }: Pick<ServiceError, 'details'>): string {
  return /Last error: (?:Error: )?(.*?)\.? Resolution note/.exec(details)?.[1] ?? details;
}

function codeMetadata(name: string): Metadata {
  const metadata = new Metadata();
  metadata.set(CODE_KEY, name);
  return metadata;
}
