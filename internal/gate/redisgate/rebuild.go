package redisgate

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

const (
	holdsAtOnce = 500              // holds written in one call of a rebuild
	asideLife   = 10 * time.Minute // the holds that a rebuild has prepared are deleted when it has written no more of them for so long
)

// Outdated returns those of the sales whose state at this gate must be rebuilt. With an
// error it is those that it could ask about.
func (g *Gate) Outdated(ctx context.Context, sales []seckill.Sale) (ids []seckill.SaleID, err error) {
	var commands rueidis.Commands
	var asked []*seckill.Sale
	var client rueidis.Client
	for i := range sales {
		c, down := g.up(bucket(sales[i].ID))
		if down != nil {
			err = down
			continue
		}
		client, asked = c, append(asked, &sales[i])
		commands = append(commands, c.B().Hmget().Key(g.saleKey(sales[i].ID)).Field(fieldOpen, fieldEpoch, fieldRetired, fieldVersion, fieldSeq, fieldForm, fieldLimit, fieldFinished, fieldOpens, fieldCloses, fieldLeft, fieldMissing).Build())
	}
	if len(asked) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*g.patience)
	defer cancel()
	var known []seckill.SaleID
	for i, answer := range client.DoMulti(ctx, commands...) {
		sale := asked[i]
		s, gone := answer.AsStrSlice()
		if gone != nil && !mistyped(gone) {
			err = g.failed(bucket(sale.ID), gone)
			continue
		}
		if gone != nil || s[0] == "1" && damaged(s, sale) {
			if closed := g.damagedSale(ctx, sale.ID); !errors.Is(closed, seckill.ErrClosed) {
				err = closed
			}
			ids, known = append(ids, sale.ID), append(known, sale.ID)
			continue
		}
		state := seckill.GateState{Open: s[0] == "1", Epoch: number(s[1]), Retired: s[2] == "1", Version: number(s[3]), Seq: number(s[4])}
		if s[5] == holdForm {
			g.noteFormed(sale.ID)
		}
		// A state of an earlier version is rebuilt, which seals its holds. So is one that lacks a
		// hold: the outcome of that buyer's ticket takes no entry out of the outbox.
		if state.Outdated(sale) || s[5] != holdForm || s[11] == "1" {
			ids = append(ids, sale.ID)
		}
		if known = append(known, sale.ID); sale.Retired {
			g.mu.Lock()
			delete(g.views, sale.ID)
			g.mu.Unlock()
		}
	}
	g.flags.Add(known...)
	return ids, err
}

// damaged reports whether the state of an open sale has a number that is none, or a last admission
// number that no gate has given.
func damaged(s []string, sale *seckill.Sale) bool {
	for i, n := range s {
		switch i {
		case 1, 3, 4, 6, 7: // epoch, version, seq, limit, finished
			if !readable(n) || number(n) < 0 {
				return true
			}
		case 8, 9: // opens, closes
			if !readable(n) {
				return true
			}
		case 10: // left
			if !leftReadable(n) {
				return true
			}
		}
	}
	return number(s[4]) > min(sale.Seq+seckill.MostAhead, lastSeq) && sale.Seq <= lastSeq
}

