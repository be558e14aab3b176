// One button of an operator: what it would change, the question if it cannot be undone,
// the change, and the receipt.
import { say, show, t } from './i18n.js';
import { request, unknown } from './api.js';
import { byId } from './frame.js';
import { can, effect, el, receipt, word } from './desk.js';

const dialog = byId('press');
const form = byId('press-form');
const fields = byId('press-fields');
const error = byId('press-error');
const yes = byId('press-yes');

// press carries out an action:
//
//	name    key of the words: press.NAME asks, did.NAME tells, act.NAME is the button
//	route   of the API's description, to see whether it knows ?preview=1
//	path, method, make(values)  the request; make returns the body, or undefined
//	ask     none: at once, for what can be undone; confirm; title: type it
//	title   what has to be typed
//	fields  [{name, type, value, min, max, required, options}] of the question
//	numbers what is known here of the effect, where the server cannot say; or what makes them
//	undo    the action that takes it back, or a function that makes it of what was given
//	answered  called with each answer, that none came included, and with what was sent
//	done      called with the answer
export async function press(action) {
  if (action.ask === 'none' && !action.fields?.length) return once(action, {});
  return question(action);
}

let current = null;
let asked = 0; // questions so far: one action may be asked about twice

function question(action) {
  current = action;
  asked++;
  say(byId('press-heading'), `act.${action.name}`);
  show(byId('press-says'), () => t(`press.${action.name}`, action.values));
  say(byId('press-no'), 'press.no');
  say(yes, `act.${action.name}`);
  yes.setAttribute('aria-disabled', 'false');
  tellError('');
  fields.replaceChildren(...(action.fields ?? []).map(field));
  if (action.ask === 'title') fields.append(field({ name: 'typed', type: 'text', label: 'press.type_title', hint: () => action.title }));
  drawKnown(action);
  dialog.showModal();
  (fields.querySelector('input, select, textarea') ?? byId('press-no')).focus();
  foresee(action);
}

function field({ name, type = 'text', label, hint, options, value, ...given }) {
  const id = `press-${name}`;
  const input = type === 'select'
    ? el('select', { id, name }, options.map((o) => el('option', { value: o, show: () => word(`option.${name}`, o) })))
    : el(type === 'textarea' ? 'textarea' : 'input', { id, name, ...(type === 'textarea' ? {} : { type }), ...given });
  if (value !== undefined) input.value = value;
  if (hint) input.setAttribute('aria-describedby', `${id}-hint`);
  return el('p', { class: 'field' }, el('label', { for: id, say: label ?? `field.${name}` }), input,
    hint ? el('small', { id: `${id}-hint`, class: 'field-hint', dir: 'auto', show: hint }) : null);
}

function values() {
  return Object.fromEntries([...form.elements].filter((e) => e.name).map((e) => [e.name, e.type === 'checkbox' ? e.checked : e.value]));
}

// The preview takes back only what it has said itself: what became of a change that was sent
// stays, however late the preview's answer comes.
let foreseen = false;
function tellError(text, byPreview = false) {
  foreseen = byPreview;
  show(error, typeof text === 'function' ? text : () => text);
}

// drawKnown shows what is known here of the effect.
function drawKnown(action) {
  const numbers = typeof action.numbers === 'function' ? action.numbers() : action.numbers;
  byId('press-effect').replaceChildren(...(numbers?.length ? [effect(numbers)] : []));
}

// foresee shows the effect in numbers. It is asked only where the node's description has
// the parameter: an older node would do what it is asked to look at.
let waiting = 0;
async function foresee(action) {
  const mine = ++waiting;
  if (!action.route || !(await can(action.method ?? 'POST', action.route, 'preview'))) return;
  const body = action.make?.(values());
  if (mine !== waiting || !dialog.open) return;
  if (body === null) return drawKnown(action); // nothing to foresee in what is filled in
  const join = action.path.includes('?') ? '&' : '?';
  const answer = await request(action.method ?? 'POST', `${action.path}${join}preview=1`, body);
  if (mine !== waiting || !dialog.open || current !== action) return;
  const box = byId('press-effect');
  if (answer.status === 200 && answer.body?.preview) {
    box.replaceChildren(effect(answer.body.preview.numbers ?? []));
    if (foreseen) tellError('');
  } else if (foreseen || error.textContent === '') {
    // Nothing was sent yet, so there is nothing that may be in force.
    tellError(() => (unknown(answer) ? t('press.no_preview') : explain(answer)), true);
  }
}

let later;
form.addEventListener('input', () => {
  clearTimeout(later);
  later = setTimeout(() => current && foresee(current), 300);
});

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const action = current;
  if (!action || yes.getAttribute('aria-disabled') === 'true') return;
  const given = values();
  if (action.ask === 'title' && given.typed?.trim() !== action.title.trim()) {
    tellError(() => t('press.wrong_title'));
    byId('press-typed').focus();
    return;
  }
  const missing = [...form.elements].find((e) => e.name && !e.checkValidity());
  if (missing || (action.make && action.make(given) === null)) {
    tellError(() => t('press.check_fields'));
    (missing ?? fields.querySelector('input'))?.focus();
    return;
  }
  yes.setAttribute('aria-disabled', 'true');
  const mine = asked;
  const answer = await send(action, given);
  const here = mine === asked && dialog.open; // or the question was left, for another one perhaps
  if (here) yes.setAttribute('aria-disabled', 'false');
  if (answer.status >= 200 && answer.status < 300) {
    if (here) dialog.close();
    finish(action, answer, given);
  } else if (here) {
    tellError(() => explain(answer));
  } else {
    fail(action, answer);
  }
});

byId('press-no').addEventListener('click', () => dialog.close());
dialog.addEventListener('close', () => {
  if (dialog.open) return; // the event is late, and the next question stands there
  waiting++;
  current = null;
});

async function send(action, given) {
  const body = action.make?.(given);
  const answer = await request(action.method ?? 'POST', action.path, body, action.headers);
  action.answered?.(answer, body);
  return answer;
}

// once does what can be undone at once.
async function once(action, given) {
  const answer = await send(action, given);
  if (answer.status >= 200 && answer.status < 300) return finish(action, answer, given);
  fail(action, answer);
  action.done?.(answer);
}

function fail(action, answer) {
  const node = receipt('did.failed', { body: { receipt: null } }, { tone: 'bad', values: { act: () => t(`act.${action.name}`) } });
  show(node.querySelector('span'), () => explain(answer));
}

function finish(action, answer, given) {
  const back = typeof action.undo === 'function' ? action.undo(given) : action.undo;
  const undo = back && (() => press(back));
  receipt(`did.${action.name}`, answer, { values: action.values, undo, numbers: typeof answer.body?.orders === 'number' ? [{ name: 'orders', value: answer.body.orders }] : [] });
  action.done?.(answer);
}

// explain says what a failed answer means, with the server's own words behind it. Whether
// a change took effect is unknown when no answer came.
export function explain(answer) {
  if (answer.status === 0) return t('error.unsure');
  if (answer.status === 404 || answer.status === 405) return t('trouble.absent');
  if (answer.status >= 500) return `${word('error', answer.code ?? 'unavailable')} ${t('error.unsure_503')}`;
  const detail = answer.body?.detail;
  return word('error', answer.code ?? 'other') + (detail ? ` (${detail})` : '');
}
