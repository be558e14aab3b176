package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// paper is an outbox in memory that keeps the contract: what was not noted as
// sent comes again after restart.
type paper struct {
	mu     sync.Mutex
	unsent []seckill.Ticket
	taken  []seckill.Ticket
	sent   map[string]bool
	fails  int // this many calls fail
	calls  int
	more   chan struct{}
}

func newPaper(n int) *paper {
	p := &paper{sent: map[string]bool{}, more: make(chan struct{}, 1)}
	for i := range n {
		p.unsent = append(p.unsent, seckill.Ticket{ID: fmt.Sprint("t", i)})
	}
	return p
}

func (p *paper) Unsent(ctx context.Context, max int) ([]seckill.Ticket, error) {
	p.mu.Lock()
	p.calls++
	if p.fails > 0 {
		p.fails--
		p.mu.Unlock()
		return nil, errors.New("the outbox is down")
	}
	n := min(max, len(p.unsent))
	some := p.unsent[:n:n]
	p.unsent, p.taken = p.unsent[n:], append(p.taken, some...)
	p.mu.Unlock()
	if n > 0 {
		return some, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p *paper) Sent(_ context.Context, tickets []seckill.Ticket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range tickets {
		p.sent[t.ID] = true
	}
	return nil
}

// pipe is a queue's near end whose answers are scripted: how many of a batch it
// confirms, and with what error.
type pipe struct {
	script []func(n int) (confirmed int, err error)
	got    []seckill.Ticket
	calls  int
}

func (p *pipe) Publish(_ context.Context, tickets []seckill.Ticket) ([]seckill.Ticket, error) {
	p.calls++
	confirmed, err := len(tickets), error(nil)
	if len(p.script) > 0 {
		confirmed, err = p.script[0](len(tickets))
		p.script = p.script[1:]
	}
	p.got = append(p.got, tickets[:confirmed]...)
	return tickets[:confirmed], err
}

func relay(t *testing.T, o Outbox, q Publisher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r := &Relay{Outbox: o, Queue: q, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

var errDown = errors.New("the broker is down")

func TestTheRelayCarriesEveryTicketAndNotesTheConfirms(t *testing.T) {
	t.Parallel()
	fails := func(int) (int, error) { return 0, errDown }
	half := func(n int) (int, error) { return n / 2, nil }
	halfFails := func(n int) (int, error) { return n / 2, errDown }
	none := func(int) (int, error) { return 0, nil }
	for name, script := range map[string][]func(int) (int, error){
		"a broker that works":                    nil,
		"a broker that is down for a while":      {fails, fails, fails, fails, fails, fails, fails, fails, fails, fails, fails, fails},
		"a broker that confirms some":            {half, half, half},
		"a broker that fails in the middle":      {halfFails, halfFails, fails, halfFails},
		"a queue that is full and confirms none": {none, none, none, none, none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o, q := newPaper(1500), &pipe{script: script}
				start := time.Now()
				stop := relay(t, o, q)
				time.Sleep(time.Minute)
				stop()
				assert.Len(t, o.sent, 1500)
				assert.Len(t, q.got, 1500, "what was confirmed is not sent again")
				assert.Empty(t, q.script)
				assert.Equal(t, time.Minute, time.Since(start))
			})
		})
	}
}

func TestTheRelayDoesNotHammer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, q := newPaper(1), &pipe{}
		for range 10_000 {
			q.script = append(q.script, func(int) (int, error) { return 0, nil })
		}
		stop := relay(t, o, q)
		time.Sleep(time.Minute)
		stop()
		assert.Less(t, q.calls, 60, "a queue that takes nothing is asked at a growing distance")
		assert.Greater(t, q.calls, 25)
	})
	synctest.Test(t, func(t *testing.T) {
		o, q := newPaper(1), &pipe{}
		o.fails = 10_000
		stop := relay(t, o, q)
		time.Sleep(time.Minute)
		stop()
		assert.Less(t, o.calls, 60, "an outbox that is down is asked at a growing distance")
	})
}

func TestTheRelayStopsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := &pipe{}
		for range 100 {
			q.script = append(q.script, func(int) (int, error) { return 0, errDown })
		}
		stop := relay(t, newPaper(3), q)
		time.Sleep(3 * time.Second)
		start := time.Now()
		stop()
		assert.Zero(t, time.Since(start), "even while it pauses")
	})
}
