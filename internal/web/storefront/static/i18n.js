// The reader's language: words, money, times and durations. Everything on the screen
// that depends on it goes through say or show, so it changes without a reload and
// whatever is under way (a queue, a countdown) goes on.
import words from './words.js';

const views = new WeakMap(); // node → function that makes its text

// The server has chosen: it knows the reader's wishes and what they chose before.
export let lang = document.documentElement.lang;

// t returns the words of a key, with {name} replaced by values.name. A value
// that is a function is called each time, since it may depend on the language.
export function t(key, values = {}) {
  const text = words[lang][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const v = values[name];
    return typeof v === 'function' ? v() : v;
  });
}

// learn adds words, by language, of something that most pages do without.
export function learn(more) {
  for (const language of Object.keys(more)) Object.assign(words[language], more[language]);
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

document.getElementById('lang').addEventListener('click', (event) => {
  lang = lang === 'en' ? 'zh-CN' : 'en';
  document.documentElement.lang = lang;
  event.currentTarget.lang = lang === 'en' ? 'zh-CN' : 'en';
  // The server reads it at the next page.
  document.cookie = `seckill_lang=${lang}; path=/; max-age=31536000; samesite=lax`;
  translate(document);
});

// How many digits a currency has after the point, by ISO 4217: 2 where it is not here. A
// browser's own data give other digits for two dozen currencies. The table is that of
// currency.go, and a test there holds the two together.
const codes = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND',
};

export function digits(currency) {
  const other = Object.entries(codes).find(([, list]) => list.split(' ').includes(currency));
  return other ? Number(other[0]) : 2;
}

// money formats minor units (cents, 分) of a currency. Round prices lose their
// zeros where short is set. A bare sign is that of the reader's own currency only:
// in English a dollar may be anybody's.
export function money(minor, currency, short = false) {
  const n = digits(currency);
  const format = new Intl.NumberFormat(lang, {
    style: 'currency', currency, minimumFractionDigits: n, maximumFractionDigits: n, trailingZeroDisplay: short ? 'stripIfInteger' : 'auto',
  });
  const full = { $: 'US$', '¥': 'JP¥' };
  return format.formatToParts(minor / 10 ** n)
    .map((p) => (p.type === 'currency' && lang === 'en' && full[p.value]) || p.value).join('');
}

export function count(n) {
  return new Intl.NumberFormat(lang).format(n);
}

export function percent(share) {
  return new Intl.NumberFormat(lang, { style: 'percent' }).format(share);
}

// when is a time as people say it: today 20:00. The zone is named where it is not the
// one of the shop, or where summer time begins or ends in between.
export function when(iso) {
  const at = new Date(iso);
  const now = new Date();
  const day = (d) => new Date(d.getFullYear(), d.getMonth(), d.getDate());
  const days = Math.round((day(at) - day(now)) / 86_400_000);
  const away = -at.getTimezoneOffset() !== Number(document.documentElement.dataset.zone) || at.getTimezoneOffset() !== now.getTimezoneOffset();
  const time = new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZoneName: away ? 'short' : undefined }).format(at);
  const date = Math.abs(days) < 2
    ? new Intl.RelativeTimeFormat(lang, { numeric: 'auto' }).format(days, 'day')
    : new Intl.DateTimeFormat(lang, { year: at.getFullYear() === now.getFullYear() ? undefined : 'numeric', month: 'short', day: 'numeric' }).format(at);
  return `${date} ${time}`;
}

const seconds = { day: 86_400, hour: 3_600, minute: 60, second: 1 };

export function unit(n, name) {
  const text = new Intl.NumberFormat(lang, { style: 'unit', unit: name, unitDisplay: lang === 'en' ? 'long' : 'short' }).format(n);
  return text.replace(/(\d)(?=\p{Script=Han})/u, '$1 ');
}

// duration is a length of time in the units that people use for it: seconds under two
// minutes, minutes under two hours, hours under two days. What is left over follows
// in the next smaller unit.
export function duration(s) {
  const names = Object.keys(seconds);
  let i = names.findIndex((name) => s >= 2 * seconds[name]);
  if (i < 0) i = 3;
  const parts = [unit(Math.floor(s / seconds[names[i]]), names[i])];
  const rest = s % seconds[names[i]];
  if (rest > 0 && i < 3) parts.push(unit(Math.max(1, Math.round(rest / seconds[names[i + 1]])), names[i + 1]));
  return parts.join(' ');
}

// about is a duration that is only estimated.
export function about(s) {
  if (s < 60) return unit(Math.max(1, Math.ceil(s < 10 ? s : s / 5) * (s < 10 ? 1 : 5)), 'second');
  return unit(Math.ceil(s / 60), 'minute');
}

// parts splits what is left as a countdown shows it: rounded up, so that it
// never stands at zero while there is time left.
export function parts(left) {
  const s = Math.ceil(left / 1000);
  const two = (n) => String(n).padStart(2, '0');
  return {
    days: Math.floor(s / 86400),
    hours: two(Math.floor(s / 3600) % 24),
    minutes: two(Math.floor(s / 60) % 60),
    seconds: two(s % 60),
  };
}

// clockText is a countdown on one line: 14:58, 1:14:58, 2 days 01:14:58.
export function clockText(left) {
  const p = parts(left);
  const ms = `${p.minutes}:${p.seconds}`;
  if (p.days > 0) return `${unit(p.days, 'day')} ${p.hours}:${ms}`;
  return p.hours === '00' ? ms : `${Number(p.hours)}:${ms}`;
}
