// How a sale looks wherever it is shown: its picture, its price, its units.
import { count, money, percent, say, show, when } from './i18n.js';
import { part } from './frame.js';

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

// drawAge says of when a sale is that is shown from a copy, while the store is away.
export function drawAge(root, { as_of: at }) {
  const line = part(root, 'as-of');
  line.hidden = !at;
  if (at) say(line, 'sale.as_of', { time: () => when(at) });
}

// drawUnits fills the bar with what is gone. It moves only once the first amount has
// been painted. While the gate does not tell what it holds, nobody knows what is left.
export function drawUnits(root, sale, state) {
  const bar = part(root, 'units');
  const left = state === 'sold_out' ? 0 : Math.min(sale.total, Math.max(0, sale.left));
  const share = sale.total > 0 ? (sale.total - left) / sale.total : 1;
  const untold = state === 'ended' || state === 'scheduled' || state !== 'sold_out' && sale.left_from_store;
  bar.max = 1;
  bar.value = share;
  bar.parentElement.hidden = untold;
  if (!bar.classList.contains('moves')) requestAnimationFrame(() => requestAnimationFrame(() => bar.classList.add('moves')));
  // 99.6 % gone is not all gone, 0.4 % not nothing.
  const gone = left > 0 ? Math.min(0.99, share) : 1;
  show(part(root, 'gone'), () => percent(share > 0 ? Math.max(0.01, gone) : 0));
  say(part(root, 'left'), untold ? 'list.total' : 'list.left', { left: () => count(left), total: () => count(sale.total) });
}

// drawPicture shows the sale's image over a drawing of our own, which stays where
// there is no image, it cannot be loaded, or it takes its time.
export function drawPicture(frame, sale) {
  const source = sale.image ?? '';
  if (frame.dataset.image === source && frame.querySelector('.placeholder')) return;
  // What the server has drawn already is not loaded again.
  let image = frame.querySelector('img');
  frame.dataset.image = source;
  frame.replaceChildren(placeholder(sale));
  if (!source) return;
  if (image?.getAttribute('src') !== source) {
    image = document.createElement('img');
    image.alt = '';
    image.decoding = 'async';
    image.src = source;
  }
  image.addEventListener('error', () => image.remove(), { once: true });
  if (!(image.complete && image.naturalWidth === 0)) frame.append(image);
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
