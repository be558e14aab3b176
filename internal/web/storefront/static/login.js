// Log in and register.
import { lang, known, show, t } from './i18n.js';
import { post } from './api.js';
import { welcome, tell, hush } from './header.js';

const form = document.getElementById('login-form');
const buttons = form.querySelectorAll('button');

// next is where to go after the login: a page of this site, never another's.
// The address is resolved as the browser will resolve it, because "/\host" and
// "/<tab>/host" lead away too.
export function next(search) {
  const wish = new URLSearchParams(search).get('next') ?? '';
  if (!/^\/(?![/\\])/.test(wish)) return '/';
  const url = new URL(wish, location.origin);
  return url.origin === location.origin ? url.href : '/';
}

async function enter(path) {
  const name = form.elements.name.value.trim();
  const password = form.elements.password.value;
  if (!name || !password) {
    tell('bad', 'login.empty');
    (name ? form.elements.password : form.elements.name).focus();
    return;
  }
  hush();
  for (const b of buttons) b.disabled = true;
  const answer = await post(path, { name, password });
  for (const b of buttons) b.disabled = false;
  if (answer.status === 200 || answer.status === 201) {
    welcome(name);
    location.replace(next(location.search));
    return;
  }
  explain(answer);
}

// explain adds the server's own detail where it knows more than we do and
// speaks the reader's language.
function explain(answer) {
  const key = known('error', answer.code ?? 'unavailable');
  tell('bad', key);
  const detail = answer.code === 'invalid_field' || answer.code === 'weak_password' ? answer.body?.detail : '';
  if (detail) show(document.getElementById('status'), () => (lang === 'en' ? `${t(key)} (${detail})` : t(key)));
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  enter('/api/login');
});
document.getElementById('register-submit').addEventListener('click', () => enter('/api/register'));
form.elements.name.focus();
