// One order: what it is, and paying or cancelling it while there is time. It is drawn
// from the order's own answer.
import { clockText, count, money, say, show, when } from './i18n.js';
import { get, post, orderPath, unknown } from './api.js';
import { keep, pause, store, until } from './clock.js';
import { ask, byId, label, online, onMe, onOnline, part, tell, title, toLogin } from './frame.js';
import { drawPicture } from './look.js';
import { backoff, gapToOrder, jittered, orderView } from './machine.js';

const id = decodeURIComponent(location.pathname.split('/')[3]);
const path = orderPath(id);

const root = byId('order');
const countdown = byId('countdown');
const buttons = { button: byId('pay'), second: byId('cancel') };

const state = { order: null, acting: null, doubt: null, failed: 0, missing: false };
let view = null;

function draw() {
  view = orderView(state, store.now(), online());
  tell(view.sentence);
  byId('missing').hidden = !state.missing;
  if (state.missing) byId('status').hidden = true;
  const { order } = state;
  if (!order) return;
  root.hidden = false;
  root.dataset.state = order.state;
  say(byId('order-state'), `order_state.${order.state}`);
  byId('order-id').textContent = order.id;
  const item = byId('order-item');
  item.href = `/sale/${encodeURIComponent(order.sale)}`;
  item.textContent = order.title;
  title(order.title, { key: `order_state.${order.state}` });
  drawPicture(part(root, 'picture'), { id: order.sale, title: order.title, image: order.image });
  show(part(root, 'quantity'), () => count(order.quantity));
  show(part(root, 'unit-price'), () => money(order.price, order.currency));
  show(part(root, 'amount'), () => money(order.amount, order.currency));
  show(part(root, 'created'), () => when(order.created_at));

  for (const [name, button] of Object.entries(buttons)) {
    const focused = document.activeElement === button;
    button.hidden = !view[name];
    if (view[name]) label(button, view[name]);
    // A button that is gone leaves the focus to the one that stays.
    if (focused && button.hidden) buttons.button.focus();
  }
  drawClock();
}

let deadline = null;
let stopCountdown = () => {};

function drawClock() {
  const unpaid = state.order.state === 'unpaid';
  countdown.hidden = !unpaid;
  const end = unpaid ? Date.parse(state.order.expires_at) : null;
  if (end === deadline) return;
  deadline = end;
  stopCountdown();
  if (end === null) return;
  stopCountdown = until(store, end, (left) => {
    show(part(countdown, 'clock'), () => clockText(left));
    if (left > 0) return;
    queueMicrotask(draw);
    look();
  });
}

function take(order) {
  // The truth decides the sentence: a doubt ends with the state that it was about.
  if (state.order && state.order.state !== order.state) state.doubt = null;
  state.order = order;
  state.failed = 0;
}

const gap = () => {
  if (state.missing) return Infinity;
  if (!state.order || state.failed) return backoff(state.failed, 0, Math.random());
  return jittered(gapToOrder(state.order, store.now()), Math.random());
};

let acts = 0; // an answer that was asked for before the newest is of the time before it

const look = keep(gap, async () => {
  if (state.missing || state.acting) return;
  const before = acts;
  const answer = await get(path);
  if (answer.status === 401) toLogin();
  else if (answer.status === 404) state.missing = true;
  else if (answer.status !== 200) state.failed++;
  else if (before === acts) take(answer.body);
  draw();
});

// A page that is left is gone by then. It may stay: the address may open the provider's app, or
// the buyer may stop the loading.
const leaving = 3_000; // ms

// act pays or cancels. A repeat of either is harmless, so after a lost answer a look
// at the order is enough.
async function act(verb) {
  acts++;
  state.acting = verb;
  state.doubt = null;
  draw();
  const answer = await post(`${path}/${verb}`);
  if (answer.status === 401) {
    toLogin();
    await pause(leaving);
  } else if (answer.status === 200) {
    take(answer.body);
    const { url } = answer.body.payment ?? {};
    if (url && state.order.state === 'unpaid' && /^https?:$/.test(new URL(url, location.href).protocol)) {
      location.assign(url); // the provider takes over, and leads back here
      await pause(leaving);
    }
  } else {
    const truth = await get(path);
    const before = state.order.state;
    if (truth.status === 200) take(truth.body);
    if (state.order.state === before) state.doubt = { verb, code: unknown(answer) ? undefined : answer.code };
  }
  state.acting = null;
  draw();
  look();
}

for (const [name, button] of Object.entries(buttons)) {
  button.addEventListener('click', async () => {
    switch (view?.[name]?.act) {
      case 'pay': act('pay'); break;
      case 'cancel': if (await ask('danger', 'dialog.cancel', { no: 'dialog.keep', yes: 'order.cancel' })) act('cancel'); break;
      case 'sale': location.assign(byId('order-item').href); break;
      case 'orders': location.assign('/orders'); break;
      case 'browse': location.assign('/'); break;
    }
  });
}
let buyer;
onMe((me) => {
  if (buyer !== undefined && buyer !== me?.buyer) location.reload();
  buyer = me?.buyer ?? null;
});
onOnline(() => draw());
