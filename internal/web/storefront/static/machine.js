// What a page says, as a function of what is known. Pure: it touches neither the
// document nor the network nor a clock, imports nothing and runs anywhere.
//
// A page holds a state, gives every event to reduce, and draws what a view returns.
// Each state has exactly one sentence, one button and one moment at which it has to
// be drawn again. A sentence lives as long as its cause: it is never written down,
// it is derived anew each time.

// --- a sale and its buyer ----------------------------------------------------

// stateOf is the sale's state at the gate's time now: the answer that we hold may be
// seconds old, the opening is not.
export function stateOf(sale, now) {
  if (now >= Date.parse(sale.closes_at)) return 'ended';
  if (sale.state === 'scheduled' && now >= Date.parse(sale.opens_at)) return 'open';
  return sale.state;
}

// begin is the state of a sale page that knows nothing yet.
//
//	sale      the last answer about the sale; null: none yet
//	missing   there is no such sale
//	failures  answers about the sale that did not come, in a row
//	me        undefined: not known yet; null: nobody is logged in
//	stranger  somebody else has logged in: nothing here is theirs
//	quantity  how many the buyer wants
//	sent      how many the press wanted that the ticket answers; 0: it answers none of this page,
//	          and only its order says how many
//	phase     what the page is doing for them:
//	            idle        nothing
//	            sending     the request is on its way
//	            confirming  nobody knows what became of it
//	            queued      a ticket is held, its outcome is not known yet
//	            retrying    the queue was full; the page sends it again by itself
//	            resting     the server has asked for a moment of quiet
//	            placed      the ticket is an order
//	ticket    the newest ticket: {id, position, wait}
//	over      the last ticket that is known to be over: no answer to a new request
//	failed    questions about the ticket without an answer, in a row
//	tries     how often the full queue has turned us away
//	until     when resting or retrying ends
//	order     the last answer about the order; while placed null: not asked yet
//	orderId   its id
//	note      what was last said, with its cause: {kind, code, at, ...}
//	pass      null; {value, until}: a pass for this sale; {barred}: there is none for them,
//	          and the code that says why
export function begin() {
  return {
    sale: null, missing: false, failures: 0, me: undefined, stranger: false, quantity: 1, sent: 0, phase: 'idle',
    ticket: null, over: null, failed: 0, tries: 0, until: 0, order: null, orderId: null, note: null, pass: null,
  };
}

const active = (order) => order.state === 'unpaid' || order.state === 'paid';
const without = { ticket: null, failed: 0, tries: 0, until: 0 };

// reduce returns the state after an event. Times are the gate's, in milliseconds.
export function reduce(s, e) {
  switch (e.type) {
    case 'sale': return withSale({ ...s, failures: 0, missing: false }, e.sale, e.now);
    case 'gone': return { ...s, missing: true };
    case 'unseen': return { ...s, failures: s.failures + 1 };
    case 'me': {
      const changed = s.me !== undefined && s.me?.buyer !== e.me?.buyer;
      return { ...s, me: e.me, stranger: s.stranger || changed };
    }
    case 'quantity': {
      const quantity = Math.min(Math.max(1, e.quantity), s.sale?.limit_per_buyer ?? 1);
      return { ...s, quantity, note: s.note?.code === 'sold_out_many' ? null : s.note };
    }
    case 'press': return { ...s, ...without, phase: 'sending', sent: s.quantity, note: null, order: null, orderId: null };
    case 'again': return { ...s, phase: 'sending' }; // the page presses for the buyer
    case 'verdict': return withVerdict(s, e);
    case 'busy': return { ...s, phase: 'retrying', tries: s.tries + 1, until: e.until };
    case 'stop': return { ...s, ...without, phase: 'idle', note: { kind: 'stopped', at: e.now } };
    case 'unknown': return { ...s, phase: 'confirming' };
    case 'none': return { ...s, ...without, phase: 'idle', note: { kind: 'none', at: e.now } };
    case 'trouble': return { ...s, ...without, phase: e.until > e.now ? 'resting' : 'idle', until: e.until, note: { kind: 'error', code: e.code, at: e.now } };
    case 'rested': return { ...s, phase: 'idle', until: 0, note: ['too_many_requests', 'cooldown'].includes(s.note?.code) ? null : s.note };
    case 'silent': return { ...s, failed: s.failed + 1 };
    case 'ticket': return withTicket(s, e);
    case 'order': return withOrder(s, e);
    case 'pass': return { ...s, pass: e.pass };
    case 'unpassed': return { ...s, ...without, phase: 'idle', sale: { ...s.sale, pass: true }, pass: null, note: { kind: 'unpassed', at: e.now } }; // the sale asks for a pass, or for another one, since a moment
  }
  return s;
}

