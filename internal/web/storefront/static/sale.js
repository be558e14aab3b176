// The sale page: countdown, buy, queue, outcome. What it says is decided in
// machine.js; here the events are made and what comes of them is drawn.
import { about, count, duration, money, parts, say, show, t, unit, when } from './i18n.js';
import { get, post, salePath, orderPath, orderPage, unknown } from './api.js';
import { gate, keep, pause, store, until } from './clock.js';
import { ask, byId, check, label, online, onMe, onOnline, part, tell, title, toLogin } from './frame.js';
import { drawAge, drawState, drawPrices, drawUnits, drawPicture } from './look.js';
import { backoff, begin, gapToOrder, gapToSale, jittered, passNeeded, reduce, saleView } from './machine.js';

const id = decodeURIComponent(location.pathname.split('/')[2]);
const path = salePath(id);

const root = byId('sale');
const buyButton = byId('buy');
const viewOrder = byId('view-order');
const countdown = byId('countdown');
byId('reminder').href = `/sale/${encodeURIComponent(id)}/opening.ics`;

let state = begin();
let drawn = null; // the view on the screen

// on gives an event to the machine and draws what comes of it.
function on(event) {
  const { phase } = state;
  state = reduce(state, { now: gate.now(), ...event });
  if (state.stranger) location.reload(); // what is here is somebody else's
  draw();
  if (state.phase === 'placed' && phase !== 'placed') lookAtOrder();
}

// --- drawing -----------------------------------------------------------------

let stopExpiry = () => {};
let expiry = '';

function draw() {
  const view = saleView(state, gate.now(), store.now(), online());
  const { sale } = state;
  byId('missing').hidden = !state.missing;
  root.hidden = state.missing;
  if (sale) {
    drawSale(sale, view);
    drawCountdown(sale, view);
  }
  // The link to the order takes the button's place, and its focus.
  const focused = document.activeElement === buyButton || document.activeElement === viewOrder;
  const linked = view.button.act === 'order';
  if (linked) viewOrder.href = orderPage(state.orderId);
  viewOrder.hidden = !linked;
  buyButton.hidden = linked;
  if (linked) say(viewOrder, view.button.key);
  else label(buyButton, view.button);
  if (focused) (linked ? viewOrder : buyButton).focus();
  if (!state.missing) tell(view.sentence);

  byId('position').hidden = !view.place;
  if (view.place) {
    show(byId('position'), () => {
      const place = t('ticket.position', { position: () => count(view.place.position) });
      return view.place.wait ? `${place}${t('ticket.wait', { wait: () => about(view.place.wait / 1000) })}` : place;
    });
  }
  const { stepper } = view;
  byId('quantity').hidden = !stepper.shown;
  byId('fewer').setAttribute('aria-disabled', String(!stepper.fewer));
  byId('more').setAttribute('aria-disabled', String(!stepper.more));
  byId('quantity-value').textContent = state.quantity;
  byId('browse').hidden = !view.browse;
  drawPass(view.pass);
  byId('before').hidden = !view.before && !view.login;
  byId('before-login').hidden = !view.login;
  byId('reminder').hidden = !view.before;
  byId('waiting').hidden = !view.before || !(sale.waiting > 1);
  if (sale?.waiting > 1) say(byId('waiting'), 'sale.waiting', { waiting: () => count(rounded(sale.waiting)) });
  drawn = view;
  drawAgain(view.expiry);
}

// drawPass shows what a pass costs while the buyer needs one. Before the opening there is
// time for it; after it the button leads here.
function drawPass(shown) {
  // What they have done of the check stays while it is hidden: units of a sale that is sold out
  // may be back in a moment.
  if (!passNeeded(state, gate.now())) puzzle?.stop();
  const box = byId('pass');
  if (box.hidden !== shown) return;
  if (shown && !puzzle) {
    loadPuzzle();
    return;
  }
  box.hidden = !shown;
}

// Pressed already: when the pass is there the page presses for them.
let pressed = false;

let puzzle = null;
let loading = false;

// loadPuzzle loads the check, once, and draws it if it is wanted still.
async function loadPuzzle() {
  if (loading) return;
  loading = true;
  puzzle = await check(byId('pass'), checked);
  draw();
  if (pressed && drawn.pass) puzzle.begin();
}

const checked = {
  path: `${path}/challenge`,
  async solved(body) {
    const answer = await post(`${path}/pass`, body);
    if (answer.status !== 200) return answer;
    const pass = { value: answer.body.pass, until: Date.parse(answer.body.expires_at) };
    on({ type: 'pass', pass });
    keepPass(pass);
    (viewOrder.hidden ? buyButton : viewOrder).focus();
    if (pressed && drawn.button.act === 'buy') press();
    pressed = false;
    return answer;
  },
  barred: (reason) => on({ type: 'pass', pass: { barred: reason === 'tries' ? 'tries' : 'not_eligible' } }),
};

