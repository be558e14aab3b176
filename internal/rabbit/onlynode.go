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

// ownership reports whether this process may use the queue. Without OnlyNode it always may.
type ownership struct {
	mu      sync.Mutex
	held    bool
	changes chan struct{} // closed, and replaced by a new one, at each change of held

	release func()      // ends the connection that holds AloneQueue; nil without OnlyNode
	news    duty.Signal // that connection was made, or failed
}

func (o *ownership) set(held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = held
	close(o.changes)
	o.changes = make(chan struct{})
}

// now reports whether this process may use the queue, and returns a channel that is closed
// when that has changed.
func (o *ownership) now() (held bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held, o.changes
}

// wait waits until this process may use the queue, and returns a channel that is closed
// when it may no longer.
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

// OnlyNode makes sure that no other node with embedded parts uses the queue, until Close.
// A ticket of an embedded gate or of an embedded store means nothing to another process,
// so two such nodes would take each other's tickets. It is called once, before Run.
// Afterwards no end works while this node does not hold AloneQueue.
//
// When another node holds AloneQueue, OnlyNode waits for up to patience, because the broker
// notices late that a machine has died. If the other node is still there then, OnlyNode
// returns an error, and the only thing left to do with the broker is Close. A broker that
// cannot be reached is no error here: Ping reports it.
func (b *Broker) OnlyNode(ctx context.Context, patience time.Duration) error {
	l, run := b.links[owning], context.Background()
	b.own.set(false)
	b.own.news = duty.NewSignal()
	run, b.own.release = context.WithCancel(run)
	l.use()
	l.serve = b.serveOnly
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

// own declares the queue that only one connection can have. It is declared even with
// rabbitmq.declare false, because it is not part of the topology: it goes with its
// connection.
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

// serveOnly is a session that holds AloneQueue until the session is lost. It consumes
// from the queue only to be told when somebody deletes it. When the broker is silent, the
// client ends the connection after one and a half heartbeats; the broker gives the queue
// to another node after two, so this node has stopped by then.
func (b *Broker) serveOnly(ctx context.Context, session *Session) error {
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

// notOwned returns the reason why no end may work, or nil.
func (b *Broker) notOwned() error {
	if held, _ := b.own.now(); held {
		return nil
	}
	if err := b.links[owning].down(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", seckill.ErrUnavailable, errOwner)
}
