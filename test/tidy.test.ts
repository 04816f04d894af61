// The house rules, as a test. Each test gathers what breaks its rule and expects to find nothing.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from '@jest/globals';

import { codeOnly, importsOf, wordsOf } from './support/source.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Room → the rooms it may import. `sim` also reaches the ports: files named port.ts. */
const mayImport: Record<string, readonly string[]> = {
  core: [],
  wire: ['core'],
  storage: ['core'],
  viewstore: ['core'],
  transport: ['wire', 'core'],
  client: ['transport', 'wire', 'core'],
  leader: ['transport', 'viewstore', 'wire', 'core'],
  server: ['transport', 'storage', 'wire', 'core'],
  cli: ['client', 'leader', 'server', 'transport', 'wire', 'core'],
  dashboard: [],
  checkers: ['core'],
  sim: ['checkers', 'wire', 'core'],
  bench: ['cli', 'client', 'transport', 'wire', 'storage', 'core'],
  chaos: ['checkers', 'cli', 'client', 'core'],
};

interface Source {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly code: string;
}

function filesBelow(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted();
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

function sourcesBelow(folder: string): Source[] {
  return filesBelow(folder)
    .filter((path) => /\.tsx?$/.test(path) && !path.startsWith('src/wire/gen/'))
    .map((path) => {
      const text = read(path);
      return { path, text, code: codeOnly(text) };
    });
}

/** `path:line: text` for each match in the sources' code. */
function matches(sources: readonly Source[], pattern: RegExp, pick: 'code' | 'text'): string[] {
  return sources.flatMap((source) =>
    source[pick].split('\n').flatMap((line, index) => {
      const match = pattern.exec(line);
      return match === null ? [] : [`${source.path}:${index + 1}: ${match[0].trim()}`];
    }),
  );
}

const src = sourcesBelow('src');
const tests = sourcesBelow('test');
const core = src.filter((source) => source.path.startsWith('src/core/'));

function roomOf(path: string): string {
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? '';
}

describe('size', () => {
  test('no file is longer than 600 lines', () => {
    const long = [...src, ...tests]
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > 600);
    expect(long).toEqual([]);
  });

  test('no line in src is longer than 100 columns', () => {
    expect(matches(src, /^.{101,}$/u, 'text')).toEqual([]);
  });
});

describe('imports', () => {
  test('every source stands in a room of the house', () => {
    const homeless = src.filter(({ path }) => mayImport[roomOf(path)] === undefined);
    expect(homeless.map(({ path }) => path)).toEqual([]);
  });

  test('point downwards only', () => {
    const upward = src.flatMap(({ path, text }) => {
      const room = roomOf(path);
      return importsOf(text)
        .filter((name) => name.startsWith('.'))
        .map((name) => join(dirname(path), name).split(sep).join('/'))
        .filter((target) => {
          const other = roomOf(target);
          if (other === room || mayImport[room]?.includes(other) === true) return false;
          return !(room === 'sim' && target.endsWith('/port.js'));
        })
        .map((target) => `${path} imports ${target}`);
    });
    expect(upward).toEqual([]);
  });

  test('relative ones name the compiled file', () => {
    const odd = [...src, ...tests].flatMap(({ path, text }) =>
      importsOf(text)
        .filter((name) => name.startsWith('.') && !/\.(js|json)$/.test(name))
        .map((name) => `${path} imports ${name}`),
    );
    expect(odd).toEqual([]);
  });
});

describe('the core is pure', () => {
  test('it imports neither Node nor a package', () => {
    const outside = core.flatMap(({ path, text }) =>
      importsOf(text)
        .filter((name) => !name.startsWith('.'))
        .map((name) => `${path} imports ${name}`),
    );
    expect(outside).toEqual([]);
  });

  test('it knows no clock, timer, process, random number or promise', () => {
    const banned =
      /(?<![.\w])(?:Date|Promise|Buffer|performance|process(?=\s*\.)|async|await)\b|\bMath\.random\b|\bset(?:Timeout|Interval|Immediate)\b/;
    expect(matches(core, banned, 'code')).toEqual([]);
  });
});

