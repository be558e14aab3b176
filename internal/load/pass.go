package load

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/client"
)

// Solver solves a challenge of a buyer for a sale, as the server wrote it, at once, and
// tells how many hashes that takes. It returns the body of the request for a pass. It
// must be safe for concurrent use.
type Solver func(sale seckill.SaleID, buyer string, puzzle []byte) (body map[string]string, hashes int64, err error)

// passes fetches a pass for every buyer, outside of the measured time, where the sale asks
// for one. Each buyer comes from a network of its own, for a server that trusts this machine
// as a proxy. With any other server all of them share the limit of one network and wait for
// each other, so it gives up only when nobody at all has got an answer for Settle.
func (r *run) passes(ctx context.Context) error {
	if !r.sale.Pass {
		return nil
	}
	if r.c.Solve == nil {
		return fmt.Errorf("sale %s asks for a pass: set Solve", r.c.Sale)
	}
	var done atomic.Int64
	defer r.progress.stage("passes", len(r.buyers), &done)()
	from := newNetworks()
	r.lastNews.Store(time.Now().UnixNano())
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.each(ctx, r.buyers, nil, func(cl *caller, b *buyer) {
		cl.from = from.address(b.n)
		if err := r.fetchPass(ctx, cl, b); err != nil {
			stop(fmt.Errorf("buyer %s: %w", b.id, err))
		}
		done.Add(1)
	})
	return context.Cause(ctx)
}

// fetchPass fetches one, and puts it into the buyer's request.
func (r *run) fetchPass(ctx context.Context, cl *caller, b *buyer) error {
	sale := client.SalePath(r.c.Sale.String())
	post := func(route string, body, v any) (reply, error) {
		raw, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		a, err := r.insistSince(ctx, &r.lastNews, r.c.Settle, func() (reply, error) { return cl.send("POST", r.nextServer(b), sale+route, b.auth, raw, v) })
		if err != nil {
			return a, err
		}
		r.lastNews.Store(time.Now().UnixNano())
		if a.status != 200 {
			err = fmt.Errorf("POST %s answered %v", sale+route, a)
		}
		return a, err
	}
	for tries := 1; ; tries++ {
		var puzzle json.RawMessage
		if _, err := post("/challenge", struct{}{}, &puzzle); err != nil {
			return err
		}
		solution, _, err := r.c.Solve(r.c.Sale, b.id, puzzle)
		if err != nil {
			return err
		}
		var given struct{ Pass string }
		a, err := post("/pass", solution, &given)
		if a.Code == "challenge_failed" && tries < passTries {
			continue // it was over before its turn came
		}
		if err != nil {
			return err
		}
		b.body, err = json.Marshal(map[string]any{"quantity": b.quantity, "pass": given.Pass})
		return err
	}
}

// passTries is how many challenges one buyer solves at most.
const passTries = 5
