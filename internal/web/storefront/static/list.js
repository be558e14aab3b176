// The sale list.
import { show, t, translate } from './i18n.js';
import { get, unknown } from './api.js';
import { until, whileSeen } from './clock.js';
import { buyer, farewell, tell, hush } from './header.js';
import { part, stateOf, drawState, drawPrices, drawUnits, drawPicture, clockText } from './look.js';

const refresh = 5_000; // ms between two looks at the list

const template = document.getElementById('card');
const more = document.getElementById('more');
const cards = new Map(); // sale id → {node, sale, target, stop}
let pages = 1; // how many the reader has asked for

const groups = { open: 'now', paused: 'now', sold_out: 'now', scheduled: 'soon', ended: 'over' };
const rank = { open: 0, paused: 1, sold_out: 2, scheduled: 3, ended: 4 };

async function load() {
  const sales = [];
  let cursor = '';
  for (let n = 0; n < pages; n++) {
    const answer = await get(`/api/sales${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
    if (answer.status !== 200) {
      tell('bad', unknown(answer) ? 'error.retrying' : 'error.other');
      return;
    }
    sales.push(...answer.body.items);
    cursor = answer.body.next;
    if (!cursor) break;
  }
  hush();
  more.hidden = !cursor;
  document.getElementById('loading').hidden = true;
  document.getElementById('empty').hidden = sales.length > 0;
  const seen = new Set(sales.map((sale) => sale.id));
  for (const [id, card] of cards) {
    if (!seen.has(id)) {
      card.stop?.();
      card.node.remove();
      cards.delete(id);
    }
  }
  for (const sale of sales) draw(sale);
  arrange();
}

function draw(sale) {
  let card = cards.get(sale.id);
  if (!card) {
    const node = template.content.firstElementChild.cloneNode(true);
    translate(node);
    const link = node.querySelector('a');
    link.href = `/sale/${encodeURIComponent(sale.id)}`;
    link.dataset.sale = sale.id;
    card = { node };
    cards.set(sale.id, card);
  }
  card.sale = sale;
  part(card.node, 'title').textContent = sale.title;
  drawPicture(part(card.node, 'picture'), sale);
  drawPrices(card.node, sale);
  drawMoving(card);
}

// drawMoving draws what changes with the clock alone.
function drawMoving(card) {
  const { node, sale } = card;
  const state = stateOf(sale);
  card.state = state;
  node.querySelector('a').dataset.state = state;
  drawState(part(node, 'state'), 'state', state);
  drawUnits(node, sale, state);
  const target = state === 'ended' ? null : Date.parse(state === 'scheduled' ? sale.opens_at : sale.closes_at);
  if (target === card.target) return;
  card.target = target;
  card.stop?.();
  card.stop = null;
  const clock = part(node, 'clock');
  if (target === null) {
    show(clock, () => '');
    return;
  }
  const label = state === 'scheduled' ? 'clock.opens' : 'clock.closes';
  card.stop = until(target, (left) => {
    if (left === 0) {
      // Not from within until: drawMoving starts the next countdown.
      queueMicrotask(() => {
        drawMoving(card);
        arrange();
      });
      return;
    }
    show(clock, () => `${t(label)} ${clockText(left)}`);
  });
}

function arrange() {
  const order = [...cards.values()].sort((a, b) => rank[a.state] - rank[b.state] || soonest(a, b));
  for (const section of document.querySelectorAll('[data-group]')) {
    const grid = section.querySelector('ul');
    const mine = order.filter((card) => groups[card.state] === section.dataset.group).map((card) => card.node);
    section.hidden = mine.length === 0;
    // Moving a card takes the focus from it, so only those move that must.
    mine.forEach((node, i) => {
      if (grid.children[i] !== node) grid.insertBefore(node, grid.children[i] ?? null);
    });
  }
}

// What is next comes first; of what is over, the latest.
function soonest(a, b) {
  if (a.state === 'ended') return Date.parse(b.sale.closes_at) - Date.parse(a.sale.closes_at);
  return Date.parse(a.sale.opens_at) - Date.parse(b.sale.opens_at);
}

more.addEventListener('click', () => {
  pages++;
  load();
});

if (buyer()) get('/api/orders').then((answer) => answer.status === 401 && farewell());
whileSeen(refresh, load);
