package e2e

import (
	"context"
	"errors"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"seckill/internal/duty"
	"seckill/internal/stack"
)

// part is what nodes work with and a test takes away for a while: an engine of its own, or the
// wire to a shared one.
type part interface {
	Kind() stack.Kind
	Kill() error
	Start(ctx context.Context) error
}

// wire is the way to an engine. Who goes by it finds an engine that is killed: the connections
// are closed, and none can be made until it is started again.
type wire struct {
	*toxiproxy.Proxy
	kind stack.Kind
}

func layWire(t *testing.T, e *stack.Engine) *wire {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	w := &wire{toxiproxy.NewProxy(server, string(e.Kind()), address(t), e.Addr()), e.Kind()}
	must(t, w.Proxy.Start())
	t.Cleanup(w.Stop)
	return w
}

func (w *wire) Kind() stack.Kind { return w.kind }

func (w *wire) Kill() error {
	w.Stop()
	return nil
}

// Start tries again where the kernel is late to know that the port is free.
func (w *wire) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := w.Proxy.Start()
		if err == nil || errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			return nil
		}
		if late := duty.Rest(ctx, often); late != nil {
			return errors.Join(err, late)
		}
	}
}
