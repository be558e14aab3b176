// What every page of the console has around it: who may do what, answers that are asked
// for again and again with the age of the last one, figures that say when they are
// unknown, receipts, and which part of the system is down.
import { count, duration, lang, say, show, t } from './i18n.js';
import { get, request } from './api.js';
import { backoff } from './machine.js';
import { keep, stopwatch } from './clock.js';
import { byId, onMe, toLogin } from './frame.js';

// --- making elements ----------------------------------------------------------

// el makes an element. say is a key of the words or [key, values], show a function that
// makes the text, on a map of listeners; what else is given becomes an attribute.
export function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'say') say(node, ...[value].flat());
    else if (name === 'show') show(node, value);
    else if (name === 'text') node.textContent = value;
    else if (name === 'label') {
      node.dataset.tLabel = value;
      node.setAttribute('aria-label', t(value));
    } else if (name === 'on') for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (name === 'data') Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// button makes one that takes no second press while what the first has begun is under way.
export function button(key, press, given = {}) {
  const node = el('button', { type: 'button', class: 'button quiet small', say: key, ...given });
  node.addEventListener('click', async () => {
    if (node.getAttribute('aria-disabled') === 'true') return;
    node.setAttribute('aria-disabled', 'true');
    node.dataset.pressed = '';
    try {
      await press();
    } finally {
      delete node.dataset.pressed;
      node.setAttribute('aria-disabled', 'false');
    }
  });
  return node;
}

// pressed reports whether what one of the buttons in a box has begun is under way. Until it is
// answered no other button comes in its place, though the change may be seen before the answer.
export const pressed = (box) => box.querySelector('[data-pressed]') !== null;

// rest lets a button that has just appeared take no press for a moment: it may stand where
// another one was pressed.
export function rest(node) {
  node.setAttribute('aria-disabled', 'true');
  setTimeout(() => node.setAttribute('aria-disabled', 'false'), 700);
  return node;
}

// --- who may do what -----------------------------------------------------------

const ranks = ['viewer', 'support', 'operator', 'admin'];
let role;
const roles = new Set();

// may reports whether the person's role reaches the one that a button needs. What may
// not be pressed is not shown; the server decides in any case.
export const may = (needs) => ranks.indexOf(role) >= ranks.indexOf(needs);

// onRole calls f once the role is known, and again when it changes.
export function onRole(f) {
  roles.add(f);
  if (role !== undefined) f();
}

// needs hides the elements under root that the role does not reach.
export function needs(root = document) {
  for (const node of root.querySelectorAll('[data-needs]')) node.hidden = !may(node.dataset.needs);
}

onMe((me) => {
  if (me === null) {
    if (document.body.classList.contains('at-login')) return;
    toLogin();
    return;
  }
  const before = role;
  role = ranks.includes(me.role) ? me.role : '';
  byId('self').hidden = false;
  byId('login').hidden = true;
  show(byId('role'), () => t(role ? `role.${role}` : 'role.none'));
  const refused = byId('refused');
  refused.hidden = role !== '';
  if (!role) say(refused, 'refused.role');
  needs();
  if (role !== before) for (const f of roles) f();
});

// --- figures and their age ------------------------------------------------------

const aged = new Map(); // node → when its figure was true, by the stopwatch (null: never), and from which age it is old

export const old = 5_000; // ms from which an age is shown as old

// age keeps the node at "3 s ago".
export function age(node, at, limit = old) {
  aged.set(node, { at, limit });
  drawAge(node, at, limit);
}

function drawAge(node, at, limit) {
  const ms = at === null ? Infinity : stopwatch() - at;
  node.classList.toggle('old', ms > limit);
  show(node, () => (at === null ? t('age.never') : ms < 1_500 ? t('age.now') : t('age.ago', { time: () => duration(Math.round(ms / 1000)) })));
}

setInterval(() => {
  for (const [node, { at, limit }] of aged) {
    if (node.isConnected) drawAge(node, at, limit);
    else aged.delete(node);
  }
}, 1_000);

// known reports whether there is a value: nothing that is unknown is shown as zero.
export const isKnown = (value) => value !== null && value !== undefined;

// figure keeps the node at a value, or at "unknown".
export function figure(node, value, make = count) {
  node.classList.toggle('unknown', !isKnown(value));
  show(node, () => (isKnown(value) ? make(value) : t('unknown')));
  return node;
}

// tile is a figure with its name, and with the reason where it is unknown.
export function tile(key, value, { make, why, tone, note, big } = {}) {
  const box = el('div', { class: big ? 'tile big' : 'tile', data: tone ? { tone } : {} }, el('dt', { say: key }), figure(el('dd', { class: 'digits' }), value, make));
  if (!isKnown(value) && why) box.append(el('dd', { class: 'why', show: typeof why === 'function' ? why : () => t(why) }));
  else if (note) box.append(el('dd', { class: 'why', show: note }));
  return box;
}

