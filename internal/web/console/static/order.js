// One order: what it is, its line of life, its money, and how it is cancelled or refunded.
import { count, money, say, show, t, when } from './i18n.js';
import { byId } from './frame.js';
import { age, button, el, may, moment, needs, onRole, source, tellTrouble, watchParts, word } from './desk.js';
import { press } from './press.js';
import { major, minor } from './edit.js';

const id = decodeURIComponent(location.pathname.split('/')[3]).toUpperCase();
const path = `/api/admin/orders/${encodeURIComponent(id)}`;
const s = source(path, 5_000, draw);
byId('id').textContent = id;

function draw() {
  tellTrouble(byId('status'), s);
  if (s.trouble === 'absent') say(byId('status'), 'order.missing');
  age(byId('age'), s.at);
  byId('whole').hidden = s.value === undefined;
  if (s.value === undefined) return;
  const o = s.value;
  byId('state').dataset.state = o.state;
  say(byId('state'), `order_state.${o.state}`);
  const fact = (key, ...content) => el('div', {}, el('dt', { say: key }), el('dd', {}, ...content));
  byId('facts').replaceChildren(
    fact('orders.buyer', el('a', { href: `/console/orders?q=${encodeURIComponent(o.buyer)}`, text: o.buyer_name ?? o.buyer, dir: 'auto' })),
    fact('orders.sale', el('a', { href: `/console/sale/${encodeURIComponent(o.sale)}`, text: o.title, dir: 'auto' })),
    fact('orders.quantity', el('span', { class: 'digits', show: () => count(o.quantity) })),
    fact('orders.amount', el('span', { class: 'digits', show: () => money(o.amount, o.currency) })),
    fact('orders.created', el('span', { class: 'digits', show: () => moment(o.created_at) })),
    o.state === 'unpaid' ? fact('order.expires', el('span', { class: 'digits', show: () => when(o.expires_at) })) : '',
    o.refunded_amount ? fact('order.refunded', el('span', { class: 'digits', show: () => money(o.refunded_amount, o.currency) })) : '');
  byId('life').replaceChildren(...(o.history ?? []).map(entry));
  const rows = [...(o.payments ?? []).map((p) => ['payment', p, p.at]), ...(o.refunds ?? []).map((r) => ['refund', r, r.made_at])].sort((a, b) => Date.parse(a[2]) - Date.parse(b[2]));
  byId('money').replaceChildren(...(rows.length ? rows.map(([kind, row, at]) => el('li', {},
    el('time', { datetime: at, class: 'digits', show: () => moment(at) }), ' ', el('b', { say: `order.${kind}` }), ' ', el('span', { class: 'digits', show: () => money(row.amount, row.currency) }), ' ',
    el('span', { class: 'badge', show: () => word('money_state', row.state) }), ' ', el('small', { class: 'soft', text: [row.provider, row.reference, row.reason ?? row.note, row.error].filter(Boolean).join(' · '), dir: 'auto' })))
    : [el('li', { class: 'soft', say: 'order.no_money' })]));
  drawTools(o);
}

function entry(e) {
  const rest = [e.units ? t('order.units', { n: () => count(e.units) }) : '', e.amount ? money(e.amount, e.currency) : ''];
  return el('li', {}, el('time', { datetime: e.at, class: 'digits', show: () => moment(e.at) }), el('b', { show: () => word('entry', e.what.replace('.', '_')) }),
    el('span', { class: 'digits', show: () => rest.filter(Boolean).join(' · ') }), el('small', { class: 'soft', text: [e.who, e.why].filter(Boolean).join(' · '), dir: 'auto' }));
}

let drawn = '';
function drawTools(o) {
  const mark = `${o.state} ${o.refunded_amount} ${may('support')}`;
  if (mark === drawn) return;
  drawn = mark;
  const values = { title: o.title, amount: () => money(o.amount, o.currency) };
  const reason = { name: 'reason', type: 'text', maxlength: 200 };
  const tools = [];
  const rest = o.amount - (o.refunded_amount ?? 0);
  if (o.state === 'unpaid') {
    tools.push({ name: 'cancel', ask: 'confirm', route: '/api/admin/orders/{order}/cancel', path: `${path}/cancel`, values, fields: [reason], numbers: [{ name: 'units', value: o.quantity }],
      make: (given) => (given.reason?.trim() ? { reason: given.reason.trim() } : {}), done: () => s.look() });
  }
  if (o.state === 'paid' && rest > 0) {
    // A part needs an id, so that a second try after a lost answer is the same refund.
    const part = `console-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
    tools.push({ name: 'refund', ask: 'confirm', route: '/api/admin/orders/{order}/refund', path: `${path}/refund`, values,
      fields: [{ name: 'amount', type: 'text', inputmode: 'decimal', value: major(rest, o.currency), required: true, hint: () => t('field.amount_hint', { most: () => money(rest, o.currency) }) },
        { name: 'units', type: 'number', min: 0, max: o.quantity, value: String(o.quantity - (o.returned_units ?? 0)), required: true },
        { name: 'restock', type: 'select', options: ['yes', 'no'] }, reason],
      make({ amount, units, restock, reason: why }) {
        const n = minor(amount, o.currency);
        if (n === null || n <= 0 || n > rest || !(Number(units) >= 0)) return null;
        return { id: part, amount: n, units: Number(units), restock: restock !== 'no', ...(why?.trim() ? { reason: why.trim() } : {}) };
      },
      done: () => s.look() });
  }
  byId('tools').replaceChildren(...(may('support') ? tools.map((a) => {
    const node = button(`act.${a.name}`, () => press(a), { data: { tool: a.name } });
    node.classList.add('danger');
    return node;
  }) : []));
}

onRole(() => {
  drawn = '';
  needs();
  if (may('viewer')) s.look();
  else show(byId('status'), () => '');
});
watchParts();
