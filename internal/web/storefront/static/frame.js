// What every page has around it: the header, who the buyer is, the sentence, the
// banner of a lost connection, the dialog.
import { clockText, known, lang, learn, say, show, t, translate } from './i18n.js';
import { get, onLink, post } from './api.js';
import { backoff } from './machine.js';
import { keep, pause, store, until } from './clock.js';

export const byId = (id) => document.getElementById(id);

// part finds the element that a template names data-part="name".
export function part(root, name) {
  return root.querySelector(`[data-part="${name}"]`);
}

// --- the sentence ------------------------------------------------------------

// tell shows a sentence of the state machine, in the page's live region. The time
// that is left ticks without being announced each second.
let stopTicking = () => {};
let told = null;

export function tell({ tone, key, values, code }) {
  const status = byId('status');
  const full = code === undefined ? key : known(key, code);
  const ends = values?.left === undefined ? null : Math.round((store.now() + values.left) / 1000);
  // The same sentence again is not announced again.
  const mark = JSON.stringify([tone, full, ends ?? values]);
  if (mark === told) return;
  told = mark;
  stopTicking();
  stopTicking = () => {};
  status.dataset.tone = tone;
  if (ends === null) {
    say(status, full, values);
    return;
  }
  const clock = document.createElement('span');
  clock.className = 'digits';
  clock.setAttribute('aria-live', 'off');
  const [before, after] = ['before', 'after'].map(() => document.createElement('span'));
  const half = (n) => () => t(full, { left: '\n' }).split('\n')[n];
  show(status, () => '');
  status.removeAttribute('data-t');
  show(before, half(0));
  show(after, half(1));
  status.replaceChildren(before, clock, after);
  stopTicking = until(store, ends * 1000, (left) => show(clock, () => clockText(left)));
}

export function hush() {
  told = null;
  stopTicking();
  const status = byId('status');
  delete status.dataset.tone;
  show(status, () => '');
}

// tellError says what the code of a failed answer means.
export function tellError(answer) {
  tell({ tone: 'bad', key: 'error', code: answer.code ?? 'unavailable' });
}

// label puts words and a spinner on a button. What cannot be pressed stays where the
// keyboard can reach it, so the focus is never lost.
export function label(button, { key, act, busy }) {
  button.setAttribute('aria-disabled', String(!act));
  button.classList.toggle('busy', busy);
  part(button, 'spinner').hidden = !busy;
  say(part(button, 'label'), key);
}

// --- who the buyer is --------------------------------------------------------

// The cookie is out of reach for a script, whoever has set it: the server says whom
// it names. Undefined: not known yet; null: nobody.
let me;
const meets = new Set();
const others = typeof BroadcastChannel === 'function' ? new BroadcastChannel('seckill') : null;

// onMe calls f whenever the server has said who the buyer is.
export function onMe(f) {
  meets.add(f);
  if (me !== undefined) f(me);
}

function meet(who) {
  me = who;
  drawMe();
  for (const f of meets) f(who);
}

// changed tells the other tabs that somebody has logged in or out here.
export function changed() {
  others?.postMessage('me');
}

// Where the pages begin: the storefront at /, the console in a folder of its own.
const home = document.documentElement.dataset.home ?? '';

// The login page leads back here.
const loginHref = `${home}/login?next=${encodeURIComponent(location.pathname + location.search)}`;

export function toLogin() {
  location.assign(loginHref);
}

function drawMe() {
  const name = byId('buyer');
  name.textContent = me ? (me.name ?? me.buyer) : '';
  name.hidden = !me;
  byId('login').hidden = Boolean(me);
  byId('logout').hidden = !me;
  document.documentElement.dataset.me = me ? 'known' : 'nobody';
}

const fresh = 5_000; // ms for which nobody else has logged in
let asked = -Infinity;
let failed = 0;

