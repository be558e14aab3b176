package redisgate

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Who may write to Redis can put an entry back with another number, which is not under its seal:
// the ticket goes on with one that the gate has given, and the sale is not at the end of its
// numbers, after a rebuild neither.
func TestAForgedNumberIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, forged := range map[string]int64{"the last one of all": seckill.MaxSeq, "the last one of a gate": lastSeq, "one that is not given yet": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := freshGate(t, 100)
			sale := onSale(t, g, 50)
			ann := admit(t, g, sale.ID, "ann")
			page, err := g.page(t.Context(), 1, "-", "+", pageSize)
			require.NoError(t, err)
			entry := page[0].FieldValues
			require.NoError(t, do(t, g, "XDEL", g.outboxKey(1), page[0].ID).Error())
			fields := ann + ",1,1," + strconv.FormatInt(forged, 10) + "," + strconv.FormatInt(time.Now().UnixMilli(), 10) + ",ann"
			at, err := do(t, g, "XADD", g.outboxKey(1), "*", "t", fields, "s", entry["s"]).ToString()
			require.NoError(t, err)
			held := seckill.Ticket{ID: ann, Sale: 1, Buyer: "ann", Quantity: 1, Seq: forged}
			require.NoError(t, do(t, g, "HSET", g.holdsKey(1), "ann", hold(pending, &held, at, g.asked(held))).Error())

			tickets, err := g.Unsent(t.Context(), 10)
			require.NoError(t, err)
			require.Len(t, tickets, 1)
			require.Equal(t, ann, tickets[0].ID)
			require.EqualValues(t, 1, tickets[0].Seq)
			require.True(t, g.seals.Genuine(&tickets[0]))
			require.EqualValues(t, 1, asides(t, g, "outbox"), "it rings")
			again, err := swept(t, g, 1)
			require.NoError(t, err)
			require.Equal(t, tickets, again, "it is still waited for")

			outbox, err := g.Shut(t.Context(), []seckill.SaleID{1})
			require.NoError(t, err)
			sale.Epoch = 2
			require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: sale, Outbox: outbox[1]}}))
			admit(t, g, sale.ID, "bob")
			cut, err := g.Cut(t.Context(), sale.ID)
			require.NoError(t, err)
			require.LessOrEqual(t, cut.Seq, int64(4))
			require.Len(t, cut.Outbox, 2)
		})
	}
}

// A last number that no gate has given is damage: the sale is rebuilt from what the store says.
func TestASaleIsNotBroughtToTheEndOfItsNumbers(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	for forged, want := range map[int64]int{lastSeq: 1, seckill.MostAhead + 1: 1, seckill.MostAhead: 0} {
		require.NoError(t, do(t, g, "HSET", g.saleKey(1), fieldSeq, strconv.FormatInt(forged, 10)).Error())
		outdated, err := g.Outdated(t.Context(), []seckill.Sale{sale})
		require.NoError(t, err)
		require.Len(t, outdated, want, forged)
		_, err = g.Shut(t.Context(), []seckill.SaleID{1})
		require.NoError(t, err)
		sale.Epoch++
		require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: sale}}))
		require.Equal(t, "0", func() string { s, _ := do(t, g, "HGET", g.saleKey(1), fieldSeq).ToString(); return s }())
	}
}
