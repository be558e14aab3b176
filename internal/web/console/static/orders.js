// Orders, by one field: an order's number in any case, or a buyer; and by a sale's number and
// a state. Who only looks may choose the latter two, and is not offered the field.
import { count, money, say, show, t, when } from './i18n.js';
import { get } from './api.js';
import { stopwatch } from './clock.js';
import { byId } from './frame.js';
import { age, all, can, el, may, onRole, stack, troubleOf, watchParts, word } from './desk.js';

const form = byId('find');
const { q, sale, state } = form.elements;
const table = byId('orders');
const more = byId('more');
let cursor = '';
let turn = 0;
let wish; // what was searched for last: More goes on with that

// An order's number is 26 letters and digits; people read it out and type it in any case.
const orderId = /^[0-9a-z]{26}$/i;

const sought = () => (may('support') ? q.value.trim() : '');

async function query() {
  const wish = new URLSearchParams();
  const text = sought();
  if (text) wish.set((await can('GET', '/api/admin/orders', 'q')) === false ? 'buyer' : 'q', text);
  if (sale.value.trim()) wish.set('sale', sale.value.trim());
  if (state.value) wish.set('state', state.value);
  return wish;
}

async function find(next = '') {
  const mine = ++turn;
  if (!next) {
    more.hidden = true;
    const chosen = await query();
    if (mine !== turn) return;
    wish = chosen;
    wish.set('limit', '50');
    const address = new URLSearchParams([['q', sought()], ['sale', sale.value.trim()], ['state', state.value]].filter(([, v]) => v));
    history.replaceState(null, '', address.size ? `?${address}` : location.pathname);
  }
  const asked = new URLSearchParams(next ? [...wish, ['cursor', next]] : wish);
  let answer = null;
  if (orderId.test(sought()) && !next) {
    const one = await get(`/api/admin/orders/${sought().toUpperCase()}`);
    if (one.status === 200) answer = { status: 200, body: { items: [one.body] } };
  }
  answer ??= await get(`/api/admin/orders?${asked}`);
  if (mine !== turn) return;
  const status = byId('status');
  if (answer.status !== 200) {
    status.hidden = false;
    status.dataset.tone = 'bad';
    show(status, () => (answer.code === 'invalid_field' ? t('orders.bad_search') : word('trouble', troubleOf(answer))));
    return;
  }
  const rows = answer.body.items.map(row);
  const body = table.tBodies[0];
  if (next) body.append(...rows);
  else body.replaceChildren(...rows);
  stack(table);
  cursor = answer.body.next ?? '';
  more.hidden = !cursor;
  table.hidden = body.rows.length === 0;
  status.hidden = body.rows.length > 0;
  status.dataset.tone = 'plain';
  say(status, 'orders.none');
  age(byId('age'), stopwatch());
  people(next);
}

function row(order) {
  const href = `/console/order/${encodeURIComponent(order.id)}`;
  return el('tr', {}, el('th', { scope: 'row' }, may('support') ? el('a', { href, text: order.id }) : el('code', { text: order.id })), el('td', { text: order.buyer_name ?? order.buyer, dir: 'auto' }),
    el('td', {}, el('a', { href: `/console/sale/${encodeURIComponent(order.sale)}`, text: order.title, dir: 'auto' })),
    el('td', { class: 'digits', show: () => count(order.quantity) }), el('td', { class: 'digits', show: () => money(order.amount, order.currency) }),
    el('td', {}, el('span', { class: 'badge', data: { state: order.state }, say: `order_state.${order.state}` })), el('td', { class: 'digits', show: () => when(order.created_at) }));
}

// people shows the accounts whose name fits, to who may see them.
async function people(next) {
  if (next || !may('admin') || !q.value.trim()) {
    byId('found-people').hidden = !next || byId('found-people').hidden;
    return;
  }
  const mine = turn;
  const answer = await get(`/api/admin/people?q=${encodeURIComponent(q.value.trim())}`);
  if (mine !== turn) return;
  const found = answer.status === 200 ? answer.body.items : [];
  byId('found-people').hidden = found.length === 0;
  byId('people').replaceChildren(...found.slice(0, 10).map((p) => el('li', {}, el('a', { href: `/console/people?q=${encodeURIComponent(p.name)}`, text: p.name, dir: 'auto' }), ' ', el('span', { class: 'soft', show: () => (p.role ? word('role', p.role) : t('role.buyer')) }))));
}

// due shows the refunds that the provider has not confirmed, where the node lists them.
async function due() {
  if ((await can('GET', '/api/admin/refunds')) === false) return;
  const { items } = await all('/api/admin/refunds?state=due', 1);
  byId('due').hidden = items.length === 0;
  byId('refunds').tBodies[0].replaceChildren(...items.map((f) => el('tr', {},
    el('th', { scope: 'row' }, may('support') && orderId.test(f.order) ? el('a', { href: `/console/order/${encodeURIComponent(f.order)}`, text: f.order }) : el('code', { text: f.order })),
    el('td', { class: 'digits', show: () => money(f.amount, f.currency) }), el('td', { class: 'digits', show: () => when(f.made_at) }),
    el('td', { class: 'digits', show: () => count(f.tries) }), el('td', { text: f.error ?? '', dir: 'auto' }))));
  stack(byId('refunds'));
}

// csv saves what was searched for. The server writes it; where it cannot, the list does.
byId('csv').addEventListener('click', async () => {
  const wish = await query();
  const answer = await fetch(`/api/admin/orders?${wish}`, { headers: { Accept: 'text/csv' } }).catch(() => null);
  if (!answer?.ok || !answer.headers.get('Content-Type')?.startsWith('text/csv')) {
    const status = byId('status');
    status.hidden = false;
    status.dataset.tone = 'bad';
    show(status, () => (answer?.ok ? t('trouble.absent') : word('trouble', answer ? troubleOf({ status: answer.status }) : 'network')));
    return;
  }
  const link = el('a', { href: URL.createObjectURL(await answer.blob()), download: `orders-${new Date().toISOString().slice(0, 10)}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

form.addEventListener('submit', (event) => {
  event.preventDefault();
  find();
});
more.addEventListener('click', () => find(cursor));
const given = new URLSearchParams(location.search);
for (const field of [q, sale, state]) field.value = given.get(field.name) ?? '';
let begun = false;
onRole(() => {
  if (begun || !may('viewer')) return;
  begun = true;
  (may('support') ? q : sale).focus();
  find();
  due();
});
watchParts();

