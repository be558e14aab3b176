package rabbitmq

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

const (
	// drainTime is how long a stopping consumer waits for the batches at hand:
	// longer than a stopping settler works on its last one.
	drainTime = 15 * time.Second
	// calmTime is how long no ticket must have waited before one listener is stopped.
	calmTime = 5 * time.Second
	// gather is the most deliveries that a listener passes on at once.
	gather = 64
)

// group is the listeners of one session. A new session has a new group, because a ticket
// that came on a lost connection cannot be acknowledged on another one.
type group struct {
	consumer  *consumer
	session   *rabbit.Session
	listeners []*listener // those that take tickets; only serve touches it
	named     int         // listeners so far
	idle      duty.Signal // batches has come to 0

	// Guarded by consumer.mu.
	closed  bool
	batches int // handed out and not done
}

// listener is a channel with one consumer at the broker.
type listener struct {
	*rabbit.Subscription
	group *group

	// mu is locked while an acknowledgement is decided and written. An acknowledgement of
	// "all up to here" and one of a single delivery must not overtake each other.
	mu      sync.Mutex
	open    []uint64 // delivered and not acknowledged, rising
	leaving bool     // it was cancelled by us
	left    bool     // it will not deliver any more
}

// serve is a session: as many listeners as it takes, until it is lost.
func (c *consumer) serve(ctx context.Context, session *rabbit.Session) error {
	g := &group{consumer: c, session: session, idle: duty.NewSignal()}
	defer g.close()
	session.Ready()
	tick := time.NewTicker(rabbit.WatchListeners)
	defer tick.Stop()
	want, calm := 0, time.Now()
	for {
		if !c.started() {
			want = 0
		} else {
			want = max(want, c.settings.Concurrency)
		}
		if err := g.resize(want); err != nil {
			return err
		}
		select {
		case err := <-session.Lost():
			return err
		case <-ctx.Done():
			return g.drain()
		case <-c.turn:
		case now := <-tick.C:
			switch {
			case c.queue.Depth() > 0:
				// Tickets wait, so all listeners hold as many as they may.
				want, calm = min(2*want, c.settings.MaxConcurrency), now
			case now.Sub(calm) > c.calm:
				want, calm = want-1, now
			}
		}
	}
}

// resize starts or cancels listeners.
func (g *group) resize(want int) error {
	for len(g.listeners) < want {
		if err := g.start(); err != nil {
			return fmt.Errorf("a listener does not start: %w", err)
		}
	}
	for len(g.listeners) > want {
		last := len(g.listeners) - 1
		if err := g.listeners[last].leave(); err != nil {
			return fmt.Errorf("a listener cannot be cancelled: %w", err)
		}
		g.listeners = g.listeners[:last]
	}
	if gauge := g.consumer.gauge; gauge != nil {
		gauge.Set(float64(len(g.listeners)))
	}
	return nil
}

func (g *group) start() error {
	tag := "listener-" + strconv.Itoa(g.named+1)
	from, err := g.session.Subscribe(g.consumer.name, tag, g.consumer.settings.Prefetch)
	if err != nil {
		return err
	}
	g.named++
	l := &listener{group: g, Subscription: from}
	g.listeners = append(g.listeners, l)
	g.session.Go(l.listen)
	return nil
}

// drain takes no more tickets and waits for the batches at hand. Whatever is
// not done then, and what nobody has received, is delivered again.
func (g *group) drain() error {
	c := g.consumer
	c.end()
	leaving := g.listeners
	if err := g.resize(0); err != nil {
		return err
	}
	c.mu.Lock()
	c.stream = nil
	busy := g.batches > 0
	c.mu.Unlock()
	// The channels are closed first: closing a channel sends its acknowledgements, and
	// closing the connection could overtake them.
	defer func() {
		g.session.Hurry()
		for _, l := range leaving {
			l.Close()
		}
	}()
	limit := time.NewTimer(drainTime)
	defer limit.Stop()
	for busy {
		select {
		case <-g.idle:
			c.mu.Lock()
			busy = g.batches > 0
			c.mu.Unlock()
		case err := <-g.session.Lost():
			return err
		case <-limit.C:
			c.queue.broker.Log.Warn("queue: stopped before every batch was done; they are delivered again", "waited", drainTime)
			return nil
		}
	}
	return nil
}

