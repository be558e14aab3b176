package payers

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// What a shop does that is slow takes seconds, and happens so often in a run: a run of
// 10,000 payments is not longer for it.
const (
	slowest   = 2 * time.Second
	slowMost  = 6
	expireds  = 12 // orders that are paid after they have expired
	innocents = 200
)

// taken is money that the shop has taken or given back.
type taken struct {
	order    string
	amount   int64
	currency string
}

// lies are what the shop says that is not so, and what it does unasked: Finish demands
// that the node has put aside, contradicted and entered just that.
type lies struct {
	mu      sync.Mutex
	aside   map[string]bool             // references of money that fits no order, and stays aside
	back    map[string]bool             // the same, and somebody gives it back
	given   map[string]bool             // and the node has answered that it goes back
	unknown map[string]bool             // orders that never were
	maybe   map[string]bool             // orders of which something was told twice, differently
	sure    map[string]bool             // and the node has taken it
	hand    map[string]seckill.Callback // refunds that nobody has asked for, by their event
	bounced map[string]bool             // refunds that did not reach the buyer, by our ids
	again   map[string]bool             // and were given back another way since
	words   []seckill.Callback          // what is told of those
	over    bool                        // nothing bounces any more

	slow, expired atomic.Int64
}

func newLies() lies {
	return lies{aside: map[string]bool{}, back: map[string]bool{}, given: map[string]bool{}, unknown: map[string]bool{}, maybe: map[string]bool{}, sure: map[string]bool{}, hand: map[string]seckill.Callback{}, bounced: map[string]bool{}, again: map[string]bool{}}
}

// bounce lets a refund that has gone come back, and sometimes gives it back another way: the
// first one of a run, and of the others some. It tells of all that once, in any order; Finish
// tells of it until the node has it.
func (p *Payers) bounce(ctx context.Context, c seckill.Callback) {
	p.lies.mu.Lock()
	first := len(p.lies.bounced) == 0
	if p.lies.over || !first && p.lots.IntN(5) > 0 {
		p.lies.mu.Unlock()
		return
	}
	came := c
	came.Type, came.Event, came.At = seckill.Bounced, "came "+c.Event, c.At.Add(time.Second)
	words := []seckill.Callback{c, came}
	p.lies.bounced[c.Reference] = true
	if !first && p.lots.IntN(2) == 0 {
		c.Event, c.At = c.Event+" another way", c.At.Add(2*time.Second)
		words = append(words, c)
		p.lies.again[c.Reference] = true
	}
	p.lots.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	p.lies.words = append(p.lies.words, words...)
	p.lies.mu.Unlock()
	for _, w := range words {
		p.tellOnce(ctx, w)
	}
}

// stranded waits until only refunds that bounced are due, demands that each of them is unless
// it was given back another way, and gives it back by hand.
func (p *Payers) stranded(ctx context.Context) (found []string) {
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	l := &p.lies
	l.mu.Lock()
	l.over = true
	words, bounced, again := slices.Clone(l.words), maps.Clone(l.bounced), maps.Clone(l.again)
	l.mu.Unlock()
	for _, w := range words {
		p.insistTell(ctx, w)
	}
	due := map[string]bool{}
	for others := true; others; {
		clear(due)
		others = false
		err := pages(ctx, p, "/api/admin/refunds?state=due", func(f seckill.Refund) {
			due[f.ID] = true
			others = others || !bounced[f.ID]
		})
		if err != nil || others && duty.Rest(ctx, 200*time.Millisecond) != nil {
			bad("refunds are still due, or there is no list of them: %v", err)
			return found
		}
	}
	for id := range bounced {
		if due[id] == again[id] {
			bad("refund %s came back, and was given back another way: %t; it is due: %t", id, again[id], due[id])
		}
		if due[id] {
			_, _ = p.insist(ctx, p.admin, http.MethodPost, "/api/admin/refunds/"+id+"/done", map[string]string{"reason": "a transfer"})
		}
	}
	return found
}

func (l *lies) note(m map[string]bool, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m[key] = true
}

// slowly rests for seconds, a few times in a run.
func (p *Payers) slowly(ctx context.Context) {
	if p.lots.IntN(40) == 0 && p.lies.slow.Add(1) <= slowMost {
		duty.Rest(ctx, slowest)
	}
}

// contradict pays the order, and tells other things of the same payment.
func (p *Payers) contradict(ctx context.Context, order, ref string) {
	p.capture(ctx, order, ref, 2*price)
	p.lies.note(p.lies.maybe, order)
	other := seckill.NewTicketID(time.Now()) // an order that never was, or an earlier one
	if v, ok := p.earlier.Load().(string); ok && p.lots.IntN(2) == 0 {
		other = v
	}
	told := p.tell(ctx, seckill.Callback{Event: ref + " foreign", Type: seckill.Captured, Order: other, Reference: ref, Amount: 2 * price})
	told = p.tell(ctx, seckill.Callback{Event: ref + " 0", Type: seckill.Captured, Order: order, Reference: ref, Amount: 2*price + 1}) || told
	if told {
		p.lies.note(p.lies.sure, order)
	}
	p.earlier.Store(order)
}

