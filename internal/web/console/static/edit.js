// The form of a sale: to create one, or to change one. Prices are written as people write
// them, and sent in minor units of their currency; times are those of the reader's zone,
// with the same moment in UTC beside them.
import { digits, lang, show, t } from './i18n.js';
import { request } from './api.js';
import { can, el, may, receipt, word } from './desk.js';
import { isoTime, localTime, zoneHint } from './actions.js';
import { explain } from './press.js';

// minor reads a price as it is written, without arithmetic on fractions; null: none.
export function minor(text, currency) {
  const n = digits(currency);
  const match = /^(\d{1,12})(?:[.](\d*))?$/.exec(text.trim());
  if (!match || (match[2] ?? '').length > n) return null;
  return Number(match[1] + (match[2] ?? '').padEnd(n, '0'));
}

export function major(amount, currency) {
  const n = digits(currency);
  const text = String(amount).padStart(n + 1, '0');
  return n ? `${text.slice(0, -n)}.${text.slice(-n)}` : text;
}

// fields are the form, in its order. once: not any more when the sale is open.
const fields = [
  { name: 'title', required: true, maxlength: 200, wide: true },
  { name: 'description', type: 'textarea', maxlength: 2000, wide: true },
  { name: 'image', maxlength: 2000, wide: true, hint: 'field.image_hint' },
  { name: 'price', required: true, inputmode: 'decimal', once: true },
  { name: 'list_price', inputmode: 'decimal', hint: 'field.list_price_hint' },
  { name: 'currency', required: true, pattern: '[A-Z]{3}', maxlength: 3, once: true },
  { name: 'total', type: 'number', required: true, min: 1, max: 10_000_000, once: true },
  { name: 'limit_per_buyer', type: 'number', required: true, min: 1, max: 1000 },
  { name: 'hold_seconds', type: 'number', required: true, min: 1, max: 86_400, hint: 'field.hold_hint' },
  { name: 'opens_at', type: 'datetime-local', required: true, time: true },
  { name: 'closes_at', type: 'datetime-local', required: true, time: true },
  { name: 'shelf', type: 'select', options: ['draft', 'hidden', 'published'], create: true },
  { name: 'challenge', type: 'select', options: ['none', 'formula', 'work', 'both'], more: true },
  { name: 'eligible', type: 'select', options: ['everybody', 'account_age', 'list'], more: true },
  { name: 'account_age_seconds', type: 'number', min: 0, max: 316_224_000, more: true },
  { name: 'tries_per_buyer', type: 'number', min: 0, max: 1000, more: true },
  { name: 'cooldown_seconds', type: 'number', min: 0, max: 86_400, more: true },
  { name: 'late_payment', type: 'select', options: ['refund', 'retake'], more: true },
];
const numbers = new Set(['total', 'limit_per_buyer', 'hold_seconds', 'account_age_seconds', 'tries_per_buyer', 'cooldown_seconds']);

// saleForm makes the form of a sale; without one, of a new one, begun with the values of
// copy.
export function saleForm({ sale, copy, done }) {
  const from = sale ?? copy ?? { currency: lang === 'en' ? 'USD' : 'CNY', limit_per_buyer: 1, hold_seconds: 900 };
  const open = sale && sale.state !== 'scheduled';
  let was = sale; // as the last save has left it
  const unsure = new Set(); // fields of which a failed save may have changed something
  const key = crypto.getRandomValues(new Uint32Array(4)).join('-'); // the same for every try of this form
  const error = el('p', { class: 'status', role: 'alert', data: { tone: 'bad' } });
  const save = el('button', { type: 'submit', class: 'button', say: sale ? 'edit.save' : 'edit.create' });
  const more = el('details', {}, el('summary', { say: 'edit.more' }), el('div', { class: 'form-grid' }));
  const grid = el('div', { class: 'form-grid' });
  const form = el('form', { class: 'card-box sale-form', novalidate: true }, grid, more, error, el('p', { class: 'tools' }, save));
  for (const f of fields) {
    if (f.create && sale) continue;
    (f.more ? more.lastChild : grid).append(control(f, from, Boolean(open && f.once)));
  }
  if (!sale) can('POST', '/api/admin/sales/{sale}/publish').then((has) => has === false && form.elements.shelf.closest('p').remove());

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (save.getAttribute('aria-disabled') === 'true') return;
    const [body, wrong] = read(form, was, unsure);
    for (const e of form.elements) if (e.name) e.setAttribute('aria-invalid', String(e.name === wrong));
    if (wrong) {
      show(error, () => t('edit.wrong', { field: () => t(`field.${wrong}`) }));
      form.elements[wrong].closest('details')?.setAttribute('open', '');
      form.elements[wrong].focus();
      return;
    }
    if (sale && Object.keys(body).length === 0) {
      show(error, () => t('edit.same'));
      return;
    }
    show(error, () => '');
    save.setAttribute('aria-disabled', 'true');
    const answer = sale ? await request('PATCH', `/api/admin/sales/${sale.id}`, body) : await request('POST', '/api/admin/sales', body, { 'Idempotency-Key': key });
    save.setAttribute('aria-disabled', 'false');
    if (answer.status !== 200 && answer.status !== 201) {
      for (const name of Object.keys(body)) unsure.add(name);
      show(error, () => explain(answer));
      return;
    }
    was = sale && { ...was, ...body };
    unsure.clear();
    const warnings = answer.body.warning_codes ?? [];
    if (sale) receipt('did.patch', answer, { values: { title: answer.body.title } });
    if (sale && warnings.length) show(error, () => warnings.map((w) => word('warning', w)).join(' '));
    done(answer.body, warnings);
  });
  for (const e of form.elements) e.disabled = !may('operator');
  return form;
}