// close ends the group: done fails from now on.
func (g *group) close() {
	c := g.consumer
	c.mu.Lock()
	g.closed = true
	c.stream = nil
	c.mu.Unlock()
	if c.gauge != nil {
		c.gauge.Set(0)
	}
}

// listen passes deliveries on until there are no more.
func (l *listener) listen() {
	held := make([]delivery, 0, gather)
	l.Each(gather, func(came []rabbit.Delivery) {
		held = held[:0]
		for i := range came {
			held = l.read(held, &came[i])
		}
		l.pass(held)
	})
	l.mu.Lock()
	l.left = true
	leaving := l.leaving
	l.closeWhenDone()
	l.mu.Unlock()
	if !leaving {
		l.group.session.Fail(l.Why())
	}
}

// read decodes a delivery. A message that is no ticket is rejected at once: it goes to the
// dead letters and from there to the parked messages, where a person can look at it.
func (l *listener) read(held []delivery, d *rabbit.Delivery) []delivery {
	c := l.group.consumer
	t, err := decode(d.Body)
	if err == nil {
		return append(held, delivery{t, l, d.Tag, d.Redelivered, c.name == rabbit.DeadQueue && c.queue.broker.LastTry(d)})
	}
	c.queue.metrics.unreadable.Inc()
	c.queue.broker.Log.Error("queue: a message is no ticket and is put aside", "queue", c.name, "message", d.ID, "bytes", len(d.Body), "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.Nack(d.Tag, false, false) // it fails only with the connection, which is noticed
	return held
}

// pass puts deliveries into the stream.
func (l *listener) pass(held []delivery) {
	if len(held) == 0 {
		return
	}
	c, again := l.group.consumer, 0
	l.mu.Lock()
	for _, d := range held {
		l.open = append(l.open, d.tag)
		if d.again {
			again++
		}
	}
	l.mu.Unlock()
	c.mu.Lock()
	if !l.group.closed && !c.over {
		c.stream = append(c.stream, held...)
		c.wake.Send()
	}
	c.mu.Unlock()
	m := &c.queue.metrics
	m.received.Add(float64(len(held)))
	m.redelivered.Add(float64(again))
	if c.name == rabbit.DeadQueue {
		m.deadLetters.Add(float64(len(held)))
	}
}

// leave asks the broker for no more deliveries. The tickets that are held are still handed
// out and settled.
func (l *listener) leave() error {
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	return l.Cancel()
}

// finish acknowledges deliveries, oldest first, or gives them back. As long as they are the
// oldest that are open, one frame does it for all of them.
func (l *listener) finish(tags []uint64, settled bool) error {
	say := func(tag uint64, multiple bool) error {
		if settled {
			return l.Ack(tag, multiple)
		}
		return l.Nack(tag, multiple, l.group.consumer.settings.DefaultRequeueRejected)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(tags) && l.open[n] == tags[n] {
		n++
	}
	if n > 0 {
		if err := say(tags[n-1], n > 1); err != nil {
			return err
		}
		l.open = l.open[n:]
	}
	for _, tag := range tags[n:] {
		if err := say(tag, false); err != nil {
			return err
		}
	}
	l.forget(tags[n:])
	l.closeWhenDone()
	return nil
}

// forget removes tags that were acknowledged one by one; both lists are rising.
func (l *listener) forget(tags []uint64) {
	if len(tags) == 0 {
		return
	}
	kept := l.open[:0]
	for _, tag := range l.open {
		if len(tags) > 0 && tags[0] == tag {
			tags = tags[1:]
			continue
		}
		kept = append(kept, tag)
	}
	l.open = kept
}

// closeWhenDone closes the channel of a listener that gets no more deliveries and has none
// open. It does so in the background, because closing waits for the broker and l.mu is
// locked.
func (l *listener) closeWhenDone() {
	if l.left && len(l.open) == 0 {
		go l.Close()
	}
}
