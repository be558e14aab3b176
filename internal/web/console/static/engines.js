// The parts that a node stands on: the gate, the queue and the store; its listeners; the
// dead letters, with their reason and their second try; and the rebuild of the gate.
import { count, say, show, t } from './i18n.js';
import { stopwatch } from './clock.js';
import { byId } from './frame.js';
import { age, button, drawParts, el, figure, isKnown, may, moment, ms, needs, onRole, partsOf, source, tellTrouble, tile, word } from './desk.js';
import { press } from './press.js';

const nodes = source('/api/admin/nodes', 3_000, drawNodes);
const dead = source('/api/admin/dead-letters?limit=100', 5_000, drawDead);

function drawEngines(s) {
  tellTrouble(byId('status'), s);
  age(byId('age'), s.at);
  drawTools();
  if (s.value === undefined) return;
  const parts = partsOf(s.value.items);
  drawParts(parts);
  const listeners = s.value.items.map((node) => node.listeners).filter(isKnown);
  byId('engines').replaceChildren(...Object.entries(parts).map(([name, part]) => {
    const state = part.ok === null ? 'unknown' : part.ok ? 'ok' : 'bad';
    return el('li', { class: 'card-box engine', data: { state } }, el('h2', { show: () => word('part', name) }),
      el('p', {}, el('span', { class: 'light', data: { state }, show: () => t(`engine.${state}`) })),
      part.ok === null ? null : el('p', { class: 'soft digits', say: ['engine.nodes', { n: () => count(part.nodes), of: () => count(part.of) }] }),
      part.since ? el('p', { class: 'soft digits', say: ['engine.since', { time: () => moment(part.since) }] }) : null,
      part.says ? el('p', { class: 'why', text: part.says, dir: 'auto' }) : null);
  }), el('li', { class: 'card-box engine' }, el('h2', { say: 'engines.listeners' }), el('dl', { class: 'tiles' },
    tile('engines.running', listeners.length ? listeners.filter(Boolean).length : null, { make: (n) => t('engine.of', { n: () => count(n), of: () => count(listeners.length) }), why: 'engines.no_listeners' }),
    tile('engines.dead', dead.value?.count ?? dead.value?.items?.length, { why: 'engines.dead_unknown', tone: dead.value?.count > 0 ? 'bad' : undefined }))));
}

let drawn = '';
function drawTools() {
  const mark = JSON.stringify([dead.value?.console_url, may('operator'), may('admin')]);
  if (mark === drawn) return;
  drawn = mark;
  const done = () => nodes.look();
  const start = { name: 'listeners_start', ask: 'none', path: '/api/admin/listeners/start', done };
  const stop = { name: 'listeners_stop', ask: 'none', path: '/api/admin/listeners/stop', done, undo: start };
  start.undo = stop;
  const rebuild = { name: 'rebuild', ask: 'confirm', route: '/api/admin/sales/{sale}/rebuild', path: '', done,
    fields: [{ name: 'sale', type: 'text', inputmode: 'numeric', pattern: '[0-9]+', required: true, maxlength: 19 }],
    make({ sale }) {
      rebuild.path = `/api/admin/sales/${encodeURIComponent(sale)}/rebuild`;
      return sale ? undefined : null;
    } };
  const tools = [];
  if (may('operator')) tools.push(start, stop);
  if (may('admin')) tools.push(rebuild);
  byId('tools').replaceChildren(...tools.map((a) => button(`act.${a.name}`, () => press(a), { data: { tool: a.name } })),
    ...(/^https?:/.test(dead.value?.console_url) ? [el('a', { class: 'button quiet small', href: dead.value.console_url, target: '_blank', rel: 'noopener', say: 'engines.rabbitmq' })] : []));
}

function drawNodes(s) {
  drawEngines(s);
  byId('nodes').hidden = s.value === undefined;
  if (s.value === undefined) return;
  const differ = (name) => new Set(s.value.items.map((node) => node[name])).size > 1;
  const odd = { version: differ('version'), settings: differ('settings') };
  byId('nodes').tBodies[0].replaceChildren(...s.value.items.map((node) => {
    const seen = el('td', { class: 'age' });
    age(seen, isKnown(node.age_ms) ? s.at - node.age_ms : node.seen_at ? stopwatch() - Math.max(0, Date.now() - Date.parse(node.seen_at)) : null);
    return el('tr', {}, el('th', { scope: 'row', text: node.id }), figure(el('td', { class: odd.version ? 'bad' : '' }), node.version, String), figure(el('td', { class: odd.settings ? 'bad' : '' }), node.settings, (v) => String(v).slice(0, 8)),
      figure(el('td'), node.roles, (roles) => [roles].flat().join(', ')), figure(el('td', { class: 'digits' }), node.clock_skew_ms, ms),
      el('td', { class: node.degraded?.length ? 'bad' : '', show: () => (isKnown(node.degraded) ? node.degraded.map((name) => word('part', name)).join(', ') || '—' : t('unknown')) }), seen);
  }));
}

// replay gives dead letters back to the queue: one, ten or all.
const replay = (body, values) => press({ name: 'replay', ask: 'confirm', route: '/api/admin/dead-letters/replay', path: '/api/admin/dead-letters/replay', make: () => body, values, done: () => dead.look() });

function drawDead(s) {
  drawEngines(nodes);
  tellTrouble(byId('dead-status'), s);
  const items = s.value?.items ?? [];
  if (s.trouble === null && items.length === 0) {
    byId('dead-status').hidden = false;
    byId('dead-status').dataset.tone = 'good';
    say(byId('dead-status'), 'engines.no_dead');
  }
  byId('dead').hidden = items.length === 0;
  const total = s.value?.count ?? items.length;
  byId('dead-tools').hidden = items.length === 0 || !may('operator');
  if (!byId('dead-tools').firstChild) byId('dead-tools').replaceChildren(button('engines.replay_ten', () => replay({ count: 10 }, { n: () => count(Math.min(10, dead.value?.count ?? dead.value?.items.length ?? 10)) })), button('engines.replay_all', () => replay({ all: true }, { n: () => t('engines.all') })));
  byId('dead').tBodies[0].replaceChildren(...items.map((d) => el('tr', {}, el('td', { class: 'digits', show: () => moment(d.at) }),
    el('td', {}, d.sale ? el('a', { href: `/console/sale/${encodeURIComponent(d.sale)}`, text: d.sale }) : '—'), el('th', { scope: 'row' }, el('code', { text: d.ticket ?? d.id })),
    el('td', {}, el('b', { show: () => word('dead_reason', d.reason) }), d.detail ? el('small', { class: 'soft', text: ` ${d.detail}`, dir: 'auto' }) : null),
    el('td', {}, may('operator') ? button('engines.replay_one', () => replay({ ids: [d.id] }, { n: () => count(1) })) : null))));
  show(byId('dead-heading'), () => (s.value === undefined ? t('engines.dead') : `${t('engines.dead')} · ${count(total)}`));
}

onRole(() => {
  drawn = '';
  needs();
  for (const s of [nodes, dead]) s.look();
});
