// Log in, and register: two pages, each with its own form.
import { lang, show, t } from './i18n.js';
import { post } from './api.js';
import { byId, changed, check, hush, label, tell } from './frame.js';

const form = byId('login-form');
const submit = form.querySelector('button');
const { action } = form.dataset; // login or register
// digits of a second factor are for the login only, an invitation for the registration
const { name, password, code: digits, invite } = form.elements;
let busy = false;

// next is where to go after the login: a page of this site, never another's.
// The address is resolved as the browser will resolve it, because "/\host" and
// "/<tab>/host" lead away too.
export function next(search) {
  const wish = new URLSearchParams(search).get('next') ?? '';
  if (!/^\/(?![/\\])/.test(wish)) return '/';
  const url = new URL(wish, location.origin);
  return url.origin === location.origin ? url.href : '/';
}

// wrong says what is wrong, and brings the reader to the field that it is about.
function wrong(field, key, values) {
  if (key) tell({ tone: 'bad', key, values });
  for (const f of [name, password, digits, invite]) f?.setAttribute('aria-invalid', String(f === field));
  field?.focus();
}

// A new account may cost a challenge: then it is shown, and its solution sent along.
const box = byId('pass'); // on the page of registration only
let puzzle = null;
const checked = {
  path: '/api/challenge',
  async solved(solution) {
    const answer = await send(solution);
    if (answer.code !== 'challenge_failed') box.hidden = true;
    return answer;
  },
};

async function enter() {
  if (busy) return;
  const who = name.value.trim();
  if (!who) return wrong(name, 'login.no_name');
  if (!password.value) return wrong(password, 'login.no_password');
  if (action === 'register' && [...password.value].length < 8) return wrong(password, 'error.weak_password');
  wrong(null);
  hush();
  await send({});
}

// send sends the form, and goes on by the answer.
async function send(solution) {
  busy = true;
  draw();
  const answer = await post(`/api/${action}`, { name: name.value.trim(), password: password.value, ...(digits?.value.trim() ? { code: digits.value.trim() } : {}), ...(invite?.value.trim() ? { invite: invite.value.trim() } : {}), ...solution });
  const costs = answer.code === 'challenge_required' && box;
  if (costs) puzzle ??= await check(box, checked);
  busy = false;
  draw();
  if (answer.status === 200 || answer.status === 201) {
    changed();
    location.replace(next(location.search));
  } else if (costs) {
    box.hidden = false;
    puzzle.begin();
  } else if (answer.code !== 'challenge_failed') {
    explain(answer);
  }
  return answer;
}

// explain adds the server's own detail where it knows more than we do and
// speaks the reader's language, and the time where one has to wait.
function explain(answer) {
  const { code, retryAfter } = answer;
  if (code === 'too_many_requests' && retryAfter) return wrong(null, 'login.too_many', { seconds: Math.ceil(retryAfter / 1000) });
  if (code === 'second_factor') {
    byId('code-label').hidden = false; // the account has one, and the password was right
    return wrong(digits, 'error.second_factor');
  }
  if (answer.reason === 'not_invited' && invite) {
    byId('invite-label').hidden = false;
    return wrong(invite, invite.value.trim() ? 'register.invite_wrong' : 'register.invite_wanted');
  }
  if (answer.reason === 'closed') return wrong(null, 'register.closed');
  if (code === 'name_taken') return wrong(name, 'error.name_taken');
  if (code === 'weak_password') wrong(password, 'error.weak_password');
  else if (code === 'unauthorized') wrong(password, 'error.unauthorized');
  else {
    wrong(null);
    tell({ tone: 'bad', key: 'error', code: code ?? 'unavailable' });
  }
  const detail = code === 'invalid_field' || code === 'weak_password' ? answer.body?.detail : '';
  if (!detail || lang !== 'en') return;
  const words = byId('status').textContent;
  show(byId('status'), () => (lang === 'en' ? `${words} (${detail})` : t(`error.${code}`)));
}

function draw() {
  label(submit, { key: busy ? 'login.sending' : `${action}.submit`, act: busy ? null : 'enter', busy });
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  enter();
});
// Whoever was invited by a link has the code in it.
if (invite) {
  invite.value = new URLSearchParams(location.search).get('invite') ?? '';
  byId('invite-label').hidden = !invite.value;
}
// The other form leads to the same place in the end.
byId('other').search = location.search;
hush();
submit.disabled = false;
name.focus();
