package web

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/dop251/goja"
	"github.com/stretchr/testify/require"
)

// machine runs the module machine.js, which is pure, without a browser. It takes a
// piece of JavaScript that sees the module's functions and these:
//
//	at(minutes)      a time of the gate: minutes after noon
//	sale({...})      the event of a sale that opened at 11:00, closes at 13:00 and is
//	                 seen at noon with 5 of 10 left, but for what is given
//	order(state)     the event of an order that can be paid until 12:15
//	ticket(status)   the event of a ticket
//	after(...events) the state after these events at noon
//	line(view)       a view on one line: tone sentence | button act | title | expiry
type machine struct {
	vm *goja.Runtime
	t  *testing.T
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	module := string(must(fs.ReadFile(storefront, "storefront/static/machine.js")))
	require.NotRegexp(t, `(?m)^import|\b(document|window|fetch|Date\.now|performance|Math\.random|setTimeout)\b[.(]`, module, "the machine is pure")
	m := &machine{goja.New(), t}
	m.run(regexp.MustCompile(`(?m)^export `).ReplaceAllString(module, ""))
	m.run(`
		const noon = Date.parse('2026-11-11T12:00:00Z');
		const at = (minutes) => noon + minutes * 60000;
		const iso = (ms) => new Date(ms).toISOString();
		const sale = (over = {}) => {
			const { seen = 0, ...rest } = over;
			return { type: 'sale', now: at(seen), sale: { id: '1', title: 'a', total: 10, left: 5, limit_per_buyer: 1, state: 'open',
				opens_at: iso(at(-60)), closes_at: iso(at(60)), hold_seconds: 900, server_now: iso(at(seen)), ...rest } };
		};
		const order = (state, over = {}) => ({ type: 'order', now: noon, order: { id: 'O', ticket: 'O', state, expires_at: iso(at(15)), ...over } });
		const ticket = (status, over = {}) => ({ type: 'ticket', now: noon, ticket: { status, ticket: 'O', order: 'O', ...over } });
		const me = (buyer) => ({ type: 'me', me: buyer ? { buyer } : null });
		const verdict = (code, over = {}) => ({ type: 'verdict', code, now: noon, ...over });
		const press = { type: 'press' };
		const after = (...events) => events.flat().reduce((s, e) => reduce(s, { now: noon, ...e }), begin());
		const line = (v) => {
			const { tone, key, code, values } = v.sentence;
			const words = code === undefined ? key : key + '.' + code;
			const left = values && values.left !== undefined ? ' ' + values.left / 60000 + ' min' : '';
			const say = tone + ' ' + words + left;
			const button = v.button ? v.button.key + (v.button.act ? ' → ' + v.button.act : '') : 'none';
			const second = v.second ? ', ' + v.second.key + (v.second.act ? ' → ' + v.second.act : '') : '';
			const expiry = v.expiry ? v.expiry.clock + ' ' + iso(v.expiry.at).slice(11, 16) : 'never';
			return [say, button + second, v.title ? v.title.key : '', expiry].join(' | ');
		};
		const show = (...events) => line(saleView(after(...events), noon, noon));
		const showAt = (minutes, ...events) => line(saleView(after(...events), at(minutes), at(minutes)));
	`)
	return m
}

func (m *machine) run(code string) goja.Value {
	m.t.Helper()
	v, err := m.vm.RunString(code)
	require.NoError(m.t, err, code)
	return v
}

// says demands what an expression gives.
func (m *machine) says(what, code, want string) {
	m.t.Helper()
	require.Equal(m.t, want, m.run(code).String(), "%s: %s", what, code)
}

const (
	open     = "buy.open → buy"
	pays     = "buy.pay → order"
	fresh    = "title.open"
	closes13 = "gate 13:00"
)