// rounded keeps two digits: the figure is an estimate.
const rounded = (n) => (n < 100 ? n : Number(n.toPrecision(2)));

// drawAgain draws when the view expires, once.
function drawAgain(next) {
  const mark = next ? `${next.clock} ${next.at}` : '';
  if (mark === expiry) return;
  expiry = mark;
  stopExpiry();
  stopExpiry = () => {};
  const clock = next?.clock === 'store' ? store : gate;
  if (!next || clock.now() >= next.at) return; // this is how it looks when it has expired
  stopExpiry = until(clock, next.at, (left) => {
    if (left > 0) return;
    // Not from within until: draw begins the next wait.
    queueMicrotask(draw);
    lookAtOrder();
  });
}

function drawSale(sale, view) {
  root.classList.remove('loading');
  root.removeAttribute('aria-busy');
  title(sale.title, view.title && { key: view.title.key, values: { position: () => count(view.title.values?.position ?? 0) } });
  part(root, 'title').textContent = sale.title;
  drawPicture(part(root, 'picture'), sale);
  byId('zoom').hidden = !sale.image;
  drawState(part(root, 'state'), 'state', view.state);
  drawPrices(root, sale);
  drawUnits(root, sale, view.state);
  drawAge(root, sale);
  const opening = view.state === 'scheduled';
  say(part(root, 'window'), opening ? 'sale.opens_at' : view.state === 'ended' ? 'sale.closed_at' : 'sale.closes_at', { time: () => when(opening ? sale.opens_at : sale.closes_at) });
  say(part(root, 'limit'), sale.limit_per_buyer > 1 ? 'sale.limit' : 'sale.limit_one', { limit: () => count(sale.limit_per_buyer) });
  say(part(root, 'hold'), 'sale.hold', { time: () => duration(sale.hold_seconds) });
  const notice = part(root, 'notice');
  notice.hidden = !sale.notice;
  if (notice.textContent !== (sale.notice ?? '')) notice.textContent = sale.notice ?? ''; // it is read aloud when it changes
  part(root, 'about').hidden = !sale.description;
  part(root, 'description').textContent = sale.description ?? '';
}

// drawCountdown runs to the opening, then to the closing; with an order, to the end of
// the time to pay.
let target = '';
let stopCountdown = () => {};

function drawCountdown(sale, view) {
  const unpaid = state.phase === 'placed' && state.order?.state === 'unpaid';
  const paid = state.phase === 'placed' && !unpaid;
  countdown.hidden = view.state === 'ended' && !unpaid || paid;
  const opening = view.state === 'scheduled';
  const [clock, end, key] = unpaid ? [store, state.order.expires_at, 'clock.pay'] : [gate, opening ? sale.opens_at : sale.closes_at, opening ? 'clock.opens' : 'clock.closes'];
  countdown.dataset.to = opening ? 'opening' : 'closing';
  say(part(countdown, 'countdown-label'), key);
  const mark = countdown.hidden ? '' : `${key} ${end}`;
  if (mark === target) return;
  target = mark;
  stopCountdown();
  stopCountdown = () => {};
  if (!mark) return;
  stopCountdown = until(clock, Date.parse(end), (left) => {
    const p = parts(left);
    part(countdown, 'days-cell').hidden = p.days === 0;
    for (const name of ['days', 'hours', 'minutes', 'seconds']) {
      part(countdown, name).textContent = p[name];
      show(part(countdown, `${name}-unit`), () => unit(Number(p[name]), name.slice(0, -1)).replace(/[\d\s]+/gu, ''));
    }
  });
}

// --- the purchase ------------------------------------------------------------

// Who has to log in first has pressed already: the page goes on when they come back.
const intent = `seckill.press.${id}`;
const intentLife = 10 * 60_000; // ms

function remember(quantity) {
  try {
    if (quantity) sessionStorage.setItem(intent, JSON.stringify({ quantity, at: Date.now() }));
    else sessionStorage.removeItem(intent);
  } catch {
    // Storage is forbidden: they press once more.
  }
}

function remembered() {
  try {
    const wish = JSON.parse(sessionStorage.getItem(intent));
    return wish && Math.abs(Date.now() - wish.at) < intentLife ? wish : null;
  } catch {
    return null;
  }
}

