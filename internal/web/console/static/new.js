// A new sale, empty or begun as a copy of another one.
import { count, say, show, t } from './i18n.js';
import { get } from './api.js';
import { byId } from './frame.js';
import { el, may, onRole, troubleOf, watchParts, word } from './desk.js';
import { saleForm } from './edit.js';

const id = new URLSearchParams(location.search).get('copy');

function put(copy) {
  byId('form').replaceChildren(saleForm({ copy, done: made }));
  byId('form').querySelector('input').focus();
}

// made goes on to the sale, unless the server has warned of something in it.
function made(sale, warnings) {
  const href = `/console/sale/${encodeURIComponent(sale.id)}#preflight`;
  if (warnings.length === 0) return location.assign(href);
  byId('form').replaceChildren(el('div', { class: 'card-box' }, el('h2', { say: ['new.warned', { n: () => count(warnings.length) }] }),
    el('ul', { class: 'plain-list' }, warnings.map((w) => el('li', { class: 'status', data: { tone: 'bad' }, show: () => word('warning', w) }))),
    el('p', { class: 'tools' }, el('a', { class: 'button', href, say: 'new.go_on' }))));
  byId('form').querySelector('a').focus();
}

let begun = false;
onRole(async () => {
  if (begun || !may('viewer')) return;
  begun = true;
  if (!may('operator')) return say(byId('status'), 'trouble.forbidden');
  if (!id) return put();
  const answer = await get(`/api/admin/sales/${encodeURIComponent(id)}`);
  if (answer.status !== 200) show(byId('status'), () => `${word('trouble', troubleOf(answer))} ${t('new.no_copy')}`);
  // A copy has no time yet: the old one is over, or the other sale's.
  put(answer.status === 200 ? { ...answer.body, opens_at: undefined, closes_at: undefined, shelf: 'draft' } : undefined);
});
watchParts();
