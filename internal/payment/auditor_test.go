package payment

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"seckill"
)

// ledgers is a store of sales whose money is not explained.
type ledgers struct {
	Store // of everything else nobody asks
	sales int
	wrong map[seckill.SaleID]int64
	asked int
}

func (l *ledgers) Sales(_ context.Context, before seckill.SaleID, max int) (all []seckill.Sale, err error) {
	if before == 0 {
		before = seckill.SaleID(l.sales + 1)
	}
	for id := before - 1; id > 0 && len(all) < max; id-- {
		all = append(all, seckill.Sale{ID: id, Retired: id < 1000})
	}
	return all, nil
}

func (l *ledgers) Money(_ context.Context, sale seckill.SaleID) ([]seckill.Money, error) {
	l.asked++
	return []seckill.Money{{Currency: "CNY", Captured: 100 + l.wrong[sale], Held: 100}}, nil
}

// Every sale comes by, however old, and money of no sale each time; a round is bounded.
func TestTheAuditOfMoneyCoversEverything(t *testing.T) {
	t.Parallel()
	const sales = 3100
	store := &ledgers{sales: sales, wrong: map[seckill.SaleID]int64{}}
	p := New(Config{Store: store, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	var at tally
	shown := func() float64 {
		store.asked = 0
		p.count(t.Context(), &at)
		p.unexplained(&at)
		require.LessOrEqual(t, store.asked, 1+2*countPage)
		currency := "CNY"
		if len(at.wrong) == 0 {
			currency = ""
		}
		require.Equal(t, 1, testutil.CollectAndCount(p.metrics.unexplained))
		return testutil.ToFloat64(p.metrics.unexplained.WithLabelValues(currency))
	}
	rounds := func() (all []float64) {
		for range sales/countPage + 2 {
			all = append(all, shown())
		}
		return all
	}
	require.Zero(t, shown())
	store.wrong[0], store.wrong[sales] = 7, -5
	require.EqualValues(t, 12, shown(), "of no sale, and of the newest")
	store.wrong[1] = 100 // retired, and behind very many others
	store.wrong[sales/2] = 1
	require.EqualValues(t, 113, rounds()[sales/countPage+1])
	clear(store.wrong)
	require.EqualValues(t, 0, rounds()[sales/countPage+1])
	p.unexplained(&tally{})
	require.Zero(t, testutil.ToFloat64(p.metrics.unexplained.WithLabelValues("")), "on a node that does not count")
}
