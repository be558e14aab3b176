// The reader's language: words, money and times. Everything on the screen that
// depends on it goes through say or show, so it changes without a reload and
// whatever is under way (a queue, a countdown) goes on.
import { digits } from './digits.js';
import words from './words.js';
import { read, write } from './memory.js';

const remembered = 'seckill.lang';
const views = new WeakMap(); // node → function that makes its text

export let lang = choose();

function choose() {
  const kept = read(remembered);
  if (kept in words) return kept;
  for (const wish of navigator.languages ?? []) {
    if (/^zh\b/i.test(wish)) return 'zh-CN';
    if (/^en\b/i.test(wish)) return 'en';
  }
  return 'en';
}

// t returns the words of a key, with {name} replaced by values.name. A value
// that is a function is called each time, since it may depend on the language.
export function t(key, values = {}) {
  const text = words[lang][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const v = values[name];
    return typeof v === 'function' ? v() : v;
  });
}

// known returns prefix.code if there are words for it, else prefix.other: a
// newer server may have a code that this page does not know.
export function known(prefix, code) {
  return `${prefix}.${code}` in words[lang] ? `${prefix}.${code}` : `${prefix}.other`;
}

// say keeps the node's text at the words of key.
export function say(node, key, values) {
  show(node, () => t(key, values));
}

// show keeps the node's text at what make returns.
export function show(node, make) {
  views.set(node, make);
  if (!node.hasAttribute('data-t')) node.setAttribute('data-t', '');
  put(node, make());
}

// A live region announces every write, even of the same words.
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// translate puts everything under root into the reader's language.
export function translate(root) {
  for (const node of root.querySelectorAll('[data-t]')) {
    const make = views.get(node);
    put(node, make ? make() : t(node.dataset.t));
  }
  for (const node of root.querySelectorAll('[data-t-label]')) {
    node.setAttribute('aria-label', t(node.dataset.tLabel));
  }
}

function speak() {
  document.documentElement.lang = lang;
  const toggle = document.getElementById('lang');
  toggle.lang = lang === 'en' ? 'zh-CN' : 'en';
  translate(document);
}

document.getElementById('lang').addEventListener('click', () => {
  lang = lang === 'en' ? 'zh-CN' : 'en';
  write(remembered, lang);
  speak();
});
speak();

// money formats minor units (cents, 分) of a currency. Round prices lose their
// zeros where short is set.
export function money(minor, currency, short = false) {
  const n = digits(currency);
  const format = new Intl.NumberFormat(lang, {
    style: 'currency',
    currency,
    currencyDisplay: 'narrowSymbol',
    minimumFractionDigits: n,
    maximumFractionDigits: n,
    trailingZeroDisplay: short ? 'stripIfInteger' : 'auto',
  });
  return format.format(minor / 10 ** n);
}

export function count(n) {
  return new Intl.NumberFormat(lang).format(n);
}

export function time(iso) {
  return new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(iso));
}