// passNeeded reports whether this buyer still has to fetch a pass for the sale.
export function passNeeded(s, now) {
  return Boolean(s.sale?.pass && s.me) && !s.pass?.barred && !(s.pass && now < s.pass.until);
}

const oldRules = 2_000; // ms for which a node may show a sale as it was before the gate's no

// withSale takes a newer answer about the sale. What was said before is taken back
// when its cause is gone, and good news is said. While the store is away the answer is a
// copy from before (as_of), and while the gate does not tell, left is what the store has
// not sold: neither takes back what the gate has said since.
// When the gate asks for a pass first, the sale may be shown for a moment as it was before.
function withSale(s, sale, now) {
  if (s.note?.kind === 'unpassed' && Date.parse(sale.server_now) < s.note.at + oldRules) sale = { ...sale, pass: true };
  const before = s.sale && stateOf(s.sale, now);
  const said = s.note?.at ?? Date.parse(s.sale?.server_now);
  const newer = Date.parse(sale.as_of ?? sale.server_now) > said;
  const counted = !sale.left_from_store && Date.parse(sale.server_now) > said;
  const stands = s.note?.kind === 'verdict' && sale.state === 'open' && { paused: !newer, ended: !newer, sold_out: !counted }[s.note.code];
  const n = { ...s, sale: stands ? { ...sale, state: s.note.code } : sale, quantity: Math.min(s.quantity, sale.limit_per_buyer) };
  const state = stateOf(n.sale, now);
  if (state !== 'open') {
    if (['back', 'resumed', 'none', 'stopped', 'unpassed'].includes(s.note?.kind)) n.note = null;
    return n;
  }
  const enough = sale.left >= (s.note?.quantity ?? 1);
  const sold = ['sold_out', 'sold_out_many'].includes(s.note?.code);
  if (counted && (sold && enough || !s.note && before === 'sold_out')) n.note = { kind: 'back', at: now };
  if (newer && (s.note?.code === 'paused' || !s.note && before === 'paused')) n.note = { kind: 'resumed', at: now };
  if (['not_open', 'ended'].includes(s.note?.code) && newer) n.note = null;
  return n;
}

// withVerdict takes the gate's no. It is newer than the sale that we hold.
function withVerdict(s, e) {
  const many = e.code === 'sold_out' && s.quantity > 1;
  const note = { kind: 'verdict', code: many ? 'sold_out_many' : e.code, quantity: s.quantity, at: e.now };
  const sale = !many && ['sold_out', 'paused', 'ended'].includes(e.code) ? { ...s.sale, state: e.code } : s.sale;
  return { ...s, ...without, phase: 'idle', sent: 0, sale, note };
}

// withTicket takes where a ticket stands.
function withTicket(s, e) {
  const t = e.ticket;
  if (t.status === 'queued') return { ...s, phase: 'queued', failed: 0, ticket: { id: t.ticket, position: t.position, wait: t.wait_ms } };
  if (t.status === 'refused') return { ...s, ...without, phase: 'idle', over: t.ticket, note: { kind: 'reason', code: t.reason, at: e.now } };
  return { ...s, ...without, phase: 'placed', over: null, orderId: t.order, order: null, note: null, ticket: { id: t.ticket } };
}

