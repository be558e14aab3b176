// The sale page: countdown, buy, queue, outcome.
import { say, known, count, time } from './i18n.js';
import { get, post, salePath, orderPath, unknown } from './api.js';
import { backoff, parts, pause, until, whileSeen } from './clock.js';
import { buyer, farewell, hush, tell, tellError, toLogin } from './header.js';
import { ask } from './dialog.js';
import { part, stateOf, drawState, drawPrices, drawUnits, drawPicture } from './look.js';

const refresh = 3_000; // ms between two looks at the sale
const slow = 3; // failed polls in a row before the buyer hears of it

const id = decodeURIComponent(location.pathname.split('/')[2]);
const path = salePath(id);

const root = document.getElementById('sale');
const countdown = document.getElementById('countdown');
const buyButton = document.getElementById('buy');
const viewOrder = document.getElementById('view-order');
const position = document.getElementById('position');
const stepper = document.getElementById('quantity');

let sale = null;
let quantity = 1;
let target = null; // what the countdown runs to
let stopCountdown = () => {};

// phase is where this buyer stands. Only idle lets them press the button.
//
//	idle     nothing under way
//	asking   the request is on its way, or nobody knows what became of it
//	queued   a ticket is held, its outcome is not known yet
//	resting  the server has asked for a moment of quiet
//	ordered  an active order exists
let phase = 'idle';
let over = null; // the last ticket that is known to be over: it is no answer to a new request

function enter(next) {
  phase = next;
  draw();
}

// --- the sale ---------------------------------------------------------------

async function look() {
  const answer = await get(path);
  if (answer.status === 200) {
    if (!sale && phase === 'idle') hush();
    sale = answer.body;
    draw();
  } else if (answer.status === 404) {
    root.hidden = true;
    document.getElementById('missing').hidden = false;
  } else if (!sale) {
    tell('bad', 'error.retrying');
  }
}

function draw() {
  if (!sale) return;
  const state = stateOf(sale);
  root.classList.remove('loading');
  root.removeAttribute('aria-busy');
  say(document.querySelector('title'), 'title.named', { title: sale.title });
  part(root, 'title').textContent = sale.title;
  drawPicture(part(root, 'picture'), sale);
  drawState(part(root, 'state'), 'state', state);
  drawPrices(root, sale);
  drawUnits(root, sale, state);
  const opening = state === 'scheduled';
  say(part(root, 'window'), opening ? 'sale.opens_at' : 'sale.closes_at', { time: () => time(opening ? sale.opens_at : sale.closes_at) });
  say(part(root, 'limit'), 'sale.limit', { limit: () => count(sale.limit_per_buyer) });
  say(part(root, 'hold'), 'sale.hold', { minutes: () => count(Math.ceil(sale.hold_seconds / 6) / 10) });
  part(root, 'about').hidden = !sale.description;
  part(root, 'description').textContent = sale.description ?? '';
  drawCountdown(state);
  drawAction(state);
}

function drawCountdown(state) {
  countdown.hidden = state === 'ended';
  countdown.dataset.to = state === 'scheduled' ? 'opening' : 'closing';
  say(part(countdown, 'countdown-label'), state === 'scheduled' ? 'clock.opens' : 'clock.closes');
  const next = state === 'ended' ? null : Date.parse(state === 'scheduled' ? sale.opens_at : sale.closes_at);
  if (next === target) return;
  target = next;
  stopCountdown();
  if (next === null) return;
  stopCountdown = until(next, (left) => {
    const p = parts(left);
    part(countdown, 'days-cell').hidden = p.days === 0;
    for (const unit of ['days', 'hours', 'minutes', 'seconds']) part(countdown, unit).textContent = p[unit];
    if (left > 0) return;
    // Whoever does not see the button appear hears of it.
    if (state === 'scheduled' && phase === 'idle') tell('good', 'sale.opened');
    // Not from within until: draw starts the next countdown.
    queueMicrotask(draw);
  });
}

function drawAction(state) {
  const waiting = phase === 'asking' || phase === 'queued';
  const label = phase === 'idle' || phase === 'ordered' ? state : phase;
  buyButton.hidden = phase === 'ordered' || (state === 'scheduled' && phase === 'idle');
  buyButton.disabled = phase !== 'idle' || state !== 'open';
  buyButton.classList.toggle('busy', waiting);
  buyButton.querySelector('.spinner').hidden = !waiting;
  say(document.getElementById('buy-label'), `buy.${label}`);
  viewOrder.hidden = phase !== 'ordered';
  if (phase !== 'queued') position.hidden = true;

  stepper.hidden = sale.limit_per_buyer < 2 || phase === 'ordered' || state === 'ended' || state === 'sold_out';
  quantity = Math.min(quantity, sale.limit_per_buyer);
  document.getElementById('fewer').disabled = phase !== 'idle' || quantity <= 1;
  document.getElementById('more').disabled = phase !== 'idle' || quantity >= sale.limit_per_buyer;
  document.getElementById('quantity-value').textContent = quantity;
}

function step(by) {
  quantity += by;
  draw();
}

// --- the purchase -----------------------------------------------------------