describe('words', () => {
  test('nothing is left for later', () => {
    expect(matches(src, /\b(?:TODO|FIXME)\b/, 'text')).toEqual([]);
  });

  test('one word, one meaning', () => {
    const instead = new Map([
      ['term', 'epoch'],
      ['generation', 'epoch'],
      ['partition', 'bucket'],
      ['slot', 'bucket'],
    ]);
    const wrong = src.flatMap(({ path, code }) => {
      const identifiers = new Set(code.match(/[A-Za-z_$][\w$]*/g));
      return [...identifiers].flatMap((identifier) =>
        wordsOf(identifier)
          .map((word) => word.replace(/s$/, ''))
          // A network that is cut in two is rightly called partitioned in the simulator.
          .filter((word) => instead.has(word) && !(roomOf(path) === 'sim' && word === 'partition'))
          .map((word) => `${path}: ${identifier}; say ${instead.get(word)}`),
      );
    });
    expect(wrong).toEqual([]);
  });
});

/** Files that belong to the project: in a checkout git knows, elsewhere the usual folders. */
function projectFiles(): string[] {
  try {
    const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return listed.split('\0').filter((path) => path !== '' && existsSync(join(root, path)));
  } catch {
    return ['bin', 'docs', 'proto', 'scripts', 'src', 'test'].flatMap(filesBelow);
  }
}

/** Targets of links and images, from the root. */
function linksOf(page: string): string[] {
  const links = read(page).matchAll(
    /\]\(<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)="([^"]+)"/gm,
  );
  return [...links]
    .map((link) => (link[1] ?? link[2] ?? link[3] ?? '').replace(/[#?].*$/, ''))
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
    .map((target) =>
      normalize(join(dirname(page), target))
        .split(sep)
        .join('/'),
    );
}

describe('documents', () => {
  test('every one is linked from README.md or from another page', () => {
    const documents = filesBelow('docs');
    const pages = ['README.md', ...documents].filter(
      (path) => path.endsWith('.md') && existsSync(join(root, path)),
    );
    const linked = new Set(
      pages.flatMap((page) => linksOf(page).filter((target) => target !== page)),
    );
    expect(documents.filter((path) => !linked.has(path))).toEqual([]);
  });
});

describe('figures', () => {
  test('every measurement is named in README.md or on another page', () => {
    const pages = ['README.md', ...filesBelow('docs').filter((path) => path.endsWith('.md'))];
    const said = pages.map(read).join('\n');
    const names = Array.from(read('src/bench/main.ts').matchAll(/\.command\('([a-z]+)'\)/g));
    expect(names.length).toBeGreaterThan(10);
    const silent = names.filter(([, name]) => {
      return !new RegExp(`(BENCH=|main\\.js )${name}\\b`).test(said);
    });
    expect(silent.map(([, name]) => name)).toEqual([]);
  });
});

describe('the project stands alone', () => {
  test('no file names the place where it was written', () => {
    const place = /(?<![\w.-])\/wor[k]\/|\.\.\/share[d]\/(?:design|style|stack|cli|data)\b/;
    const named = projectFiles()
      .filter((path) => !/\.(csv|png|ico|woff2)$/.test(path) && path !== 'package-lock.json')
      .filter((path) => place.test(read(path)));
    expect(named).toEqual([]);
  });

  test('the lock file and the settings of npm name no registry', () => {
    expect(read('package-lock.json')).not.toMatch(/"resolved": "http/);
    expect(read('.npmrc')).not.toMatch(/registry\s*=\s*http/);
  });

  test('every version in package.json is exact', () => {
    const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
    const ranges = ['dependencies', 'devDependencies', 'overrides'].flatMap((kind) =>
      Object.entries(manifest[kind] ?? {}).filter(
        ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
      ),
    );
    expect(ranges).toEqual([]);
  });
});

describe('these rules can see', () => {
  test('code apart from comments, strings and templates', () => {
    const source = [
      "const a = 'Date'; // Date",
      '/* Date',
      ' */ const b = `Date ${Date.now({ x: `}` })} Date`;',
      "const c = /'Date/.test(a) ? 1 / 2 : 3;",
    ].join('\n');
    const code = codeOnly(source);
    expect(code).toHaveLength(source.length);
    expect(code.match(/Date/g)).toHaveLength(1);
    expect(code).toContain('.test(a) ? 1 / 2 : 3;');
  });

  test('every form of import', () => {
    const source = [
      "import type { A } from './a.js';",
      'export * from "./b.js";',
      "import './c.js';",
      "const d = await import('./d.js');",
      "// import './e.js';",
      "const f = 'import ./f.js';",
    ].join('\n');
    expect(importsOf(source)).toEqual(['./a.js', './b.js', './c.js', './d.js']);
  });

  test('words inside identifiers', () => {
    expect(wordsOf('maxHTTPSlotCount')).toEqual(['max', 'http', 'slot', 'count']);
  });
});
