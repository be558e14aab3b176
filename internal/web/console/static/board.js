// The board: every sale on one time line.
import { count, lang, say, show, t, when } from './i18n.js';
import { gate, keep, stopwatch } from './clock.js';
import { byId } from './frame.js';
import { backoff, stateOf } from './machine.js';
import { age, all, copied, el, isKnown, leftOf, may, onBalances, onRole, tellTrouble, troubleOf, watchParts } from './desk.js';
import { fresh, judge, saysState } from './balance.js';

const hour = 3_600_000;
const spans = { day: [-6, 24], week: [-24, 168], month: [-72, 720] }; // hours before and after now
const close = 5 * 60_000; // two openings within this are marked

const range = byId('range');
let sales = [];
let balances = { of: new Map(), came: null };
const s = { at: null, trouble: null, failed: 0 };

// window is the stretch of time that is shown.
function stretch(now) {
  if (range.value !== 'all') return spans[range.value].map((h) => now + h * hour);
  const times = sales.flatMap((sale) => [Date.parse(sale.opens_at), Date.parse(sale.closes_at)]);
  const [from, to] = [Math.min(now, ...times), Math.max(now + hour, ...times)];
  return [from - (to - from) / 50, to + (to - from) / 50];
}

// neighbours returns, by id, the sales that open within five minutes of each other.
export function neighbours(list) {
  const order = list.filter((sale) => sale.state !== 'ended').sort((a, b) => Date.parse(a.opens_at) - Date.parse(b.opens_at));
  const found = new Map();
  order.forEach((sale, i) => {
    const next = order[i + 1];
    if (!next || Date.parse(next.opens_at) - Date.parse(sale.opens_at) > close) return;
    found.set(sale.id, next);
    if (!found.has(next.id)) found.set(next.id, sale);
  });
  return found;
}

function draw() {
  tellTrouble(byId('status'), s);
  age(byId('age'), s.at);
  if (s.at === null) return;
  const now = gate.now();
  const [from, to] = stretch(now);
  const x = (time) => Math.max(0, Math.min(100, (100 * (time - from)) / (to - from)));
  const near = neighbours(sales);
  drawScale(from, to, x, now);
  // What is over stands at the end.
  const over = (sale) => Number(stateOf(sale, now) === 'ended');
  const rows = sales.toSorted((a, b) => over(a) - over(b) || Date.parse(a.opens_at) - Date.parse(b.opens_at)).map((sale) => row(sale, x, now, near.get(sale.id)));
  // A redraw keeps the focus where it was.
  const focused = document.activeElement?.dataset?.key;
  byId('sales').replaceChildren(...rows);
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  byId('empty').hidden = sales.length > 0;
  show(byId('count'), () => t(s.more ? 'board.count_more' : 'board.count', { n: () => count(sales.length) }));
}

function drawScale(from, to, x, now) {
  const wide = innerWidth > 800 ? 8 : 4;
  const steps = [1, 3, 6, 12, 24, 48, 96, 168, 336, 720, 2160, 8760].map((h) => h * hour);
  const step = steps.find((size) => (to - from) / size <= wide) ?? steps.at(-1);
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - zone) / step) * step + zone;
  const marks = [];
  for (let at = first; at < to; at += step) {
    const mark = el('span', { class: 'tick', show: () => tick(at, step) });
    mark.style.left = `${x(at)}%`;
    // The last one would not fit, nor one below the word for now.
    const beside = Math.abs(x(at) - x(now)) > (wide > 4 ? 5 : 16) || x(at) < x(now) - 8;
    if (x(at) < (wide > 4 ? 94 : 82) && beside) marks.push(mark);
  }
  const line = el('span', { class: 'now', say: 'board.now' });
  line.style.left = `${x(now)}%`;
  byId('scale').replaceChildren(...marks, line);
}

function tick(at, step) {
  const d = new Date(at);
  const midnight = d.getHours() === 0;
  if (step >= 24 * hour || midnight) return new Intl.DateTimeFormat(lang, { month: 'short', day: 'numeric' }).format(d);
  return new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(d);
}

