// Before the opening: every check with its value, its limit and its age, and Go.
import { count, duration, lang, say, show, t } from './i18n.js';
import { part } from './frame.js';
import { age, button, can, el, isKnown, may, source, tellTrouble, word } from './desk.js';
import { press } from './press.js';

const publish = '/api/admin/sales/{sale}/publish';
const order = { bad: 0, unknown: 1, warn: 2, ok: 3 };

export function preflight(root, { admin, look }) {
  let sale = null;
  // The server looks at the checks once more, unless it is an older one, which takes no body.
  let held = true;
  can('POST', publish, 'preflight').then((has) => { held = has !== false; });
  const s = source(() => (root.hidden ? null : `${admin}/preflight`), 3_000, draw);

  // At the opening, in words and in the zones of those who will read it.
  function opening() {
    const zones = [...new Set([Intl.DateTimeFormat().resolvedOptions().timeZone, 'Asia/Shanghai', 'UTC'])];
    return zones.map((timeZone) => new Intl.DateTimeFormat(lang, { dateStyle: 'full', timeStyle: 'long', timeZone }).format(new Date(sale.opens_at))).join(' · ');
  }

  function draw() {
    tellTrouble(part(root, 'trouble'), s);
    age(part(root, 'age'), s.at);
    if (sale) show(part(root, 'opening'), opening);
    part(root, 'verdict').hidden = !sale;
    root.querySelector('table').hidden = s.value === undefined;
    if (s.value === undefined) {
      part(root, 'verdict').dataset.tone = 'plain';
      say(part(root, 'says'), 'preflight.unknown');
      if (sale && s.trouble) drawGo(false);
      return;
    }
    // That it is not published yet is what Go is for.
    const waits = sale && (sale.shelf ?? 'published') !== 'published';
    const checks = s.value.checks.filter((check) => !(waits && check.name === 'published')).toSorted((a, b) => (order[a.state] ?? 1) - (order[b.state] ?? 1));
    const bad = checks.filter((check) => check.state === 'bad' || check.state === 'unknown').length;
    const go = bad === 0;
    part(root, 'verdict').dataset.tone = go ? 'good' : 'bad';
    say(part(root, 'says'), go ? 'preflight.go' : 'preflight.no_go', { n: () => count(bad) });
    const at = s.at;
    part(root, 'checks').replaceChildren(...checks.map((check) => line(check, at)));
    drawGo(go);
  }

  function drawGo(go) {
    const shelf = sale?.shelf ?? 'published';
    if (!may('operator') || shelf === 'published') {
      part(root, 'go').replaceChildren(shelf === 'published' ? el('span', { class: 'soft', say: 'preflight.published' }) : '');
      return;
    }
    if (part(root, 'go').querySelector(`[data-go="${go}"]`)) return;
    const action = {
      name: go ? 'go' : 'go_anyway', ask: go ? 'none' : 'confirm', path: `${admin}/publish`, route: publish,
      make: () => (held ? { preflight: true } : undefined),
      values: { title: sale.title },
      undo: { name: 'hide', ask: 'none', path: `${admin}/hide`, values: { title: sale.title }, done: look },
      done: look,
    };
    if (!go) Object.assign(action, { fields: [{ name: 'reason', type: 'text', required: true, minlength: 3, maxlength: 200 }], make({ reason }) {
        // The log keeps what was asked for, with this line.
        if (!held) action.path = `${admin}/publish?reason=${encodeURIComponent(reason.trim())}`;
        if (!reason.trim()) return null;
        return held ? { preflight: true, reason: reason.trim() } : undefined;
      } });
    const node = button(`act.${action.name}`, () => press(action), { data: { go: String(go) } });
    node.classList.replace('quiet', go ? 'good' : 'danger');
    part(root, 'go').replaceChildren(node);
  }

  return {
    show: () => s.look(),
    hide() {},
    sale(next) {
      sale = next;
      draw();
    },
  };
}

// inWords fills in a word of a check: names of states and rules are words themselves,
// seconds a time.
function inWords(key, given = {}) {
  const values = Object.fromEntries(Object.entries(given).map(([name, v]) => [name, () => {
    if (name === 'state' || name === 'rule') return word(name, v);
    if (name.endsWith('_s')) return duration(v);
    return typeof v === 'number' ? count(v) : String(v);
  }]));
  return t(key, values);
}

const has = (key) => t(key) !== key;

// line is one check. An unknown value is said to be unknown, and counts as a red one. A
// check says what it says in the reader's language where it has a code; what an engine
// has said stays as it is.
function line(check, at) {
  const plain = (v) => (typeof v === 'number' ? count(v) : Array.isArray(v) ? v.join(', ') : String(v));
  const value = (v) => (has(`check_value.${check.code}`) ? inWords(`check_value.${check.code}`, check.with) : plain(v));
  const seen = el('td', { class: 'age' });
  if (isKnown(check.age_ms)) age(seen, at - check.age_ms);
  else seen.textContent = '—';
  const coded = check.code && has(`check_says.${check.code}`);
  const detail = check.says && (!coded || details.includes(check.code)) ? el('small', { text: check.says, dir: 'auto', lang: 'en' }) : null;
  return el('tr', { data: { state: check.state, check: check.name } },
    el('td', {}, el('span', { class: 'light', data: { state: check.state }, show: () => word('light', check.state) })),
    el('th', { scope: 'row' }, el('span', { show: () => word('checks', check.name) }), coded ? el('small', { show: () => inWords(`check_says.${check.code}`, check.with) }) : null, detail),
    el('td', { class: isKnown(check.value) ? 'digits' : 'unknown', show: () => (isKnown(check.value) ? value(check.value) : t('unknown')) }),
    el('td', { class: 'digits soft', show: () => (isKnown(check.limit) ? plain(check.limit) : '—') }),
    seen);
}

// Of these codes the detail says more: what an engine answered, which ticket, which setting.
const details = ['ready', 'unheard', 'unasked', 'weak', 'not_counted', 'broken', 'old', 'partly'];
