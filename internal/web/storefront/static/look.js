// How a sale looks wherever it is shown: its state by the clock, its picture,
// its price, its units.
import { say, show, money, count, t } from './i18n.js';
import { now, parts } from './clock.js';

// part finds the element that a template names data-part="name".
export function part(root, name) {
  return root.querySelector(`[data-part="${name}"]`);
}

// stateOf is the sale's state by the server's clock now: the answer that we
// hold may be seconds old, the opening is not.
export function stateOf(sale) {
  if (now() >= Date.parse(sale.closes_at)) return 'ended';
  if (sale.state === 'scheduled' && now() >= Date.parse(sale.opens_at)) return 'open';
  return sale.state;
}

export function drawState(badge, prefix, state) {
  badge.dataset.state = state;
  say(badge, `${prefix}.${state}`);
}

export function drawPrices(root, sale) {
  show(part(root, 'price'), () => money(sale.price, sale.currency, true));
  const struck = sale.list_price > sale.price;
  part(root, 'list-price').hidden = !struck;
  part(root, 'list-label').hidden = !struck;
  if (struck) show(part(root, 'list-price'), () => money(sale.list_price, sale.currency, true));
}

export function drawUnits(root, sale, state) {
  const bar = part(root, 'units');
  const left = state === 'sold_out' ? 0 : Math.max(0, sale.left);
  bar.max = sale.total;
  bar.value = left;
  bar.hidden = state === 'ended' || state === 'scheduled';
  const values = { left: () => count(left), total: () => count(sale.total) };
  say(part(root, 'left'), state === 'ended' || state === 'scheduled' ? 'list.total' : 'list.left', values);
}

// clockText is a countdown on one line.
export function clockText(left) {
  const p = parts(left);
  const hms = `${p.hours}:${p.minutes}:${p.seconds}`;
  return p.days > 0 ? `${t('clock.days', { days: p.days })} ${hms}` : hms;
}

// drawPicture shows the sale's image, or a drawing of our own when it has none
// or it cannot be loaded.
export function drawPicture(frame, sale) {
  if (frame.dataset.image === (sale.image ?? '')) return;
  frame.dataset.image = sale.image ?? '';
  if (!sale.image) {
    frame.replaceChildren(placeholder(sale));
    return;
  }
  const image = document.createElement('img');
  image.alt = '';
  image.decoding = 'async';
  image.addEventListener('error', () => frame.replaceChildren(placeholder(sale)), { once: true });
  image.src = sale.image;
  frame.replaceChildren(image);
}

// placeholder draws a few shapes and the title's first letter. The same sale
// always gets the same picture.
function placeholder(sale) {
  const draw = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  let seed = 7;
  for (const c of `${sale.id} ${sale.title}`) seed = (Math.imul(seed, 31) + c.codePointAt(0)) >>> 0;
  const pick = (n) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * n);
  };
  const svg = draw('svg', { viewBox: '0 0 400 300', class: `placeholder tint-${pick(5)}`, 'aria-hidden': 'true', preserveAspectRatio: 'xMidYMid slice' });
  svg.append(
    draw('rect', { width: 400, height: 300, class: 'tint-back' }),
    draw('circle', { cx: 40 + pick(120), cy: 230 + pick(60), r: 120 + pick(60), class: 'tint-shape' }),
    draw('circle', { cx: 280 + pick(100), cy: 20 + pick(80), r: 60 + pick(70), class: 'tint-shape' }),
  );
  const letter = draw('text', { x: 200, y: 150, class: 'tint-letter', 'text-anchor': 'middle', 'dominant-baseline': 'central' });
  letter.textContent = /\p{L}/u.exec(sale.title)?.[0] ?? [...sale.title.trim()][0];
  svg.append(letter);
  return svg;
}
