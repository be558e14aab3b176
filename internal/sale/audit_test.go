package sale

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

func held(id, buyer string, quantity int, seq int64) seckill.Ticket {
	return seckill.Ticket{ID: id, Sale: 1, Buyer: buyer, Quantity: quantity, Seq: seq}
}

// healthy is a sale of 10: 4 at the gate, 1 pending, 3 active, 1 + 1 on their way.
func healthy() (seckill.Cut, seckill.Snapshot) {
	cut := seckill.Cut{Open: true, Left: 4, Seq: 5, Epoch: 1, Outbox: []seckill.Ticket{held("p", "pia", 1, 5)}}
	v := seckill.Snapshot{Sale: seckill.Sale{ID: 1, Total: 10, Sold: 3, Seq: 4, Epoch: 1}, Returning: 1, Growing: 1,
		Active: []seckill.Ticket{held("a", "ann", 2, 1), held("b", "bob", 1, 2)}, Outcomes: map[string]seckill.Reason{}}
	return cut, v
}

// scripted answers the audit's looks one after another; the last one stands.
type scripted struct {
	Store
	Gate
	cuts  []seckill.Cut
	looks []seckill.Snapshot
	moves []seckill.Move
	asked int
}

func next[T any](all *[]T) T {
	v := (*all)[0]
	if len(*all) > 1 {
		*all = (*all)[1:]
	}
	return v
}

func (s *scripted) Sale(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
	if id != 1 {
		return seckill.Sale{}, seckill.ErrNotFound
	}
	return seckill.Sale{ID: id}, nil
}

func (s *scripted) Cut(context.Context, seckill.SaleID) (seckill.Cut, error) {
	return next(&s.cuts), nil
}

func (s *scripted) Glance(_ context.Context, _ seckill.SaleID, most int) (seckill.Cut, error) {
	c := next(&s.cuts)
	if len(c.Outbox) > most {
		c.Outbox, c.Partial = nil, true
	}
	return c, nil
}

func (s *scripted) Look(context.Context, seckill.SaleID, []seckill.Ticket) (seckill.Snapshot, error) {
	s.asked++
	return next(&s.looks), nil
}

func (s *scripted) OpenMoves(context.Context) ([]seckill.Move, error) { return s.moves, nil }

func TestTheAuditReportsWhatStandsOnASecondLook(t *testing.T) {
	t.Parallel()
	fine, fineStore := healthy()
	moreAtGate, _ := healthy()
	moreAtGate.Left++
	_, oneSoldMore := healthy()
	oneSoldMore.Sale.Sold++
	_, twoOrders := healthy()
	twoOrders.Active = append(twoOrders.Active, held("c", "ann", 0, 3))
	// Nothing is at rest: the gate differs before and after each look.
	before, after := fine, fine
	after.Seq++

	for _, tt := range []struct {
		name  string
		cuts  []seckill.Cut
		looks []seckill.Snapshot
		want  []string
		asked int
	}{
		{"everything holds", []seckill.Cut{fine}, []seckill.Snapshot{fineStore}, nil, 1},
		{"it holds on the second look", []seckill.Cut{before, after, before, after}, []seckill.Snapshot{oneSoldMore, fineStore}, nil, 2},
		{"it holds on the third look", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, oneSoldMore, fineStore}, nil, 3},
		{"another one on each look", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, twoOrders}, nil, 2},
		{"it stands", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore}, []string{"counter"}, 3},
		{"one stands and one does not", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, oneSoldMore, func() seckill.Snapshot { v := twoOrders; v.Sale.Sold++; return v }()}, []string{"counter"}, 3},
		{"a unit too many at the gate, always", []seckill.Cut{moreAtGate, moreAtGate}, []seckill.Snapshot{func() seckill.Snapshot { v := fineStore; v.Sale.Total = 7; return v }()}, []string{"gate never over-promises"}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parts := &scripted{cuts: tt.cuts, looks: tt.looks}
				r, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
				require.NoError(t, err)
				var kinds []string
				for _, v := range r.Violations {
					kinds = append(kinds, seckill.Broken(v))
				}
				assert.Equal(t, tt.want, kinds)
				assert.Equal(t, len(tt.want) == 0, r.OK)
				assert.Equal(t, tt.asked, parts.asked)
				assert.NotNil(t, r.Violations, "a list in JSON, never null")
			})
		})
	}
}

// A stock move that is under way may be counted at one end, both, or none.
func TestTheAuditKnowsOfMovesThatAreUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cut := seckill.Cut{Open: true, Left: 7}
		v := seckill.Snapshot{Sale: seckill.Sale{ID: 1, Total: 10}}
		parts := &scripted{cuts: []seckill.Cut{cut}, looks: []seckill.Snapshot{v}, moves: []seckill.Move{{Sale: 1, ID: "less", Delta: -3}}}
		r, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
		require.NoError(t, err)
		require.Empty(t, r.Violations, "the gate has given up three units, and the store does not know")
		parts.moves[0].Sale = 2
		r, err = New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, r.Violations, 1)
		require.Equal(t, "conservation", seckill.Broken(r.Violations[0]), "a move of another sale is no excuse")
	})
}

func TestTheAuditEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cut, v := healthy()
		v.Sale.Sold++
		parts := &scripted{cuts: []seckill.Cut{cut}, looks: []seckill.Snapshot{v}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(ctx, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestTheAuditOfASaleThatDoesNotExistIsNotFound(t *testing.T) {
	t.Parallel()
	parts := &scripted{}
	_, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 2)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
