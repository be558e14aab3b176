package crowd

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// buyer is one buyer and the log of what it was told. It belongs to one
// goroutine at a time.
type buyer struct {
	id, token string
	sale      *sale
	barred    bool // the sale is not for it
	quantity  int
	repeats   int // identical requests at once
	random    *mathrand.Rand
	pass      string    // for its sale, where that asks for one
	log       []*ticket // oldest first
	last      string    // the last answer to a buy: queued, or why not
}

// ticket is one that the buyer was told of.
type ticket struct {
	id     string
	asked  time.Time // when the request was sent whose answer named it; zero: a question did
	told   time.Time
	status string // placed or refused, once known
	reason string
	state  seckill.OrderState // of the order, as far as the buyer knows
	ended  time.Time          // when the buyer heard that it had ended
}

func (t *ticket) String() string {
	return strings.TrimSpace(fmt.Sprintf("ticket %s %s %s %s", t.id, t.status, t.reason, t.state))
}

// active tickets keep their buyer from another one.
func (t *ticket) active() bool { return t != nil && (t.status == "" || t.state.Active()) }

func (b *buyer) newest() *ticket {
	if len(b.log) == 0 {
		return nil
	}
	return b.log[len(b.log)-1]
}

func (b *buyer) newestID() string {
	if t := b.newest(); t != nil {
		return t.id
	}
	return ""
}

func (b *buyer) known(id string) *ticket {
	for _, t := range b.log {
		if t.id == id {
			return t
		}
	}
	return nil
}

// request is the body of a buy.
func (b *buyer) request() map[string]any {
	body := map[string]any{"quantity": b.quantity}
	if b.pass != "" {
		body["pass"] = b.pass
	}
	return body
}

func (b *buyer) String() string {
	return fmt.Sprintf("buyer %s of %d in sale %s", b.id, b.quantity, b.sale.id)
}

func (c *Crowd) newBuyer(n int64) *buyer {
	random := mathrand.New(mathrand.NewPCG(c.Seed, uint64(n)))
	sales := c.openSales()
	s := sales[random.IntN(len(sales))]
	b := &buyer{id: c.buyerID(n), sale: s, quantity: 1 + random.IntN(s.limit), repeats: []int{1, 1, 2, 4}[random.IntN(4)], random: random}
	c.comes(b, n)
	return b
}

// comes adds a buyer to the log.
func (c *Crowd) comes(b *buyer, n int64) {
	c.credentials(b, n)
	c.buyersMu.Lock()
	c.buyers = append(c.buyers, b)
	c.buyersMu.Unlock()
	c.Stats.Buyers.Add(1)
}

// live takes a buyer through its purchases: it buys, pays or not, and buys again
// while it can.
func (c *Crowd) live(ctx context.Context, b *buyer) error {
	for purchases := 0; purchases < 4; purchases++ {
		if err := c.buy(ctx, b); err != nil {
			return err
		}
		t := b.newest()
		if !t.active() {
			return nil // turned away
		}
		if err := c.await(ctx, b, t); err != nil || t.status != "placed" {
			return err
		}
		if duty.Rest(ctx, time.Duration(b.random.IntN(10))*time.Millisecond) != nil {
			return ctx.Err()
		}
		switch b.random.IntN(8) {
		case 0, 1, 2, 3:
			if err := c.turn(ctx, b, t, "cancel", seckill.Cancelled); err != nil {
				return err
			}
		case 4:
			if err := c.turn(ctx, b, t, "pay", seckill.Paid); err != nil {
				return err
			}
			if t.state != seckill.Paid || c.stopped() {
				break
			}
			a, err := c.client.insist(ctx, "POST", "/api/admin/orders/"+t.id+"/refund", c.admin, nil)
			if err != nil {
				return err
			}
			c.become(b, t, a, seckill.Refunded)
		case 5, 6:
			return c.turn(ctx, b, t, "pay", seckill.Paid)
		default:
			return nil // leaves without paying
		}
		if c.stopped() {
			return nil
		}
	}
	return nil
}

// buy asks for a ticket until the answer is known. When the units of an ended
// ticket are not back yet the old ticket is the answer: then it asks again, some
// times.
func (c *Crowd) buy(ctx context.Context, b *buyer) error {
	for range 20 {
		if err := c.buyOnce(ctx, b); err != nil {
			return err
		}
		if b.last != heldStill {
			return nil
		}
		if duty.Rest(ctx, 3*again) != nil {
			return ctx.Err()
		}
	}
	return nil
}