// withOrder takes what the order is now. One that is over makes room for another.
function withOrder(s, e) {
  if (active(e.order)) return { ...s, phase: 'placed', orderId: e.order.id, order: e.order };
  if (s.phase !== 'placed' && s.over === e.order.ticket) return s;
  return { ...s, ...without, phase: 'idle', over: e.order.ticket, order: null, orderId: null, note: { kind: 'closed', code: e.order.state, at: e.now } };
}

const justOpened = 60_000; // ms for which the opening is news
const slow = 3; // questions without an answer before the buyer hears of it

// saleView is what the sale page shows. gate and store are the two clocks: the gate's
// for the sale, the store's for the time to pay.
//
//	sentence  {tone, key, values, code}; key may be a prefix that code completes
//	button    {key, act, busy}; act is null while it cannot be pressed
//	expiry    when to draw again at the latest, by the clock that is named; null: never
//	title     {key, values} for the tab, around the sale's title
//	place     {position, wait} in the queue
//	known     may the quantity be changed
export function saleView(s, gate, store, online = true) {
  const v = saleSays(s, gate, store);
  const button = online || ['order', 'stop'].includes(v.button.act) ? v.button : { ...v.button, act: null };
  const state = s.sale ? stateOf(s.sale, gate) : 'loading';
  const free = s.phase === 'idle' && ['scheduled', 'open', 'paused'].includes(state);
  return {
    state, place: null, title: null, ...v, button,
    stepper: { shown: Boolean(s.sale) && s.sale.limit_per_buyer > 1 && s.phase !== 'placed' && !['sold_out', 'ended'].includes(state), fewer: free && s.quantity > 1, more: free && s.quantity < (s.sale?.limit_per_buyer ?? 1) },
    browse: s.phase === 'idle' && ['sold_out', 'ended'].includes(state),
    before: state === 'scheduled' && s.phase === 'idle',
    pass: s.phase === 'idle' && ['scheduled', 'open', 'paused'].includes(state) && passNeeded(s, gate),
    login: s.me === null && ['scheduled', 'open', 'paused'].includes(state),
  };
}

function says(tone, key, values, code) {
  return { tone, key, values, code };
}

function saleSays(s, gate, store) {
  const still = (key, busy = false) => ({ key, act: null, busy });
  if (s.missing) return { sentence: says('bad', 'sale.missing'), button: still('buy.ended'), expiry: null };
  if (!s.sale) return { sentence: says('info', s.failures ? 'error.retrying' : 'sale.loading'), button: still('buy.loading'), expiry: null };
  const state = stateOf(s.sale, gate);
  switch (s.phase) {
    case 'sending': return { sentence: says('info', s.tries ? 'buy.retrying' : 'buy.sending_hint', { tries: s.tries }), button: still('buy.sending', true), expiry: null, title: { key: 'title.sending' } };
    case 'confirming': return { sentence: says('info', 'ticket.confirming'), button: still('buy.sending', true), expiry: null, title: { key: 'title.sending' } };
    case 'retrying': return { sentence: says('info', 'buy.retrying', { tries: s.tries }), button: { key: 'buy.stop', act: 'stop', busy: true }, expiry: { clock: 'gate', at: s.until }, title: { key: 'title.sending' } };
    case 'queued': return {
      sentence: says('info', s.failed >= slow ? 'ticket.slow' : 'ticket.queued'), button: still('buy.queued', true), expiry: null,
      place: s.ticket.position > 0 ? { position: s.ticket.position, wait: s.ticket.wait } : null,
      title: s.ticket.position > 0 ? { key: 'title.place', values: { position: s.ticket.position } } : { key: 'title.queued' },
    };
    case 'resting': return { sentence: noteSays(s, state, gate), button: still('buy.resting'), expiry: { clock: 'gate', at: s.until } };
    case 'placed': return placedSays(s, store);
  }
  const sentence = noteSays(s, state, gate);
  const opens = Date.parse(s.sale.opens_at);
  const closes = { clock: 'gate', at: Date.parse(s.sale.closes_at) };
  switch (state) {
    case 'scheduled': if (s.pass?.barred) return { sentence: barredSays(s), button: still('buy.barred'), expiry: { clock: 'gate', at: opens } };
      return { sentence, button: still('buy.scheduled'), expiry: { clock: 'gate', at: opens } };
    case 'open': if (s.pass?.barred) return { sentence: barredSays(s), button: still('buy.barred'), expiry: closes };
      return {
      sentence: passNeeded(s, gate) && !s.note ? says('info', 'pass.first') : sentence,
      button: passNeeded(s, gate) ? { key: 'buy.pass', act: 'pass', busy: false } : { key: 'buy.open', act: 'buy', busy: false },
      expiry: !s.note && gate < opens + justOpened ? { clock: 'gate', at: Math.min(closes.at, opens + justOpened) } : closes,
      title: { key: s.note?.kind === 'back' ? 'title.back' : 'title.open' },
    };
    case 'ended': return { sentence, button: still('buy.ended'), expiry: null };
  }
  return { sentence, button: still(`buy.${state}`), expiry: closes };
}

