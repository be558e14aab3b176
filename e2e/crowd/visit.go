package crowd

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/client"
)

// visitedLimit is the most units that one buyer of the visited sale may have: few
// latecomers buy what the visitors leave.
const visitedLimit = 50

// unknown says that the buyer does not know whether it has a ticket.
const unknown = "unknown"

// Visit is one request of a visitor to one node, and its answer.
type Visit struct {
	Sent, Done time.Time
	Status     int // 0: none came
	Code       string
	RetryAfter string
	Err        error
}

// Took is how long the answer took.
func (v Visit) Took() time.Duration { return v.Done.Sub(v.Sent) }

func (v Visit) String() string {
	return fmt.Sprintf("%d %s, Retry-After %q, after %v, %v", v.Status, v.Code, v.RetryAfter, v.Took().Round(100*time.Microsecond), v.Err)
}

// Visitor is a buyer who asks a chosen node, once each time. It belongs to one
// goroutine, and to the log like everybody else.
type Visitor struct {
	crowd *Crowd
	buyer *buyer
}

// Visited is the sale that visitors buy in.
func (c *Crowd) Visited() seckill.SaleID { return c.visited.id }

// Visitor lets one in.
func (c *Crowd) Visitor() *Visitor {
	n := c.nextBuyer.Add(1)
	b := &buyer{id: c.buyerID(n), sale: c.visited, quantity: 1, repeats: 1}
	c.comes(b, n)
	return &Visitor{c, b}
}

// ID is the buyer's.
func (v *Visitor) ID() string { return v.buyer.id }

func (v *Visitor) String() string { return v.buyer.String() }

// Token is the buyer's, and Ticket the newest one; the buyer has one.
func (v *Visitor) Token() string  { return v.buyer.token }
func (v *Visitor) Ticket() string { return v.buyer.newestID() }

func (v *Visitor) ask(ctx context.Context, node, method, path string) (Visit, client.Answer) {
	visit := Visit{Sent: time.Now()}
	a, err := v.crowd.client.to(ctx, node, method, path, v.buyer.token, nil)
	visit.Done, visit.Err = time.Now(), err
	visit.Status, visit.Code, visit.RetryAfter = a.Status, a.Code, a.Header.Get("Retry-After")
	return visit, a
}

// Buy asks a node for one unit. Whoever is told nothing asks again in Finish.
func (v *Visitor) Buy(ctx context.Context, node string) Visit {
	visit, a := v.ask(ctx, node, "POST", v.buyer.sale.path("/ticket"))
	v.crowd.Stats.Requests.Add(1)
	v.buyer.last = unknown
	var said struct{ Ticket string }
	if visit.Err == nil && a.Status == http.StatusAccepted && a.Says(&said) && said.Ticket != "" {
		v.crowd.named(v.buyer, said.Ticket, visit.Sent)
		v.buyer.last = seckill.Queued.String()
	}
	return visit
}

// Result asks a node what became of the visitor's ticket. placed reports that it
// has its order, then and before.
func (v *Visitor) Result(ctx context.Context, node string) (visit Visit, placed bool) {
	t := v.buyer.newest()
	visit, a := v.ask(ctx, node, "GET", v.buyer.sale.path("/ticket?ticket="+t.id))
	var said struct{ Status, Ticket, Order, Reason string }
	if visit.Err != nil || a.Status != http.StatusOK {
		return visit, false
	}
	switch {
	case !a.Says(&said) || said.Ticket != t.id:
		v.crowd.found(ruleContract, "%v asked for %v and was answered %v", v, t, a)
	case said.Status != "placed" && t.status == "placed":
		v.crowd.found(ruleStable, "%v was told %v, and then %v", v, t, a)
	}
	return visit, said.Status == "placed"
}

// Cancel ends the visitor's order.
func (v *Visitor) Cancel(ctx context.Context) error {
	return v.crowd.turn(ctx, v.buyer, v.buyer.newest(), "cancel", seckill.Cancelled)
}

// Await waits for the visitor's order, from whichever node.
func (v *Visitor) Await(ctx context.Context) error {
	return v.crowd.await(ctx, v.buyer, v.buyer.newest())
}
