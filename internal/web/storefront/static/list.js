// The sale list, in the order of the server: open, to come, over.
import { clockText, say, show, t, translate, when } from './i18n.js';
import { get, unknown } from './api.js';
import { gate, keep, until } from './clock.js';
import { byId, hush, part, tell } from './frame.js';
import { drawAge, drawState, drawPrices, drawUnits, drawPicture } from './look.js';
import { backoff, gapToList, jittered, stateOf } from './machine.js';

const template = byId('card');
const more = byId('more');
const cards = new Map(); // sale id → {node, sale, place, state, target, stop}
let pages = 1; // how many the reader has asked for
let failed = 0;

const groups = { open: 'now', paused: 'now', scheduled: 'soon', sold_out: 'gone', ended: 'over' };

async function load() {
  const sales = [];
  let cursor = '';
  for (let n = 0; n < pages; n++) {
    const answer = await get(`/api/sales${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
    if (answer.status !== 200) {
      failed++;
      // Of a lost connection the banner speaks already.
      if (answer.status !== 0) tell({ tone: 'bad', key: unknown(answer) ? 'error.retrying' : 'error.other' });
      return;
    }
    sales.push(...answer.body.items);
    cursor = answer.body.next;
    if (!cursor) break;
  }
  failed = 0;
  hush();
  more.hidden = !cursor;
  byId('loading').hidden = true;
  byId('empty').hidden = sales.length > 0;
  const places = new Map(sales.map((sale, i) => [sale.id, i]));
  for (const [id, card] of cards) {
    if (places.has(id)) continue;
    card.stop?.();
    card.node.remove();
    cards.delete(id);
  }
  for (const sale of sales) draw(sale, places.get(sale.id));
  drawAge(document, sales.find((sale) => sale.as_of) ?? {});
  arrange();
}

function draw(sale, place) {
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
  card.place = place;
  part(card.node, 'title').textContent = sale.title;
  drawPicture(part(card.node, 'picture'), sale);
  drawPrices(card.node, sale);
  drawMoving(card);
}

// drawMoving draws what changes with the clock alone.
function drawMoving(card) {
  const { node, sale } = card;
  const state = stateOf(sale, gate.now());
  card.state = state;
  node.querySelector('a').dataset.state = state;
  drawState(part(node, 'state'), 'state', state);
  drawUnits(node, sale, state);
  const time = part(node, 'time');
  time.hidden = state !== 'scheduled';
  if (state === 'scheduled') say(time, 'sale.opens_at', { time: () => when(sale.opens_at) });
  const target = state === 'ended' || state === 'sold_out' ? null : Date.parse(state === 'scheduled' ? sale.opens_at : sale.closes_at);
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
  card.stop = until(gate, target, (left) => {
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

// arrange puts the cards into their groups, in the server's order. The next opening
// is the hero.
function arrange() {
  const order = [...cards.values()].sort((a, b) => a.place - b.place);
  const hero = order.find((card) => card.state === 'scheduled');
  for (const card of order) card.node.classList.toggle('hero', card === hero);
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

const gap = () => (failed ? backoff(failed, 0, Math.random()) : jittered(gapToList([...cards.values()].map((card) => card.sale), gate.now()), Math.random()));
const look = keep(gap, load);
more.addEventListener('click', () => {
  pages++;
  look();
});
