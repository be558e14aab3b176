package payment

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// clocks is a store whose clock is a minute ahead.
type clocks struct {
	Store
	pulses, looks int
}

func (c *clocks) Pulse(context.Context) (time.Time, error) { c.pulses++; return time.Now(), nil }
func (c *clocks) Clock(context.Context) (time.Time, error) { c.looks++; return time.Now(), nil }
func (c *clocks) Skew() time.Duration                      { return time.Minute }

// A node at which nobody pays, an expirer say, says of its clock what every other one says,
// and does not tell the store that buyers can pay.
func TestEveryNodeLooksAtItsClock(t *testing.T) {
	t.Parallel()
	for _, pays := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := &clocks{}
			p := Pulse{Payments: New(Config{Store: store, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}), Pays: pays}
			ctx, cancel := context.WithTimeout(t.Context(), 3*pulseCheck/2)
			defer cancel()
			require.NoError(t, p.Run(ctx))
			require.Equal(t, pays, store.pulses > 0)
			require.Equal(t, !pays, store.looks > 0)
			require.Equal(t, 60.0, testutil.ToFloat64(p.metrics.skew))
		})
	}
}
