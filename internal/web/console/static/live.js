// While the sale runs: figures once a second, merged over all nodes by the server, drawn
// in steps of a second with the opening and every pressed button.
import { count, percent, say, show, t } from './i18n.js';
import { stopwatch } from './clock.js';
import { part } from './frame.js';
import { act, age, drawParts, el, figure, isKnown, leftOf, moment, ms, source, stack, tellTrouble, tile, word } from './desk.js';
import { breach, verdict } from './balance.js';
import { chart } from './chart.js';

const kept = 600_000; // ms of steps that are kept
const silence = 4_000; // ms without an event after which the stream counts as lost
const oldAfter = 10_000; // ms after which a figure is not taken for a current one

export function live(root, { id, admin }) {
  let stream = null;
  let heard = null; // when the last event came
  let sale = null;
  let saleAt = null; // as of when it is
  let state = { mode: 'opening', news: null, at: null };
  let watch = null;
  const steps = [];
  const marks = new Map();

  // What the page falls back on: the sale as it is asked for every two seconds. It knows
  // less, and says so.
  const balance = source(() => (root.hidden || state.mode === 'stream' ? null : `${admin}/balance`), 3_000, () => {});

  function listen() {
    if (stream || root.hidden) return;
    stream = new EventSource(`/api/admin/live?sale=${encodeURIComponent(id)}`);
    stream.addEventListener('live', (event) => {
      heard = stopwatch();
      take(JSON.parse(event.data));
    });
    stream.addEventListener('past', (event) => recall(JSON.parse(event.data)));
    stream.addEventListener('error', () => {
      // The browser tries again by itself, unless the answer was no stream at all.
      if (stream?.readyState === EventSource.CLOSED) {
        stream = null;
        lost();
      }
    });
  }

  function lost() {
    if (state.mode === 'poll') return;
    state.mode = 'poll';
    balance.look();
    drawAll();
  }

  // tick looks whether the stream has fallen silent, and tries a closed one again.
  let tries = 0;
  function tick() {
    if (root.hidden || document.hidden) return;
    if (heard === null || stopwatch() - heard > silence) {
      if (state.mode === 'stream' || ++tries % 3 === 0) lost();
      if (tries % 10 === 0) {
        stream?.close();
        stream = null;
      }
      listen();
    }
    if (state.mode === 'poll') drawAll();
  }

  function take(news) {
    tries = 0;
    state = { mode: 'stream', news, at: stopwatch() };
    const mine = news.sales?.find((of) => String(of.id) === id) ?? {};
    step(Date.parse(news.at), mine, isKnown(mine.age_ms) && mine.age_ms > oldAfter);
    for (const mark of news.marks ?? []) marks.set(`${mark.at} ${mark.what}`, mark);
    drawParts(news.parts);
    drawAll();
  }

  // recall takes what the server remembers of the last ten minutes in the place of what this
  // page has seen of them.
  function recall({ columns, rows }) {
    if (rows.length === 0) return;
    const names = { at: 'at', left: 'left', waiting: 'waiting', admitted_per_s: 'admitted', admission_ms: 'admission', outcome_ms: 'outcome' };
    const past = rows.map((row) => Object.fromEntries(columns.map((column, i) => [names[column] ?? column, row[i]])));
    const last = past.at(-1).at;
    steps.splice(0, steps.length, ...past, ...steps.filter((now) => now.at > last));
  }

  // step keeps one step in the order of the server's time. A figure that is old is a gap.
  function step(at, of, old) {
    const now = old ? { at } : { at, left: of.left, waiting: of.waiting, admitted: of.admitted_per_s, admission: of.admission_ms?.p99, outcome: of.outcome_ms?.p99 };
    let i = steps.length;
    while (i > 0 && steps[i - 1].at > at) i--;
    steps.splice(i, 0, now);
    while (steps[0].at < steps.at(-1).at - kept) steps.shift();
  }

  function drawAll() {
    const streamed = state.mode === 'stream';
    const mine = streamed ? state.news.sales?.find((of) => String(of.id) === id) ?? {} : fallback();
    say(part(root, 'stream'), `live.${state.mode}`);
    part(root, 'stream').classList.toggle('lost', state.mode === 'poll');
    age(part(root, 'age'), streamed ? state.at - (mine.age_ms ?? 0) : saleAt);
    part(root, 'trouble').hidden = true;
    if (state.mode === 'poll' && balance.trouble && balance.trouble !== 'absent') tellTrouble(part(root, 'trouble'), balance);
    drawTiles(mine, streamed);
    drawCharts();
    drawVerdicts(mine);
    drawMarks();
    drawNodes(streamed ? state.news.nodes : null, mine.nodes ?? []);
  }

  function fallback() {
    if (!sale) return {};
    return { state: sale.state, left: leftOf(sale), total: sale.total, waiting: sale.waiting, balance: balance.value, queued: balance.value?.pending };
  }

  const why = () => (state.mode !== 'stream' ? t('live.why_no_stream') : state.news.sales_say ?? t('live.why_node'));

  function drawTiles(of, streamed) {
    const sum = of.balance;
    const share = isKnown(of.left) && of.total ? () => percent(of.left / of.total) : undefined;
    const reason = () => (of.says ? () => of.says : why);
    const tiles = [
      tile('live.left', of.left, { why: streamed ? reason() : 'live.why_gate', big: true, note: share && (() => t('live.of_total', { total: () => count(of.total), share })) }),
      tile('live.waiting', of.waiting, { why: reason() }),
      tile('live.queued', of.queued, { why: reason() }),
      tile('live.admitted', of.admitted_per_s, { why: reason(), make: (v) => t('live.per_second', { n: () => count(Math.round(v)) }) }),
      tile('live.admission', of.admission_ms?.p50, { why: reason(), make: ms, note: () => t('live.p99', { time: () => (isKnown(of.admission_ms?.p99) ? ms(of.admission_ms.p99) : t('unknown')) }) }),
      tile('live.outcome', of.outcome_ms?.p50, { why: reason(), make: ms, note: () => t('live.p99', { time: () => (isKnown(of.outcome_ms?.p99) ? ms(of.outcome_ms.p99) : t('unknown')) }) }),
      verdict('live.balance', sum, streamed ? state.at : balance.at, { why: reason(), notes: (sum?.violations ?? []).map(breach) }),
    ];
    if (streamed && state.news.nodes) tiles.push(tile('live.nodes', state.news.nodes.length, { note: state.news.nodes_say ? () => t('live.nodes_say', { why: state.news.nodes_say }) : undefined }));
    part(root, 'tiles').replaceChildren(...tiles);
  }

  function drawCharts() {
    const to = steps.at(-1)?.at;
    const box = part(root, 'charts');
    box.hidden = steps.length < 2;
    if (box.hidden) return;
    const from = Math.max(to - kept, Math.min(steps[0].at, to - 60_000));
    const flags = [...marks.values()].filter((mark) => mark.what !== 'opens').map((mark) => ({ at: Date.parse(mark.at), text: () => act(mark.what), kind: 'pressed' }));
    if (sale) flags.push({ at: Date.parse(sale.opens_at), text: () => t('live.opening'), kind: 'opening' });
    const points = (name) => steps.map((s) => ({ at: s.at, value: s[name] }));
    const frame = { from, to, marks: flags };
    // A chart of which nothing is known is left out: its tile says why.
    const told = (...names) => steps.some((s) => names.some((name) => isKnown(s[name])));
    const line = (name, key) => ({ name: `live.${name}`, points: points(key) });
    box.replaceChildren(...[
      told('admitted') && chart('live.chart_admitted', [line('admitted', 'admitted')], frame),
      told('left', 'waiting') && chart('live.chart_units', [line('left', 'left'), line('waiting', 'waiting')], frame),
      told('admission', 'outcome') && chart('live.chart_latency', [line('line_admission', 'admission'), line('line_outcome', 'outcome')], { ...frame, make: ms }),
    ].filter(Boolean));
  }

  function drawVerdicts(of) {
    const all = Object.entries(of.verdicts ?? {});
    part(root, 'verdicts').replaceChildren(...(all.length ? all.map(([name, value]) => el('div', {}, el('dt', { show: () => word('verdict', name) }), figure(el('dd', { class: 'digits' }), value)))
      : [el('div', {}, el('dt', { class: 'unknown', say: 'unknown' }), el('dd', { class: 'why', show: why }))]));
  }

  function drawMarks() {
    const all = [...marks.values()].toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at));
    part(root, 'marks').replaceChildren(...(all.length ? all.slice(0, 20).map((mark) => el('li', {}, el('time', { datetime: mark.at, show: () => moment(mark.at) }), ' ', el('b', { show: () => act(mark.what) }), ' ', el('span', { class: 'soft', text: mark.who ?? '', dir: 'auto' })))
      : [el('li', { class: 'soft', say: 'live.no_marks' })]));
  }

  function drawNodes(nodes, doing) {
    const rows = (nodes ?? []).map((node) => {
      const seen = el('td', { class: 'age' });
      age(seen, stopwatch() - (node.age_ms ?? Math.max(0, Date.parse(state.news.at) - Date.parse(node.seen_at ?? state.news.at))));
      const does = doing.find((of) => of.id === node.id) ?? {};
      return el('tr', {}, el('th', { scope: 'row', text: node.name || node.id, title: node.id }),
        figure(el('td', { class: 'digits' }), does.admitted_per_s, (v) => t('live.per_second', { n: () => count(Math.round(v)) })),
        figure(el('td', { class: 'digits' }), does.admission_ms?.p99 ?? (isKnown(does.admitted_per_s) ? 0 : null), (v) => (v === 0 ? '—' : ms(v))),
        figure(el('td'), node.version, String),
        figure(el('td'), node.roles, (roles) => [roles].flat().join(', ')), figure(el('td', { class: 'digits' }), node.clock_skew_ms, ms),
        el('td', { class: node.degraded?.length ? 'bad' : '', show: () => (isKnown(node.degraded) ? node.degraded.map((name) => word('part', name)).join(', ') || '—' : t('unknown')) }), seen);
    });
    part(root, 'nodes').replaceChildren(...(rows.length ? rows : [el('tr', {}, el('td', { colspan: 8, class: 'unknown', show: () => `${t('unknown')} · ${why()}` }))]));
    stack(part(root, 'nodes').closest('table'));
  }

  const wall = root.querySelector('#wall');
  wall.addEventListener('click', () => {
    const on = document.documentElement.toggleAttribute('data-wall');
    wall.setAttribute('aria-pressed', String(on));
    if (on) document.documentElement.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
  });
  show(part(root, 'stream'), () => t('live.opening_stream'));

  return {
    show() {
      listen();
      watch ??= setInterval(tick, 1_000);
      drawAll();
    },
    hide() {
      stream?.close();
      stream = null;
      heard = null;
      clearInterval(watch);
      watch = null;
      if (state.mode === 'stream') state.mode = 'opening';
    },
    // sale takes what the page asks for in any case: without a stream it is all there is. The
    // page passes on the last answer once more where there is no newer one.
    sale(next, at) {
      const fresh = next !== sale;
      [sale, saleAt] = [next, at];
      if (state.mode === 'stream' || root.hidden) return;
      if (fresh) step(Date.parse(next.server_now), { left: leftOf(next), waiting: next.waiting }, false);
      drawAll();
    },
  };
}
