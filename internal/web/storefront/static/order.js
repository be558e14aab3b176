// One order: what it is, and paying or cancelling it while there is time.
import { say, show, count, money, time } from './i18n.js';
import { get, post, orderPath, salePath, unknown } from './api.js';
import { backoff, pause, until } from './clock.js';
import { hush, tell, tellError, toLogin } from './header.js';
import { ask } from './dialog.js';
import { part, clockText } from './look.js';

const id = decodeURIComponent(location.pathname.split('/')[3]);
const path = orderPath(id);

const root = document.getElementById('order');
const pay = document.getElementById('pay');
const cancel = document.getElementById('cancel');
const countdown = document.getElementById('countdown');
const clock = part(countdown, 'clock');

let order = null;
let acting = false;
let late = false;
let deadline = null;
let stopCountdown = () => {};

async function load() {
  for (let n = 0; ; n++) {
    const answer = await get(path);
    if (answer.status === 401) {
      toLogin();
    } else if (answer.status === 404) {
      document.getElementById('missing').hidden = false;
    } else if (unknown(answer) || answer.status === 429) {
      tell('bad', 'error.retrying');
      await pause(backoff(n, answer.retryAfter));
      continue;
    } else if (answer.status === 200) {
      hush();
      await name(answer.body.sale);
      take(answer.body);
    } else {
      tellError(answer);
    }
    return;
  }
}

// name shows the item's title. Asking for the sale also sets our clock by the
// server's, which an order does not tell; so it comes before the countdown.
async function name(sale) {
  const item = document.getElementById('order-item');
  item.href = `/sale/${encodeURIComponent(sale)}`;
  const answer = await get(salePath(sale));
  if (answer.status === 200) show(item, () => answer.body.title);
  else say(item, 'sale.number', { sale });
}

function take(answer) {
  order = answer;
  draw();
}

function draw() {
  const unpaid = order.state === 'unpaid';
  root.hidden = false;
  root.dataset.state = order.state;
  say(document.getElementById('order-state'), `order_state.${order.state}`);
  say(part(root, 'hint'), `order.${order.state}_hint`);
  document.getElementById('order-id').textContent = order.id;
  show(part(root, 'quantity'), () => count(order.quantity));
  show(part(root, 'amount'), () => money(order.amount, order.currency));
  show(part(root, 'created'), () => time(order.created_at));

  pay.hidden = !unpaid;
  pay.disabled = acting || late;
  pay.querySelector('.spinner').hidden = !acting;
  const label = document.getElementById('pay-label');
  if (acting) say(label, 'order.paying');
  else say(label, 'order.pay');
  cancel.hidden = !unpaid;
  cancel.disabled = acting || late;

  countdown.hidden = !unpaid;
  const next = unpaid ? Date.parse(order.expires_at) : null;
  if (next === deadline) return;
  deadline = next;
  stopCountdown();
  if (!unpaid) return;
  stopCountdown = until(next, (left) => {
    show(clock, () => clockText(left));
    if (left === 0) queueMicrotask(expire);
  });
}

// expire asks until the server has let the order go: its own clock decides.
async function expire() {
  if (late || order.state !== 'unpaid') return;
  late = true;
  draw();
  tell('info', 'order.late');
  for (let n = 0; order.state === 'unpaid'; n++) {
    await pause(backoff(n, 0));
    const answer = await get(path);
    if (answer.status === 200) take(answer.body);
    if (answer.status === 401) toLogin();
  }
  hush();
}

// act pays or cancels. A repeat of either is harmless, so a lost answer needs
// no more than another look at the order.
async function act(verb) {
  acting = true;
  hush();
  draw();
  const answer = await post(`${path}/${verb}`);
  acting = false;
  if (answer.status === 200) {
    take(answer.body);
    return;
  }
  if (answer.status === 401) {
    toLogin();
    return;
  }
  tellError(answer);
  const truth = await get(path);
  if (truth.status === 200) order = truth.body;
  draw();
}

pay.addEventListener('click', () => act('pay'));
cancel.addEventListener('click', async () => {
  if (await ask('danger', 'dialog.cancel')) act('cancel');
});
load();