// mispay takes money that fits no order. Some of it an administrator gives back.
func (p *Payers) mispay(ctx context.Context, order, ref string) {
	amount, currency := int64(2*price), "CNY"
	switch p.lots.IntN(3) {
	case 0:
		amount += 50
	case 1:
		currency = "USD"
	default:
		order = seckill.NewTicketID(time.Now())
		ref = "pay " + order
		p.lies.note(p.lies.unknown, order)
	}
	p.Wrong.Add(1)
	given := currency == "CNY" && p.lots.IntN(2) == 0
	if given {
		p.lies.note(p.lies.back, ref)
	} else {
		p.lies.note(p.lies.aside, ref)
	}
	p.captureIn(ctx, order, ref, amount, currency)
	if given {
		a, err := p.insist(ctx, p.admin, "POST", "/api/admin/orders/"+order+"/refund", map[string]any{"payment": ref})
		if err == nil && a.Status == http.StatusOK {
			p.lies.note(p.lies.given, ref)
		}
	}
}

// unasked gives back what nobody has asked for, a part or all of it, and sometimes tells of
// it before it tells of the payment.
func (p *Payers) unasked(ctx context.Context, order, ref string) {
	amount := int64(2 * price)
	if p.lots.IntN(2) == 0 {
		amount = 50
	}
	c := seckill.Callback{Event: "hand " + ref, Type: seckill.GivenBack, Order: order, Reference: ref, Amount: amount}
	p.lies.mu.Lock()
	p.lies.hand[c.Event] = c
	p.lies.mu.Unlock()
	early := p.lots.IntN(2) == 0
	if early {
		p.tell(ctx, c)
	}
	p.capture(ctx, order, ref, 2*price)
	if !early {
		p.tell(ctx, c)
	}
}

// failFirst lets a payment fail; the next try pays.
func (p *Payers) failFirst(ctx context.Context, token, order, ref string) {
	p.tell(ctx, seckill.Callback{Event: "failed " + ref, Type: seckill.Failed, Order: order, Reference: "try " + order, Amount: 2 * price})
	_, _ = p.insist(ctx, token, "POST", "/api/orders/"+order+"/pay", nil)
	p.capture(ctx, order, ref, 2*price)
}

// expire lets the order of the sale with the short hold expire, and pays then.
func (p *Payers) expire(ctx context.Context, token, order, ref string) {
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		var o seckill.Order
		a, err := p.insist(ctx, token, "GET", "/api/orders/"+order, nil)
		if err != nil {
			return
		}
		if a.Says(&o) && o.State == seckill.Expired {
			break
		}
		duty.Rest(ctx, 200*time.Millisecond)
	}
	p.Late.Add(1)
	p.capture(ctx, order, ref, 2*price)
}

// pages calls each for every item of a list of the node.
func pages[T any](ctx context.Context, p *Payers, path string, each func(T)) error {
	for cursor := ""; ; {
		var page struct {
			Items []T
			Next  string
		}
		a, err := p.insist(ctx, p.admin, http.MethodGet, path+"&limit=100&cursor="+url.QueryEscape(cursor), nil)
		if err == nil {
			err = a.Into(&page)
		}
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			each(item)
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// believed tells where the node has believed a lie, or has seen one where there was none.
func (p *Payers) believed(ctx context.Context) (found []string) {
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	aside := map[string]bool{}
	if err := pages(ctx, p, "/api/admin/payments?state=aside", func(v seckill.Payment) { aside[v.Reference] = true }); err != nil {
		bad("no list of payments: %v", err)
	}
	l := &p.lies
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref := range l.aside {
		if !aside[ref] {
			bad("%s fits no order and is not put aside", ref)
		}
	}
	for ref := range aside {
		if !l.aside[ref] && !l.back[ref] {
			bad("%s is put aside and was no lie", ref)
		}
		if l.given[ref] {
			bad("%s was given back and is still put aside", ref)
		}
	}
	// The histories of all that were lied about, and of some that were not.
	orders := slices.Collect(maps.Keys(l.maybe))
	p.mu.Lock()
	for _, t := range p.took {
		if len(orders) >= len(l.maybe)+innocents {
			break
		}
		if !l.maybe[t.order] && !l.unknown[t.order] {
			orders = append(orders, t.order)
		}
	}
	p.mu.Unlock()
	for _, order := range orders {
		var whole struct{ History []seckill.Entry }
		a, err := p.insist(ctx, p.admin, http.MethodGet, "/api/admin/orders/"+order, nil)
		if err == nil {
			err = a.Into(&whole)
		}
		if err != nil {
			bad("order %s: %v", order, err)
			return found
		}
		conflict := slices.ContainsFunc(whole.History, func(e seckill.Entry) bool { return strings.HasSuffix(e.What, ".conflict") })
		if conflict && !l.maybe[order] || !conflict && l.sure[order] {
			bad("order %s: lied about %t, contradicted %t: %+v", order, l.sure[order], conflict, whole.History)
		}
	}
	return found
}
