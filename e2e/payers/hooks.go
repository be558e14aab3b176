package payers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// heard is what the shop's receiver of webhooks was told.
type heard struct {
	mu     sync.Mutex
	last   map[string]seckill.Event // by order
	seen   map[string]bool          // by event
	again  int
	wrong  []string
	faulty bool // it sometimes takes an event and answers 500
}

// hooks is what a node must be told so that the shop hears of orders.
func (p *Payers) hooks() string {
	return fmt.Sprintf(`SECKILL_WEBHOOKS=[{"name":"books","url":%q,"secret":%q},{"name":"away","url":"http://127.0.0.1:9/","secret":%q}]`, p.at+"/hooks", Secret, Secret)
}

// hear is the shop's receiver: each order's events come in their order.
func (p *Payers) hear(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var e seckill.Event
	if err != nil || p.hook.Verify(body, r.Header) != nil || json.Unmarshal(body, &e) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	h := &p.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen[e.ID] {
		h.again++
	} else {
		if last := h.last[e.Order.ID]; e.ID < last.ID {
			h.wrong = append(h.wrong, fmt.Sprintf("event %s came after %s", e.ID, last.ID))
		}
		if h.last[e.Order.ID].ID == "" && !strings.HasSuffix(e.ID, "-1") {
			h.wrong = append(h.wrong, fmt.Sprintf("event %s came first of its order", e.ID))
		}
		h.last[e.Order.ID], h.seen[e.ID] = e, true
	}
	if h.faulty && p.lots.IntN(100) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// missed tells of which orders the shop has not heard the last, as the node has them.
func (p *Payers) missed(ctx context.Context) (found []string, err error) {
	for _, sale := range []string{p.sale, p.short} {
		err := pages(ctx, p, "/api/admin/orders?sale="+sale, func(o seckill.Order) {
			p.heard.mu.Lock()
			defer p.heard.mu.Unlock()
			if e := p.heard.last[o.ID]; e.Order.State != o.State || e.Order.RefundedAmount != o.RefundedAmount || e.Order.ReturnedUnits != o.ReturnedUnits {
				found = append(found, fmt.Sprintf("order %s is %s, %d given back, and the last event that was heard is %+v", o.ID, o.State, o.RefundedAmount, e))
			}
		})
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// toldOfAll waits until the shop has heard of everything, and returns what was wrong.
func (p *Payers) toldOfAll(ctx context.Context) []string {
	waiting := ctx
	if p.Hears > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, p.Hears)
		defer cancel()
	}
	var missed []string // at the last look that came to its end
	for {
		now, err := p.missed(ctx)
		if err == nil {
			if missed = now; len(missed) == 0 {
				break
			}
		}
		if duty.Rest(waiting, 500*time.Millisecond) != nil {
			return append(missed, fmt.Sprint("the shop was not told of all: ", err))
		}
	}
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	return p.heard.wrong
}
