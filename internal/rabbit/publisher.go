package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

var (
	// ErrFull is in the error of a send that the broker refused because the queue holds
	// rabbitmq.max_length messages.
	ErrFull = errors.New("the queue takes no more tickets now")
	// ErrUnroutable is in the error of a send whose messages found no queue.
	ErrUnroutable = errors.New("a binding is missing")
)

// Kind is what a publisher must know of the messages that it sends.
type Kind[M any] struct {
	ID     func(M) string // also that of its message
	Pack   func(M) (Message, error)
	Target string // the one queue that all messages go to; empty: those of subscribers, which a node may not look at
	Full   error  // what Send says when the broker refused: a queue is full
	Lost   error  // what Send says when the broker returned a message: no queue is bound
	Counts Counts
}

// Publisher sends messages of one kind, with confirms: tickets, events, or copies
// of refused tickets.
type Publisher[M any] struct {
	Kind[M]
	broker *Broker
	link   *link
	now    atomic.Pointer[sending[M]] // nil while there is no connection
}

// NewPublisher returns a publisher on an end of the broker, which Run serves.
func NewPublisher[M any](b *Broker, e End, kind Kind[M]) *Publisher[M] {
	p := &Publisher[M]{Kind: kind, broker: b, link: b.links[e]}
	b.Serve(e, p.serve)
	return p
}

// Send sends messages, many on their way at once, and returns those that the broker has
// confirmed. It is one attempt. The error wraps seckill.ErrUnavailable without a
// connection or an answer, and Full or Lost.
func (p *Publisher[M]) Send(ctx context.Context, items []M) ([]M, error) {
	if len(items) == 0 {
		return nil, nil
	}
	s := p.now.Load()
	if s == nil {
		if err := p.link.down(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: reconnecting", seckill.ErrUnavailable)
	}
	return s.send(ctx, items)
}

// sending is a session of the publisher: a channel in confirm mode.
type sending[M any] struct {
	*Publisher[M]
	session *Session
	ch      *amqp.Channel
	slots   chan struct{}    // one for every message on its way
	returns chan amqp.Return // room for every message on its way: the client drops what does not fit
	proven  atomic.Bool      // the broker has confirmed something on this channel

	mu       sync.Mutex
	returned map[string]int // messages on their way that were returned, by id
	blocked  chan struct{}  // closed while the broker blocks publishers
	gauge    prometheus.Gauge
	reason   string // why it does
}

// serve is a session, until it is lost.
func (p *Publisher[M]) serve(ctx context.Context, session *Session) error {
	ch, err := session.conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	s := &sending[M]{
		Publisher: p, session: session, ch: ch,
		slots:    make(chan struct{}, p.broker.Settings.ConfirmWindow),
		returns:  ch.NotifyReturn(make(chan amqp.Return, p.broker.Settings.ConfirmWindow)),
		returned: map[string]int{}, blocked: make(chan struct{}), gauge: p.broker.metrics.blocked.WithLabelValues(p.link.end.String()),
	}
	s.gauge.Set(0)
	defer s.gauge.Set(0)
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	blocks := session.conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	p.now.Store(s)
	session.Ready()
	defer p.now.Store(nil)
	for {
		select {
		case e := <-closes:
			return closeReason(e)
		case err := <-session.lost:
			return err
		case b, open := <-blocks:
			if !open {
				blocks = nil
				continue
			}
			s.block(b)
		case <-ctx.Done():
			return nil
		}
	}
}

// block notes that the broker blocks publishers, or does no longer.
func (s *sending[M]) block(b amqp.Blocking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.reason != ""
	switch {
	case b.Active && !was:
		s.reason = "the broker blocks publishers: " + b.Reason
		close(s.blocked)
		s.gauge.Set(1)
		s.broker.Log.Warn("queue: " + s.reason)
	case !b.Active && was:
		s.reason = ""
		s.blocked = make(chan struct{})
		s.gauge.Set(0)
		s.broker.Log.Info("queue: the broker takes messages again")
	}
}

// whenBlocked returns a channel that is closed when the broker blocks publishers.
func (s *sending[M]) whenBlocked() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocked
}