const barredSays = (s) => says('bad', 'verdict', undefined, s.pass.barred);

// placedSays is about an order that holds its units.
function placedSays(s, store) {
  const button = { key: 'buy.order', act: 'order', busy: false };
  if (!s.order) return { sentence: says('good', 'ticket.placed'), button, expiry: null, title: { key: 'title.placed' } };
  if (s.order.state === 'paid') return { sentence: says('good', 'ticket.paid'), button, expiry: null, title: { key: 'title.placed' } };
  const until = Date.parse(s.order.expires_at);
  if (store >= until) return { sentence: says('info', 'order.late'), button, expiry: null };
  return {
    sentence: says('good', 'ticket.unpaid', { left: until - store }), button: { ...button, key: 'buy.pay' },
    expiry: { clock: 'store', at: until }, title: { key: 'title.placed' },
  };
}

// noteSays is the sentence while nothing is under way: that of the note if its cause
// still holds, else that of the sale.
function noteSays(s, state, gate) {
  const n = s.note;
  const may = state === 'open';
  switch (n?.kind) {
    case 'closed': return says('info', may ? `closed.${n.code}_again` : `closed.${n.code}`);
    case 'reason':
      if (n.code === 'sold_out' || n.code === 'no_sale' || may) return says('bad', 'reason', undefined, n.code);
      break;
    case 'verdict':
      if (n.code === 'limit' || n.code === state || n.code === 'not_open' && state === 'scheduled') return says('bad', 'verdict', undefined, n.code);
      if (n.code === 'sold_out_many' && may) return says('bad', 'verdict.sold_out_many', { quantity: n.quantity });
      if (may && !['sold_out', 'paused', 'ended', 'not_open', 'sold_out_many'].includes(n.code)) return says('bad', 'verdict', undefined, n.code);
      break;
    case 'error': return says('bad', 'error', undefined, n.code);
    case 'none': if (may) return says('bad', 'ticket.none'); break;
    case 'unpassed': if (may && passNeeded(s, gate)) return says('info', 'pass.again'); break;
    case 'stopped': if (may) return says('info', 'buy.stopped'); break;
    case 'back': if (may) return says('good', 'sale.back'); break;
    case 'resumed': if (may) return says('good', 'sale.resumed'); break;
  }
  switch (state) {
    case 'scheduled':
      if (s.sale.pass && s.me && s.pass?.until > gate) return says('good', 'pass.ready');
      if (passNeeded(s, gate)) return says('info', 'pass.soon');
      return says('info', s.me === null ? 'sale.soon_login' : 'sale.soon');
    case 'open':
      if (gate < Date.parse(s.sale.opens_at) + justOpened) return says('good', 'sale.opened');
      return says('info', s.me === null ? 'sale.open_login' : 'sale.open');
  }
  return says('info', `verdict.${state}`);
}

