// The page of one sale: what it is, the buttons, and the four tabs.
import { count, money, say, t, when } from './i18n.js';
import { gate, stopwatch } from './clock.js';
import { byId, title } from './frame.js';
import { stateOf } from './machine.js';
import { age, copied, el, may, needs, old, onRole, pressed, rest, source, tellTrouble, watchParts } from './desk.js';
import { actions, tool } from './actions.js';
import { preflight } from './preflight.js';
import { live } from './live.js';
import { after } from './after.js';
import { saleForm } from './edit.js';

const id = decodeURIComponent(location.pathname.split('/')[3]);
const admin = `/api/admin/sales/${encodeURIComponent(id)}`;
const names = ['preflight', 'live', 'after', 'edit'];
const tabs = { preflight, live, after, edit };
const running = new Map(); // tab → {show(), hide(), sale(sale, at)}; at: as of when it is, by the stopwatch
let shown = null;
let sale = null;
let at = null;

byId('title').textContent = `#${id}`;
const s = source(admin, 2_000, draw);

function draw() {
  tellTrouble(byId('status'), s);
  if (s.trouble === 'absent') say(byId('status'), 'sale.missing');
  if (s.value === undefined) return;
  [sale, at] = [s.value, s.at - copied(s.value)];
  byId('title').textContent = sale.title;
  title(sale.title);
  const state = stateOf(sale, gate.now());
  const shelf = sale.shelf ?? 'published';
  const seen = stopwatch() - at > old ? el('span', { class: 'age' }) : '';
  if (seen) age(seen, at);
  byId('facts').replaceChildren(
    shelf === 'draft' ? '' : el('span', { class: 'badge', data: { state }, say: `state.${state}` }),
    shelf === 'published' ? '' : el('span', { class: 'badge', data: { state: shelf }, say: `shelf.${shelf}` }),
    el('span', { class: 'soft', show: () => `${when(sale.opens_at)} – ${when(sale.closes_at)}` }),
    el('span', { class: 'soft digits', show: () => `${money(sale.price, sale.currency)} × ${count(sale.total)}` }),
    sale.notice ? el('span', { class: 'badge', data: { state: 'near' }, show: () => `${t('sale.notice')} ${sale.notice}`, dir: 'auto' }) : '', seen);
  drawTools(state, shelf);
  byId('tabs').hidden = false;
  needs(byId('tabs'));
  if (shown === null) open(wanted(state), false);
  for (const tab of running.values()) tab.sale(sale, at);
}

// drawTools offers what the sale's state allows and the person may do.
let drawn = '';
function drawTools(state, shelf) {
  const mark = JSON.stringify([state, shelf, sale.title, may('operator'), may('support'), sale.closes_at, sale.notice]);
  if (mark === drawn || pressed(byId('tools'))) return;
  drawn = mark;
  const offered = !may('operator') ? [] : actions(sale, state, shelf, { admin, now: () => sale, done: () => s.look() });
  const focused = document.activeElement?.dataset?.tool;
  const before = [...byId('tools').children].map((node) => node.dataset.tool);
  byId('tools').replaceChildren(...offered.map(tool));
  // Where Pause was is Resume now: a second click, or a key that is held, must not press it.
  if (before.length) for (const node of byId('tools').children) if (!before.includes(node.dataset.tool)) rest(node);
  if (focused) (document.querySelector(`[data-tool="${focused}"]`) ?? byId('tools')).focus();
}

// edit is the tab with the form of the sale.
function edit(root) {
  let form = null;
  return {
    show() {
      form ??= saleForm({ sale, done: () => s.look() });
      if (!root.firstChild) root.append(form);
    },
    hide() {},
    sale() {},
  };
}

function wanted(state) {
  const hash = location.hash.slice(1);
  if (names.includes(hash) && !byId(`tab-${hash}`).hidden) return hash;
  if ((sale.shelf ?? 'published') === 'draft') return 'preflight';
  return { scheduled: 'preflight', ended: 'after' }[state] ?? 'live';
}

function open(name, focus) {
  if (shown) {
    running.get(shown)?.hide();
    byId(shown).hidden = true;
  }
  shown = name;
  for (const tab of names) {
    const button = byId(`tab-${tab}`);
    button.setAttribute('aria-selected', String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
  }
  byId(name).hidden = false;
  if (!running.has(name)) running.set(name, tabs[name](byId(name), { id, admin, sale: () => sale, look: () => s.look() }));
  running.get(name).sale(sale, at);
  running.get(name).show();
  history.replaceState(null, '', `#${name}`);
  if (focus) byId(`tab-${name}`).focus();
}

byId('tabs').addEventListener('click', (event) => {
  const tab = event.target.closest('[role=tab]');
  if (tab) open(tab.id.slice(4), true);
});
byId('tabs').addEventListener('keydown', (event) => {
  const offered = names.filter((name) => !byId(`tab-${name}`).hidden);
  const at = offered.indexOf(shown);
  const to = { ArrowRight: (at + 1) % offered.length, ArrowLeft: (at + offered.length - 1) % offered.length, Home: 0, End: offered.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  open(offered[to], true);
});
window.addEventListener('hashchange', () => {
  const name = location.hash.slice(1);
  if (sale && names.includes(name) && name !== shown && !byId(`tab-${name}`).hidden) open(name, false);
});
onRole(() => {
  drawn = '';
  s.look();
});
watchParts();