func (s *sending[M]) errBlocked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("%w: %s", seckill.ErrUnavailable, s.reason)
}

// flight is the messages of one send on their way, in order.
type flight[M any] struct {
	items   []M
	answers []*amqp.DeferredConfirmation // one by one to the first items
	reaped  int                          // answers taken
	timer   *time.Timer

	confirmed        []M
	returned, nacked int
	lost             bool
}

// send sends messages, many on their way at once, and returns those confirmed.
func (s *sending[M]) send(ctx context.Context, items []M) ([]M, error) {
	f := &flight[M]{
		items: items, answers: make([]*amqp.DeferredConfirmation, 0, len(items)),
		confirmed: make([]M, 0, len(items)), timer: time.NewTimer(s.broker.Settings.ConfirmTimeout),
	}
	defer f.timer.Stop()
	err := s.fly(ctx, f)
	count(s.Counts.Published, len(f.answers))
	count(s.Counts.Confirmed, len(f.confirmed))
	count(s.Counts.Returned, f.returned)
	count(s.Counts.Nacked, f.nacked)
	if len(f.confirmed) > 0 {
		s.proven.Store(true)
	}
	if f.reaped < len(f.answers) {
		// A caller that gives up waiting does not free the slots of its messages: they are
		// still on their way, and are freed when they are answered.
		rest := *f
		go s.abandon(&rest)
	}
	errs := []error{err}
	if f.lost && err == nil {
		errs = append(errs, fmt.Errorf("%w: the connection was lost", seckill.ErrUnavailable))
	}
	if f.nacked > 0 {
		errs = append(errs, fmt.Errorf("%w (%d of %d refused)", s.refusal(ctx), f.nacked, len(items)))
	}
	if f.returned > 0 {
		err := fmt.Errorf("%w (%d of %d returned)", s.Lost, f.returned, len(items))
		errs = append(errs, err)
		s.session.Fail(err) // the next session declares the topology again
	}
	return f.confirmed, errors.Join(errs...)
}

// refusal returns the reason why the broker has just refused messages. Without a Target it
// may not look at the queues behind the exchange and cannot know; then it ends the session
// once in renewAfter, because only another channel helps if this one is at fault.
func (s *sending[M]) refusal(ctx context.Context) error {
	var err error
	if s.Target == "" {
		if err = s.Full; s.proven.Load() || time.Since(s.session.began) < renewAfter {
			return err
		}
	} else {
		waiting, unknown := s.session.waiting(ctx, s.Target)
		if err = whyRefused(s.Target, waiting, s.broker.Settings.MaxLength, s.proven.Load(), unknown); err == nil {
			return s.Full
		}
	}
	s.session.Fail(err)
	return err
}

// renewAfter is how old a session without a single confirmed message must be before a
// refusal ends it.
const renewAfter = time.Minute

// whyRefused tells why a queue refused a message, nil if it is full: then it refuses
// until four fifths of its limit are left. RabbitMQ 3.10 also refuses whatever comes
// first on a channel while the queue is between two leaders, and all that follows on
// that channel when there is a new leader; only another channel helps. A channel that
// has confirmed something, proven, waits for the new leader instead.
//
// waiting is how many messages wait in the queue now, 0 when nobody leads it. limit is
// that of the settings; whoever operates the broker may have set a lower one.
func whyRefused(queue string, waiting, limit int, proven bool, unknown error) error {
	switch {
	case unknown != nil:
		return fmt.Errorf("%w: the broker refused, and does not tell how full %s is: %w", seckill.ErrUnavailable, queue, unknown)
	case waiting >= limit/2, proven && waiting > 0:
		return nil
	}
	return fmt.Errorf("%w: the broker refused, and %s is not full: it has no leader now", seckill.ErrUnavailable, queue)
}

