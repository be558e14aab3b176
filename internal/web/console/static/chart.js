// A chart of the last minutes in one-second steps, as SVG. What is not known is a gap,
// never a zero. The opening and every pressed button stand in it as upright lines.
import { count, lang, show, t } from './i18n.js';
import { el } from './desk.js';

const space = 'http://www.w3.org/2000/svg';
const [wide, high, top, bottom] = [600, 150, 18, 20];

export function draw(name, given, ...children) {
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(given)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// nice is the smallest round number above most.
export function nice(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= most);
}

// paths are the stretches of points that follow each other without a gap. Two answers that
// are further apart than three seconds are not joined: nobody knows what was in between.
export function paths(points, x, y) {
  const all = [];
  let last = null;
  for (const { at, value } of points) {
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    const step = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    if (last === null || at - last > 3_000) all.push([step]);
    else all.at(-1).push(step);
    last = at;
  }
  return all.map((steps) => (steps.length === 1 ? `M${steps[0]}h1` : `M${steps.join('L')}`));
}

// chart makes the figure of one or more series: {name (key of words), points, make}.
// marks are {at, text, kind}. from and to are in milliseconds.
export function chart(heading, series, { from, to, marks, make = count }) {
  const values = series.flatMap((line) => line.points.filter((p) => p.at >= from).map((p) => p.value)).filter((v) => typeof v === 'number');
  const most = nice(Math.max(0, ...values));
  const x = (at) => (wide * (at - from)) / (to - from);
  const y = (value) => top + (high - top - bottom) * (1 - value / most);
  const svg = draw('svg', { viewBox: `0 0 ${wide} ${high}`, class: 'chart', role: 'img', preserveAspectRatio: 'none' });
  const drawn = [];
  for (const share of [0, 0.5, 1]) svg.append(draw('line', { x1: 0, x2: wide, y1: y(most * share), y2: y(most * share), class: 'grid-line' }));
  // Flags that would cover each other stand below one another.
  let [last, row] = [-Infinity, 0];
  for (const mark of marks.filter((m) => m.at >= from && m.at <= to).toSorted((a, b) => a.at - b.at)) {
    const left = Math.min(86, (100 * (mark.at - from)) / (to - from));
    row = left - last < 14 ? (row + 1) % 5 : 0;
    last = left;
    svg.append(draw('line', { x1: x(mark.at), x2: x(mark.at), y1: 0, y2: high - bottom, class: `mark ${mark.kind}` }));
    const flag = el('span', { class: `flag ${mark.kind}`, show: mark.text });
    flag.style.left = `${left}%`;
    flag.style.top = `${20 * row}px`;
    drawn.push(flag);
  }
  series.forEach((line, i) => {
    for (const d of paths(line.points.filter((p) => p.at >= from), x, y)) svg.append(draw('path', { d, class: `series series-${i}`, 'vector-effect': 'non-scaling-stroke' }));
  });
  const latest = (line) => line.points.at(-1)?.value;
  const legend = series.map((line, i) => el('span', { class: `legend legend-${i}` }, el('i', { class: 'swatch' }), el('span', { say: line.name }), ' ',
    el('b', { class: 'digits', show: () => (typeof latest(line) === 'number' ? make(latest(line)) : t('unknown')) })));
  const figure = el('figure', { class: 'card-box' }, el('figcaption', {}, el('span', { class: 'chart-name', say: heading }), el('span', { class: 'legends' }, legend)),
    el('div', { class: 'plot' }, svg, el('span', { class: 'most digits', show: () => make(most) }), ...drawn),
    el('p', { class: 'ends' }, el('span', { show: () => clock(from) }), el('span', { show: () => clock(to) })));
  svg.setAttribute('aria-label', '');
  show(figure.querySelector('figcaption .chart-name'), () => t(heading));
  svg.setAttribute('aria-label', series.map((line) => `${t(line.name)}: ${typeof latest(line) === 'number' ? make(latest(line)) : t('unknown')}`).join(', '));
  return figure;
}

const clock = (at) => new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).format(new Date(at));