// act is what was done, by its name on a node's time line or in the log: sales.pause.
export function act(what) {
  const [noun, verb] = String(what).split('.');
  const known = (key) => t(`act.${key}`) !== `act.${key}` && t(`act.${key}`);
  return known(String(what).replaceAll('.', '_')) || (noun === 'people' && known(`person_${verb}`)) || (['sales', 'orders'].includes(noun) && known(verb)) || known(what) || String(what);
}

export const ms = (value) => (value < 1_000 ? t('ms', { n: () => count(value < 10 ? Math.round(value * 10) / 10 : Math.round(value)) }) : duration(Math.round(value / 1000)));

// word is prefix.name in the reader's language; a name that this page does not know yet
// is shown as it is.
export function word(prefix, name) {
  const key = `${prefix}.${String(name).replaceAll(' ', '_')}`;
  const text = t(key);
  return text === key ? String(name).replaceAll('_', ' ') : text;
}

// moment is a time with its date and seconds, as the log of a machine has it.
export function moment(iso) {
  if (!iso) return '—';
  return new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(iso));
}

// copied is how old, in ms, the copy of a sale is that a node shows while the store does not
// answer; 0: it was just read.
export const copied = (sale) => (sale.as_of ? Math.max(0, Date.parse(sale.server_now) - Date.parse(sale.as_of)) : 0);

// leftOf is what the gate holds of a sale; null: it does not say. The number that comes
// then is what the store has not sold, and is no figure of now.
export const leftOf = (sale) => (sale.left_from_store ? null : sale.left);

// --- asking again and again -----------------------------------------------------

// source asks for a path every gap ms and calls draw after each answer, good or bad. It
// keeps the last good one:
//
//	value, at  the last good answer, and when it came by the stopwatch
//	trouble    null, or why there is no newer one: absent (this node has no such
//	           route), forbidden, network, or the code of the answer
//
// Nothing is asked before the role is known: whoever hears of it calls look.
export function source(path, gap, draw) {
  const s = { value: undefined, at: null, trouble: null, failed: 0 };
  let last = '';
  s.look = keep(() => (s.trouble === 'absent' ? 30_000 : s.failed ? Math.max(gap, backoff(s.failed, 0, Math.random())) : gap), async () => {
    const url = typeof path === 'function' ? path() : path;
    if (!url || !role) return;
    const answer = await get(url);
    if (url !== last) [last, s.value, s.at] = [url, undefined, null];
    s.failed = answer.status === 200 ? 0 : s.failed + 1;
    if (answer.status === 200) [s.value, s.at, s.trouble] = [answer.body, stopwatch(), null];
    else s.trouble = troubleOf(answer);
    if (answer.status === 401) toLogin();
    draw(s);
  });
  return s;
}

// troubleOf says why an answer is none. A route that an older node does not have is a
// 404 or 405 that names no sale or order; the caller knows whether that can be.
export function troubleOf(answer) {
  if (answer.status === 0) return 'network';
  if (answer.status === 404 || answer.status === 405) return 'absent';
  if (answer.status === 403) return 'forbidden';
  return answer.code ?? 'unavailable';
}

// tellTrouble shows why there is nothing newer, or nothing at all.
export function tellTrouble(node, s) {
  node.hidden = s.trouble === null;
  if (s.trouble !== null) {
    node.dataset.tone = s.trouble === 'absent' ? 'plain' : 'bad';
    show(node, () => word('trouble', s.trouble) + (s.at === null ? '' : ` ${t('trouble.last')}`));
  }
}

// all reads every page of a list, up to a number of pages.
export async function all(path, most = 10) {
  const items = [];
  let cursor = '';
  for (let n = 0; n < most; n++) {
    const url = new URL(path, location.origin);
    url.searchParams.set('limit', '100');
    if (cursor) url.searchParams.set('cursor', cursor);
    const answer = await get(url.pathname + url.search);
    if (answer.status !== 200) return { ...answer, items };
    items.push(...answer.body.items);
    cursor = answer.body.next;
    if (!cursor) break;
  }
  return { status: 200, items, more: Boolean(cursor) };
}

// --- what this node can do --------------------------------------------------------

let asked;

// can reports whether the node's own description has a route, and a parameter or a field
// of its body; undefined: the description did not come.
export async function can(method, path, parameter) {
  asked ??= get('/api/openapi.json').then((answer) => {
    if (answer.status !== 200) asked = undefined;
    return answer.status === 200 ? answer.body.paths : troubleOf(answer) === 'absent' ? {} : undefined;
  });
  const paths = await asked;
  if (!paths) return undefined;
  const item = paths[path];
  const route = item?.[method.toLowerCase()];
  if (!route || !parameter) return Boolean(route);
  if (route.requestBody?.content?.['application/json']?.schema?.properties?.[parameter]) return true;
  return [...(item.parameters ?? []), ...(route.parameters ?? [])].some((p) => p.name === parameter || p.$ref?.toLowerCase().endsWith(`/${parameter}`));
}

export { request };

// --- receipts ---------------------------------------------------------------------