// States returns what the gate says of the sales that it has open. With an error it is
// those that it could ask about.
func (g *Gate) States(ctx context.Context, ids []seckill.SaleID) (_ map[seckill.SaleID]seckill.GateState, err error) {
	var commands rueidis.Commands
	var asked []seckill.SaleID
	var client rueidis.Client
	for _, id := range ids {
		c, down := g.up(bucket(id))
		if down != nil {
			err = down
			continue
		}
		client, asked = c, append(asked, id)
		commands = append(commands, c.B().Hmget().Key(g.saleKey(id)).Field(fieldOpen, fieldEpoch, fieldRetired, fieldVersion, fieldSeq, fieldLeft, fieldFinished, fieldPaused, fieldEnded).Build())
	}
	if len(asked) == 0 {
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	all := make(map[seckill.SaleID]seckill.GateState, len(asked))
	for i, answer := range client.DoMulti(ctx, commands...) {
		s, gone := answer.AsStrSlice()
		if mistyped(gone) {
			_ = g.damagedSale(ctx, asked[i]) // it is not open
			continue
		}
		if gone != nil {
			err = g.failed(bucket(asked[i]), gone)
			continue
		}
		if s[0] == "1" {
			all[asked[i]] = seckill.GateState{Open: true, Epoch: number(s[1]), Retired: s[2] == "1", Version: number(s[3]), Seq: number(s[4]),
				Left: number(s[5]), Finished: number(s[6]), Paused: s[7] == "1", Ended: s[8] == "1"}
		}
	}
	return all, err
}

// Shut closes sales for a rebuild and returns what the outbox holds for them.
// Whoever shuts last may load.
func (g *Gate) Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error) {
	token := rand.Text()
	wanted := map[seckill.SaleID]bool{}
	buckets := map[int]bool{}
	for _, id := range ids {
		wanted[id], buckets[bucket(id)] = true, true
		err := g.shutScript(ctx, id, token)
		if mistyped(err) {
			_ = g.damagedSale(ctx, id)
			err = g.shutScript(ctx, id, token)
		}
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		g.shut[id] = token
		g.mu.Unlock()
	}
	outbox := map[seckill.SaleID][]seckill.Ticket{}
	for b := range buckets {
		err := g.entries(ctx, b, "+", pageSize, 0, func(t *found) {
			if wanted[t.Sale] {
				outbox[t.Sale] = append(outbox[t.Sale], t.Ticket)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return outbox, nil
}

// Load opens sales with the state that the snapshots say. Tickets without an
// outcome stay in the outbox, from where they are sent again.
func (g *Gate) Load(ctx context.Context, snapshots []seckill.Snapshot) error {
	for i := range snapshots {
		if err := g.load(ctx, &snapshots[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gate) load(ctx context.Context, v *seckill.Snapshot) error {
	id := v.Sale.ID
	client, err := g.up(bucket(id))
	if err != nil {
		return err
	}
	g.mu.Lock()
	token := g.shut[id]
	delete(g.shut, id)
	g.mu.Unlock()

	holds := make([]string, 0, 2*(len(v.Active)+len(v.Outbox)))
	for _, t := range v.Active {
		holds = append(holds, t.Buyer, hold(placed, &t, noEntry, g.asked(t)))
	}
	seq, final := v.Sale.Seq, []string(nil)
	var strange []string // holds of buyers who may have none else
	err = g.entries(ctx, bucket(id), "+", pageSize, 0, func(f *found) {
		t := f.Ticket
		if t.Sale != id {
			return
		}
		if _, known := v.Outcomes[t.ID]; known {
			final = append(final, f.entry)
			return
		}
		t.Seq = f.number // the sale may have lost its own; half the way, or the next buyers would have too many again
		if t.Seq <= min(v.Sale.Seq+seckill.MostAhead/2, lastSeq) {
			seq = max(seq, t.Seq)
		}
		g.mu.Lock()
		delete(g.sent, t.ID) // it is sent again, by whichever node claims it
		g.mu.Unlock()
		if f.strange {
			strange = append(strange, t.Buyer, hold(pending, &t, f.entry, t.Seal))
			return
		}
		holds = append(holds, t.Buyer, hold(pending, &t, f.entry, g.asked(t)))
	})
	if err != nil {
		return err
	}
	holds = append(strange, holds...) // what comes later is written over what came before
	// What has its outcome goes first: if Redis is full, that makes room for the holds.
	for some := range slices.Chunk(final, pageSize) {
		ctx, cancel := g.bound(ctx)
		err := client.Do(ctx, client.B().Xdel().Key(g.outboxKey(bucket(id))).Id(some...).Build()).Error()
		cancel()
		if err != nil {
			return g.fail(bucket(id), err)
		}
	}
	// The new holds are written beside the old ones, and take their place in the script
	// that opens the sale, if they are all there still.
	held := map[string]bool{}
	for some := range slices.Chunk(holds, 2) {
		held[some[0]] = true
	}
	for some := range slices.Chunk(holds, 2*holdsAtOnce) {
		if err := g.holdScript(ctx, id, token, some); err != nil {
			return err
		}
	}
	// A sale with a newer epoch is left as it is.
	if _, err = g.openScript(ctx, v, token, len(held), seq); err != nil {
		return err
	}
	g.noteFormed(id)
	g.flags.Add(id)
	g.flags.Clear(id)
	g.closed.Open(id)
	g.view(id).forget()
	return nil
}
