// Accounts with their roles, for admins; and who is blocked or allowed, for operators.
import { show, t } from './i18n.js';
import { get } from './api.js';
import { byId } from './frame.js';
import { all, button, el, isKnown, may, needs, onRole, stack, troubleOf, watchParts, word } from './desk.js';
import { press } from './press.js';

const form = byId('find');
const { q } = form.elements;
let next = '';
let turn = 0;
let wish = ''; // what was searched for last: More goes on with that

async function find(from = '') {
  const mine = ++turn;
  if (!from) {
    wish = encodeURIComponent(q.value.trim());
    byId('more').hidden = true;
  }
  const answer = await get(`/api/admin/people?q=${wish}${from && `&cursor=${encodeURIComponent(from)}`}`);
  if (mine !== turn) return;
  const status = byId('status');
  status.hidden = answer.status === 200 && answer.body.items.length > 0;
  status.dataset.tone = answer.status === 200 ? 'plain' : 'bad';
  show(status, () => (answer.status === 200 ? t('people.none') : word('trouble', troubleOf(answer))));
  if (answer.status !== 200) return;
  const body = byId('accounts').tBodies[0];
  const rows = answer.body.items.map(row);
  if (from) body.append(...rows);
  else body.replaceChildren(...rows);
  stack(byId('accounts'));
  byId('accounts').hidden = body.rows.length === 0;
  next = answer.body.next ?? '';
  byId('more').hidden = !next;
}

function row(p) {
  const path = `/api/admin/people/${encodeURIComponent(p.name)}`;
  const of = (name, given) => ({ name, ask: 'confirm', path: `${path}/${name.replace('person_', '')}`, values: { name: p.name }, done: () => find(), ...given });
  const tools = [
    of('person_role', { fields: [{ name: 'role', type: 'select', options: ['', 'viewer', 'support', 'operator', 'admin'], value: p.role ?? '' }], make: ({ role }) => ({ role }) }),
    p.blocked ? of('person_unblock', { ask: 'none', undo: of('person_block', { ask: 'none' }) }) : of('person_block', { undo: of('person_unblock', { ask: 'none' }) }),
    of('person_logout', {}),
    of('person_password', { fields: [{ name: 'password', type: 'password', required: true, minlength: 8, autocomplete: 'new-password' }], make: ({ password }) => (password ? { password } : null) }),
    of('person_delete', { ask: 'title', title: p.name, method: 'DELETE', path }),
  ];
  return el('tr', {}, el('th', { scope: 'row', text: p.name, dir: 'auto' }), el('td', { show: () => (p.role ? word('role', p.role) : t('role.buyer')) }),
    el('td', { show: () => (isKnown(p.second_factor) ? t(p.second_factor ? 'yes' : 'no') : t('unknown')) }), el('td', { class: p.blocked ? 'bad' : '', show: () => (isKnown(p.blocked) ? t(p.blocked ? 'yes' : 'no') : t('unknown')) }),
    el('td', { class: 'tools' }, tools.map((a) => button(`act.${a.name}`, () => press(a)))));
}

async function lists() {
  const answer = await all('/api/admin/access');
  const status = byId('access-status');
  status.hidden = answer.status === 200 && answer.items.length > 0;
  status.dataset.tone = answer.status === 200 ? 'plain' : 'bad';
  show(status, () => (answer.status === 200 ? t('access.none') : word('trouble', troubleOf(answer))));
  if (answer.status !== 200) return;
  byId('access').hidden = answer.items.length === 0;
  byId('access').tBodies[0].replaceChildren(...answer.items.map((entry) => {
    const who = Object.fromEntries(['sale', 'buyer', 'network'].filter((name) => entry[name]).map((name) => [name, entry[name]]));
    const values = { who: entry.buyer ?? entry.network };
    const add = { name: 'access_add', ask: 'none', path: '/api/admin/access', make: () => ({ list: entry.list, ...who, ...(entry.note ? { note: entry.note } : {}) }), values, done: lists };
    const remove = { name: 'access_remove', ask: 'none', path: '/api/admin/access/remove', make: () => who, values, undo: add, done: lists };
    return el('tr', {}, el('td', { show: () => word('option.list', entry.list) }), el('th', { scope: 'row', text: values.who, dir: 'auto' }),
      el('td', { show: () => entry.sale ?? t('access.all_sales') }), el('td', { text: entry.note ?? '', dir: 'auto' }), el('td', { text: entry.by, dir: 'auto' }),
      el('td', {}, button('act.access_remove', () => press(remove))));
  }));
  stack(byId('access'));
}

byId('add').addEventListener('click', () => press({
  name: 'access_add', ask: 'confirm', path: '/api/admin/access', values: { who: '' }, done: lists,
  fields: [{ name: 'list', type: 'select', options: ['block', 'allow'] }, { name: 'who', type: 'text', required: true, maxlength: 64, hint: () => t('access.who_hint') },
    { name: 'sale', type: 'text', inputmode: 'numeric', pattern: '[0-9]*', maxlength: 19, hint: () => t('access.sale_hint') }, { name: 'note', type: 'text', maxlength: 200 }],
  make({ list, who, sale, note }) {
    if (!who.trim()) return null;
    const network = /^[0-9a-f:.]+(\/\d+)?$/i.test(who.trim()) && /[.:]/.test(who);
    return { list, [network ? 'network' : 'buyer']: who.trim(), ...(sale.trim() ? { sale: sale.trim() } : {}), ...(note.trim() ? { note: note.trim() } : {}) };
  },
}));
form.addEventListener('submit', (event) => {
  event.preventDefault();
  find();
});
byId('more').addEventListener('click', () => find(next));
q.value = new URLSearchParams(location.search).get('q') ?? '';
onRole(() => {
  needs();
  if (may('admin')) find();
  if (may('operator')) lists();
});
watchParts();

