// The JSON API. Answers are values: nothing here throws.
import { gate, store, stopwatch } from './clock.js';

const patience = 10_000; // ms until an answer counts as lost
const lost = { status: 0, body: null, code: 'network', retryAfter: 0 };

// onLink hears whether the newest request of which the end is known was answered.
let link = () => {};
let heard = -Infinity; // when the newest that was answered was sent
export function onLink(f) {
  link = f;
}

// request resolves to {status, body, code, reason, retryAfter}. Status 0 means that no
// answer came, so whether the request took effect is unknown. retryAfter is in
// milliseconds.
export async function request(method, path, body, headers = {}) {
  const init = { method, cache: 'no-store', headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers['Content-Type'] = 'application/json';
  }
  if (AbortSignal.timeout) init.signal = AbortSignal.timeout(patience);
  const sent = stopwatch();
  try {
    const r = await fetch(path, init);
    const received = stopwatch();
    const answer = await read(r);
    // Somebody else's page (a hotel's login, say) in the place of our answer.
    if (r.ok && r.status !== 204 && answer === null) throw new Error('not ours');
    heard = Math.max(heard, sent);
    link(true);
    // Of a list each item has it; an order's clock is another than a sale's.
    const shown = answer?.server_now ? answer : answer?.items?.[0];
    if (shown?.server_now) (shown.opens_at ? gate : store).observe(shown.server_now, sent, received);
    return {
      status: r.status,
      body: answer,
      code: answer?.code,
      reason: answer?.reason,
      retryAfter: 1000 * (Number(r.headers.get('Retry-After')) || 0),
    };
  } catch {
    if (sent >= heard) link(false); // else one that was sent later was answered
    return lost;
  }
}

// A proxy's error page is an answer without a body that we know.
async function read(r) {
  const text = await r.text();
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export const get = (path) => request('GET', path);
export const post = (path, body) => request('POST', path, body);

// unknown reports whether the request behind the answer may or may not have
// taken effect, or, for a GET, whether asking again may tell more.
export const unknown = (answer) => answer.status === 0 || answer.status >= 500;

export const salePath = (sale) => `/api/sales/${encodeURIComponent(sale)}`;
export const orderPath = (order) => `/api/orders/${encodeURIComponent(order)}`;
export const orderPage = (order) => `/order/detail/${encodeURIComponent(order)}`;
