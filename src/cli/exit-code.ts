/** Exit codes of every program; scripts depend on them. */
export const Exit = {
  Done: 0,
  /** Refused or failed; nothing changed. */
  Refused: 1,
  Usage: 2,
  NotFound: 3,
  /** A condition was not met, or a commit was aborted; nothing changed. */
  NotMet: 4,
  /** Not available in time; nothing changed. */
  Unavailable: 5,
  /** It may have happened. */
  Unknown: 6,
  Interrupted: 130,
} as const;

/** What a program says when it fails. `KvsError` has these fields too. */
export interface Failure {
  /** Stable, for programs: `NOT_FOUND`, `UNAVAILABLE`, … */
  readonly code: string;
  readonly message: string;
  /** What to do next. */
  readonly hint: string;
  readonly exitCode: number;
  readonly retryable: boolean;
}

/** A failure that the command line itself finds. */
export class CommandError extends Error implements Failure {
  override readonly name = 'CommandError';
  readonly retryable = false;

  constructor(
    readonly code: string,
    message: string,
    readonly hint: string,
    readonly exitCode: number,
  ) {
    super(message);
  }

  static usage(message: string, hint: string): CommandError {
    return new CommandError('USAGE', message, hint, Exit.Usage);
  }
}

/** Any thrown thing as a failure that can be shown (U1). */
export function failureOf(error: unknown): Failure {
  if (isFailure(error)) return error;
  const { code, path } = error as { code?: unknown; path?: unknown };
  if (typeof code === 'string' && typeof path === 'string') return fileFailure(code, path);
  const message = error instanceof Error ? error.message : String(error);
  const hint = 'this is a fault of the program; please report it';
  return { code: 'INTERNAL', message, hint, exitCode: Exit.Refused, retryable: false };
}

/** `program: CODE: what was wrong; what to do`, on one line. */
export function failureLine(program: string, { code, message, hint }: Failure): string {
  const what = message.replaceAll(/\s*\n\s*/g, ' ');
  return `${program}: ${code}: ${what}${hint === '' ? '' : `; ${hint}`}\n`;
}

/** The same for programs. */
export function failureJson({ code, message, hint, retryable }: Failure): string {
  return `${JSON.stringify({ error: { code, message, hint, retryable } })}\n`;
}

function isFailure(error: unknown): error is Failure {
  if (!(error instanceof Error)) return false;
  const { hint, exitCode } = error as Partial<Failure>;
  return typeof hint === 'string' && typeof exitCode === 'number';
}

function fileFailure(systemCode: string, path: string): Failure {
  const rows: Record<string, [string, string, string]> = {
    ENOENT: ['FILE_NOT_FOUND', `there is no file ${path}`, 'check the name'],
    EACCES: ['NO_ACCESS', `${path} may not be opened`, 'check its permissions'],
    EISDIR: ['NOT_A_FILE', `${path} is a directory`, 'name a file'],
  };
  const other = ['FILE', `${path}: ${systemCode}`, 'check the file'] as const;
  const [code, message, hint] = rows[systemCode] ?? other;
  return { code, message, hint, exitCode: Exit.Refused, retryable: false };
}
