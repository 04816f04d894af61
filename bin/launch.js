import { existsSync } from 'node:fs';
import process from 'node:process';

/**
 * Runs one of the compiled programs.
 *
 * Its module exports `main(argv: string[]): Promise<number | void>`: `argv` holds the arguments
 * after the program's name, a number becomes the exit code.
 */
export async function launch(program, entry) {
  const url = new URL(`../dist/cli/${entry}`, import.meta.url);
  if (!existsSync(url)) {
    process.stderr.write(`${program}: not built yet; run: make build\n`);
    process.exitCode = 1;
    return;
  }
  const { main } = await import(url.href);
  const code = await main(process.argv.slice(2));
  if (typeof code === 'number') process.exitCode = code;
}
