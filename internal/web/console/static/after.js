// After the rush: what became of the tickets, which holds run out when, and whether the
// sum holds.
import { count, duration, money, say, show, t } from './i18n.js';
import { part } from './frame.js';
import { age, el, figure, isKnown, source, tellTrouble, tile, word } from './desk.js';
import { breach, verdict } from './balance.js';
import { draw as svg, nice } from './chart.js';

export function after(root, { admin }) {
  let sale = null;
  const flow = source(() => (root.hidden ? null : `${admin}/after`), 5_000, draw);
  const sum = source(() => (root.hidden ? null : `${admin}/balance`), 5_000, draw);
  const audit = source(() => (root.hidden || sum.trouble !== 'absent' ? null : `${admin}/audit`), 10_000, draw);

  function draw() {
    tellTrouble(part(root, 'trouble'), flow);
    age(part(root, 'age'), flow.at ?? sum.at ?? audit.at);
    drawFlow(flow.value);
    drawWave(flow.value?.expiries);
    if (sum.value) drawBalance(sum.value, sum.at);
    else drawBalance(audit.value, audit.at);
  }

  function drawFlow(of = {}) {
    const why = () => (flow.trouble ? word('trouble', flow.trouble) : t('loading'));
    const step = (name, value) => {
      const item = el('li', { data: { step: name } }, el('span', { class: 'step-name', say: `after.${name}` }), figure(el('b', { class: 'digits' }), value));
      if (!isKnown(value)) item.append(el('small', { class: 'why', show: why }));
      return item;
    };
    part(root, 'funnel').replaceChildren(...['tickets', 'placed', 'unpaid', 'paid', 'expired', 'cancelled', 'refunded', 'sold_again'].map((name) => step(name, of[name])));
    // Units that nobody can buy any more: the operator may have meant to sell them.
    const stuck = sale?.state === 'ended' && of.left > 0;
    part(root, 'closed').hidden = !stuck;
    if (stuck) say(part(root, 'closed'), 'after.closed', { n: () => count(of.left) });
  }

  function drawWave(expiries) {
    const box = part(root, 'wave');
    if (!isKnown(expiries)) return box.replaceChildren(el('p', { class: 'unknown', say: 'unknown' }));
    if (expiries.length === 0) return box.replaceChildren(el('p', { class: 'soft', say: 'after.no_wave' }));
    const most = nice(Math.max(...expiries.map((e) => e.units)));
    const width = 600 / expiries.length;
    const picture = svg('svg', { viewBox: '0 0 600 120', class: 'chart', role: 'img', preserveAspectRatio: 'none' });
    picture.setAttribute('aria-label', t('after.wave'));
    expiries.forEach((e, i) => {
      const h = (100 * e.units) / most;
      picture.append(svg('rect', { x: i * width + 1, y: 110 - h, width: Math.max(1, width - 2), height: h, class: 'bar-fill' }));
    });
    const time = (iso) => new Date(iso).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
    const total = expiries.reduce((n, e) => n + e.units, 0);
    return box.replaceChildren(el('p', { class: 'soft', say: ['after.wave_sum', { n: () => count(total), from: time(expiries[0].at), to: time(expiries.at(-1).at) }] }),
      el('div', { class: 'plot' }, picture, el('span', { class: 'most digits', show: () => count(most) })),
      el('p', { class: 'ends' }, el('span', { text: time(expiries[0].at) }), el('span', { text: time(expiries.at(-1).at) })));
  }

  // walked says how old the look at each single order is: a large sale is not held against
  // the gate ticket by ticket in one count.
  function walked(of) {
    if (!of.at) return null; // an audit
    const behind = of.walked_at ? Math.max(0, Date.parse(of.at) - Date.parse(of.walked_at)) : null;
    return () => (behind === null ? t('balance.walking') : t('balance.walked', { time: () => duration(Math.round(behind / 1000)) }));
  }

  function drawBalance(of, came) {
    const box = part(root, 'balance');
    if (!isKnown(of)) {
      const why = sum.trouble === 'absent' ? audit.trouble : sum.trouble;
      box.replaceChildren(el('p', { class: 'unknown', show: () => `${t('unknown')}${why ? ` · ${word('trouble', why)}` : ''}` }));
      return;
    }
    const why = () => t('balance.why');
    const parts = isKnown(of.unpaid) || isKnown(of.paid) ? ['gate', 'pending', 'unpaid', 'paid', 'returning'] : ['gate', 'pending', 'active', 'returning'];
    box.replaceChildren(el('dl', { class: 'tiles sum' }, tile('balance.total', of.total, { why }),
      ...parts.map((name) => tile(`balance.${name}`, of[name], { why })),
      verdict('balance.verdict', of, came, { why, notes: [walked(of)] })));
    for (const v of of.violations ?? []) box.append(el('p', { class: 'status', data: { tone: 'bad' }, show: breach(v), dir: 'auto' }));
    for (const m of [of.money ?? []].flat()) {
      box.append(el('dl', { class: 'numbers broad' }, ['captured', 'refunded', 'held', 'due', 'late', 'aside'].filter((name) => isKnown(m[name])).map((name) =>
        el('div', {}, el('dt', { say: `money.${name}` }), el('dd', { class: 'digits', show: () => money(m[name], m.currency) })))));
    }
  }

  const report = root.querySelector('#report');
  report.href = `${admin}/report`;
  return {
    show() {
      flow.look();
      sum.look();
      audit.look();
    },
    hide() {},
    sale(next) {
      sale = next;
      show(report, () => t('after.report'));
      draw();
    },
  };
}