// receipt says what was done, and where it is in force; undo is a button that takes it
// back. One of what is running stays below the others until whoever has made it removes it.
export function receipt(key, answer, { values, undo, numbers = [], tone = 'good', running = false } = {}) {
  const node = el('div', { class: 'receipt', data: { tone } },
    el('p', {}, el('strong', { say: [key, values] }), ' ', el('span', { show: () => inForce(answer) })));
  if (numbers.length) node.append(effect(numbers));
  if (undo) node.append(rest(button('receipt.undo', () => { node.remove(); undo(); })));
  if (running) node.dataset.running = '';
  else node.append(el('button', { type: 'button', class: 'close', label: 'press.close', text: '×', on: { click: () => node.remove() } }));
  // What is running is not moved: its button may have the focus, or the mouse down on it.
  for (const old of byId('receipts').querySelectorAll('.receipt:not([data-running])')) old.remove();
  byId('receipts').prepend(node);
  return node;
}

function inForce(answer) {
  if (!answer) return '';
  const r = answer.body?.receipt;
  if (!r) return t('receipt.taken');
  if (!isKnown(r.nodes)) return t('receipt.unknown', { why: r.says ?? '' });
  const values = { nodes: () => count(r.nodes), of: () => count(r.of), time: () => ms(r.after_ms ?? 0) };
  return t(r.nodes < r.of ? 'receipt.partly' : 'receipt.all', values);
}

// effect lists numbers as {name, value, currency?}.
export function effect(numbers) {
  return el('dl', { class: 'numbers' }, numbers.map((n) => el('div', {}, el('dt', { show: () => word('number', n.name) }),
    figure(el('dd', { class: 'digits' }), n.value, (v) => (typeof v === 'number' ? count(v) : String(v))))));
}

// --- tables ------------------------------------------------------------------------

const stacks = new Set();

// stack tells each cell of a table the name of its column: on a phone the rows are cards.
// It is called when rows were drawn.
export function stack(table) {
  stacks.add(table);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of table.tBodies[0].rows) for (const [i, cell] of [...row.cells].entries()) if (cell.colSpan === 1) cell.dataset.name = names[i];
}

// The words of the header have changed by now: i18n.js listens first.
byId('lang').addEventListener('click', () => stacks.forEach(stack));

// --- which part is down ---------------------------------------------------------

// drawParts shows, on every page, which part of the system is away.
export function drawParts(parts) {
  const away = Object.entries(parts ?? {}).filter(([, part]) => part && part.ok === false);
  const banner = byId('parts');
  banner.hidden = away.length === 0;
  if (away.length) {
    show(banner, () => away.map(([name, part]) => t('parts.down', {
      part: () => word('part', name), since: () => (part.since ? t('parts.since', { time: () => moment(part.since) }) : ''), says: part.says ?? '',
    })).join(' '));
  }
}

// partsOf merges what the nodes say of a part: it is up where all have it, and down with
// the reason of the first that has not. A node that says nothing leaves it unknown.
export function partsOf(nodes) {
  const parts = {};
  for (const name of ['gate', 'queue', 'store']) {
    const all = nodes.map((node) => ({ node, part: node.parts?.[name] }));
    const down = all.filter(({ part }) => part?.ok === false);
    const first = down[0];
    parts[name] = {
      ok: down.length ? false : all.length && all.every(({ part }) => part?.ok === true) ? true : null,
      since: (first ?? all.find(({ part }) => part?.since))?.part.since,
      says: first && (down.length < all.length ? `${down.map(({ node }) => node.name ?? node.id).join(', ')}: ${first.part.says ?? ''}` : first.part.says),
      nodes: all.filter(({ part }) => part?.ok === true).length,
      of: all.length,
    };
  }
  return parts;
}

// watchParts asks for them on pages that do not hear of them otherwise.
export function watchParts() {
  let watching = null;
  onRole(() => {
    if (role) watching ??= source('/api/admin/nodes', 10_000, (s) => s.trouble === null && drawParts(partsOf(s.value.items)));
  });
}

// --- which sale does not add up ---------------------------------------------------

// On every page it is named below the header.
let sums = null;
onRole(() => {
  if (role) sums ??= source('/api/admin/balance', 5_000, drawSums);
});

const counted = new Set();

// onBalances calls f when the balances were asked for: with a Map of them by sale, and when
// they came by the stopwatch, null if never.
export function onBalances(f) {
  counted.add(f);
  if (sums?.value) tellBalances(f);
}

function tellBalances(f) {
  f(new Map((sums.value?.items ?? []).map((b) => [String(b.sale), b])), sums.at);
}

function drawSums() {
  const red = (sums.value?.items ?? []).filter((b) => b.ok === false);
  const banner = byId('red');
  banner.hidden = red.length === 0;
  const names = red.map((b) => b.sale).join();
  if (red.length && banner.dataset.sales !== names) {
    banner.replaceChildren(el('strong', { say: 'red.sales' }),
      ...red.slice(0, 5).flatMap((b) => [' ', el('a', { href: `/console/sale/${encodeURIComponent(b.sale)}#after`, text: `#${b.sale}` })]), red.length > 5 ? ' …' : '');
  }
  banner.dataset.sales = red.length ? names : '';
  for (const f of counted) tellBalances(f);
}
