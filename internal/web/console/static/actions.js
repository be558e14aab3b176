// The buttons of a sale: what each asks, sends, and how it is taken back.
import { count, show, t } from './i18n.js';
import { button, isKnown, leftOf, receipt, request } from './desk.js';
import { press, explain } from './press.js';
import { unknown } from './api.js';

// random names a change, so that a repeat of it is the same change.
const random = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');

// localTime is a moment as a field of date and time has it, and back.
export function localTime(iso) {
  const d = new Date(iso);
  return new Date(d - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const isoTime = (local) => (local ? new Date(local).toISOString() : '');

// actions lists what may be done to the sale in its state, the most urgent first. What is
// not published yet is published by the checks' own button, Go.
// now is the sale as it was asked for last.
export function actions(sale, state, shelf, { admin, now, done }) {
  const numbers = () => [{ name: 'left', value: leftOf(now()) }, { name: 'waiting', value: now().waiting }];
  const of = (name, given) => ({ name, numbers, route: `/api/admin/sales/{sale}/${name}`, path: `${admin}/${name}`, ask: 'confirm', values: { title: sale.title }, done, ...given });
  const simple = (name, undo) => of(name, { ask: 'none', undo: undo && of(undo, { ask: 'none' }) });
  const over = state === 'ended';
  const list = [];
  const draft = shelf === 'draft'; // is paused as well, until it is published
  if (!over && state === 'paused' && !draft) list.push({ ...simple('resume', 'pause'), main: true });
  else if (!over && !draft) list.push({ ...simple('pause', 'resume'), main: state === 'open' || state === 'sold_out' });
  if (!over && shelf === 'published' && state === 'scheduled') list.push(simple('hide', 'publish'));
  if (!over) {
    list.push(named(of('stock', {
      fields: [{ name: 'delta', type: 'number', value: '', step: 1, required: true, min: -10_000_000, max: 10_000_000, hint: () => (isKnown(leftOf(now())) ? t('field.delta_hint', { left: () => count(now().left) }) : t('field.delta_unknown')) }],
      make: ({ delta }) => (Number.isInteger(Number(delta)) && Number(delta) !== 0 ? { delta: Number(delta) } : null),
      // The same number of units the other way, as a move of its own.
      undo: ({ delta }) => of('stock', { ask: 'none', numbers: [], make: moveOnce(-Number(delta)) }),
    })));
    list.push(of('extend', {
      fields: [{ name: 'closes_at', type: 'datetime-local', value: localTime(sale.closes_at), required: true, hint: zoneHint }],
      make: ({ closes_at }) => (closes_at ? { closes_at: isoTime(closes_at) } : null),
      // Only a change of the sale's form can bring the end forward again.
      undo: () => of('extend', { ask: 'none', method: 'PATCH', route: '/api/admin/sales/{sale}', path: admin, make: () => ({ closes_at: sale.closes_at }) }),
    }));
  }
  list.push(of('notice', { fields: [{ name: 'text', type: 'text', value: sale.notice ?? '', maxlength: 400, hint: () => t('field.text_hint') }], make: ({ text }) => ({ text: text.trim() }),
    undo: () => of('notice', { ask: 'none', make: () => ({ text: sale.notice ?? '' }) }) }));
  if (state !== 'scheduled') {
    list.push(named(of('holds', { fields: [{ name: 'seconds', type: 'number', value: '900', min: 1, max: 86_400, required: true }], make: ({ seconds }) => (Number(seconds) > 0 ? { seconds: Number(seconds) } : null) })));
    const undo = of('undo', { title: sale.title });
    list.push({ ...undo, press: () => undoPrice(undo, state, done) });
  }
  if (!over) list.push({ ...of('end', { ask: 'title', title: sale.title }), danger: true });
  if (shelf !== 'published' || state === 'scheduled') {
    list.push({ ...of('delete', { ask: 'confirm', method: 'DELETE', route: '/api/admin/sales/{sale}', path: admin, done: (answer) => answer.status < 300 && location.assign('/console/') }), danger: true });
  }
  return list;
}

const changes = new Map(); // what is sent → its id, and whether an answer of it was lost

// named gives what an action sends an id, which stays as long as nobody knows whether it was
// done: a second press after a lost answer is the same change, also when one that was turned
// away came between. Once an answer has told, the next press is another change.
function named(action) {
  const mark = (body) => `${action.path} ${JSON.stringify(body)}`;
  return {
    ...action,
    make(given) {
      const body = action.make(given);
      if (!body) return null;
      const what = mark(body);
      if (!changes.has(what)) changes.set(what, { id: `console-${random()}`, lost: false });
      return { id: changes.get(what).id, ...body };
    },
    answered(answer, { id, ...body }) {
      const what = mark(body);
      if (unknown(answer)) changes.set(what, { id, lost: true });
      else if (answer.status < 300 || !changes.get(what)?.lost) changes.delete(what);
    },
  };
}

function moveOnce(delta) {
  const move = { id: `console-${random()}`, delta };
  return () => move;
}

export const zoneHint = () => t('field.zone', { zone: Intl.DateTimeFormat().resolvedOptions().timeZone });

// tool is the button of an action.
export function tool(action) {
  const node = button(`act.${action.name}`, () => (action.press ? action.press() : press(action)), { data: { tool: action.name } });
  if (action.main) node.classList.replace('quiet', 'urgent');
  if (action.danger) node.classList.add('danger');
  return node;
}

const undoBatch = 25; // orders in one request: it can be stopped between any two
const undoRest = 1000; // ms, while there is nothing to undo yet

// undoPrice undoes a wrong price: the sale is paused, its unpaid orders are cancelled and
// the paid ones refunded, some at a time. It can be stopped between any two steps; pressed
// again it goes on with those that are left. Each order has its own entry in the log. It
// runs once: pressed meanwhile, it leads to the button that stops it.
function undoPrice(action, state, done) {
  const stop = document.querySelector('.receipt[data-running] button');
  if (stop) return stop.focus();
  // A sale that has ended needs no pause, and cannot have one.
  const steps = [{ step: 'cancel', batch: undoBatch }, { step: 'refund', batch: undoBatch }];
  const first = { ...(state === 'ended' ? steps[0] : { step: 'pause' }), title: action.title };
  press({ ...action, ask: 'title', make: () => first, done: (answer) => (answer.status < 300 ? undoAll(action.path, steps, answer, done) : done(answer)) });
}

// undoAll cancels and refunds, again and again, until there is no more of either: tickets
// that were admitted before the pause still become orders, and buyers may pay meanwhile.
async function undoAll(path, steps, answer, done) {
  let [stopped, n] = [false, 0];
  const node = receipt('undo.running', answer, { running: true });
  node.append(button('undo.stop', () => { stopped = true; }));
  const tell = (key, values) => show(node.querySelector('span'), () => t(key, values));
  const end = (key, why = '') => {
    node.remove();
    receipt(key, null, { values: { n: () => count(n), why }, tone: key === 'undo.done' ? 'good' : 'bad' });
    done({ status: 200 });
  };
  // The press itself has done the first step of a sale that has ended.
  let given = answer.body?.step ? answer : null;
  for (;;) {
    let [some, more, waits] = [0, false, 0];
    for (const step of steps) {
      for (let again = true; again;) {
        if (stopped) return end('undo.stopped');
        const last = given ?? await request('POST', path, step);
        given = null;
        if (last.status !== 200) return end('undo.failed', explain(last));
        n += last.body.done;
        some += last.body.done;
        tell(`undo.${step.step}`, { n: () => count(n) });
        again = last.body.more && last.body.done > 0;
        if (last.body.more && !again) more = true;
        if (last.body.pending !== 0) waits = last.body.pending;
      }
    }
    if (!more) return end('undo.done');
    if (some > 0) continue;
    if (waits === 0 || waits === undefined) return end('undo.failed', explain({ status: 409, code: 'state' })); // the same orders again
    tell('undo.waiting', { n: () => (waits === null ? t('unknown') : count(waits)) });
    await new Promise((resolve) => { setTimeout(resolve, undoRest); });
  }
}
