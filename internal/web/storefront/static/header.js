// The header of every page, and who the buyer is. The cookie is out of reach
// for a script, so the name is remembered beside it and forgotten at the first
// 401.
import { say, show, known } from './i18n.js';
import { read, write } from './memory.js';
import { post } from './api.js';

const remembered = 'seckill.buyer';
const status = document.getElementById('status');

export const buyer = () => read(remembered);

export function welcome(name) {
  write(remembered, name);
  draw();
}

export function farewell() {
  write(remembered, null);
  draw();
}

// The login page leads back here.
const loginHref = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;

export function toLogin() {
  farewell();
  location.assign(loginHref);
}

// tell puts a sentence into the page's live region. The tone is info, good or
// bad.
export function tell(tone, key, values) {
  status.dataset.tone = tone;
  say(status, key, values);
}

// tellError says what the code of a failed answer means.
export function tellError(answer) {
  tell('bad', known('error', answer.code ?? 'unavailable'));
}

// hush empties the live region.
export function hush() {
  delete status.dataset.tone;
  show(status, () => '');
}

function draw() {
  const name = buyer();
  const label = document.getElementById('buyer');
  label.textContent = name ?? '';
  label.hidden = !name;
  const login = document.getElementById('login');
  login.hidden = Boolean(name);
  if (location.pathname !== '/login') login.href = loginHref;
  document.getElementById('logout').hidden = !name;
}

document.getElementById('logout').addEventListener('click', async () => {
  const answer = await post('/api/logout');
  if (answer.status === 204 || answer.status === 401) {
    farewell();
    location.assign('/');
  } else if (status) {
    tellError(answer);
  }
});
window.addEventListener('storage', draw);
// A page that comes back out of the browser's back/forward cache shows what was.
window.addEventListener('pageshow', (event) => event.persisted && location.reload());
draw();
