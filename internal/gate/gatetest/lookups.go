package gatetest

import (
	"context"
	"sync"

	"github.com/stretchr/testify/require"

	"seckill"
)

// lookups is what the relay and those who ask for their result get.
var lookups = []behaviour{
	{
		name: "the relay gets every ticket as it was admitted, in batches of at most max",
		test: func(w *World) {
			want := []string{w.Admit("ann", 1).ID, w.Admit("bob", 2).ID, w.Admit("cid", 3).ID}
			var got []string
			for len(got) < 3 {
				some, err := w.Unsent(context.Background(), 2)
				require.NoError(w.t, err)
				require.LessOrEqual(w.t, len(some), 2)
				require.NoError(w.t, w.Sent(context.Background(), some))
				got = append(got, IDs(some)...)
			}
			require.Equal(w.t, want, got)
			w.HasOutbox(seckill.Ticket{ID: want[0]}, seckill.Ticket{ID: want[1]}, seckill.Ticket{ID: want[2]})
		},
	},
	{
		name: "find tells where a buyer's newest ticket stands",
		test: func(w *World) {
			ctx := context.Background()
			_, err := w.Find(ctx, SaleID, "ann", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound)
			first, second := w.Admit("ann", 1), w.Admit("bob", 2)
			p, err := w.Find(ctx, SaleID, "bob", "")
			require.NoError(w.t, err)
			require.Equal(w.t, []any{second.ID, "bob", 2, false, int64(2)}, []any{p.Ticket.ID, p.Ticket.Buyer, p.Ticket.Quantity, p.Final, p.Position})
			w.Settle(seckill.ReasonNone, first)
			p, err = w.Find(ctx, SaleID, "bob", second.ID)
			require.NoError(w.t, err)
			require.EqualValues(w.t, 1, p.Position)
			p, err = w.Find(ctx, SaleID, "ann", first.ID)
			require.NoError(w.t, err)
			require.True(w.t, p.Final && p.Placed())
			require.Equal(w.t, first.ID, p.Order())
			_, err = w.Find(ctx, SaleID, "ann", second.ID)
			require.ErrorIs(w.t, err, seckill.ErrNotFound, "somebody else's")
			w.Settle(seckill.ReasonLimit, second)
			_, err = w.Find(ctx, SaleID, "bob", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound, "the store knows why it was refused")
		},
	},
	{
		name: "find tells of a newer ticket as soon as there is one",
		test: func(w *World) {
			first := w.Admit("ann", 1)
			w.Settle(seckill.ReasonNone, first)
			w.Store.end(first)
			w.BringBack(first)
			p, err := w.Find(context.Background(), SaleID, "ann", "")
			require.NoError(w.t, err)
			require.Equal(w.t, first.ID, p.Ticket.ID)
			second := w.Admit("ann", 1)
			p, err = w.Find(context.Background(), SaleID, "ann", "")
			require.NoError(w.t, err)
			require.Equal(w.t, second.ID, p.Ticket.ID)
			require.False(w.t, p.Final)
		},
	},
	{
		name: "that a buyer never had a ticket is said by the state that was made with the sale, of buyers it has never seen",
		test: func(w *World) {
			finds := func(buyer, ticket string) error {
				_, err := w.Find(context.Background(), SaleID, buyer, ticket)
				return err
			}
			require.ErrorIs(w.t, finds("ann", ""), seckill.ErrNoTicket)
			ann := w.Admit("ann", 1)
			require.ErrorIs(w.t, finds("bob", ann.ID), seckill.ErrNoTicket, "somebody else's")
			require.NotErrorIs(w.t, finds("ann", seckill.NewTicketID(w.Clock.Now())), seckill.ErrNoTicket, "it may be an older one")
			w.Settle(seckill.ReasonLimit, ann)
			require.NotErrorIs(w.t, finds("ann", ""), seckill.ErrNoTicket, "it was refused")
			bob := w.Admit("bob", 1)
			w.Settle(seckill.ReasonNone, bob)
			w.Store.end(bob)
			w.BringBack(bob)
			require.NotErrorIs(w.t, finds("bob", seckill.NewTicketID(w.Clock.Now())), seckill.ErrNoTicket)
			w.Rebuild()
			for _, buyer := range []string{"ann", "bob", "cid"} {
				err := finds(buyer, "")
				require.ErrorIs(w.t, err, seckill.ErrNotFound)
				require.NotErrorIs(w.t, err, seckill.ErrNoTicket, "a gate that was rebuilt does not know whose tickets are over")
			}
		},
	},
	{
		name: "a wait ends with the outcome, for everybody who waits",
		test: func(w *World) {
			ticket := w.Admit("ann", 1)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var waiting sync.WaitGroup
			for range 3 {
				waiting.Go(func() { w.Wait(ctx, SaleID, "ann", ticket.ID) })
			}
			w.Settle(seckill.ReasonNone, ticket)
			waiting.Wait()
			w.Wait(ctx, SaleID, "ann", ticket.ID) // at once: it is known
			require.NoError(w.t, ctx.Err(), "somebody has waited for nothing")
		},
	},
	{
		name: "a wait ends with its context",
		test: func(w *World) {
			ticket := w.Admit("ann", 1)
			asking, leave := context.WithCancel(context.Background())
			waiting, over := context.WithTimeout(context.Background(), patience)
			go leave()
			go func() {
				defer over()
				w.Wait(asking, SaleID, "ann", ticket.ID)
			}()
			<-waiting.Done()
			require.ErrorIs(w.t, waiting.Err(), context.Canceled, "it goes on")
		},
	},
}