// Each line is a state of the sale page: what happened, and then the one sentence, the
// one button, the tab's title and when it has to be drawn again.
func TestTheSalePageSaysOneThingAtATime(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, c := range []struct{ what, events, want string }{
		// Before anything.
		{"nothing is known", ``, "info sale.loading | buy.loading |  | never"},
		{"the sale does not answer", `{type: 'unseen'}`, "info error.retrying | buy.loading |  | never"},
		{"there is no such sale", `{type: 'gone'}`, "bad sale.missing | buy.ended |  | never"},
		{"it is published", `{type: 'gone'}, me('a'), sale()`, "info sale.open | " + open + " | title.open | gate 13:00"},
		{"the sale answers after all", `{type: 'unseen'}, {type: 'unseen'}, me('a'), sale()`, "info sale.open | " + open + " | title.open | gate 13:00"},

		// By the clock and the sale alone.
		{"scheduled, nobody known", `sale({state: 'scheduled', opens_at: iso(at(5))}), me(null)`, "info sale.soon_login | buy.scheduled |  | gate 12:05"},
		{"scheduled, logged in", `sale({state: 'scheduled', opens_at: iso(at(5))}), me('a')`, "info sale.soon | buy.scheduled |  | gate 12:05"},
		{"open, nobody known", `sale(), me(null)`, "info sale.open_login | " + open + " | title.open | gate 13:00"},
		{"open since a moment", `sale({opens_at: iso(noon - 5000)}), me('a')`, "good sale.opened | " + open + " | title.open | gate 12:00"},
		{"the answer is older than the opening", `sale({state: 'scheduled', opens_at: iso(noon)}), me('a')`, "good sale.opened | " + open + " | title.open | gate 12:01"},
		{"paused", `sale({state: 'paused'}), me('a')`, "info verdict.paused | buy.paused |  | gate 13:00"},
		{"sold out", `sale({state: 'sold_out', left: 0}), me('a')`, "info verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"ended", `sale({state: 'ended'}), me('a')`, "info verdict.ended | buy.ended |  | never"},
		{"the answer is older than the closing", `sale({closes_at: iso(noon)}), me('a')`, "info verdict.ended | buy.ended |  | never"},

		// Good news is said.
		{"units are back after it was sold out", `sale({state: 'sold_out', left: 0}), sale({seen: 1})`, "good sale.back | " + open + " | title.back | gate 13:00"},
		{"it goes on after a pause", `sale({state: 'paused'}), sale({seen: 1})`, "good sale.resumed | " + open + " | title.open | gate 13:00"},
		{"and it is taken back", `sale({state: 'sold_out', left: 0}), sale({seen: 1}), sale({state: 'sold_out', left: 0, seen: 2})`, "info verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"nor stands it over an end", `sale({state: 'paused'}), sale({seen: 1}), sale({state: 'ended', seen: 2})`, "info verdict.ended | buy.ended |  | never"},

		{"but not by a count of the store's", `sale({state: 'sold_out', left: 0}), me('a'), sale({seen: 1, left_from_store: true})`, "info sale.open | " + open + " | title.open | gate 13:00"},
		{"nor by a copy from before the pause", `sale({state: 'paused'}), me('a'), sale({seen: 1, as_of: iso(at(-5))})`, "info sale.open | " + open + " | title.open | gate 13:00"},

		// The purchase.
		{"pressed", `sale(), press`, "info buy.sending_hint | buy.sending | title.sending | never"},
		{"the answer was lost", `sale(), press, {type: 'unknown'}`, "info ticket.confirming | buy.sending | title.sending | never"},
		{"and there is no ticket", `sale(), press, {type: 'unknown'}, {type: 'none'}`, "bad ticket.none | " + open + " | title.open | gate 13:00"},
		{"admitted", `sale(), press, ticket('queued')`, "info ticket.queued | buy.queued | title.queued | never"},
		{"in the queue at a place", `sale(), press, ticket('queued', {position: 12, wait_ms: 900})`, "info ticket.queued | buy.queued | title.place | never"},
		{"two answers fail", `sale(), press, ticket('queued'), {type: 'silent'}, {type: 'silent'}`, "info ticket.queued | buy.queued | title.queued | never"},
		{"three answers fail", `sale(), press, ticket('queued'), {type: 'silent'}, {type: 'silent'}, {type: 'silent'}`, "info ticket.slow | buy.queued | title.queued | never"},
		{"and then one comes", `sale(), press, ticket('queued'), {type: 'silent'}, {type: 'silent'}, {type: 'silent'}, ticket('queued')`, "info ticket.queued | buy.queued | title.queued | never"},
		{"the sale ends while they wait", `sale(), press, ticket('queued'), sale({state: 'ended'})`, "info ticket.queued | buy.queued | title.queued | never"},
		{"placed", `sale(), press, ticket('queued'), ticket('placed')`, "good ticket.placed | buy.order → order | title.placed | never"},

		// The gate's no, and its end.
		{"no: sold out", `sale(), press, verdict('sold_out')`, "bad verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"an older answer about the sale does not contradict", `sale(), press, verdict('sold_out'), sale({seen: -1}), sale({state: 'sold_out', left: 0})`, "bad verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"units come back", `sale(), press, verdict('sold_out'), sale({seen: 1})`, "good sale.back | " + open + " | title.back | gate 13:00"},
		{"no: paused", `sale(), press, verdict('paused')`, "bad verdict.paused | buy.paused |  | gate 13:00"},
		{"it goes on", `sale(), press, verdict('paused'), sale({seen: 1})`, "good sale.resumed | " + open + " | title.open | gate 13:00"},
		{"a copy from before the pause does not end it", `sale(), press, verdict('paused'), sale({seen: 1, as_of: iso(at(-5))})`, "bad verdict.paused | buy.paused |  | gate 13:00"},
		{"one from after it does", `sale(), press, verdict('paused'), sale({seen: 9, as_of: iso(at(5))})`, "good sale.resumed | " + open + " | title.open | gate 13:00"},
		{"nor is it sold out no more by a count of the store's", `sale(), press, verdict('sold_out'), sale({seen: 1, left_from_store: true})`, "bad verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"that of the gate tells, beside an old copy", `sale(), press, verdict('sold_out'), sale({seen: 1, as_of: iso(at(-5))})`, "good sale.back | " + open + " | title.back | gate 13:00"},
		{"a copy that says more is believed", `sale(), press, verdict('sold_out'), sale({seen: 1, state: 'ended', left_from_store: true})`, "info verdict.ended | buy.ended |  | never"},
		{"no: ended", `sale(), press, verdict('ended')`, "bad verdict.ended | buy.ended |  | never"},
		{"it was made longer", `sale(), me('a'), press, verdict('ended'), sale({seen: 1})`, "info sale.open | " + open + " | title.open | gate 13:00"},
		{"no: not open", `sale({state: 'scheduled', opens_at: iso(at(1))}), press, verdict('not_open')`, "bad verdict.not_open | buy.scheduled |  | gate 12:01"},
		{"no: another quantity is held", `sale(), press, verdict('limit')`, "bad verdict.limit | " + open + " | title.open | gate 13:00"},
		{"and then the order is found", `sale(), press, verdict('limit'), order('unpaid')`, "good ticket.unpaid 15 min | " + pays + " | title.placed | store 12:15"},
		{"no: a code of tomorrow", `sale(), press, verdict('of_tomorrow')`, "bad verdict.of_tomorrow | " + open + " | title.open | gate 13:00"},
		{"no: too few for three", `sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 3}, press, verdict('sold_out')`, "bad verdict.sold_out_many | " + open + " | title.open | gate 13:00"},
		{"a smaller quantity is another question", `sale({limit_per_buyer: 3}), me('a'), {type: 'quantity', quantity: 3}, press, verdict('sold_out'), {type: 'quantity', quantity: 2}`, "info sale.open | " + open + " | title.open | gate 13:00"},
		{"still too few for three", `sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 3}, press, verdict('sold_out'), sale({limit_per_buyer: 3, left: 2, seen: 1})`, "bad verdict.sold_out_many | " + open + " | title.open | gate 13:00"},
		{"enough for three", `sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 3}, press, verdict('sold_out'), sale({limit_per_buyer: 3, left: 3, seen: 1})`, "good sale.back | " + open + " | title.back | gate 13:00"},
		{"a new press takes the no back", `sale(), press, verdict('limit'), press`, "info buy.sending_hint | buy.sending | title.sending | never"},

		// The full queue.
		{"busy", `sale(), press, {type: 'busy', until: at(1)}`, "info buy.retrying | buy.stop → stop | title.sending | gate 12:01"},
		{"sent again", `sale(), press, {type: 'busy', until: at(1)}, {type: 'again'}`, "info buy.retrying | buy.sending | title.sending | never"},
		{"stopped", `sale(), press, {type: 'busy', until: at(1)}, {type: 'stop'}`, "info buy.stopped | " + open + " | title.open | gate 13:00"},
		{"stopped, then sold out", `sale(), press, {type: 'busy', until: at(1)}, {type: 'stop'}, sale({state: 'sold_out', left: 0, seen: 1})`, "info verdict.sold_out | buy.sold_out |  | gate 13:00"},
		{"too many requests", `sale(), press, {type: 'trouble', code: 'too_many_requests', until: at(1)}`, "bad error.too_many_requests | buy.resting |  | gate 12:01"},
		{"after the rest", `sale(), me('a'), press, {type: 'trouble', code: 'too_many_requests', until: at(1)}, {type: 'rested'}`, "info sale.open | " + open + " | title.open | gate 13:00"},

		// A refusal, and its end.
		{"refused: no unit", `sale(), press, ticket('refused', {reason: 'sold_out'}), sale({state: 'sold_out', left: 0, seen: 1})`, "bad reason.sold_out | buy.sold_out |  | gate 13:00"},
		{"then units come back", `sale(), press, ticket('refused', {reason: 'sold_out'}), sale({seen: 1})`, "good sale.back | " + open + " | title.back | gate 13:00"},
		{"refused: poison", `sale(), press, ticket('refused', {reason: 'poison'})`, "bad reason.poison | " + open + " | title.open | gate 13:00"},
		{"refused, and then it ended", `sale(), press, ticket('refused', {reason: 'poison'}), sale({state: 'ended', seen: 1})`, "info verdict.ended | buy.ended |  | never"},

		// The order.
		{"unpaid", `sale(), ticket('placed'), order('unpaid')`, "good ticket.unpaid 15 min | " + pays + " | title.placed | store 12:15"},
		{"unpaid while the sale is sold out", `sale({state: 'sold_out', left: 0}), order('unpaid')`, "good ticket.unpaid 15 min | " + pays + " | title.placed | store 12:15"},
		{"paid", `sale(), order('unpaid'), order('paid')`, "good ticket.paid | buy.order → order | title.placed | never"},
		{"expired, and units are left", `sale(), order('unpaid'), order('expired')`, "info closed.expired_again | " + open + " | title.open | gate 13:00"},
		{"expired, and none is left", `sale(), order('unpaid'), sale({state: 'sold_out', left: 0, seen: 1}), order('expired')`, "info closed.expired | buy.sold_out |  | gate 13:00"},
		{"expired, sold out, and units come back", `sale(), order('unpaid'), order('expired'), sale({state: 'sold_out', left: 0, seen: 1}), sale({seen: 2})`, "info closed.expired_again | " + open + " | title.open | gate 13:00"},
		{"expired after the end", `sale(), order('unpaid'), sale({state: 'ended'}), order('expired')`, "info closed.expired | buy.ended |  | never"},
		{"cancelled elsewhere", `sale(), order('unpaid'), order('cancelled')`, "info closed.cancelled_again | " + open + " | title.open | gate 13:00"},
		{"refunded", `sale(), order('paid'), order('refunded')`, "info closed.refunded_again | " + open + " | title.open | gate 13:00"},
		{"bought again", `sale(), order('unpaid'), order('expired'), press, ticket('queued')`, "info ticket.queued | buy.queued | title.queued | never"},
	} {
		m.says(c.what, "show("+c.events+")", c.want)
	}
	m.says("the time to pay is over, and the server has not said so yet", `showAt(16, sale(), order('unpaid'))`, "info order.late | buy.order → order |  | never")
	m.says("three minutes before that", `showAt(12, sale(), order('unpaid'))`, "good ticket.unpaid 3 min | "+pays+" | title.placed | store 12:15")
	m.says("the news of the opening ends by itself", `showAt(2, sale({opens_at: iso(noon)}), me('a'))`, "info sale.open | "+open+" | title.open | gate 13:00")
	m.says("and with the sale", `showAt(61, sale({opens_at: iso(at(60.9)), closes_at: iso(at(61))}), me('a'))`, "info verdict.ended | buy.ended |  | never")
}

func TestWhatCannotBeDoneOffline(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	offline := func(events string) string {
		return `(() => { const v = saleView(after(` + events + `), noon, noon, false); return v.button.key + ' ' + v.button.act; })()`
	}
	m.says("nobody can buy", offline(`sale(), me('a')`), "buy.open null")
	m.says("the order's page may be kept", offline(`sale(), order('unpaid')`), "buy.pay order")
	m.says("who waits may stop", offline(`sale(), press, {type: 'busy', until: at(1)}`), "buy.stop stop")
	m.says("nobody can pay", `line(orderView({ order: order('unpaid').order }, noon, false))`, "info order.unpaid_hint | order.pay, order.cancel |  | store 12:15")
}

func TestAnotherAccountStartsAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for events, want := range map[string]string{
		`me('a')`: "false", `me(null)`: "false", `me('a'), me('a')`: "false", `me('a'), me('b')`: "true", `me('a'), me(null)`: "true", `me(null), me('a')`: "true",
	} {
		m.says(events, "String(after("+events+").stranger)", want)
	}
}

func TestTheQuantityStaysWithinTheLimit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	stepper := func(events string) string {
		return `(() => { const s = after(` + events + `), v = saleView(s, noon, noon).stepper; return [s.quantity, v.shown, v.fewer, v.more].join(' '); })()`
	}
	m.says("one is all", stepper(`sale()`), "1 false false false")
	m.says("at the lower end", stepper(`sale({limit_per_buyer: 3})`), "1 true false true")
	m.says("at the upper end", stepper(`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 9}`), "3 true true false")
	m.says("before the opening", stepper(`sale({limit_per_buyer: 3, state: 'scheduled', opens_at: iso(at(5))}), {type: 'quantity', quantity: 2}`), "2 true true true")
	m.says("not while it is sent", stepper(`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 2}, press`), "2 true false false")
	m.says("the limit was lowered", stepper(`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 3}, sale({limit_per_buyer: 2})`), "2 true true false")
	m.says("nothing to choose any more", stepper(`sale({limit_per_buyer: 3, state: 'sold_out', left: 0})`), "1 false false false")
}

// A ticket does not say how many units it is for.
func TestWhatATicketIsForIsKnownFromThePressAlone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for events, want := range map[string]string{
		`sale({limit_per_buyer: 3}), ticket('queued'), ticket('placed')`:                                          "0",
		`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 2}, press, ticket('queued'), ticket('placed')`:  "2",
		`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 2}, press, {type: 'unknown'}, ticket('placed')`: "2",
		`sale({limit_per_buyer: 3}), {type: 'quantity', quantity: 2}, press, verdict('limit'), ticket('placed')`:  "0", // of another quantity
	} {
		m.says("units", "String(after("+events+").sent)", want)
	}
}

