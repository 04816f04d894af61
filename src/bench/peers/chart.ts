/** A point with the range of its rounds. */
export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  readonly least: number;
  readonly most: number;
}

export interface Series {
  readonly name: string;
  readonly color: string;
  readonly dashed?: boolean;
  readonly points: readonly ChartPoint[];
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const WIDTH = 760;
const HEIGHT = 420;
const AREA = { left: 84, right: 560, top: 52, bottom: 356 } as const;
const LEGEND = { x: 584, y: 70, step: 24, line: 26 } as const;
const INK = { text: '#24292f', faint: '#57606a', grid: '#d8dee4', panel: '#ffffff' } as const;
const FONT = 'font-family="system-ui, sans-serif"';
/** Marks of an axis within each power of ten. */
const MARKS = [1, 2, 5];
const MOST_LABELS = 6;

/**
 * A line chart with logarithmic axes as SVG. It brings its own light panel, so that it reads the
 * same on pages of either colour.
 */
export function svgOf({ title, xLabel, yLabel, series }: Chart): string {
  const shown = series.filter(({ points }) => points.length > 0);
  const all = shown.flatMap(({ points }) => points);
  const xs = [...new Set(all.map(({ x }) => x))].toSorted((a, b) => a - b);
  const across = scale([Math.min(...xs), Math.max(...xs)], [AREA.left + 14, AREA.right - 14]);
  const [low, high] = [
    Math.min(...all.map(({ least }) => least)),
    Math.max(...all.map(({ most }) => most)),
  ];
  const up = scale([low / 1.15, high * 1.15], [AREA.bottom, AREA.top]);
  const middle = (AREA.top + AREA.bottom) / 2;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" ` +
      `viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" ` +
      `aria-label="${escaped(title)}">`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="8" ` +
      `fill="${INK.panel}" stroke="${INK.grid}"/>`,
    text(AREA.left, 30, title, { size: 15, weight: 600 }),
    ...marksBetween(low / 1.15, high * 1.15).flatMap((value) => [
      line([AREA.left, up(value)], [AREA.right, up(value)], INK.grid),
      text(AREA.left - 8, up(value) + 4, short(value), { anchor: 'end' }),
    ]),
    ...spaced(xs, across).flatMap((value) => [
      line([across(value), AREA.bottom], [across(value), AREA.bottom + 5], INK.faint),
      text(across(value), AREA.bottom + 20, short(value), { anchor: 'middle' }),
    ]),
    line([AREA.left, AREA.bottom], [AREA.right, AREA.bottom], INK.faint),
    line([AREA.left, AREA.top], [AREA.left, AREA.bottom], INK.faint),
    text((AREA.left + AREA.right) / 2, HEIGHT - 18, xLabel, { anchor: 'middle' }),
    `<g transform="translate(22 ${middle}) rotate(-90)">` +
      `${text(0, 0, yLabel, { anchor: 'middle' })}</g>`,
    ...shown.flatMap((one, index) => [...drawn(one, across, up), ...legend(one, index)]),
    '</svg>',
    '',
  ].join('\n');
}

type Scale = (value: number) => number;

function scale(from: readonly [number, number], to: readonly [number, number]): Scale {
  const [low, high] = [Math.log(from[0]), Math.log(from[1])];
  const span = high - low === 0 ? 1 : high - low;
  return (value) => round(to[0] + ((Math.log(value) - low) / span) * (to[1] - to[0]));
}

function drawn({ color, dashed, points }: Series, across: Scale, up: Scale): string[] {
  const path = points.map(({ x, y }) => `${across(x)},${up(y)}`).join(' ');
  const dash = dashed === true ? ' stroke-dasharray="6 4"' : '';
  return [
    `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"${dash}/>`,
    ...points.flatMap(({ x, y, least, most }) => [
      line([across(x), up(least)], [across(x), up(most)], color),
      `<circle cx="${across(x)}" cy="${up(y)}" r="3.5" fill="${color}"/>`,
    ]),
  ];
}

function legend({ name, color, dashed }: Series, index: number): string[] {
  const y = LEGEND.y + index * LEGEND.step;
  const dash = dashed === true ? ' stroke-dasharray="6 4"' : '';
  const end = LEGEND.x + LEGEND.line;
  return [
    `<line x1="${LEGEND.x}" y1="${y}" x2="${end}" y2="${y}" stroke="${color}" ` +
      `stroke-width="2"${dash}/>`,
    `<circle cx="${LEGEND.x + LEGEND.line / 2}" cy="${y}" r="3.5" fill="${color}"/>`,
    text(end + 8, y + 4, name, {}),
  ];
}

/** Round values of the axis, not too many. */
function marksBetween(low: number, high: number): number[] {
  const marks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const mark of MARKS) marks.push(mark * 10 ** power);
  }
  const within = marks.filter((mark) => mark >= low && mark <= high);
  const tens = within.filter((mark) => Number.isInteger(Math.log10(round(mark))));
  return within.length > MOST_LABELS * 1.5 && tens.length > 1 ? tens : within;
}

/** Those that have room for their label. */
function spaced(values: readonly number[], across: Scale): number[] {
  const kept: number[] = [];
  for (const value of values) {
    const last = kept.at(-1);
    if (last === undefined || across(value) - across(last) > 30) kept.push(value);
  }
  return kept;
}

function line(from: readonly number[], to: readonly number[], color: string): string {
  return `<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" stroke="${color}"/>`;
}

interface TextStyle {
  readonly size?: number;
  readonly weight?: number;
  readonly anchor?: 'middle' | 'end';
}

function text(x: number, y: number, content: string, style: TextStyle): string {
  const { size = 12, weight = 400, anchor = 'start' } = style;
  return (
    `<text x="${round(x)}" y="${round(y)}" ${FONT} font-size="${size}" font-weight="${weight}" ` +
    `fill="${INK.text}" text-anchor="${anchor}">${escaped(content)}</text>`
  );
}

/** `20k`, `0.5`. */
function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (value >= 10_000) return `${Number((value / 1000).toPrecision(3))}k`;
  return String(Number(value.toPrecision(4)));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
