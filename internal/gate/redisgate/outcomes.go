package redisgate

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/rueidis"

	"seckill"
)

// finishMost is the most outcomes in one call: a function of Lua takes no more than some
// thousand arguments.
const finishMost = 1024

// Finish tells the gate what became of tickets, any number of times. A refusal
// frees its buyer and returns its units once, unless the store had none. While
// a sale is closed it fails, after the other sales have been told, since the rebuild has to read
// the outcomes first; one that stays closed is left to its rebuild (see gate.Closings). Outcomes
// for a part of a cluster that is gone are kept until it is back, and are no error:
// those for the other parts must not wait for it. Nor do they wait for a sale for which alone
// the script fails; one that fails for all sales of a batch of several says something about Redis.
func (g *Gate) Finish(ctx context.Context, outcomes []seckill.Outcome) (failed error) {
	bySale, known := map[seckill.SaleID][]seckill.Outcome{}, map[seckill.SaleID]bool{}
	for _, o := range outcomes {
		id := o.Ticket.Sale
		known[id] = known[id] || o.Reason != seckill.ReasonNoSale
		bySale[id] = append(bySale[id], o)
	}
	told, amiss := false, map[seckill.SaleID]error{}
	for id, all := range bySale {
		for some := range slices.Chunk(all, finishMost) {
			err := g.finish(ctx, id, some)
			if !known[id] && errors.Is(err, seckill.ErrClosed) {
				continue // neither store nor gate knows the sale: there is nobody to tell
			}
			var over, first bool
			if errors.Is(err, seckill.ErrClosed) {
				over, first = g.closed.Over(id)
			}
			switch {
			case over:
				// What the rebuild does not see yet stays in the outbox, and the sweeper sends it again.
				if first {
					g.log.Error("gate: the outcomes of a sale that stays closed are left to its rebuild", "sale", id, "error", err)
				}
			case err == nil:
				told = true
				g.closed.Open(id)
			case g.apart(bucket(id)):
				g.keepUntold(bucket(id), some)
			case ofScript(err):
				amiss[id] = err
			default:
				failed = err
			}
		}
	}
	for id, err := range amiss {
		if len(amiss) > 1 && !told {
			failed = err
			continue
		}
		// The sweeper sends its tickets again, and settling tells the gate again.
		g.asides["keys"].Inc()
		g.log.Error("gate: outcomes cannot be told for one sale", "sale", id, "tickets", len(bySale[id]), "error", err)
	}
	g.waiters.Wake(outcomes)
	return failed
}

func (g *Gate) finish(ctx context.Context, id seckill.SaleID, outcomes []seckill.Outcome) error {
	answer, err := g.finishScript(ctx, id, outcomes)
	if err == nil {
		g.pacer.settle(len(outcomes))
		g.back(id, answer[1])
		g.damagedHolds(ctx, id, answer[2], never)
	}
	return err
}

// never: the scripts of outcomes and returns leave a hold that they cannot read.
func never(string) bool { return false }

// back takes the over flag down when the gate has units.
func (g *Gate) back(id seckill.SaleID, left rueidis.RedisMessage) {
	if n, err := left.AsInt64(); err == nil && n > 0 {
		g.flags.Clear(id)
	}
}

// Release takes back the units of tickets whose orders have ended, and frees the buyer if
// this is still the buyer's newest ticket. It may be repeated; each ticket counts once. Tickets read in another epoch are seckill.ErrStale:
// the rebuild has counted them, and another node may have brought them since.
func (g *Gate) Release(ctx context.Context, r seckill.Return) error {
	answer, err := g.releaseScript(ctx, r)
	if err != nil {
		return err
	}
	g.view(r.Sale).forget()
	g.back(r.Sale, answer[1])
	g.damagedHolds(ctx, r.Sale, answer[2], never)
	return nil
}
