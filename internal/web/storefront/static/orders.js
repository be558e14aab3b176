// The buyer's orders.
import { say, show, count, money, time, translate } from './i18n.js';
import { get, salePath, unknown } from './api.js';
import { backoff, pause } from './clock.js';
import { hush, tell, tellError, toLogin } from './header.js';
import { part, drawPicture, drawState } from './look.js';

const list = document.getElementById('orders');
const template = document.getElementById('row');
const more = document.getElementById('more');
const sales = new Map(); // sale id → promise of its answer: one question per sale, not per order
let cursor = '';

async function load() {
  more.disabled = true;
  for (let n = 0; ; n++) {
    const answer = await get(`/api/orders${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
    if (answer.status === 401) {
      toLogin();
      return;
    }
    if (answer.status === 200) {
      hush();
      list.append(...answer.body.items.map(row));
      cursor = answer.body.next ?? '';
      break;
    }
    if (!unknown(answer)) {
      tellError(answer);
      break;
    }
    tell('bad', 'error.retrying');
    await pause(backoff(n, answer.retryAfter));
  }
  more.disabled = false;
  more.hidden = !cursor;
  document.getElementById('empty').hidden = list.children.length > 0;
}

function row(order) {
  const node = template.content.firstElementChild.cloneNode(true);
  translate(node);
  const link = node.querySelector('a');
  link.href = `/order/detail/${encodeURIComponent(order.id)}`;
  link.dataset.order = order.id;
  say(part(node, 'title'), 'sale.number', { sale: order.sale });
  say(part(node, 'line'), 'orders.line', { quantity: () => count(order.quantity), time: () => time(order.created_at) });
  show(part(node, 'amount'), () => money(order.amount, order.currency));
  drawState(part(node, 'state'), 'order_state', order.state);
  name(node, order.sale);
  return node;
}

async function name(node, sale) {
  if (!sales.has(sale)) sales.set(sale, get(salePath(sale)));
  const answer = await sales.get(sale);
  if (answer.status !== 200) return;
  show(part(node, 'title'), () => answer.body.title);
  drawPicture(part(node, 'picture'), answer.body);
}

more.addEventListener('click', load);
load();
