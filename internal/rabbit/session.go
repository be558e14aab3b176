package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// CloseTime is how long a polite goodbye to the broker may take.
const CloseTime = 2 * time.Second

// Session is one connection of an end, from login to loss.
type Session struct {
	link *link
	conn *amqp.Connection
	raw  *patientConn
	lost chan error // why it ends; the first reason stands
	gone chan struct{}
	wg   sync.WaitGroup

	began time.Time
	asks  chan question // for watch
}

// question is how many messages wait in a queue now.
type question struct {
	queue  string
	answer chan<- int // has room for it
}

// Ready tells that the session can be used.
func (s *Session) Ready() { s.link.set(nil) }

// Fail ends the session. The first reason stands.
func (s *Session) Fail(err error) {
	select {
	case s.lost <- err:
	default:
	}
}

// Lost has the reason for which the session ends.
func (s *Session) Lost() <-chan error { return s.lost }

// Go runs f. The session is over only when f has returned, so f MUST end when the
// connection does.
func (s *Session) Go(f func()) { s.wg.Go(f) }

// Hurry leaves CloseTime for whatever is still said on the connection.
func (s *Session) Hurry() { s.raw.SetDeadline(time.Now().Add(CloseTime)) }

// session is one turn of run. It returns why the session ended, never nil.
func (l *link) session(ctx context.Context, serve func(context.Context, *Session) error) error {
	set := l.broker.Settings
	var disowned <-chan struct{}
	if l.end != owning {
		var err error
		if disowned, err = l.broker.own.wait(ctx); err != nil {
			return err
		}
	}
	s := &Session{link: l, lost: make(chan error, 1), gone: make(chan struct{}), began: time.Now(), asks: make(chan question)}
	if err := s.dial(ctx); err != nil {
		return set.explain(err)
	}
	defer func() {
		close(s.gone)
		s.Hurry()
		s.conn.Close()
		s.raw.Close()
		s.wg.Wait()
		if l.reports { // nobody counts until the next session: an alarm must not go by the last counts of this one
			l.broker.metrics.messages.Reset()
			l.broker.metrics.consumers.Reset()
		}
	}()
	ch, err := s.declare(set)
	if err != nil {
		return err
	}
	if l.end == owning {
		if err := own(ch, set); err != nil {
			return err
		}
	}
	s.wg.Go(func() {
		select {
		case <-disowned:
			s.Fail(errOwner)
		case <-s.gone:
		}
	})
	// The channel of the topology goes on to look at the queue.
	s.wg.Go(func() { s.watch(ch) })
	if l.reports {
		s.wg.Go(s.glance)
	}
	if err := serve(ctx, s); err != nil {
		return set.explain(err)
	}
	return errors.New("the connection was closed")
}

// declare makes the topology and returns a channel to look at it.
func (s *Session) declare(set Settings) (*amqp.Channel, error) {
	b := s.link.broker
	for kept := int64(0); ; {
		ch, err := s.conn.Channel()
		if err != nil {
			return nil, err
		}
		if err = declare(ch, set, kept); err == nil {
			if before := b.keptDeadLimit.Swap(kept); kept != 0 && kept != before {
				b.Log.Warn("queue: the dead letters' queue was made with another limit and is used as it is; delete it when it is empty and it is made again",
					"queue", DeadQueue, "x-delivery-limit", kept, "wanted", set.DeadLimit(), "broker", set.String())
			}
			return ch, nil
		}
		if kept != 0 {
			return nil, err
		}
		if kept = keptDeadLimit(err); kept == 0 {
			return nil, err
		}
	}
}

// dial connects and logs in.
func (s *Session) dial(ctx context.Context) error {
	raw, conn, err := s.link.broker.Settings.dial(ctx, s.link.end.String(), &s.link.next)
	s.raw, s.conn = raw, conn
	return err
}

const (
	// watchEvery is how often a session looks at the queue; one that consumes does so
	// often enough to bring more listeners within the first second of a sale.
	watchEvery = time.Second
	// WatchListeners is how often a session that consumes looks.
	WatchListeners = 200 * time.Millisecond
)

// watch looks at the queue until the session is gone: to know its depth, and
// that broker and queue are alive, which an open connection does not prove. It also
// answers what waiting asks.
func (s *Session) watch(ch *amqp.Channel) {
	every := watchEvery
	if s.link.end == Consuming {
		every = WatchListeners
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ask := question{queue: TicketQueue}
	for {
		q, err := s.look(ch, ask.queue)
		if err != nil {
			s.Fail(fmt.Errorf("the queue cannot be looked at: %w", err))
			return
		}
		if ask.queue == TicketQueue {
			s.link.broker.depth.Store(int64(q.Messages))
		}
		if ask.answer != nil {
			ask.answer <- q.Messages
		}
		s.link.saw()
		select {
		case <-tick.C:
			ask = question{queue: TicketQueue}
		case ask = <-s.asks:
		case <-s.gone:
			return
		}
	}
}

// waiting asks the broker how many messages wait in a queue now.
func (s *Session) waiting(ctx context.Context, queue string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer for %v", answerLimit))
	defer cancel()
	answer := make(chan int, 1)
	asks := s.asks
	for {
		select {
		case asks <- question{queue, answer}:
			asks = nil
		case n := <-answer:
			return n, nil
		case <-s.gone:
			return 0, amqp.ErrClosed
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// glance looks at the other queues until the session is gone, for the metrics
// alone: on a channel of its own, and tickets do not suffer when it fails.
func (s *Session) glance() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var ch *amqp.Channel
	for {
		var err error
		if ch == nil {
			ch, err = s.conn.Channel()
		}
		for _, name := range []string{DeadQueue, ParkedQueue} {
			if err == nil {
				_, err = s.look(ch, name)
			}
		}
		if err != nil {
			ch = nil // the broker has closed it
		}
		select {
		case <-tick.C:
		case <-s.gone:
			return
		}
	}
}

// look asks for the messages and consumers of a queue.
func (s *Session) look(ch *amqp.Channel, name string) (amqp.Queue, error) {
	q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if err == nil && s.link.reports {
		m := &s.link.broker.metrics
		m.messages.WithLabelValues(name).Set(float64(q.Messages))
		m.consumers.WithLabelValues(name).Set(float64(q.Consumers))
	}
	return q, err
}