async function whoAmI() {
  if (failed === 0 && performance.now() - asked < fresh) return;
  asked = performance.now();
  const answer = await get('/api/me');
  failed = answer.status === 200 || answer.status === 401 ? 0 : failed + 1;
  if (answer.status === 200) meet(answer.body);
  else if (answer.status === 401) meet(null);
}

const askAgain = keep(() => (failed ? backoff(failed, 0, Math.random()) : Infinity), whoAmI);
others?.addEventListener('message', () => {
  asked = -Infinity;
  askAgain();
});

for (const link of document.querySelectorAll('[data-login]')) {
  if (!/^\/(login|register)$/.test(location.pathname)) link.href = loginHref;
}
byId('logout').addEventListener('click', async () => {
  const answer = await post('/api/logout');
  if (answer.status === 204 || answer.status === 401) {
    changed();
    location.assign(`${home}/`);
  } else if (byId('status')) {
    tellError(answer);
  }
});
// A page that comes back out of the browser's back/forward cache shows what was.
window.addEventListener('pageshow', (event) => event.persisted && location.reload());

// --- the connection ----------------------------------------------------------

let answered = true;
const links = new Set();

// online reports whether requests have a chance: the browser's word, until an answer
// proves it wrong.
export const online = () => navigator.onLine && answered;

export function onOnline(f) {
  links.add(f);
}

function drawLink() {
  const banner = byId('offline');
  banner.hidden = online();
  if (!banner.hidden) say(banner, navigator.onLine ? 'net.lost' : 'net.offline');
  for (const f of links) f();
}

onLink((ok) => {
  if (ok === answered) return;
  answered = ok;
  drawLink();
});
window.addEventListener('offline', drawLink);
window.addEventListener('online', () => {
  // Whoever asks now finds out; the banner need not wait for it.
  answered = true;
  drawLink();
});
if (!online()) drawLink();

// --- the dialog --------------------------------------------------------------

const dialog = byId('dialog');
let settle = () => {};
for (const [id, yes] of [['dialog-no', false], ['dialog-yes', true]]) {
  byId(id).addEventListener('click', () => {
    dialog.close();
    settle(yes);
  });
}
// Escape. The event of an earlier closing may come when the dialog is open again.
dialog.addEventListener('close', () => dialog.open || settle(false));

// ask resolves to whether the answer was yes. The kind, "success" or "danger",
// is how it looks, and a danger has its focus on no. Escape means no. keys are the
// words on the buttons; facts are lines below the question, functions of the language.
export function ask(kind, question, { no, yes, facts = [] }) {
  dialog.dataset.kind = kind;
  say(byId('dialog-text'), question);
  say(byId('dialog-no'), no);
  say(byId('dialog-yes'), yes);
  const lines = facts.map((fact) => {
    const line = document.createElement('li');
    line.dir = 'auto';
    show(line, fact);
    return line;
  });
  byId('dialog-facts').replaceChildren(...lines);
  dialog.showModal();
  byId(kind === 'danger' ? 'dialog-no' : 'dialog-yes').focus();
  return new Promise((resolve) => {
    settle = resolve;
  });
}

// title keeps the tab's title at words around the name of what is shown.
export function title(name, news) {
  show(document.querySelector('title'), () => {
    const plain = t('title.named', { title: name });
    return news ? `${t(news.key, news.values)} ${plain}` : plain;
  });
}

// --- the check ---------------------------------------------------------------

// check resolves to a challenge in root, as the module challenge.js makes it. Few pages
// ask for one, so it is loaded here, with its words, and until that has worked: a
// browser may remember that an address has failed, so each try has its own.
export async function check(root, options) {
  for (let n = 0; ; n++) {
    const again = n ? `?${n}` : '';
    try {
      const [module, words] = await Promise.all([import(`./challenge.js${again}`), import(`./challengewords.js${again}`)]);
      learn(words.default);
      translate(root);
      return module.challenge(root, options);
    } catch {
      await pause(backoff(n, 0, Math.random()));
    }
  }
}

export { lang };
