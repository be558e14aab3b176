package redisgate

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/redis/rueidis"

	"seckill"
)

// finishMost is the most outcomes in one call: a function of Lua takes no more than some
// thousand arguments.
const finishMost = 1024

// lateMost is the most outcomes that a node keeps for sales that stay closed, some 400 bytes
// each. Beyond it the sweeper sends their tickets again, and settling tells the gate again.
const lateMost = 50_000

// Finish tells the gate what became of tickets, any number of times. A refusal
// frees its buyer and returns its units once, unless the store had none. While
// a sale is closed it fails, after the other sales have been told, since the rebuild has to read
// the outcomes first; one that stays closed (see gate.Closings) is told when it is open. Outcomes
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
				g.keepLate(id, some)
				if first {
					g.log.Error("gate: the outcomes of a sale that stays closed are told when it is open", "sale", id, "error", err)
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

// keepLate keeps outcomes of a sale that stays closed. Its tickets may be sent and settled
// again meanwhile.
func (g *Gate) keepLate(id seckill.SaleID, outcomes []seckill.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	room := lateMost
	for _, late := range g.late {
		room -= len(late)
	}
	if g.late[id] == nil {
		g.late[id] = map[string]seckill.Outcome{}
	}
	for _, o := range outcomes[:min(room, len(outcomes))] {
		g.late[id][o.Ticket.ID] = o
	}
}

// tellLate tells the outcomes that were kept for sales which are open now, whichever node has
// opened them. What the rebuild has read itself changes nothing.
func (g *Gate) tellLate(ctx context.Context) {
	g.mu.Lock()
	ids := slices.Collect(maps.Keys(g.late))
	g.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	open, _ := g.States(ctx, ids) // the others are asked again soon
	for id := range open {
		g.mu.Lock()
		late := slices.Collect(maps.Values(g.late[id]))
		delete(g.late, id)
		g.mu.Unlock()
		g.closed.Open(id)
		if err := g.Finish(ctx, late); err != nil {
			g.keepLate(id, late)
		}
	}
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
