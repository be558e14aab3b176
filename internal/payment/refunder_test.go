package payment

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"seckill"
)

// owing is a store of refunds that are due. Some cannot be noted, and nothing that was told
// early can be entered.
type owing struct {
	Store
	listed, due []seckill.Refund
	broken      string // the id of one that cannot be noted
	tried       []string
}

var errStore = errors.New("the store does not take it")

func (o *owing) EarlyRefunds(context.Context, int) ([]seckill.Callback, error) {
	return []seckill.Callback{{Event: "e"}}, nil
}

func (o *owing) TakeEarly(context.Context, seckill.Callback) (seckill.Received, error) {
	return seckill.Received{}, errStore
}

func (o *owing) DueRefunds(context.Context, int) ([]seckill.Refund, error) { return o.listed, nil }

func (o *owing) DueRefund(_ context.Context, id string) (seckill.Refund, error) {
	for _, f := range o.due {
		if f.ID == id {
			return f, nil
		}
	}
	return seckill.Refund{}, seckill.ErrNotFound
}

func (o *owing) RefundTried(_ context.Context, f seckill.Refund, confirmed bool, _ time.Duration, _ string) error {
	if f.ID == o.broken {
		return errStore
	}
	if confirmed {
		o.tried = append(o.tried, f.ID)
	}
	return nil
}

// gives gives back whatever it is asked for, at once.
type gives struct {
	Provider
	asked []int64
}

func (*gives) Name() seckill.Provider { return seckill.ProviderShop }

func (g *gives) Refund(_ context.Context, f seckill.Refund) (string, error) {
	g.asked = append(g.asked, f.Amount)
	return f.ID, nil
}

// What cannot be entered or noted, and what was given back while others were asked for, stops
// no refund behind it.
func TestOneRefundStopsNoOther(t *testing.T) {
	t.Parallel()
	of := func(id string, amount int64) seckill.Refund {
		return seckill.Refund{ID: id, Provider: seckill.ProviderShop, Amount: amount}
	}
	o := &owing{listed: []seckill.Refund{of("broken", 1), of("settled meanwhile", 2), of("less by now", 3), of("last", 4)},
		due: []seckill.Refund{of("broken", 1), of("less by now", 2), of("last", 4)}, broken: "broken"}
	shop := &gives{}
	p := New(Config{Store: o, Provider: shop, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	n, err := p.giveBack(t.Context())
	require.ErrorIs(t, err, errStore)
	require.Equal(t, 2, n)
	require.Equal(t, []string{"less by now", "last"}, o.tried)
	require.Equal(t, []int64{1, 2, 4}, shop.asked)
}