// fly sends all messages and takes all answers.
func (s *sending[M]) fly(ctx context.Context, f *flight[M]) error {
	blocked := s.whenBlocked()
	if err := s.takeOff(ctx, f, blocked); err != nil {
		return err
	}
	for f.reaped < len(f.answers) {
		if err := s.reap(ctx, f, blocked); err != nil {
			return err
		}
	}
	return nil
}

// takeOff puts all messages on their way.
func (s *sending[M]) takeOff(ctx context.Context, f *flight[M], blocked <-chan struct{}) error {
	s.session.raw.cork()
	defer s.session.raw.uncork()
	for _, item := range f.items {
		for room := false; !room; {
			select {
			case <-blocked:
				return s.errBlocked()
			default:
			}
			select {
			case s.slots <- struct{}{}:
				room = true
			default:
				if err := s.makeRoom(ctx, f, blocked); err != nil {
					return err
				}
			}
		}
		answer, err := s.publish(item)
		if err != nil {
			<-s.slots
			return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
		}
		f.answers = append(f.answers, answer)
	}
	return nil
}

// makeRoom takes the oldest answer of this flight or, if the window is full of
// other flights, waits for those.
func (s *sending[M]) makeRoom(ctx context.Context, f *flight[M], blocked <-chan struct{}) error {
	if f.reaped < len(f.answers) {
		return s.reap(ctx, f, blocked)
	}
	s.session.raw.flush()
	f.timer.Reset(s.broker.Settings.ConfirmTimeout)
	select {
	case s.slots <- struct{}{}:
		<-s.slots
		return nil
	case <-f.timer.C:
		return s.giveUp()
	case <-blocked:
		return s.errBlocked()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reap takes the answer for the oldest message without one.
func (s *sending[M]) reap(ctx context.Context, f *flight[M], blocked <-chan struct{}) error {
	answer, item := f.answers[f.reaped], f.items[f.reaped]
	select {
	case <-answer.Done():
	default:
		s.session.raw.flush()
		f.timer.Reset(s.broker.Settings.ConfirmTimeout)
		select {
		case <-answer.Done():
		case <-f.timer.C:
			return s.giveUp()
		case <-blocked:
			return s.errBlocked()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.reaped++
	<-s.slots
	switch {
	case s.wasReturned(s.ID(item)):
		f.returned++ // no queue wanted it; the broker gives it back and acknowledges it all the same
	case answer.Acked():
		f.confirmed = append(f.confirmed, item)
	case s.ch.IsClosed():
		f.lost = true
	default:
		f.nacked++
	}
	return nil
}

// giveUp ends the session: a broker that does not confirm is as good as away.
func (s *sending[M]) giveUp() error {
	err := fmt.Errorf("%w: not confirmed within %v (rabbitmq.confirm_timeout)", seckill.ErrUnavailable, s.broker.Settings.ConfirmTimeout)
	s.session.Fail(err)
	return err
}

// abandon takes the answers that nobody waits for. Each comes, at the latest
// when the channel closes.
func (s *sending[M]) abandon(f *flight[M]) {
	for ; f.reaped < len(f.answers); f.reaped++ {
		<-f.answers[f.reaped].Done()
		<-s.slots
		s.wasReturned(s.ID(f.items[f.reaped]))
	}
}

// wasReturned tells, once its answer is there, whether a message was returned. A
// return comes before its ack, and one goroutine of the client puts both where
// we find them, in that order.
func (s *sending[M]) wasReturned(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for more := true; more; {
		select {
		case r, open := <-s.returns:
			if more = open; open {
				s.returned[r.MessageId]++
			}
		default:
			more = false
		}
	}
	n := s.returned[id]
	if n == 0 {
		return false
	}
	if s.returned[id]--; n == 1 {
		delete(s.returned, id)
	}
	return true
}

// publish puts one message on its way.
func (s *sending[M]) publish(item M) (*amqp.DeferredConfirmation, error) {
	p, err := s.Pack(item)
	if err != nil {
		return nil, err
	}
	return s.ch.PublishWithDeferredConfirm(p.Exchange, p.Key, p.Mandatory, false, p.publishing())
}