func TestTheOrderPageSaysOneThingAtATime(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const both = "order.pay → pay, order.cancel → cancel"
	for _, c := range []struct{ what, state, want string }{
		{"nothing is known", `{}`, "info order.loading | none |  | never"},
		{"no answer", `{ failed: 1 }`, "info error.retrying | none |  | never"},
		{"not theirs", `{ missing: true }`, "bad order.missing | none |  | never"},
		{"unpaid", `{ order: order('unpaid').order }`, "info order.unpaid_hint | " + both + " |  | store 12:15"},
		{"paying", `{ order: order('unpaid').order, acting: 'pay' }`, "info order.paying_hint | order.paying, order.cancel |  | store 12:15"},
		{"cancelling", `{ order: order('unpaid').order, acting: 'cancel' }`, "info order.cancelling_hint | order.pay, order.cancelling |  | store 12:15"},
		{"the answer to the payment was lost, and it is unpaid", `{ order: order('unpaid').order, doubt: { verb: 'pay' } }`, "bad order.pay_unsure | " + both + " |  | store 12:15"},
		{"the answer was lost, and it is paid", `{ order: order('paid').order, doubt: { verb: 'pay' } }`, "good order.paid_hint | orders.heading → orders |  | never"},
		{"the answer to cancelling was lost", `{ order: order('unpaid').order, doubt: { verb: 'cancel' } }`, "bad order.cancel_unsure | " + both + " |  | store 12:15"},
		{"the server said no", `{ order: order('unpaid').order, doubt: { verb: 'pay', code: 'state' } }`, "bad error.state | " + both + " |  | store 12:15"},
		{"late", `{ order: order('unpaid', { expires_at: iso(noon) }).order }`, "info order.late | order.pay, order.cancel |  | never"},
		{"paid", `{ order: order('paid').order }`, "good order.paid_hint | orders.heading → orders |  | never"},
		{"cancelled", `{ order: order('cancelled').order }`, "info order.cancelled_hint | order.again → sale |  | never"},
		{"expired", `{ order: order('expired').order }`, "info order.expired_hint | order.again → sale |  | never"},
		{"refunded", `{ order: order('refunded').order }`, "info order.refunded_hint | order.browse → browse |  | never"},
	} {
		m.says(c.what, "line(orderView("+c.state+", noon))", c.want)
	}
}

