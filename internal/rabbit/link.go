package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/duty"
)

const (
	// MinPause and MaxPause are the shortest and the longest pause between two tries to
	// connect. Those who wait for a connection use them too.
	MinPause = 50 * time.Millisecond
	MaxPause = 5 * time.Second

	steadyAfter = 10 * time.Second // after a session that lasted this long the pauses begin at MinPause again
	// answerLimit is how old the broker's last answer may be. A link without a newer answer
	// counts as down, although its connection may still be open.
	answerLimit = 3 * time.Second
)

// link keeps the connection of one end.
type link struct {
	broker *Broker
	end    End
	serve  func(context.Context, *Session) error
	around func(ctx context.Context, keep func(context.Context)) // nil: nothing
	wanted atomic.Bool
	gauge  prometheus.Gauge
	next   int // of the addresses, for the next connection
	// reports is set on one link of a node, which keeps the gauges of the queues.
	reports bool

	mu   sync.Mutex
	err  error     // why there is no connection, nil while there is one
	seen time.Time // when the broker last answered
}

// use notes that this node uses the end, before run. There are no metrics of other ends.
func (l *link) use() {
	l.gauge = l.broker.metrics.connected.WithLabelValues(l.end.String())
	l.wanted.Store(true)
}

// run connects, declares and serves, again and again, until ctx is done.
func (l *link) run(ctx context.Context) {
	log := l.broker.Log.With("end", l.end.String(), "broker", l.broker.Settings.String())
	pause, complaint := duty.Backoff{First: MinPause, Most: MaxPause, Spread: true}, duty.Complaint{}
	for {
		began := time.Now()
		err := l.session(ctx, func(ctx context.Context, s *Session) error {
			log.Info("queue: connected", "to", s.conn.RemoteAddr().String())
			complaint.New(nil)
			return l.serve(ctx, s)
		})
		if ctx.Err() != nil {
			l.set(errors.New("stopped"))
			return
		}
		l.set(err)
		if complaint.New(err) {
			log.Warn("queue: not connected; trying again until it works", "error", err)
		}
		if time.Since(began) > steadyAfter {
			pause.Reset()
		}
		duty.Rest(ctx, pause.Next())
	}
}

func (l *link) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.seen = err, time.Now()
	l.gauge.Set(0)
	if err == nil {
		l.gauge.Set(1)
	}
	if l.end == owning {
		l.broker.own.news.Send()
	}
}

func (l *link) saw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = time.Now()
}

// down returns the reason why the link cannot be used, or nil.
func (l *link) down() error {
	if l.end != owning {
		if err := l.broker.notOwned(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return fmt.Errorf("%w: %w", seckill.ErrUnavailable, l.err)
	}
	if silent := time.Since(l.seen); silent > answerLimit {
		return fmt.Errorf("%w: the broker has not answered for %v", seckill.ErrUnavailable, silent.Round(time.Millisecond))
	}
	return nil
}