// A pass outlives a reload: it has cost its buyer time.
const passKey = `seckill.pass.${id}`;

function keepPass(pass) {
  try {
    if (pass) sessionStorage.setItem(passKey, JSON.stringify({ sale: id, buyer: state.me.buyer, ...pass }));
    else sessionStorage.removeItem(passKey);
  } catch {
    // Storage is forbidden: they check in again after a reload.
  }
}

function keptPass(me) {
  try {
    const { sale, buyer, value, until } = JSON.parse(sessionStorage.getItem(passKey));
    return sale === id && buyer === me.buyer ? { value, until } : null;
  } catch {
    return null;
  }
}

function beginPass() {
  pressed = true;
  puzzle?.begin(); // else it begins when it is loaded
}

async function press() {
  on({ type: 'press' });
  await send();
}

async function send() {
  const body = { quantity: state.quantity };
  if (state.pass?.value) body.pass = state.pass.value;
  const answer = await post(`${path}/ticket`, body);
  if (answer.status === 202) {
    on({ type: 'ticket', ticket: answer.body });
    await follow(answer.body.poll_after_ms);
  } else if (answer.status === 401) {
    remember(state.quantity);
    toLogin();
  } else if (answer.code === 'pass_required') {
    // The rules of the sale have changed, or the pass has ended meanwhile.
    on({ type: 'unpassed' });
    keepPass(null);
    beginPass();
  } else if (answer.status === 409) {
    on({ type: 'verdict', code: answer.reason === 'tries' ? 'tries' : answer.code });
    if (answer.code === 'limit') await recall();
    else lookAtSale();
  } else if (answer.code === 'busy') {
    await tryLater(answer.retryAfter);
  } else if (unknown(answer)) {
    await confirm();
  } else {
    await rest(answer);
  }
}

// tryLater waits for room in the queue. The buyer may stop it.
async function tryLater(retryAfter) {
  const ms = backoff(state.tries + 1, retryAfter, Math.random());
  on({ type: 'busy', until: gate.now() + ms });
  const { tries } = state;
  await pause(ms);
  if (state.phase !== 'retrying' || state.tries !== tries) return;
  on({ type: 'again' });
  await send();
}

async function rest(answer) {
  on({ type: 'trouble', code: answer.reason === 'cooldown' ? 'cooldown' : answer.code ?? 'unavailable', until: gate.now() + answer.retryAfter * (1 + Math.random() * 0.3) });
  if (state.phase !== 'resting') return;
  await pause(state.until - gate.now());
  on({ type: 'rested' });
}

// confirm finds out what became of a request whose answer was lost. It asks until
// somebody can tell, since "try again" would be a guess.
async function confirm() {
  on({ type: 'unknown' });
  await pause(Math.random() * 200);
  const answer = await answered(`${path}/ticket`);
  if (answer.status === 200 && answer.body.ticket !== state.over) await arrive(answer.body);
  else if (answer.status === 401) toLogin();
  else on({ type: 'none' });
}

// follow asks for the outcome of a queued ticket until there is one.
async function follow(pollAfter = 500) {
  let retryAfter = 0;
  for (;;) {
    const { failed } = state;
    await pause(failed ? backoff(failed - 1, Math.max(retryAfter, pollAfter), Math.random()) : jittered(pollAfter, Math.random()));
    const answer = await get(`${path}/ticket?ticket=${encodeURIComponent(state.ticket.id)}`);
    if (answer.status === 200) {
      if (answer.body.status !== 'queued') {
        await arrive(answer.body);
        return;
      }
      pollAfter = answer.body.poll_after_ms ?? pollAfter;
      on({ type: 'ticket', ticket: answer.body });
    } else if (answer.status === 401) {
      toLogin();
      return;
    } else if (answer.status === 404) {
      // It belongs to another account that this browser was logged in with.
      on({ type: 'none' });
      return;
    } else {
      retryAfter = answer.retryAfter;
      on({ type: 'silent' });
    }
  }
}

// arrive takes a ticket that this page has asked for to its end.
async function arrive(ticket) {
  on({ type: 'ticket', ticket });
  if (ticket.status === 'queued') {
    await follow(ticket.poll_after_ms);
    return;
  }
  if (ticket.status !== 'placed') {
    lookAtSale();
    return;
  }
  // Who has pressed on this page knows what they get before the order has been asked for.
  while (!state.sale || !state.sent && !state.order) {
    if (state.phase !== 'placed' || state.missing) return;
    await pause(100);
  }
  const { sale, sent } = state;
  const amount = () => money(state.order?.amount ?? sent * sale.price, state.order?.currency ?? sale.currency);
  const yes = await ask('success', 'dialog.success', {
    no: 'dialog.no', yes: 'dialog.yes',
    facts: [
      () => `${state.order?.title || sale.title} × ${count(state.order?.quantity ?? sent)}`,
      () => t('dialog.amount', { amount }),
      () => t('dialog.time', { time: () => duration(sale.hold_seconds) }),
    ],
  });
  if (yes) location.assign(orderPage(ticket.order));
  else (viewOrder.hidden ? buyButton : viewOrder).focus();
}