// How often pages ask. 100,000 people who watch a sale an hour before it opens cost
// less than 4,000 requests in a second, computed from the page's own schedule.
func TestTheScheduleOfThePages(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.run(`
		const scheduled = (minutes) => sale({ state: 'scheduled', opens_at: iso(at(minutes)), closes_at: iso(at(minutes + 60)) }).sale;
		const seconds = (ms) => ms / 1000;
	`)
	for code, want := range map[string]string{
		`seconds(gapToSale(null, noon))`:                                    "2",
		`seconds(gapToSale(scheduled(3 * 24 * 60), noon))`:                  "300",
		`seconds(gapToSale(scheduled(60), noon))`:                           "300",
		`seconds(gapToSale(scheduled(30), noon))`:                           "150",
		`seconds(gapToSale(scheduled(2), noon))`:                            "10",
		`seconds(gapToSale(scheduled(0.5), noon))`:                          "5",
		`seconds(gapToSale(scheduled(0.05), noon))`:                         "6", // after the opening, not in the middle of it
		`seconds(gapToSale(sale().sale, noon))`:                             "3",
		`seconds(gapToSale(sale({state: 'paused'}).sale, noon))`:            "5",
		`seconds(gapToSale(sale({state: 'sold_out'}).sale, noon))`:          "8",
		`seconds(gapToSale(sale({state: 'ended'}).sale, noon))`:             "300",
		`seconds(gapToOrder(order('unpaid').order, noon))`:                  "10",
		`seconds(gapToOrder(order('unpaid').order, at(14.95)))`:             "3.5", // just after it has expired
		`seconds(gapToOrder(order('unpaid').order, at(16)))`:                "1",
		`seconds(gapToOrder(order('paid').order, noon))`:                    "60",
		`seconds(gapToOrder(order('expired').order, noon))`:                 "Infinity",
		`seconds(gapToList([], noon))`:                                      "60",
		`seconds(gapToList([scheduled(600), sale().sale], noon))`:           "10",
		`[0, 0.5, 1].map((r) => Math.round(jittered(100, r))).join()`:       "80,100,120",
		`[0, 1, 2, 3, 4, 5].map((n) => backoff(n, 0, 0)).join()`:            "500,1000,2000,4000,5000,5000",
		`[backoff(0, 7000, 0), backoff(0, 7000, 1)].map(Math.round).join()`: "7000,9100",
	} {
		m.says("the schedule", "String("+code+")", want)
	}

	// The people come at any time in the half day before, and look as the page does.
	rate := m.run(`(() => {
		const people = 2000, watching = 100000, from = -61, to = -59; // minutes before the opening
		let seed = 1;
		const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
		const opening = scheduled(0);
		let looks = 0;
		for (let i = 0; i < people; i++) {
			for (let now = at(-60 - 660 * random()); now < at(to); now += jittered(gapToSale({ ...opening, opens_at: iso(noon), closes_at: iso(at(60)) }, now), random())) {
				if (now >= at(from)) looks++;
			}
		}
		return looks / ((to - from) * 60) * (watching / people);
	})()`).ToFloat()
	t.Logf("100,000 watchers an hour before the opening: %.0f requests in a second", rate)
	require.Less(t, rate, 4000.0)
	require.Greater(t, rate, 100.0, "and they do look")
}

