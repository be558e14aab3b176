// The buyer's orders, and their tickets that are no order yet or never became one.
import { clockText, count, known, money, say, show, t, translate, when } from './i18n.js';
import { get, orderPage, salePath, unknown } from './api.js';
import { keep, store, until } from './clock.js';
import { byId, hush, onMe, part, tell, toLogin } from './frame.js';
import { drawPicture, drawState } from './look.js';
import { backoff, gapToOrder, jittered } from './machine.js';

const list = byId('orders');
const template = byId('row');
const more = byId('more');
const rows = new Map(); // id → {node, mark, stop}
const names = new Map(); // sale → promise of its answer, for tickets, which have no title

let pages = 1; // how many the reader has asked for
let orders = [];
let tickets = [];
let failed = 0;

async function load() {
  const [found, cursor] = await read();
  if (!found) return;
  failed = 0;
  hush();
  orders = found;
  more.hidden = !cursor;
  // Refused tickets stand between the orders of their time. One that waited when it was asked
  // for may be an order by now.
  const oldest = cursor ? orders.at(-1)?.created_at ?? '' : '';
  const placed = new Set(orders.map((order) => order.id));
  const shown = tickets.filter((ticket) => ticket.status === 'queued' && !placed.has(ticket.ticket) || ticket.status === 'refused' && ticket.at >= oldest);
  const all = [...shown.map((ticket) => ({ id: ticket.ticket, at: ticket.at, ticket })), ...orders.map((order) => ({ id: order.id, at: order.created_at, order }))];
  const first = (row) => (row.ticket?.status === 'queued' ? 1 : 0);
  all.sort((a, b) => first(b) - first(a) || Date.parse(b.at) - Date.parse(a.at) || (a.id < b.id ? 1 : -1));
  for (const [id, row] of rows) {
    if (!all.some((one) => one.id === id)) {
      row.stop();
      row.node.remove();
      rows.delete(id);
    }
  }
  all.forEach((one, i) => {
    const { node } = draw(one);
    if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null);
  });
  byId('empty').hidden = all.length > 0;
}

// read returns the orders of the pages that were asked for, and the cursor behind
// them; nothing when an answer did not come.
async function read() {
  // The tickets come first: one that is settled in between is met twice rather than not at
  // all. Without them the orders are shown all the same.
  const held = await get('/api/tickets?limit=100');
  if (held.status === 200) tickets = held.body.items;
  const found = [];
  let cursor = '';
  for (let n = 0; n < pages; n++) {
    const answer = await get(`/api/orders${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
    if (answer.status === 401) toLogin();
    if (answer.status !== 200) {
      failed++;
      // Of a lost connection the banner speaks already.
      if (answer.status !== 401 && answer.status !== 0) tell({ tone: 'bad', key: 'error.retrying' });
      return [];
    }
    found.push(...answer.body.items);
    cursor = answer.body.next ?? '';
    if (!cursor) break;
  }
  return [found, cursor];
}

function draw({ id, order, ticket }) {
  let row = rows.get(id);
  if (!row) {
    const node = template.content.firstElementChild.cloneNode(true);
    translate(node);
    row = { node, mark: '', stop: () => {} };
    rows.set(id, row);
  }
  const { server_now, ...lasting } = order ?? ticket;
  const mark = JSON.stringify(lasting);
  if (row.mark === mark) return row;
  row.mark = mark;
  row.stop();
  row.stop = () => {};
  if (order) drawOrder(row, order);
  else drawTicket(row, ticket);
  return row;
}

function drawOrder(row, order) {
  const link = row.node.querySelector('a');
  link.href = orderPage(order.id);
  link.dataset.order = order.id;
  show(part(row.node, 'title'), () => order.title);
  drawPicture(part(row.node, 'picture'), { id: order.sale, title: order.title, image: order.image });
  say(part(row.node, 'line'), 'orders.line', { quantity: () => count(order.quantity), time: () => when(order.created_at) });
  show(part(row.node, 'amount'), () => money(order.amount, order.currency));
  drawState(part(row.node, 'state'), 'order_state', order.state);
  const note = part(row.node, 'note');
  note.hidden = order.state !== 'unpaid';
  if (order.state !== 'unpaid') return;
  row.stop = until(store, Date.parse(order.expires_at), (left) => {
    show(note, () => (left > 0 ? `${t('clock.pay')} ${clockText(left)}` : t('order.late')));
    if (left === 0) look();
  });
}

function drawTicket(row, ticket) {
  const link = row.node.querySelector('a');
  link.href = `/sale/${encodeURIComponent(ticket.sale)}`;
  link.dataset.ticket = ticket.ticket;
  say(part(row.node, 'title'), 'sale.number', { sale: ticket.sale });
  name(row, ticket.sale);
  say(part(row.node, 'line'), 'orders.line', { quantity: () => count(ticket.quantity), time: () => when(ticket.at) });
  show(part(row.node, 'amount'), () => '');
  drawState(part(row.node, 'state'), 'ticket_state', ticket.status);
  const note = part(row.node, 'note');
  note.hidden = false;
  if (ticket.status === 'refused') say(note, known('reason', ticket.reason));
  else say(note, 'ticket.position', { position: () => count(ticket.position ?? 0) });
  if (ticket.status === 'queued' && !ticket.position) say(note, 'ticket_state.queued');
}

async function name(row, sale) {
  if (!names.has(sale)) names.set(sale, get(salePath(sale)));
  const { mark } = row;
  const answer = await names.get(sale);
  const later = unknown(answer) || answer.status === 429; // and not a sale that is gone
  if (later) names.delete(sale);
  if (row.mark !== mark) return; // it is an order by now, or its newer ticket waits for the name too
  if (later) row.mark = ''; // it is drawn anew with the next answer
  if (answer.status !== 200) return;
  show(part(row.node, 'title'), () => answer.body.title);
  drawPicture(part(row.node, 'picture'), answer.body);
}

// gap is short while a ticket waits, and as long as that of the liveliest order else.
function gap() {
  if (failed) return backoff(failed, 0, Math.random());
  if (tickets.some((ticket) => ticket.status === 'queued')) return jittered(2_000, Math.random());
  const gaps = orders.map((order) => gapToOrder(order, store.now()));
  return jittered(Math.min(60_000, ...gaps), Math.random());
}

const look = keep(gap, load);
more.addEventListener('click', () => {
  pages++;
  look();
});
let buyer;
onMe((me) => {
  if (buyer !== undefined && buyer !== me?.buyer) location.reload();
  buyer = me?.buyer ?? null;
});
