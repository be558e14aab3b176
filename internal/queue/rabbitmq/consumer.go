package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

// linger is how long a receiver waits for more tickets after the first one, while the
// broker says that more are waiting. A larger batch costs less for each ticket, and a
// buyer does not notice a millisecond.
const linger = time.Millisecond

var errEnded = fmt.Errorf("%w: the queue is closed", seckill.ErrUnavailable)

// consumer takes tickets from one queue of the broker, by several listeners, and hands out
// what they hold as one stream.
type consumer struct {
	queue    *Queue
	name     string // of the queue at the broker
	settings rabbit.Listener
	calm     time.Duration    // calmTime
	gauge    prometheus.Gauge // of listeners, nil for the dead letters' one

	wake  duty.Signal   // look at the stream
	turn  duty.Signal   // on has changed
	ended chan struct{} // closed when nothing will come any more

	mu     sync.Mutex
	on     bool            // listeners may run
	over   bool            // ended is closed
	stream []delivery      // held by listeners and not handed out, in order; all of one session
	last   map[string]bool // ids of tickets that are handed out for the last time
}

// delivery is a ticket that a listener holds.
type delivery struct {
	ticket seckill.Ticket
	from   *listener
	tag    uint64
	again  bool // it was delivered before
	last   bool // it will not be delivered to a consumer again
}

func (c *consumer) init(q *Queue, end rabbit.End, name string, settings rabbit.Listener) {
	c.queue, c.name, c.settings, c.calm = q, name, settings, calmTime
	c.wake, c.turn, c.ended = duty.NewSignal(), duty.NewSignal(), make(chan struct{})
	c.last = map[string]bool{}
	c.on = settings.AutoStartup
	q.broker.Serve(end, c.serve)
	q.broker.Around(end, func(ctx context.Context, keep func(context.Context)) {
		keep(ctx)
		c.end() // so that receive does not wait for tickets that cannot come any more
	})
}

// start lets listeners run, or not.
func (c *consumer) start(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = on
	c.turn.Send()
}

func (c *consumer) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on && !c.over
}

// end makes receive return.
func (c *consumer) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over = true
		close(c.ended)
	}
}

func (c *consumer) receive(ctx context.Context, max int) ([]seckill.Ticket, func(bool) error, error) {
	enough := 1
	if c.queue.Depth() > 0 {
		// Half of what the listeners may hold: the broker sends the other half meanwhile.
		enough = min(max, c.settings.Concurrency*c.settings.Prefetch/2)
	}
	var late <-chan time.Time
	for {
		b, some := c.take(max, enough)
		if b != nil {
			return b.tickets, b.done, nil
		}
		if some && late == nil {
			timer := time.NewTimer(linger)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-c.wake:
		case <-late:
			enough = 1
		case <-c.ended:
			return nil, nil, errEnded
		case <-ctx.Done():
			c.wake.Send() // wakes another receiver: this one may have taken the signal for tickets that it leaves
			return nil, nil, ctx.Err()
		}
	}
}

// take makes a batch of up to max tickets from the stream, or of none if there
// are not enough; some reports whether there is any.
func (c *consumer) take(max, enough int) (b *batch, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(max, len(c.stream))
	if n <= 0 || n < enough {
		return nil, n > 0
	}
	b = &batch{group: c.stream[0].from.group, tickets: make([]seckill.Ticket, n)}
	for i, d := range c.stream[:n] {
		b.tickets[i] = d.ticket
		b.add(d)
		if d.last {
			c.last[d.ticket.ID] = true
		}
	}
	if c.stream = c.stream[n:]; len(c.stream) > 0 {
		c.wake.Send() // wakes another receiver for the rest
	} else {
		c.stream = nil
	}
	b.group.batches++
	return b, true
}

// batch is what one receive returned: tickets of one session, by whichever
// listeners.
type batch struct {
	group    *group
	tickets  []seckill.Ticket
	parts    []part
	finished bool // guarded by consumer.mu
}

// part is the deliveries of a batch that came by one listener, oldest first.
type part struct {
	from *listener
	tags []uint64
}

func (b *batch) add(d delivery) {
	for i := range b.parts {
		if b.parts[i].from == d.from {
			b.parts[i].tags = append(b.parts[i].tags, d.tag)
			return
		}
	}
	b.parts = append(b.parts, part{d.from, append(make([]uint64, 0, len(b.tickets)), d.tag)})
}

// done acknowledges the batch, or gives it back.
func (b *batch) done(settled bool) error {
	c := b.group.consumer
	c.mu.Lock()
	again := b.finished
	b.finished = true
	c.mu.Unlock()
	if again {
		return errors.New("queue: a batch is done once")
	}
	var errs []error
	for _, p := range b.parts {
		errs = append(errs, p.from.finish(p.tags, settled))
	}
	err := errors.Join(errs...)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range b.tickets {
		delete(c.last, t.ID)
	}
	if b.group.batches--; b.group.batches == 0 {
		b.group.idle.Send()
	}
	if b.group.closed || err != nil {
		return errors.Join(fmt.Errorf("%s: %w", c.queue.broker.Settings, ErrLost), err)
	}
	return nil
}