function row(sale, x, now, neighbour) {
  const state = stateOf(sale, now);
  const shelf = sale.shelf && sale.shelf !== 'published' ? sale.shelf : null;
  const [opens, closes] = [Date.parse(sale.opens_at), Date.parse(sale.closes_at)];
  const bar = el('span', { class: 'bar', data: { state: shelf ?? state } });
  bar.style.left = `${x(opens)}%`;
  bar.style.width = `${Math.max(0.6, x(closes) - x(opens))}%`;
  const here = el('span', { class: 'here' });
  here.style.left = `${x(now)}%`;
  return el('li', { class: 'line', data: { sale: sale.id } },
    el('div', { class: 'line-text' },
      el('a', { href: `/console/sale/${encodeURIComponent(sale.id)}`, text: sale.title, dir: 'auto', data: { key: `sale-${sale.id}` } }),
      el('p', { class: 'facts-line' },
        shelf === 'draft' ? null : el('span', { class: 'badge', data: { state }, say: `state.${state}` }),
        shelf ? el('span', { class: 'badge', data: { state: shelf }, say: `shelf.${shelf}` }) : null,
        neighbour ? el('span', { class: 'badge', data: { state: 'near' }, say: ['board.near', { title: neighbour.title }], dir: 'auto' }) : null,
        balance(sale),
        el('span', { class: 'soft', show: () => t(`board.${{ scheduled: 'opens', ended: 'ended' }[state] ?? 'closes'}`, { time: () => when(state === 'scheduled' ? sale.opens_at : sale.closes_at) }) }),
        isKnown(leftOf(sale)) ? el('span', { class: 'soft digits', say: ['board.left', { left: () => count(sale.left), total: () => count(sale.total) }] })
          : el('span', { class: 'unknown', say: ['board.left_unknown', { total: () => count(sale.total) }] }))),
    el('div', { class: 'line-bar', 'aria-hidden': 'true' }, bar, here),
    el('p', { class: 'line-tools' },
      may('operator') ? el('a', { class: 'button quiet small', href: `/console/new?copy=${encodeURIComponent(sale.id)}`, say: 'act.copy', data: { key: `copy-${sale.id}` } }) : null));
}

// balance is whether a sale adds up, and as of when.
function balance(sale) {
  const judged = judge(balances.of.get(String(sale.id)), balances.came);
  const node = el('span', { class: 'light small', data: { state: { ok: 'ok', bad: 'bad', unknown: 'unknown' }[judged.state] ?? 'warn', balance: judged.state } },
    el('span', { show: () => (judged.state === 'unknown' ? t('board.uncounted') : saysState(judged)) }));
  if (judged.at === null || judged.state === 'old') return node;
  const when = el('small', { class: 'age' });
  age(when, judged.at, fresh);
  return el('span', { class: 'balance-line' }, node, ' ', when);
}

async function load() {
  const answer = await all('/api/admin/sales');
  if (answer.status === 200) {
    Object.assign(s, { at: stopwatch() - Math.max(0, ...answer.items.map(copied)), trouble: null, failed: 0, more: answer.more });
    sales = answer.items;
  } else {
    s.trouble = troubleOf(answer);
    s.failed++;
  }
  draw();
}

let looking = null; // wakes who asks for the sales
onRole(() => {
  if (!may('viewer')) {
    byId('status').hidden = true;
    return;
  }
  if (looking) return looking();
  byId('status').hidden = false;
  say(byId('status'), 'loading');
  looking = keep(() => (s.failed ? backoff(s.failed, 0, Math.random()) : 5_000), load);
});
onBalances((of, came) => {
  balances = { of, came };
  if (s.at !== null) draw();
});
range.value = sessionStorage.getItem('range') ?? 'day';
range.addEventListener('change', () => {
  sessionStorage.setItem('range', range.value);
  draw();
});
window.addEventListener('resize', draw);
watchParts();
