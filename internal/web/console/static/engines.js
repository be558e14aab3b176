// The parts that a node stands on: the gate, the queue and the store; its listeners; the
// dead letters, with their reason and their second try; and the rebuild of the gate.
import { count, say, show, t } from './i18n.js';
import { stopwatch } from './clock.js';
import { byId } from './frame.js';
import { age, button, drawParts, el, figure, isKnown, may, moment, ms, needs, onRole, partsOf, pressed, source, stack, tellTrouble, tile, word } from './desk.js';
import { press } from './press.js';

const engines = source('/api/admin/engines', 3_000, drawNodes);
// Whoever looks at them keeps them from others meanwhile, so not often.
const dead = source('/api/admin/dead-letters', 30_000, drawDead);

function drawEngines(s) {
  tellTrouble(byId('status'), s);
  age(byId('age'), s.at);
  drawTools();
  if (s.value === undefined) return;
  const parts = partsOf(s.value.nodes);
  drawParts(parts);
  const listeners = s.value.nodes.map((node) => node.listeners).filter(isKnown);
  byId('engines').replaceChildren(...Object.entries(parts).map(([name, part]) => {
    const state = part.ok === null ? 'unknown' : part.ok ? 'ok' : 'bad';
    return el('li', { class: 'card-box engine', data: { state } }, el('h2', { show: () => word('part', name) }),
      el('p', {}, el('span', { class: 'light', data: { state }, show: () => t(`engine.${state}`) })),
      part.ok === null ? null : el('p', { class: 'soft digits', say: ['engine.nodes', { n: () => count(part.nodes), of: () => count(part.of) }] }),
      part.since ? el('p', { class: 'soft digits', say: ['engine.since', { time: () => moment(part.since) }] }) : null,
      part.says ? el('p', { class: 'why', text: part.says, dir: 'auto' }) : null);
  }), el('li', { class: 'card-box engine' }, el('h2', { say: 'engines.listeners' }), el('dl', { class: 'tiles' },
    tile('engines.running', listeners.length ? listeners.filter(Boolean).length : null, { make: (n) => t('engine.of', { n: () => count(n), of: () => count(listeners.length) }), why: 'engines.no_listeners' }),
    tile('engines.dead', letters(), { why: dead.trouble === 'state' ? 'engines.embedded' : 'engines.dead_unknown', tone: letters() > 0 ? 'warn' : undefined }))));
}

let drawn = '';
function drawTools() {
  const mark = JSON.stringify([engines.value?.rabbitmq_console, may('operator'), may('admin')]);
  if (mark === drawn || pressed(byId('tools'))) return;
  drawn = mark;
  const done = () => engines.look();
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
    ...(/^https?:/.test(engines.value?.rabbitmq_console) ? [el('a', { class: 'button quiet small', href: engines.value.rabbitmq_console, target: '_blank', rel: 'noopener', say: 'engines.rabbitmq' })] : []));
}

function drawNodes(s) {
  drawEngines(s);
  byId('nodes').hidden = s.value === undefined;
  if (s.value === undefined) return;
  const differ = (name) => new Set(s.value.nodes.map((node) => node[name])).size > 1;
  const odd = { version: differ('version'), settings: differ('settings') };
  byId('nodes').tBodies[0].replaceChildren(...s.value.nodes.map((node) => {
    const seen = el('td', { class: 'age' });
    age(seen, isKnown(node.age_ms) ? s.at - node.age_ms : node.seen_at ? stopwatch() - Math.max(0, Date.now() - Date.parse(node.seen_at)) : null);
    return el('tr', {}, el('th', { scope: 'row', text: node.id }), figure(el('td', { class: odd.version ? 'bad' : '' }), node.version, String), figure(el('td', { class: odd.settings ? 'bad' : '' }), node.settings, (v) => String(v).slice(0, 8)),
      figure(el('td'), node.roles, (roles) => [roles].flat().join(', ')), figure(el('td', { class: 'digits' }), node.clock_skew_ms, ms),
      el('td', { class: node.degraded?.length ? 'bad' : '', show: () => (isKnown(node.degraded) ? node.degraded.map((name) => word('part', name)).join(', ') || '—' : t('unknown')) }), seen);
  }));
  stack(byId('nodes'));
}

// replay gives dead letters back to the queue: one, ten or all.
const replay = (body, values) => press({ name: 'replay', ask: 'confirm', route: '/api/admin/dead-letters/replay', path: '/api/admin/dead-letters/replay', make: () => body, values, done: () => dead.look() });

// letters is how many there are; undefined: not known.
const letters = () => (dead.value ? dead.value.items.length + (dead.value.more ?? 0) : undefined);

function drawDead(s) {
  drawEngines(engines);
  tellTrouble(byId('dead-status'), s);
  if (s.trouble === 'state') {
    byId('dead-status').dataset.tone = 'plain';
    say(byId('dead-status'), 'engines.embedded');
  }
  const items = s.value?.items ?? [];
  if (s.trouble === null && items.length === 0) {
    byId('dead-status').hidden = false;
    byId('dead-status').dataset.tone = 'good';
    say(byId('dead-status'), 'engines.no_dead');
  }
  byId('dead').hidden = items.length === 0;
  byId('dead-tools').hidden = items.length === 0 || !may('operator');
  if (!byId('dead-tools').firstChild) byId('dead-tools').replaceChildren(button('engines.replay_ten', () => replay({ count: 10 }, { n: () => count(Math.min(10, letters() ?? 10)) })), button('engines.replay_all', () => replay({ all: true }, { n: () => t('engines.all') })));
  byId('dead').tBodies[0].replaceChildren(...items.map((d) => el('tr', {}, el('td', { class: 'digits', show: () => moment(d.at) }),
    el('td', {}, d.sale ? el('a', { href: `/console/sale/${encodeURIComponent(d.sale)}`, text: d.sale }) : '—'), el('th', { scope: 'row' }, el('code', { text: d.ticket ?? d.id })),
    el('td', {}, el('b', { show: () => word('dead_reason', d.reason) }), d.says ? el('small', { class: 'soft', text: ` ${d.says}`, dir: 'auto' }) : null),
    el('td', {}, d.sealed === false ? el('span', { class: 'soft', say: 'engines.unsealed' }) : may('operator') ? button('engines.replay_one', () => replay({ ids: [d.id] }, { n: () => count(1) })) : null))));
  stack(byId('dead'));
  show(byId('dead-heading'), () => (s.value === undefined ? t('engines.dead') : `${t('engines.dead')} · ${count(letters())}`));
}

onRole(() => {
  drawn = '';
  needs();
  for (const s of [engines, dead]) s.look();
});
