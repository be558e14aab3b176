package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
	"seckill/internal/duty"
)

var (
	errInUse = errors.New("the queue is in use by another node, and embedded parts (--gate, --store) belong to one process: stop it first, or use shared engines for all parts")
	errOwner = fmt.Errorf("%s is not held any more, which keeps other nodes off the queue", AloneQueue)
)

// ownership tells whether this process may use the queue. That of a queue which
// is not alone is held and never changes.
type ownership struct {
	mu      sync.Mutex
	held    bool
	changes chan struct{} // closed and replaced at each change

	release func()      // ends the connection that holds it; nil if none does
	news    duty.Signal // that connection was made, or failed
}

func (o *ownership) set(held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = held
	close(o.changes)
	o.changes = make(chan struct{})
}

// now tells whether the queue is held, and what is closed when that has changed.
func (o *ownership) now() (held bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held, o.changes
}

// wait waits until the queue is held, and returns what is closed when it is lost.
func (o *ownership) wait(ctx context.Context) (lost <-chan struct{}, err error) {
	for {
		held, changed := o.now()
		if held {
			return changed, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Alone keeps every other node that is alone off the queue, until Close: a ticket
// of an embedded gate, or of an embedded store, means nothing to another process.
// It is called once, before Run. Then no end works while AloneQueue is not held.
//
// While another node holds it Alone waits, for patience at most: the broker notices
// the death of a machine late. Its error says that it was in vain; then the queue is
// only good for Close. A broker that cannot be reached is no error: Ping tells.
func (b *Broker) Alone(ctx context.Context, patience time.Duration) error {
	l, run := b.links[owning], context.Background()
	b.own.set(false)
	b.own.news = duty.NewSignal()
	run, b.own.release = context.WithCancel(run)
	l.use()
	l.serve = b.serveAlone
	b.owning.Go(func() { l.run(run) })
	var late <-chan time.Time
	for {
		select {
		case <-b.own.news:
		case <-late:
			return fmt.Errorf("%s: %w", b.Settings, l.down())
		case <-ctx.Done():
			return ctx.Err()
		}
		if !errors.Is(l.down(), errInUse) {
			return nil
		}
		if late == nil {
			late = time.After(patience)
		}
	}
}

// own declares the queue that only one connection can have. It is not part of the
// topology, so rabbitmq.declare has no say.
func own(ch *amqp.Channel, s Settings) error {
	_, err := ch.QueueDeclare(AloneQueue, false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		switch e.Code {
		case amqp.ResourceLocked:
			return fmt.Errorf("%w: %w", errInUse, err)
		case amqp.AccessRefused:
			return fmt.Errorf("a node with an embedded part (--gate, --store) needs the rights to configure and to read %s, whatever rabbitmq.declare is: %w", AloneQueue, err)
		}
	}
	return s.explain(err)
}

// serveAlone is a session that holds AloneQueue, until it is lost. It consumes from
// it to be told when somebody deletes it. Silence ends it after one and a half
// heartbeats, by the client: the broker waits for two before it lets another node in.
func (b *Broker) serveAlone(ctx context.Context, session *Session) error {
	ch, err := session.conn.Channel()
	if err != nil {
		return err
	}
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	cancels := ch.NotifyCancel(make(chan string, 1))
	nothing, err := ch.Consume(AloneQueue, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	b.own.set(true)
	defer b.own.set(false)
	session.Ready()
	for {
		select {
		case _, open := <-nothing:
			if !open {
				return whyEnded(AloneQueue, closes, cancels)
			}
		case err := <-session.lost:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// notOwned tells why no end may work, nil if they may.
func (b *Broker) notOwned() error {
	if held, _ := b.own.now(); held {
		return nil
	}
	if err := b.links[owning].down(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", seckill.ErrUnavailable, errOwner)
}
