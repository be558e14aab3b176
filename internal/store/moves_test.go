package store

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

// begin and finish are the two ends of a stock move in the store.
func (s *shop) begin(sale seckill.SaleID, id string, delta int64) seckill.Move {
	s.t.Helper()
	m, err := s.BeginMove(context.Background(), seckill.Move{Sale: sale, ID: id, Delta: delta})
	require.NoError(s.t, err)
	return m
}

func (s *shop) finish(m seckill.Move, applied bool, epoch int64) bool {
	s.t.Helper()
	m.Epoch = epoch
	done, err := s.FinishMove(context.Background(), m, applied)
	require.NoError(s.t, err)
	return done
}

func (s *shop) openMoves() (ids []string) {
	s.t.Helper()
	moves, err := s.OpenMoves(context.Background())
	require.NoError(s.t, err)
	for _, m := range moves {
		ids = append(ids, m.ID)
	}
	return ids
}

func testGrowth(t *testing.T, s *shop) {
	sale := s.open(5)
	m := s.begin(sale.ID, "more", 3)
	require.False(t, m.Done)
	require.Equal(t, m, s.begin(sale.ID, "more", 3), "a repeat finds it")
	v := s.look(sale.ID)
	require.Equal(t, []int64{8, 3, 5}, []int64{v.Sale.Total, v.Growing, v.Left()})
	require.Equal(t, []string{"more"}, s.openMoves())
	require.True(t, s.finish(m, true, 0))
	require.True(t, s.finish(m, true, 0))
	v = s.look(sale.ID)
	require.Equal(t, []int64{8, 0, 8}, []int64{v.Sale.Total, v.Growing, v.Left()})
	require.Empty(t, s.openMoves())
	require.True(t, s.begin(sale.ID, "more", 3).Done)
	require.EqualValues(t, 8, s.look(sale.ID).Sale.Total)
	_, err := s.BeginMove(t.Context(), seckill.Move{Sale: sale.ID, ID: "far", Delta: seckill.MaxTotal})
	var field *seckill.FieldError
	require.ErrorAs(t, err, &field)
	require.Empty(t, s.openMoves())
}

func testShrink(t *testing.T, s *shop) {
	sale := s.open(5)
	m := s.begin(sale.ID, "less", -3)
	v := s.look(sale.ID)
	require.Equal(t, []int64{5, 0, 5}, []int64{v.Sale.Total, v.Growing, v.Left()}, "until the gate agrees nothing changes")
	require.True(t, s.finish(m, true, 0))
	require.True(t, s.finish(m, true, 0))
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)

	refused := s.begin(sale.ID, "too much", -3)
	require.True(t, s.finish(refused, false, 0))
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)
	require.Empty(t, s.openMoves(), "a refused move is forgotten")
	require.False(t, s.begin(sale.ID, "too much", -1).Done)
	require.True(t, s.finish(m, false, 0), "a refusal that comes late")
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)
	s.invariants(t)
}

func testFinishMove(t *testing.T, s *shop) {
	sale := s.open(5)
	snapshots, err := s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, nil)
	require.NoError(t, err)
	epoch := snapshots[0].Sale.Epoch
	more, less, no := s.begin(sale.ID, "more", 4), s.begin(sale.ID, "less", -2), s.begin(sale.ID, "no", -9)
	snapshots, err = s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, nil)
	require.NoError(t, err)
	require.Equal(t, []int64{9, 4, 5}, []int64{snapshots[0].Sale.Total, snapshots[0].Growing, snapshots[0].Left()})
	require.False(t, s.finish(more, true, epoch))
	require.False(t, s.finish(less, true, epoch))
	require.False(t, s.finish(no, false, epoch))
	require.ElementsMatch(t, []string{"more", "less", "no"}, s.openMoves())
	require.EqualValues(t, 9, s.look(sale.ID).Sale.Total)
	require.True(t, s.finish(more, true, epoch+1))
	require.True(t, s.finish(less, true, epoch+1))
	require.True(t, s.finish(no, false, epoch+1))
	require.Empty(t, s.openMoves())
	require.EqualValues(t, 7, s.look(sale.ID).Sale.Total)
}

func testMoveID(t *testing.T, s *shop) {
	one, two := s.open(5), s.open(5)
	s.begin(one.ID, "a", 3)
	s.begin(two.ID, "a", -3) // an id is a sale's own
	_, err := s.BeginMove(t.Context(), seckill.Move{Sale: one.ID, ID: "a", Delta: 4})
	require.ErrorIs(t, err, seckill.ErrState)
	require.EqualValues(t, 8, s.look(one.ID).Sale.Total)
	_, err = s.BeginMove(t.Context(), seckill.Move{Sale: 999, ID: "a", Delta: 4})
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