// --- an order ----------------------------------------------------------------

// orderView is what the order page shows.
//
//	order   the last answer; null: none yet
//	acting  'pay' or 'cancel' while that is on its way
//	doubt   the answer to it was lost, or said no: {verb, code}
//	failed  answers about the order that did not come, in a row
export function orderView({ order, acting, doubt, failed, missing }, store, online = true) {
  if (missing) return { sentence: says('bad', 'order.missing'), button: null, second: null, expiry: null };
  if (!order) return { sentence: says('info', failed ? 'error.retrying' : 'order.loading'), button: null, second: null, expiry: null };
  const browse = { key: 'order.browse', act: 'browse', busy: false };
  switch (order.state) {
    case 'unpaid': break;
    case 'paid': return { sentence: says('good', 'order.paid_hint'), button: { key: 'orders.heading', act: 'orders', busy: false }, second: null, expiry: null };
    case 'cancelled': case 'expired': return { sentence: says('info', `order.${order.state}_hint`), button: { key: 'order.again', act: 'sale', busy: false }, second: null, expiry: null };
    default: return { sentence: says('info', 'order', undefined, `${order.state}_hint`), button: browse, second: null, expiry: null };
  }
  const until = Date.parse(order.expires_at);
  const late = store >= until;
  const free = online && !acting && !late;
  const button = { key: acting === 'pay' ? 'order.paying' : 'order.pay', act: free ? 'pay' : null, busy: acting === 'pay' };
  const second = { key: acting === 'cancel' ? 'order.cancelling' : 'order.cancel', act: free ? 'cancel' : null, busy: acting === 'cancel' };
  let sentence = says('info', 'order.unpaid_hint');
  if (acting) sentence = says('info', acting === 'pay' ? 'order.paying_hint' : 'order.cancelling_hint');
  else if (late) sentence = says('info', 'order.late');
  else if (doubt) sentence = doubt.code ? says('bad', 'error', undefined, doubt.code) : says('bad', doubt.verb === 'pay' ? 'order.pay_unsure' : 'order.cancel_unsure');
  return { sentence, button, second, expiry: late ? null : { clock: 'store', at: until } };
}

// --- when to ask again -------------------------------------------------------

const second = 1_000;
const minute = 60 * second;

// gapToSale is how long a page waits before it asks for the sale again. Long before
// the opening next to nothing changes, and very many may be watching.
export function gapToSale(sale, now) {
  if (!sale) return 2 * second;
  switch (stateOf(sale, now)) {
    case 'scheduled': {
      const left = Date.parse(sale.opens_at) - now;
      const gap = Math.min(5 * minute, Math.max(5 * second, left / 12));
      // Not while the sale opens, when everybody's purchase is on its way.
      return gap < left ? gap : left + 3 * second;
    }
    case 'open': return 3 * second;
    case 'paused': return 5 * second;
    case 'sold_out': return 8 * second;
  }
  return 5 * minute;
}

// gapToOrder is the same for an order; Infinity: it cannot change any more.
export function gapToOrder(order, now) {
  switch (order.state) {
    case 'unpaid': {
      const left = Date.parse(order.expires_at) - now;
      return left > 0 ? Math.min(10 * second, left + second / 2) : second;
    }
    case 'paid': return minute;
  }
  return Infinity;
}

// gapToList is the same for the list of sales: by the liveliest of them.
export function gapToList(sales, now) {
  const gaps = sales.map((sale) => Math.max(10 * second, gapToSale(sale, now)));
  return Math.min(minute, ...gaps);
}

// jittered spreads those who would otherwise ask together; random is 0 to 1.
export const jittered = (gap, random) => gap * (0.8 + 0.4 * random);

// backoff is how long to wait before try number n (from 0): doubling from half a
// second to five, never less than the server asked for, with jitter upward so that
// those who failed together do not come back together.
export function backoff(n, atLeast, random) {
  return Math.max(atLeast, Math.min(5 * second, 500 * 2 ** n)) * (1 + 0.3 * random);
}
