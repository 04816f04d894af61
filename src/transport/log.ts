import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Logs go to stderr. Keys appear at debug level only, values and secrets never. */
export function makeLogger(level: LogLevel, format: 'text' | 'json', name: string): Logger {
  const options = { level, base: { name }, timestamp: pino.stdTimeFunctions.isoTime };
  if (format === 'json') return pino(options, destination({ dest: 2, sync: true }));
  return pino(options, { write: (line: string) => void process.stderr.write(asText(line)) });
}

function asText(line: string): string {
  const { level, time, name, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const label = pino.levels.labels[Number(level)] ?? String(level);
  const more = Object.entries(rest).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  return `${String(time)} ${label} ${String(name)}: ${String(msg)}${more.join('')}\n`;
}