func TestEveryWordOfTheMachineIsThere(t *testing.T) {
	t.Parallel()
	module := string(must(fs.ReadFile(storefront, "storefront/static/machine.js")))
	for lang, words := range readWords() {
		for _, m := range regexp.MustCompile(`'((?:buy|sale|ticket|order|orders|title|closed|verdict|net)\.[a-z_]+)'`).FindAllStringSubmatch(module, -1) {
			if strings.HasSuffix(m[1], "_") {
				continue
			}
			require.Contains(t, words, m[1], lang)
		}
		for _, state := range []string{"scheduled", "paused", "sold_out", "ended"} {
			require.Contains(t, words, "buy."+state, lang)
		}
		for _, state := range []string{"expired", "cancelled", "refunded"} {
			require.Contains(t, words, "closed."+state, lang)
			require.Contains(t, words, "closed."+state+"_again", lang)
		}
	}
}

// A sale may ask for a pass: until there is one the button leads to the check, and before
// the opening the sentence says when it is done.
func TestTheSalePageAsksForAPass(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.run(`const pass = (p) => ({ type: 'pass', pass: p })`)
	for _, c := range []struct{ what, events, want string }{
		{"no pass yet", `sale({ pass: true }), me('li.wei')`, "info pass.first | buy.pass → pass | " + fresh + " | " + closes13},
		{"nobody is logged in", `sale({ pass: true }), me()`, "info sale.open_login | " + open + " | " + fresh + " | " + closes13},
		{"a pass", `sale({ pass: true }), me('li.wei'), pass({ value: 'x', until: at(10) })`, "info sale.open | " + open + " | " + fresh + " | " + closes13},
		{"a pass that has ended", `sale({ pass: true }), me('li.wei'), pass({ value: 'x', until: at(-1) })`, "info pass.first | buy.pass → pass | " + fresh + " | " + closes13},
		{"not for them", `sale({ pass: true }), me('li.wei'), pass({ barred: 'not_eligible' })`, "bad verdict.not_eligible | buy.barred |  | " + closes13},
		{"not for them, before the opening", `sale({ pass: true, state: 'scheduled', opens_at: iso(at(5)) }), me('li.wei'), pass({ barred: 'not_eligible' })`, "bad verdict.not_eligible | buy.barred |  | gate 12:05"},
		{"they have left too many orders unpaid", `sale({ pass: true }), me('li.wei'), pass({ barred: 'tries' })`, "bad verdict.tries | buy.barred |  | " + closes13},
		{"the gate says so", `sale(), me('li.wei'), press, verdict('tries')`, "bad verdict.tries | " + open + " | " + fresh + " | " + closes13},
		{"the pass is not enough", `sale({ pass: true }), me('li.wei'), pass({ value: 'x', until: at(10) }), press, { type: 'unpassed' }`, "info pass.again | buy.pass → pass | " + fresh + " | " + closes13},
		{"the sale asks for a pass since a moment", `sale(), me('li.wei'), press, { type: 'unpassed' }`, "info pass.again | buy.pass → pass | " + fresh + " | " + closes13},
		{"the sale is shown as it was before that", `sale(), me('li.wei'), press, { type: 'unpassed' }, sale({ seen: 0.02 })`, "info pass.again | buy.pass → pass | " + fresh + " | " + closes13},
		{"but not for long", `sale(), me('li.wei'), press, { type: 'unpassed' }, sale({ seen: 0.05 })`, "info sale.open | " + open + " | " + fresh + " | " + closes13},
		{"and then there is another", `sale({ pass: true }), me('li.wei'), press, { type: 'unpassed' }, pass({ value: 'y', until: at(10) })`, "info sale.open | " + open + " | " + fresh + " | " + closes13},
		{"a cool-down", `sale(), me('li.wei'), press, { type: 'trouble', code: 'cooldown', until: at(1) }`, "bad error.cooldown | buy.resting |  | gate 12:01"},
		{"after it", `sale(), me('li.wei'), press, { type: 'trouble', code: 'cooldown', until: at(1) }, { type: 'rested' }`, "info sale.open | " + open + " | " + fresh + " | " + closes13},
		{"a sale without", `sale(), me('li.wei')`, "info sale.open | " + open + " | " + fresh + " | " + closes13},
		{"the gate's no", `sale(), me('li.wei'), press, verdict('not_eligible')`, "bad verdict.not_eligible | " + open + " | " + fresh + " | " + closes13},
		{"before the opening, with a pass", `sale({ pass: true, state: 'scheduled', opens_at: iso(at(5)) }), me('li.wei'), pass({ value: 'x', until: at(10) })`, "good pass.ready | buy.scheduled |  | gate 12:05"},
		{"before the opening, without", `sale({ pass: true, state: 'scheduled', opens_at: iso(at(5)) }), me('li.wei')`, "info pass.soon | buy.scheduled |  | gate 12:05"},
	} {
		m.says(c.what, "show("+c.events+")", c.want)
	}
	m.says("the check is shown before the opening", `saleView(after(sale({ pass: true, state: 'scheduled', opens_at: iso(at(5)) }), me('li.wei')), noon, noon).pass`, "true")
	m.says("and not while a ticket is held", `saleView(after(sale({ pass: true }), me('li.wei'), press, ticket('queued')), noon, noon).pass`, "false")
	m.says("nor when it is done", `saleView(after(sale({ pass: true }), me('li.wei'), pass({ value: 'x', until: at(10) })), noon, noon).pass`, "false")
}