async function buy() {
  enter('asking');
  hush();
  const answer = await post(`${path}/ticket`, { quantity });
  if (answer.status === 202) {
    await follow(answer.body.ticket, answer.body.poll_after_ms);
  } else if (answer.status === 401) {
    toLogin();
  } else if (answer.status === 409) {
    await turnedAway(answer);
  } else if (unknown(answer)) {
    await confirm(answer);
  } else {
    tellError(answer);
    await rest(answer.retryAfter);
  }
}

// turnedAway shows a verdict. It is newer than the sale that we hold.
async function turnedAway({ code }) {
  enter('idle');
  if (code === 'sold_out' && quantity > 1) {
    tell('bad', 'verdict.sold_out_many', { quantity: () => count(quantity) });
    return;
  }
  tell('bad', known('verdict', code));
  if (code === 'limit') {
    await recall();
  } else if (code === 'not_open') {
    await look();
  } else if (['sold_out', 'paused', 'ended'].includes(code)) {
    sale = { ...sale, state: code };
    draw();
  }
}

// confirm finds out what became of a request whose answer was lost. It asks
// until somebody can tell, since "try again" would be a guess.
async function confirm(lost) {
  tell('info', 'ticket.confirming');
  await pause(Math.random() * 200);
  const answer = await askTicket('');
  if (answer.status === 200 && answer.body.ticket !== over) {
    await arrive(answer.body);
  } else if (answer.status === 401) {
    toLogin();
  } else {
    tell('bad', lost.code === 'busy' ? 'verdict.busy' : 'ticket.none');
    await rest(lost.retryAfter);
  }
}

// follow asks for the outcome of a queued ticket until there is one.
async function follow(ticket, pollAfter = 500) {
  enter('queued');
  tell('info', 'verdict.queued');
  let failed = 0;
  let retryAfter = 0;
  for (;;) {
    await pause(failed ? backoff(failed - 1, Math.max(retryAfter, pollAfter)) : pollAfter * (0.9 + Math.random() * 0.2));
    const answer = await get(`${path}/ticket?ticket=${encodeURIComponent(ticket)}`);
    if (answer.status === 200) {
      if (failed >= slow) tell('info', 'verdict.queued');
      failed = 0;
      if (answer.body.status !== 'queued') {
        await arrive(answer.body);
        return;
      }
      pollAfter = answer.body.poll_after_ms ?? pollAfter;
      drawPosition(answer.body.position);
    } else if (answer.status === 401) {
      toLogin();
      return;
    } else if (answer.status === 404) {
      // It belongs to another account that this browser was logged in with.
      tell('bad', 'ticket.none');
      enter('idle');
      return;
    } else {
      retryAfter = answer.retryAfter;
      if (++failed === slow) tell('info', 'ticket.slow');
    }
  }
}

function drawPosition(place) {
  position.hidden = !(place > 0);
  say(position, 'ticket.position', { position: () => count(place) });
}

// arrive takes a ticket that this page has asked for to its end.
async function arrive(ticket) {
  if (ticket.status === 'queued') {
    drawPosition(ticket.position);
    await follow(ticket.ticket, ticket.poll_after_ms);
    return;
  }
  if (ticket.status === 'refused') {
    refused(ticket);
    return;
  }
  ordered(ticket.order, 'ticket.placed');
  if (await ask('success', 'dialog.success')) location.assign(viewOrder.href);
  else viewOrder.focus();
}

function refused(ticket) {
  over = ticket.ticket;
  enter('idle');
  tell('bad', known('reason', ticket.reason));
}

function ordered(order, sentence) {
  viewOrder.href = `/order/detail/${encodeURIComponent(order)}`;
  enter('ordered');
  tell('good', sentence);
}

// rest keeps the button quiet for as long as the server has asked.
async function rest(ms) {
  if (ms > 0) {
    enter('resting');
    await pause(ms * (1 + Math.random() * 0.3));
  }
  enter('idle');
}

// askTicket asks for a ticket until the answer is one: 200, 401, 404.
async function askTicket(query) {
  for (let n = 0; ; n++) {
    const answer = await get(`${path}/ticket${query}`);
    if (!unknown(answer) && answer.status !== 429) return answer;
    await pause(backoff(n, answer.retryAfter));
  }
}

// recall shows where the buyer stands who comes (back) to this page: in the
// queue, or with an order. Whoever presses the button meanwhile is served first.
async function recall() {
  const answer = await askTicket('');
  if (answer.status === 401) farewell();
  if (answer.status !== 200 || phase !== 'idle') return;
  const ticket = answer.body;
  if (ticket.status === 'queued') {
    await arrive(ticket);
  } else if (ticket.status === 'refused') {
    refused(ticket);
  } else {
    const order = await get(orderPath(ticket.order));
    if (phase !== 'idle') return;
    if (order.body?.state === 'unpaid' || order.body?.state === 'paid') ordered(ticket.order, `ticket.${order.body.state}`);
    else if (order.status === 200) over = ticket.ticket;
  }
}

buyButton.addEventListener('click', buy);
document.getElementById('fewer').addEventListener('click', () => step(-1));
document.getElementById('more').addEventListener('click', () => step(+1));

whileSeen(refresh, look);
if (buyer()) recall();
