// Package rabbit is the connection to RabbitMQ that tickets (internal/queue/rabbitmq)
// and events (internal/event) share: dialling and logging in, sessions that come back by
// themselves, the topology, the rights, sending with confirms, and what people see of it
// in metrics and errors. It is part of steps 4, 5 and 7 of the path of a purchase.
//
// A Broker keeps one connection for each use, an End. Who uses an end says with Serve
// what happens on its connection. No type of the client library leaves this package.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
)

// End is one use of the broker. Each has a connection of its own: a broker that
// holds back publishers does not hold back consumers.
type End uint8

// The ends.
const (
	Publishing  End = iota // tickets are sent
	Consuming              // tickets are taken
	DeadLetters            // dead letters are taken, one at a time
	Announcing             // events of orders are sent
	Noticing               // notices of changed sales are sent and heard
	Parking                // copies of refused tickets are sent
	owning                 // OnlyNode holds AloneQueue; not for Run
	ends
)

var endNames = [ends]string{"publish", "consume", "dead_letters", "announce", "notice", "park", "own"}

func (e End) String() string { return endNames[e] }

// Broker is RabbitMQ as one node uses it. Until Run has connected, and whenever RabbitMQ
// cannot be reached, Down returns the reason.
type Broker struct {
	Settings Settings // as they were given to New; not changed afterwards
	Log      *slog.Logger

	metrics metrics
	depth   atomic.Int64 // ready messages of TicketQueue at the last look
	// keptDeadLimit is the delivery limit of DeadQueue if an earlier version has made it
	// with another limit than ours, else 0.
	keptDeadLimit atomic.Int64
	unseen        sync.Once // it was said that the queues' arguments cannot be seen

	links  [ends]*link
	own    ownership
	owning sync.WaitGroup

	mu      sync.Mutex
	closed  chan struct{}
	running sync.WaitGroup
}

// New returns a broker with valid settings. It does not connect: Run does. Its metrics
// are registered with r; nil: nobody reads them.
func New(settings Settings, log *slog.Logger, r prometheus.Registerer) *Broker {
	b := &Broker{Settings: settings, Log: log, closed: make(chan struct{}), metrics: newMetrics(r)}
	b.own.held, b.own.changes = true, make(chan struct{})
	for e := range ends {
		// Nodes spread over the addresses, and so do a node's connections.
		b.links[e] = &link{broker: b, end: e, next: rand.N(len(settings.addrs())), err: errors.New("not connected yet")}
	}
	return b
}

// Serve says what happens on the connection of an end. serve MUST call Session.Ready
// when the connection can be used, and MUST return when Session.Lost or ctx ends, with
// the reason. It is called before Run, which calls serve again after every reconnect.
func (b *Broker) Serve(e End, serve func(context.Context, *Session) error) { b.links[e].serve = serve }

// Around says what happens while Run keeps the connection of an end: around calls keep,
// which returns when the context that it was given is done. It is called before Run.
func (b *Broker) Around(e End, around func(ctx context.Context, keep func(context.Context))) {
	b.links[e].around = around
}

// Run keeps a connection for each of the given ends, those of the tickets if none
// is given, until ctx is done or Close is called. It returns when every serve function
// has returned. It is called once.
func (b *Broker) Run(ctx context.Context, uses ...End) error {
	if len(uses) == 0 {
		uses = []End{Publishing, Consuming, DeadLetters}
	}
	b.mu.Lock()
	select {
	case <-b.closed:
		b.mu.Unlock()
		return nil
	default:
	}
	b.running.Add(1)
	b.mu.Unlock()
	defer b.running.Done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-b.closed:
			stop()
		case <-ctx.Done():
		}
	}()
	var g sync.WaitGroup
	for i, e := range uses {
		l := b.links[e]
		l.use()
		l.reports = i == 0
		g.Go(func() {
			if l.around != nil {
				l.around(ctx, l.run)
			} else {
				l.run(ctx)
			}
		})
	}
	g.Wait()
	return nil
}

// Close ends Run and waits for it. Only then it gives AloneQueue back, so that another node
// may start. A ticket that was not confirmed may or may not be in the queue; a ticket that
// was not acknowledged is delivered again, to another node.
func (b *Broker) Close() error {
	b.mu.Lock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	b.mu.Unlock()
	b.running.Wait()
	if b.own.release != nil {
		b.own.release()
		b.owning.Wait()
	}
	return nil
}

// Depth returns how many tickets waited in TicketQueue at the last look, at most
// about a second ago. Tickets that a node holds do not count.
func (b *Broker) Depth() int { return int(b.depth.Load()) }

// Down returns the reason why an end cannot be used, or nil.
func (b *Broker) Down(e End) error { return b.links[e].down() }

// Ping returns an error unless those of the tickets' ends that this node uses are connected
// and were answered within answerLimit. The other ends do not count: events wait in the
// store, notices only speed up what nodes find out anyway, and parked copies are for people.
func (b *Broker) Ping(context.Context) error {
	used := false
	for e, l := range b.links {
		if !l.wanted.Load() || End(e) == owning { // the others report its failure as theirs
			continue
		}
		used = true
		if End(e) > DeadLetters {
			continue
		}
		if err := l.down(); err != nil {
			return fmt.Errorf("%s: %w", b.Settings, err)
		}
	}
	if !used {
		return fmt.Errorf("%s: not started: %w", b.Settings, seckill.ErrUnavailable)
	}
	return nil
}
