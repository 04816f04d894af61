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
  const message = error instanceof Error ? error.message : String(error);
  const { code, path, syscall, hint, exitCode, retryable } = error as Partial<SomeError>;
  if (code !== undefined && path !== undefined) return fileFailure(code, path);
  const ours = typeof code === 'string' && syscall === undefined && !code.startsWith('ERR_');
  return {
    code: ours ? code : 'INTERNAL',
    message,
    hint: hint ?? (ours ? '' : 'this is a fault of the program; please report it'),
    exitCode: exitCode ?? Exit.Refused,
    retryable: retryable ?? false,
  };
}

/** Our errors have a code of ours, and more or fewer of the other fields; Node's have `syscall`. */
interface SomeError extends Failure {
  readonly path: string;
  readonly syscall: string;
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