// heldStill says that the gate still names a ticket that has ended.
const heldStill = "held still"

func (c *Crowd) buyOnce(ctx context.Context, b *buyer) error {
	for doubt := b.last == unknown; ; {
		if doubt {
			// The contract: after an unknown outcome ask first.
			a, err := c.newestAsked(ctx, b)
			if err != nil {
				return err
			}
			var said struct{ Ticket string }
			switch {
			case a.Status == http.StatusOK && a.Says(&said) && said.Ticket != "":
				if c.named(b, said.Ticket, time.Time{}); b.newest().active() {
					b.last = seckill.Queued.String()
					return nil
				}
			case a.Status == http.StatusNotFound && len(b.log) == 0:
			default:
				c.found(ruleLost, "%v with %v was answered %v", b, b.newest(), a)
			}
		}
		asked := time.Now()
		answers, unknown := c.ask(ctx, b)
		if ctx.Err() != nil {
			return fmt.Errorf("%v: no verdict in time: %w", b, ctx.Err())
		}
		doubt = unknown
		ended := b.newest() // nil, or its units were on their way back when the buyer asked
		verdict := ""
		for _, a := range answers {
			var said struct{ Status, Ticket string }
			switch {
			case a.Status == http.StatusAccepted && a.Says(&said) && said.Status == "queued" && said.Ticket != "":
				if ended == nil || ended.active() || said.Ticket != ended.id {
					c.named(b, said.Ticket, asked)
				}
			case a.Status == http.StatusConflict && slices.Contains([]string{"sold_out", "paused"}, a.Code):
				verdict = a.Code
			case a.Code == notEligible && c.mayHear(b):
				verdict = a.Code
			case a.Code == notEligible:
				c.found(ruleEligible, "%v with %d tickets: POST ticket answered %v", b, len(b.log), a)
				verdict = a.Code
			default:
				c.found(ruleContract, "%v: POST ticket answered %v", b, a)
				verdict = "unexpected"
			}
		}
		switch {
		case b.newest().active():
			b.last = seckill.Queued.String()
			return nil
		case unknown:
			if duty.Rest(ctx, again) != nil {
				return ctx.Err()
			}
		case verdict == "paused":
			if duty.Rest(ctx, again) != nil {
				return ctx.Err()
			}
		case verdict == "":
			b.last = heldStill
			return nil
		default:
			b.last = verdict
			return nil
		}
	}
}

// notEligible says that the sale is not for the buyer, and will not be.
const notEligible = "not_eligible"

// newestAsked asks for the buyer's newest ticket. For a second a node may remember an
// older one, which has ended since: its buyer knows better, and asks again.
func (c *Crowd) newestAsked(ctx context.Context, b *buyer) (client.Answer, error) {
	for start := time.Now(); ; {
		asked := time.Now() // the answer to an earlier question may just be late
		a, err := c.client.insist(ctx, "GET", b.sale.path("/ticket"), b.token, nil)
		var said struct{ Ticket string }
		older := err == nil && a.Status == http.StatusOK && a.Says(&said) && said.Ticket != b.newestID() && b.known(said.Ticket) != nil
		if !older || asked.Sub(start) > flagTime || duty.Rest(ctx, again) != nil {
			return a, err
		}
	}
}

// ask sends the buyer's request as often at once as the buyer clicks. unknown
// says that the outcome of at least one of them is.
func (c *Crowd) ask(ctx context.Context, b *buyer) (answers []client.Answer, unknown bool) {
	if c.defends(b.sale) {
		if no, err := c.pass(ctx, b); err != nil {
			return nil, true
		} else if no != nil {
			return []client.Answer{*no}, false
		}
	}
	all, errs := make([]client.Answer, b.repeats), make([]error, b.repeats)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			all[i], errs[i] = c.client.once(ctx, "POST", b.sale.path("/ticket"), b.token, b.request())
		})
	}
	wg.Wait()
	c.Stats.Requests.Add(int64(len(all)))
	for i, a := range all {
		if errs[i] != nil || !a.Usable() {
			unknown = true
			continue
		}
		if a.Code == "pass_required" { // the one that it has is over
			b.pass, unknown = "", true
			continue
		}
		answers = append(answers, a)
	}
	return answers, unknown
}

