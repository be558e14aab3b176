package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"seckill/internal/stack"
)

// wire is the connection of one node to one engine.
type wire struct {
	engine *stack.Engine
	*toxiproxy.Proxy
	relaid int // how often it had to be laid anew
}

const (
	strike  = "strike"        // the name of the toxic at work
	mending = 5 * time.Second // for a wire to become as it was
)

func newWire(e *stack.Engine) (*wire, error) {
	w := &wire{engine: e}
	listen, err := stack.Address()
	if err != nil {
		return nil, err
	}
	return w, w.lay(listen)
}

func (w *wire) lay(listen string) error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	w.Proxy = toxiproxy.NewProxy(server, string(w.engine.Kind()), listen, w.engine.Addr())
	return w.Start()
}

// url is what the node connects to.
func (w *wire) url() string { return strings.Replace(w.engine.URL(), w.engine.Addr(), w.Listen, 1) }

// poison makes the wire delay or reset: everything that runs over it from now on,
// towards the node (downstream) or the engine (upstream).
func (w *wire) poison(kind, stream string, toxicity float32, attributes string) error {
	_, err := w.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"toxicity":%f,"attributes":%s}`, strike, kind, stream, toxicity, attributes)))
	return err
}

// reset makes a wire that was poisoned to reset do it, or not.
func (w *wire) reset(does bool, attributes string) error {
	toxicity := 0
	if does {
		toxicity = 1
	}
	return w.within(func() error {
		_, err := w.Toxics.UpdateToxicJson(strike, strings.NewReader(fmt.Sprintf(`{"toxicity":%d,"attributes":%s}`, toxicity, attributes)))
		if errors.Is(err, toxiproxy.ErrToxicNotFound) {
			return nil // laid anew meanwhile
		}
		return err
	})
}

// heal takes the poison away. What was delayed arrives.
func (w *wire) heal() error {
	return w.within(func() error {
		if err := w.Toxics.RemoveToxic(context.Background(), strike); !errors.Is(err, toxiproxy.ErrToxicNotFound) {
			return err
		}
		return nil
	})
}

// within calls f, which never returns when a connection ends at the same moment: the
// library waits for a reader that is gone. Then the wire is laid anew, and f is done.
func (w *wire) within(f func() error) error {
	p, done := w.Proxy, make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(mending)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	listen := p.Listen
	w.relaid++
	go p.Stop()
	for until := time.Now().Add(mending); ; {
		err := w.lay(listen)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

// mend lets connections be made again.
func (w *wire) mend() error {
	// The port is free again, but the kernel may be late to know.
	for until := time.Now().Add(mending); ; {
		err := w.Start()
		if err == nil || errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) || time.Now().After(until) {
			return err
		}
	}
}