function control(f, from, fixed) {
  const id = `sale-${f.name}`;
  const { name, type = 'text', options, wide, hint, once: _, more: __, create: ___, time, ...given } = f;
  const input = options ? el('select', { id, name }, options.map((o) => el('option', { value: o, show: () => word(`option.${name}`, o) })))
    : type === 'textarea' ? el('textarea', { id, name, rows: 3, ...given }) : el('input', { id, name, type, autocomplete: 'off', ...given });
  const value = from[name];
  if (time) input.value = value ? localTime(value) : '';
  else if (name === 'price' || name === 'list_price') input.value = value ? major(value, from.currency) : name === 'price' && value === 0 ? '0' : '';
  else if (value !== undefined) input.value = value;
  if (fixed) input.readOnly = true;
  const says = time || hint || fixed;
  if (says) input.setAttribute('aria-describedby', `${id}-hint`);
  const note = says ? el('small', { id: `${id}-hint`, class: 'field-hint' }) : null;
  const tell = () => show(note, () => (time ? `${zoneHint()} ${input.value ? `· ${isoTime(input.value).replace('T', ' ').replace(':00.000Z', ' UTC')}` : ''}` : fixed ? t('field.fixed') : t(hint)));
  if (note) tell();
  if (time) input.addEventListener('input', tell);
  return el('p', { class: wide ? 'field wide' : 'field' }, el('label', { for: id, say: `field.${name}` }), input, note);
}

// read returns the body, and the name of the first field that is wrong. A change sends
// only what was changed, and what is unsure.
function read(form, sale, unsure) {
  const body = {};
  const currency = form.elements.currency.value.trim().toUpperCase();
  for (const f of fields) {
    const input = form.elements[f.name];
    if (!input || input.readOnly) continue;
    let value = input.value;
    if (f.name === 'currency') value = currency;
    else if (f.name === 'price' || f.name === 'list_price') value = value.trim() === '' && f.name === 'list_price' ? 0 : minor(value, currency);
    else if (f.time) value = input.value ? isoTime(input.value) : null;
    else if (numbers.has(f.name)) value = value === '' ? (f.required ? null : 0) : Number(value);
    else if (f.name === 'title') value = value.trim();
    if (value === null || (f.required && value === '') || (f.name !== 'currency' && !input.checkValidity()) || (f.name === 'currency' && !/^[A-Z]{3}$/.test(currency))) return [null, f.name];
    if (sale && !unsure.has(f.name) && same(f, sale[f.name], value)) continue;
    if (!sale && (value === '' || (value === 0 && !f.required))) continue;
    body[f.name] = value;
  }
  const [opens, closes] = ['opens_at', 'closes_at'].map((name) => body[name] ?? sale?.[name]);
  if (Date.parse(closes) <= Date.parse(opens)) return [null, 'closes_at'];
  return [body, null];
}

function same(f, was, value) {
  if (f.time) return localTime(was) === localTime(value); // the field has no seconds
  return (was ?? (numbers.has(f.name) || f.name === 'list_price' ? 0 : '')) === value || (f.options && was === undefined && value === f.options[0]);
}

