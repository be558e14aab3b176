package rabbit

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What the tests beside the package, which put tickets and events on it, see of it.
const Owning = owning

var (
	ErrInUse = errInUse
	Own      = own
)

// Owned reports whether the broker may be used, and what is closed when that has changed.
func (b *Broker) Owned() (held bool, changed <-chan struct{}) { return b.own.now() }

// StartAtFirst has every end connect to the first address first.
func (b *Broker) StartAtFirst() {
	for _, l := range b.links {
		l.next = 0
	}
}

func (x *Exhibit) Send(ctx context.Context, ch *amqp.Channel, exchange string, m *Sending, returns <-chan amqp.Return) error {
	return x.send(ctx, ch, exchange, m, returns)
}

func (b Binding) Rule(kind string, m *Sending) (bool, string) { return b.rule(kind, m) }

// Current is the session that a publisher has now, nil if there is none.
func Current[M any](p *Publisher[M]) *Session {
	if now := p.now.Load(); now != nil {
		return now.session
	}
	return nil
}

// Aged makes the publisher's session so old that it may be renewed.
func Aged[M any](p *Publisher[M]) *Session {
	s := Current(p)
	s.began = s.began.Add(-renewAfter)
	return s
}
