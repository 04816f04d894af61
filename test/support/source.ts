/** What the lexer is inside of; a template holds code between its `${` and `}`. */
type Mode = 'code' | 'template';

/** A slash after one of these starts a regular expression, not a division. */
const beforeRegExp = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|void))\s*$/;

/** End (exclusive) of the quoted text or regular expression that starts at `start`. */
function endOfQuoted(text: string, start: number): number {
  const quote = text[start];
  let inClass = false;
  for (let at = start + 1; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\\') at += 1;
    else if (char === '\n') return at;
    else if (quote === '/' && char === '[') inClass = true;
    else if (quote === '/' && char === ']') inClass = false;
    else if (char === quote && !inClass) return at + 1;
  }
  return text.length;
}

/** End (exclusive) of the literal part of a template that starts at `start`. */
function endOfTemplatePart(text: string, start: number): { end: number; opens: boolean } {
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '`') return { end: at + 1, opens: false };
    else if (text.startsWith('${', at)) return { end: at + 2, opens: true };
  }
  return { end: text.length, opens: false };
}

function blank(text: string): string {
  return text.replace(/[^\n]/g, ' ');
}

/**
 * The source with comments, strings and regular expressions replaced by spaces; same length, same
 * lines. A string's quotes stay, so that an import can be found and read from the original.
 */
export function codeOnly(text: string): string {
  const modes: Mode[] = ['code'];
  const depths: number[] = [0];
  let out = '';
  let at = 0;
  const take = (end: number, replacement: string): void => {
    out += replacement;
    at = end;
  };
  const takeTemplatePart = (start: number): void => {
    const { end, opens } = endOfTemplatePart(text, start);
    take(end, blank(text.slice(at, end)));
    if (opens) {
      modes.push('template');
      depths.push(0);
    }
  };
  while (at < text.length) {
    const char = text[at] ?? '';
    const depth = depths.at(-1) ?? 0;
    if (text.startsWith('//', at) || text.startsWith('/*', at)) {
      const close = text[at + 1] === '/' ? text.indexOf('\n', at) : text.indexOf('*/', at) + 2;
      const end = close < at + 2 ? text.length : close;
      take(end, blank(text.slice(at, end)));
    } else if (char === "'" || char === '"') {
      const end = endOfQuoted(text, at);
      take(end, char + blank(text.slice(at + 1, end - 1)) + char);
    } else if (char === '/' && beforeRegExp.test(out.slice(-40))) {
      const end = endOfQuoted(text, at);
      take(end, blank(text.slice(at, end)));
    } else if (char === '`') {
      takeTemplatePart(at + 1);
    } else if (char === '}' && depth === 0 && modes.at(-1) === 'template') {
      modes.pop();
      depths.pop();
      takeTemplatePart(at + 1);
    } else {
      if (char === '{') depths[depths.length - 1] = depth + 1;
      if (char === '}') depths[depths.length - 1] = depth - 1;
      take(at + 1, char);
    }
  }
  return out;
}

/** Every module that a source imports or exports from, as written. */
export function importsOf(text: string): string[] {
  const code = codeOnly(text);
  const found: string[] = [];
  for (const match of code.matchAll(/\b(?:from|import)\s*\(?\s*(['"])( *)\1/g)) {
    const start = match.index + match[0].length - (match[2]?.length ?? 0) - 1;
    found.push(text.slice(start, start + (match[2]?.length ?? 0)));
  }
  return found;
}

/** `HTTPServerView` → `http`, `server`, `view`. */
export function wordsOf(identifier: string): string[] {
  const spaced = identifier
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2');
  return spaced
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean);
}
