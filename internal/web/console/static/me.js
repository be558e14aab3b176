// The person's own account: the second factor, and the end of all its sessions.
import { say, show, t } from './i18n.js';
import { post } from './api.js';
import { byId, changed, onMe, tell, toLogin } from './frame.js';
import { el, watchParts, word } from './desk.js';
import { explain, press } from './press.js';

const form = byId('factor');
let on; // undefined: this node does not say

function draw(me) {
  if (!me) return;
  on = me.second_factor;
  const fact = (key, make) => el('div', {}, el('dt', { say: key }), el('dd', { show: make, dir: 'auto' }));
  byId('facts').replaceChildren(fact('people.name', () => me.name ?? me.buyer), fact('people.role', () => (me.role ? word('role', me.role) : t('role.none'))));
  byId('factor-begin').hidden = on !== false;
  byId('factor-end').hidden = on !== true;
  say(byId('factor-says'), on === undefined ? 'me.factor_unknown' : on ? 'me.factor_on' : 'me.factor_off');
}

byId('factor-begin').addEventListener('click', async () => {
  const answer = await post('/api/me/second-factor');
  if (answer.status !== 200) return tell({ tone: 'bad', key: 'me.failed', values: { why: () => explain(answer) } });
  byId('secret').textContent = answer.body.secret.replace(/(.{4})/g, '$1 ').trim();
  // An older node sends no picture.
  byId('qr').hidden = !answer.body.picture?.startsWith('data:image/png;base64,');
  if (!byId('qr').hidden) byId('qr').src = answer.body.picture;
  // Only a link of the one kind that it may be.
  byId('otpauth').hidden = !answer.body.url?.startsWith('otpauth://');
  if (!byId('otpauth').hidden) byId('otpauth').href = answer.body.url;
  form.hidden = false;
  byId('code').focus();
});
let confirming = false;
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (confirming) return; // the same code again would be refused
  confirming = true;
  const answer = await post('/api/me/second-factor/confirm', { code: byId('code').value.trim() });
  confirming = false;
  if (answer.status >= 300 || answer.status === 0) {
    byId('code').setAttribute('aria-invalid', 'true');
    byId('code').focus();
    return tell({ tone: 'bad', key: 'me.failed', values: { why: () => explain(answer) } });
  }
  form.hidden = true;
  if (!known?.role) return location.reload(); // the session that was answered may have one
  tell({ tone: 'good', key: 'me.factor_done' });
  draw({ ...known, second_factor: true });
});
byId('factor-end').addEventListener('click', () => press({
  name: 'factor_end', ask: 'confirm', method: 'DELETE', path: '/api/me/second-factor', fields: [{ name: 'code', type: 'text', inputmode: 'numeric', autocomplete: 'one-time-code', required: true, pattern: '[0-9]{6}' }],
  make: ({ code }) => (/^\d{6}$/.test(code) ? { code } : null), done: (answer) => answer.status < 300 && draw({ ...known, second_factor: false }),
}));
byId('password').addEventListener('click', () => press({
  name: 'password', ask: 'confirm', path: '/api/me/password', values: {},
  fields: [{ name: 'old', type: 'password', required: true, autocomplete: 'current-password' }, { name: 'password', type: 'password', required: true, minlength: 8, autocomplete: 'new-password' }],
  make: ({ old, password }) => (old && password ? { password: old, new_password: password } : null),
}));
byId('everywhere').addEventListener('click', () => press({
  name: 'logout_everywhere', ask: 'confirm', path: '/api/me/logout-everywhere', done(answer) {
    if (answer.status >= 300) return;
    changed();
    toLogin();
  },
}));

let known = null;
onMe((me) => {
  known = me;
  draw(me);
});
show(byId('status'), () => '');
watchParts();
