// How a balance stands. One that adds up is green only when it is fresh and whole: an old
// green one says nothing about now, and one that left something out says less than it seems.
import { duration, t } from './i18n.js';
import { stopwatch } from './clock.js';
import { age, el, isKnown, tile, word } from './desk.js';

export const fresh = 15_000; // ms; the preflight of the server has the same limit, seckill.BalanceFresh

// judge says how a balance stands that came at a time of the stopwatch:
//
//	state  ok, old (it did add up), partly (not all of it was counted), bad or unknown
//	at     when it was counted, by the stopwatch; null: not known
export function judge(of, came) {
  const at = isKnown(of) && isKnown(of.ok) && came !== null ? came - (of.age_ms ?? 0) : null;
  if (at === null) return { state: 'unknown', at };
  if (!of.ok) return { state: 'bad', at };
  if (stopwatch() - at > fresh) return { state: 'old', at };
  return { state: of.partial || of.pending === null ? 'partly' : 'ok', at };
}

const tones = { ok: 'good', old: 'warn', partly: 'warn', bad: 'bad' };

// words of a state: "added up 40 s ago".
export const saysState = ({ state, at }) => (state === 'unknown' ? t('unknown') : t(`balance.${state}`, { time: () => duration(Math.round((stopwatch() - at) / 1000)) }));

// verdict is the tile of a balance, with its age, what it says of itself, and the rules
// that are broken.
export function verdict(key, of, came, { why, notes = [] } = {}) {
  const judged = judge(of, came);
  const box = tile(key, judged.state === 'unknown' ? null : judged, { make: saysState, tone: tones[judged.state], why: of?.says ? () => of.says : why });
  box.dataset.balance = judged.state;
  if (judged.state === 'unknown') return box;
  if (judged.state !== 'old') { // which says it itself
    const when = el('dd', { class: 'age' });
    age(when, judged.at, fresh);
    box.append(when);
  }
  for (const note of [of.says, ...notes].filter(Boolean)) box.append(el('dd', { class: 'why', ...(typeof note === 'function' ? { show: note } : { text: note, dir: 'auto' }) }));
  return box;
}

// breach says which rule is broken, and by which ticket. What exactly is wrong stays in
// the words of the server.
export const breach = (v) => () => (typeof v === 'string' ? v : `${word('rule', v.rule)}${v.ticket ? ` · ${v.ticket}` : ''}: ${v.says}`);
