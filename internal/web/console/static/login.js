// Log in to the console. An account with a second factor is asked for its code once the
// password was right.
import { post } from './api.js';
import { byId, changed, hush, tell } from './frame.js';
import './desk.js';

const form = byId('login-form');
const submit = byId('login-submit');
const { name, password, code } = form.elements;

// next is where to go after the login: a page of the console, never another's.
export function next(search) {
  const url = new URL(new URLSearchParams(search).get('next') ?? '', `${location.origin}/console/`);
  return url.origin === location.origin && url.pathname.startsWith('/console/') ? url.href : '/console/';
}

function wrong(field, key, values) {
  for (const f of [name, password, code]) f.setAttribute('aria-invalid', String(f === field));
  if (key) tell({ tone: 'bad', key, values });
  field?.focus();
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (submit.disabled) return;
  if (!name.value.trim()) return wrong(name, 'login.no_name');
  if (!password.value) return wrong(password, 'login.no_password');
  hush();
  submit.disabled = true;
  const answer = await post('/api/login', { name: name.value.trim(), password: password.value, ...(code.value.trim() ? { code: code.value.trim() } : {}) });
  submit.disabled = false;
  if (answer.status === 200) {
    changed();
    // Without its second factor the account has no role: setting it up comes first.
    return location.replace(answer.body?.second_factor === 'required' ? '/console/me' : next(location.search));
  }
  if (answer.code === 'second_factor') {
    const first = byId('code-label').hidden;
    byId('code-label').hidden = false;
    code.required = true;
    return wrong(code, first ? 'login.code' : 'login.wrong_code');
  }
  if (answer.code === 'too_many_requests') return wrong(null, 'login.too_many', { seconds: Math.ceil(answer.retryAfter / 1000) || 60 });
  if (answer.code === 'unauthorized') return wrong(password, 'error.unauthorized');
  wrong(null);
  return tell({ tone: 'bad', key: 'error', code: answer.code ?? 'unavailable' });
});
hush();
submit.disabled = false;
name.focus();
