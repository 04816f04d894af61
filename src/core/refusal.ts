/** Every answer code an operation can have. The numbers are those of `ResultCode` on the wire. */
export const Code = {
  Ok: 1,
  ConditionNotMet: 2,
  Conflict: 3,
  NotPrimary: 4,
  StaleEpoch: 5,
  Unavailable: 6,
  OutcomeUnknown: 7,
  NotEnoughReplicas: 8,
  Invalid: 9,
  TooLarge: 10,
  Overloaded: 11,
  AlreadySettled: 12,
  Damaged: 13,
} as const;

export type Code = (typeof Code)[keyof typeof Code];

/** What a code means to the layers above; one row each, so that no layer has its own table. */
export interface CodeRow {
  /** Stable name, as in JSON output and error lines. */
  readonly name: string;
  /** gRPC status number. */
  readonly grpcStatus: number;
  /** Exit code of the command line. */
  readonly exitCode: number;
  /** A client may send the same request (same number) again. */
  readonly retryable: boolean;
  /** The refusal itself proves that this attempt changed nothing. */
  readonly noEffect: boolean;
  /** What to do next. */
  readonly hint: string;
}

const GRPC = {
  ok: 0,
  unknown: 2,
  invalidArgument: 3,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  unavailable: 14,
  dataLoss: 15,
} as const;

function row(
  name: string,
  grpcStatus: number,
  exitCode: number,
  retryable: boolean,
  noEffect: boolean,
  hint: string,
): CodeRow {
  return { name, grpcStatus, exitCode, retryable, noEffect, hint };
}

/** Code → gRPC status, exit code, whether to retry, whether anything can have changed, hint. */
export const CODES: Readonly<Record<Code, CodeRow>> = {
  [Code.Ok]: row('OK', GRPC.ok, 0, false, false, ''),
  [Code.ConditionNotMet]: row(
    'CONDITION_NOT_MET',
    GRPC.failedPrecondition,
    4,
    false,
    true,
    'read the key again and retry with its present version',
  ),
  [Code.Conflict]: row(
    'CONFLICT',
    GRPC.aborted,
    4,
    false,
    true,
    'another commit holds one of the keys; try again',
  ),
  [Code.NotPrimary]: row(
    'NOT_PRIMARY',
    GRPC.unavailable,
    5,
    true,
    true,
    'refresh the view and send to the primary',
  ),
  [Code.StaleEpoch]: row(
    'STALE_EPOCH',
    GRPC.failedPrecondition,
    5,
    true,
    true,
    'refresh the view and try again',
  ),
  [Code.Unavailable]: row(
    'UNAVAILABLE',
    GRPC.unavailable,
    5,
    true,
    true,
    'try again; `kvs-client status` says what is missing',
  ),
  [Code.OutcomeUnknown]: row(
    'OUTCOME_UNKNOWN',
    GRPC.unknown,
    6,
    true,
    false,
    'read the key to learn whether the write took effect',
  ),
  [Code.NotEnoughReplicas]: row(
    'NOT_ENOUGH_REPLICAS',
    GRPC.unavailable,
    5,
    true,
    true,
    'start the missing servers again; `kvs-client status` names them',
  ),
  [Code.Invalid]: row('INVALID', GRPC.invalidArgument, 2, false, true, 'correct the request'),
  [Code.TooLarge]: row(
    'TOO_LARGE',
    GRPC.invalidArgument,
    1,
    false,
    true,
    'store less under one key, or split it over several',
  ),
  [Code.Overloaded]: row(
    'OVERLOADED',
    GRPC.resourceExhausted,
    5,
    true,
    true,
    'slow down and try again',
  ),
  [Code.AlreadySettled]: row(
    'ALREADY_SETTLED',
    GRPC.failedPrecondition,
    1,
    false,
    true,
    'use a new request number for a new write',
  ),
  [Code.Damaged]: row(
    'DAMAGED',
    GRPC.dataLoss,
    1,
    false,
    true,
    'write the record again, or restore it from an export',
  ),
};

/** Limits that every entrance enforces and names in its refusal (U3). */
export const LIMITS = {
  keyBytes: 4 * 1024,
  valueBytes: 1024 * 1024,
  setrWrites: 256,
  setrBytes: 3 * 1024 * 1024,
  getrKeys: 256,
  getrBytes: 3 * 1024 * 1024,
  scanRecords: 1024,
  hops: 4,
  timeoutMs: 60_000,
  replicas: 16,
  /** Ten years. */
  ttlMs: 10 * 365 * 24 * 3_600_000,
} as const;