// answered asks until the answer is one: 200, 401, 404.
async function answered(path) {
  for (let n = 0; ; n++) {
    const answer = await get(path);
    if (!unknown(answer) && answer.status !== 429) return answer;
    await pause(backoff(n, answer.retryAfter, Math.random()));
  }
}

// recall shows where the buyer stands who comes (back) to this page: in the
// queue, or with an order. Whoever presses the button meanwhile is served first.
async function recall() {
  const answer = await answered(`${path}/ticket`);
  if (answer.status !== 200 || state.phase !== 'idle') return answer.status;
  const ticket = answer.body;
  if (ticket.status === 'queued') {
    await arrive(ticket);
  } else if (ticket.status === 'refused') {
    on({ type: 'ticket', ticket });
  } else {
    const order = await answered(orderPath(ticket.order));
    if (order.status === 200 && state.phase === 'idle') on({ type: 'order', order: order.body });
  }
  return answer.status;
}

// --- what is asked for again and again ---------------------------------------

// While the connection is lost nothing can be pressed, so the page finds out soon when it is
// back, however long it would rest else.
const gap = () => {
  const ms = jittered(gapToSale(state.missing ? null : state.sale, gate.now()) * (state.missing ? 30 : 1), Math.random());
  return online() ? ms : Math.min(ms, backoff(state.failures, 0, Math.random()));
};

const lookAtSale = keep(gap, async () => {
  const answer = await get(path);
  if (answer.status === 200) on({ type: 'sale', sale: answer.body });
  else if (answer.status === 404) on({ type: 'gone' });
  else on({ type: 'unseen' });
});

// An order that is shown is asked for while it can change.
let tried = { n: 0, retryAfter: 0 }; // answers about the order that did not come, in a row
const gapToMine = () => {
  if (state.phase !== 'placed') return Infinity;
  if (!state.order) return backoff(tried.n, tried.retryAfter, Math.random());
  return jittered(gapToOrder(state.order, store.now()), Math.random());
};

const lookAtOrder = keep(gapToMine, async () => {
  if (state.phase !== 'placed') return;
  const answer = await get(orderPath(state.orderId));
  tried = answer.status === 200 ? { n: 0, retryAfter: 0 } : { n: tried.n + 1, retryAfter: answer.retryAfter };
  if (answer.status !== 200 || state.phase !== 'placed' || answer.body.id !== state.orderId) return;
  on({ type: 'order', order: answer.body });
  if (state.phase === 'idle') lookAtSale();
});

let recalled = false;
onMe(async (me) => {
  on({ type: 'me', me });
  if (!me || recalled) return;
  recalled = true;
  const pass = keptPass(me);
  if (pass) on({ type: 'pass', pass });
  const wish = remembered();
  remember(0);
  await recall();
  if (!wish || state.phase !== 'idle') return;
  while (!state.sale && !state.missing) await pause(100);
  on({ type: 'quantity', quantity: wish.quantity });
  if (drawn.button.act === 'buy') press();
  if (drawn.button.act === 'pass') beginPass(); // and the page presses when it is done
});
onOnline(async () => {
  draw();
  if (online()) return;
  // Another request may have been lost, in the middle of a long rest.
  await pause(backoff(0, 0, Math.random()));
  if (!online()) lookAtSale();
});

buyButton.addEventListener('click', () => {
  const { act } = drawn?.button ?? {};
  if (act === 'buy') press();
  if (act === 'pass') beginPass();
  if (act === 'stop') on({ type: 'stop' });
});
for (const [name, by] of [['fewer', -1], ['more', +1]]) {
  byId(name).addEventListener('click', () => {
    if (drawn?.stepper[name]) on({ type: 'quantity', quantity: state.quantity + by });
  });
}

// --- the picture, as large as the screen -------------------------------------

const zoom = byId('zoomed');
byId('zoom').addEventListener('click', () => {
  const image = part(root, 'picture').querySelector('img');
  if (!image) return;
  const large = image.cloneNode();
  byId('zoom-close').replaceChildren(large);
  zoom.showModal();
});
zoom.addEventListener('click', () => zoom.close());
