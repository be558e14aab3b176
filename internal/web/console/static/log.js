// What was done, by whom, with what result: newest first.
import { say, show } from './i18n.js';
import { get } from './api.js';
import { stopwatch } from './clock.js';
import { byId } from './frame.js';
import { act, age, el, may, moment, onRole, stack, troubleOf, watchParts, word } from './desk.js';

const form = byId('find');
const names = ['who', 'what', 'sale'];
let next = '';
let turn = 0;
let wish; // what was searched for last: More goes on with that

async function find(before = '') {
  const mine = ++turn;
  if (!before) {
    wish = new URLSearchParams(names.map((name) => [name, form.elements[name].value.trim()]).filter(([, value]) => value));
    history.replaceState(null, '', wish.size ? `?${wish}` : location.pathname);
    byId('more').hidden = true;
  }
  const asked = new URLSearchParams(before ? [...wish, ['before', before]] : wish);
  const answer = await get(`/api/admin/log${asked.size ? `?${asked}` : ''}`);
  if (mine !== turn) return;
  const status = byId('status');
  const body = byId('log').tBodies[0];
  if (answer.status !== 200) {
    status.hidden = false;
    status.dataset.tone = 'bad';
    show(status, () => word('trouble', troubleOf(answer)));
    return;
  }
  const rows = answer.body.items.map(row);
  if (before) body.append(...rows);
  else body.replaceChildren(...rows);
  stack(byId('log'));
  byId('log').hidden = body.rows.length === 0;
  status.hidden = body.rows.length > 0;
  status.dataset.tone = 'plain';
  say(status, 'log.none');
  next = answer.body.next ?? '';
  byId('more').hidden = !next;
  age(byId('age'), stopwatch());
}

function row(e) {
  const failed = e.result !== 'done';
  return el('tr', {}, el('td', { class: 'digits', show: () => moment(e.at) }),
    el('th', { scope: 'row' }, el('span', { text: e.who, dir: 'auto' }), e.role ? el('small', { class: 'soft', show: () => word('role', e.role) }) : null),
    el('td', {}, el('b', { show: () => act(e.what) }), e.subject ? el('span', { class: 'soft', text: ` ${e.subject}`, dir: 'auto' }) : null, e.sale ? ' ' : null, e.sale ? el('a', { href: `/console/sale/${encodeURIComponent(e.sale)}`, text: `#${e.sale}` }) : null,
      e.intent ? el('small', { class: 'soft', text: text(e.intent), dir: 'auto' }) : null),
    el('td', { class: failed ? 'bad' : '', show: () => word('result', e.result) }),
    el('td', {}, el('small', { text: change(e), dir: 'auto' })),
    el('td', {}, el('small', { class: 'soft', text: [e.from, e.request_id].filter(Boolean).join(' · ') })));
}

const text = (v) => (typeof v === 'string' ? v : JSON.stringify(v));

// change says what became of what: only the fields that differ.
export function change({ before, after }) {
  if (!before && !after) return '';
  const [b, a] = [before, after].map(parsed);
  if (typeof b !== 'object' || typeof a !== 'object' || !b || !a) return [before, after].filter(Boolean).map(text).join(' → ');
  return [...new Set([...Object.keys(b), ...Object.keys(a)])].filter((k) => JSON.stringify(b[k]) !== JSON.stringify(a[k]))
    .map((k) => `${k}: ${text(b[k] ?? '—')} → ${text(a[k] ?? '—')}`).join(', ');
}

function parsed(v) {
  if (typeof v !== 'string') return v ?? {};
  try {
    return JSON.parse(v);
  } catch {
    return v;
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  find();
});
byId('more').addEventListener('click', () => find(next));
const given = new URLSearchParams(location.search);
for (const name of names) form.elements[name].value = given.get(name) ?? '';
let begun = false;
onRole(() => {
  if (begun || !may('viewer')) return;
  begun = true;
  find();
});
watchParts();