// named notes a ticket that an answer names: the buyer's active one, or a new one
// if there is none.
func (c *Crowd) named(b *buyer, id string, asked time.Time) {
	t := b.newest()
	if t != nil && t.id == id {
		return
	}
	if t.active() || b.known(id) != nil {
		c.found(ruleOneTicket, "%v holds %v, and was told %s", b, t, id)
		return
	}
	if other, taken := c.tickets.LoadOrStore(id, b.id); taken {
		c.found(ruleOneTicket, "%v was told %s, which %v holds", b, id, other)
	}
	if !seckill.ValidTicketID(id) {
		c.found(ruleContract, "%v: %q is not a ticket's id", b, id)
	}
	t = &ticket{id: id, asked: asked, told: time.Now()}
	c.checkAdmitted(b, t)
	b.log = append(b.log, t)
	c.Stats.Tickets.Add(1)
}

// await asks for the outcome of a ticket until it is final, and compares it with
// what is known.
func (c *Crowd) await(ctx context.Context, b *buyer, t *ticket) error {
	ctx, cancel := context.WithTimeout(ctx, c.Away+restTime+tryTime)
	defer cancel()
	for {
		a, err := c.client.insist(ctx, "GET", b.sale.path("/ticket?wait=5s&ticket="+t.id), b.token, nil)
		if err != nil {
			return fmt.Errorf("%v: the outcome of %v: %w", b, t, err)
		}
		var said struct{ Status, Ticket, Order, Reason string }
		switch {
		case a.Status == http.StatusNotFound:
			c.found(ruleLost, "%v was told %v, and then %v", b, t, a)
			return nil
		case a.Status != http.StatusOK || !a.Says(&said) || said.Ticket != t.id:
			c.found(ruleContract, "%v asked for %v and was answered %v", b, t, a)
			return nil
		case said.Status == "queued":
			if t.status != "" {
				c.found(ruleStable, "%v was told %v, and then %v", b, t, a)
				return nil
			}
			continue
		case t.status != "":
			if said.Status != t.status || said.Reason != t.reason {
				c.found(ruleStable, "%v was told %v, and then %v", b, t, a)
			}
			return nil
		case said.Status == "placed" && said.Order == t.id:
			t.status, t.state = said.Status, seckill.Unpaid
			return nil
		case said.Status == "refused" && said.Reason != "":
			t.status, t.reason = said.Status, said.Reason
			c.found(ruleKept, "%v was queued, and then %v", b, a)
			return nil
		default:
			c.found(ruleContract, "%v asked for %v and was answered %v", b, t, a)
			return nil
		}
	}
}

// turn changes the state of the buyer's order, or learns that it has expired.
func (c *Crowd) turn(ctx context.Context, b *buyer, t *ticket, what string, to seckill.OrderState) error {
	a, err := c.client.insist(ctx, "POST", "/api/orders/"+t.id+"/"+what, b.token, nil)
	if err != nil {
		return err
	}
	if a.Status == http.StatusConflict && a.Code == "state" && b.sale.short && t.state == seckill.Unpaid {
		// Its time is over; the expirer may be about to say so.
		for {
			a, err := c.client.insist(ctx, "GET", "/api/orders/"+t.id, b.token, nil)
			if err != nil {
				return err
			}
			var o seckill.Order
			switch {
			case a.Status != http.StatusOK || !a.Says(&o):
				c.found(ruleOrders, "%v reads the order of %v: %v", b, t, a)
				return nil
			case o.State == seckill.Expired:
				t.state, t.ended = seckill.Expired, time.Now()
				c.Stats.Expired.Add(1)
				return nil
			case o.State != seckill.Unpaid:
				c.found(ruleOrders, "%v, %v: a %s is refused, and the order is %v", b, t, what, a)
				return nil
			}
			if duty.Rest(ctx, again) != nil {
				return ctx.Err()
			}
		}
	}
	c.become(b, t, a, to)
	return nil
}

// become notes an order's new state.
func (c *Crowd) become(b *buyer, t *ticket, a client.Answer, to seckill.OrderState) {
	var o seckill.Order
	if a.Status != http.StatusOK || !a.Says(&o) || o.State != to || o.ID != t.id || o.Quantity != b.quantity {
		c.found(ruleOrders, "%v, %v to become %s: %v", b, t, to, a)
		return
	}
	t.state, t.ended = to, time.Now()
	switch to {
	case seckill.Paid:
		c.Stats.Paid.Add(1)
	case seckill.Cancelled:
		c.Stats.Cancelled.Add(1)
	case seckill.Refunded:
		c.Stats.Refunded.Add(1)
	}
}
