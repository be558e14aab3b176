package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

const (
	minReconnectPause = 50 * time.Millisecond
	maxReconnectPause = 5 * time.Second
	steadyAfter       = 10 * time.Second // a session that lasted this long ends the backoff
	closeTime         = 2 * time.Second  // for a polite goodbye to the broker
	ioBuffer          = 64 << 10         // bytes; the client's own is 4 KB, a system call for every dozen tickets
	frameSize         = 128 << 10        // bytes, RabbitMQ's own
)

var (
	// ErrFull is in the error of a Publish that the broker refused because the
	// queue holds rabbitmq.max_length tickets.
	ErrFull = errors.New("the queue takes no more tickets now")
	// ErrUnroutable is in the error of a Publish whose messages found no queue.
	ErrUnroutable = errors.New("a binding is missing")
	// ErrStale is in the error of done when the connection that the batch came on
	// is gone. Its tickets are delivered again.
	ErrStale = errors.New("the connection is gone, and the batch with it")
)

// End is one use of the queue. Each has a connection of its own: a broker that
// holds back publishers does not hold back consumers.
type End uint8

// The ends.
const (
	Publishing  End = iota // Publish
	Consuming              // Receive
	DeadLetters            // Dead().Receive
	Announcing             // Announce
	Noticing               // Notice, and what HearNotices was given
	Parking                // Park
	Owning                 // Alone, and not for Run
	ends
)

var endNames = [ends]string{"publish", "consume", "dead_letters", "announce", "notice", "park", "own"}

func (e End) String() string { return endNames[e] }

// AMQP is the queue on RabbitMQ. Until Run connects, and whenever the broker is
// away, Publish confirms nothing and Receive waits.
type AMQP struct {
	settings RabbitMQ
	log      *slog.Logger
	metrics  metrics
	depth    atomic.Int64 // ready messages at the last look
	// keptDeadLimit is the delivery limit of a dead letters' queue that was made with
	// another one than ours, else 0.
	keptDeadLimit atomic.Int64

	publisher publisher[seckill.Ticket]
	tickets   consumer
	dead      consumer
	events    publisher[seckill.EventMessage]
	notices   notices
	parking   parking
	links     [ends]*link
	own       ownership
	owning    sync.WaitGroup

	mu      sync.Mutex
	closed  chan struct{}
	running sync.WaitGroup
}

// NewAMQP returns the queue with valid settings. It does not connect: Run does.
func NewAMQP(settings RabbitMQ, log *slog.Logger) *AMQP {
	q := &AMQP{settings: settings, log: log, closed: make(chan struct{}), metrics: newMetrics()}
	q.own.held, q.own.changes = true, make(chan struct{})
	for e := range ends {
		// Nodes spread over the addresses, and so do a node's connections.
		q.links[e] = &link{queue: q, end: e, next: rand.N(len(settings.addrs())), err: errors.New("not connected yet")}
	}
	q.publisher = publisher[seckill.Ticket]{
		queue: q, link: q.links[Publishing], id: func(t seckill.Ticket) string { return t.ID }, pack: packTicket, counts: q.metrics.tickets,
		target: TicketQueue,
		full:   fmt.Errorf("%w; rabbitmq.max_length is %d", ErrFull, settings.MaxLength),
		lost:   fmt.Errorf("%w: %s is not bound to %s", ErrUnroutable, TicketQueue, TicketExchange),
	}
	q.events = publisher[seckill.EventMessage]{
		queue: q, link: q.links[Announcing], id: func(e seckill.EventMessage) string { return e.ID }, pack: packEvent, counts: q.metrics.events,
		full: errSubscriberFull,
	}
	q.notices = notices{queue: q, out: make(chan notice, noticesWaiting)}
	q.parking = parking{out: make(chan refused, refusedWaiting), publisher: publisher[refused]{
		queue: q, link: q.links[Parking], id: func(r refused) string { return r.ticket.ID }, pack: packRefused, counts: counts{confirmed: q.metrics.parked},
		target: ParkedQueue,
		full:   fmt.Errorf("%w: %s", ErrFull, ParkedQueue),
		lost:   fmt.Errorf("%w: %s is not bound to %s", ErrUnroutable, ParkedQueue, ParkedExchange),
	}}
	q.tickets.init(q, TicketQueue, settings.Listener)
	q.tickets.gauge = q.metrics.listeners
	// One ticket at a time: whatever fails now fails because of this ticket.
	q.dead.init(q, DeadQueue, Listener{
		Concurrency: 1, MaxConcurrency: 1, Prefetch: 1,
		AutoStartup: settings.Listener.AutoStartup, DefaultRequeueRejected: true,
	})
	return q
}

// Run keeps a connection for each of the given ends, those of the tickets if none
// is given, until ctx is done or Close is called. Then it takes no more tickets,
// waits a while for the batches at hand, and disconnects. It is called once.
func (q *AMQP) Run(ctx context.Context, uses ...End) error {
	if len(uses) == 0 {
		uses = []End{Publishing, Consuming, DeadLetters}
	}
	q.mu.Lock()
	select {
	case <-q.closed:
		q.mu.Unlock()
		return nil
	default:
	}
	q.running.Add(1)
	q.mu.Unlock()
	defer q.running.Done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-q.closed:
			stop()
		case <-ctx.Done():
		}
	}()
	serve := [...]func(context.Context, *session) error{
		q.publisher.serve, q.tickets.serve, q.dead.serve, q.events.serve, q.notices.serve, q.parking.serve,
	}
	var g sync.WaitGroup
	for i, e := range uses {
		l := q.links[e]
		l.use()
		l.reports = i == 0
		run := func(ctx context.Context) { l.run(ctx, serve[e]) }
		if e == Parking {
			run = func(ctx context.Context) { q.parking.run(ctx, func(ctx context.Context) { l.run(ctx, serve[e]) }) }
		}
		g.Go(func() { run(ctx) })
	}
	g.Wait()
	// Nobody waits for ever for a ticket that cannot come.
	q.tickets.end()
	q.dead.end()
	return nil
}

// Close ends Run and waits for it, and then lets another node be alone. What was not confirmed is not in the queue;
// what was not acknowledged is delivered again, to somebody else.
func (q *AMQP) Close() error {
	q.mu.Lock()
	select {
	case <-q.closed:
	default:
		close(q.closed)
	}
	q.mu.Unlock()
	q.running.Wait()
	if q.own.release != nil {
		q.own.release()
		q.owning.Wait()
	}
	return nil
}

// Publish sends tickets and returns those that the broker has confirmed: they are on the
// disks of a majority. A ticket that is not returned may be in the queue all
// the same, and is sent again by the caller. The error wraps
//
//	seckill.ErrUnavailable  no connection, no answer, the broker blocks publishers, or the queue has no leader now
//	ErrFull                 the queue is full
//	ErrUnroutable           no queue is bound; the topology is made again at once
//
// The first is tried again as PublishRetry says before it is returned. The
// others were answers, which the same question would get again.
func (q *AMQP) Publish(ctx context.Context, tickets []seckill.Ticket) (confirmed []seckill.Ticket, err error) {
	confirmed, err = q.settings.PublishRetry.try(ctx, tickets, q.publisher.send)
	if err != nil {
		err = fmt.Errorf("%s: publish: %w", q.settings, err)
	}
	return confirmed, err
}

// Receive waits for a ticket and returns up to max of those that the listeners
// hold. done MUST be called once: with true it acknowledges them, with false it
// gives them back as DefaultRequeueRejected says. An error of done means that
// some of them may be delivered again.
func (q *AMQP) Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error) {
	return q.tickets.receive(ctx, max)
}

// Dead returns the far end of the dead letters: tickets that were delivered too
// often without an answer, or rejected. With a prefetch above 1 most of them are
// innocent: they were held by a node that died of another one.
func (q *AMQP) Dead() *Dead { return &Dead{&q.dead} }

// Dead hands out dead letters, one at a time.
type Dead struct{ consumer *consumer }

// Last tells whether a ticket that was received, and is not done, was delivered for
// the last time: if it fails again it is parked, and nobody decides about it.
func (d *Dead) Last(ticket string) bool {
	d.consumer.mu.Lock()
	defer d.consumer.mu.Unlock()
	return d.consumer.last[ticket]
}

// Receive is that of the queue, except that it returns one ticket, however large
// max is. A ticket given back by done(false) comes again, up to DeliveryLimit times.
func (d *Dead) Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error) {
	return d.consumer.receive(ctx, 1)
}

// Depth returns how many tickets waited in the queue at the last look, at most
// about a second ago. Tickets that a node holds do not count.
func (q *AMQP) Depth() int { return int(q.depth.Load()) }

// StartListeners lets the node take tickets, at once or when it is connected.
func (q *AMQP) StartListeners() { q.tickets.start(true); q.dead.start(true) }

// StopListeners lets the node take no more tickets. Those that it holds are still
// handed out.
func (q *AMQP) StopListeners() { q.tickets.start(false); q.dead.start(false) }

// ListenersRunning reports whether the node takes tickets.
func (q *AMQP) ListenersRunning() bool { return q.tickets.started() }

// Ping tells whether the tickets' ends in use are connected and answered lately.
// Events wait in the store, notices only hasten, and parked copies are for people:
// none of them keeps a node from serving.
func (q *AMQP) Ping(context.Context) error {
	used := false
	for e, l := range q.links {
		if !l.wanted.Load() || End(e) == Owning { // without which no end works
			continue
		}
		used = true
		if End(e) > DeadLetters {
			continue
		}
		if err := l.down(); err != nil {
			return fmt.Errorf("%s: %w", q.settings, err)
		}
	}
	if !used {
		return fmt.Errorf("%s: not started: %w", q.settings, seckill.ErrUnavailable)
	}
	return nil
}

// Register makes the queue's metrics known. The depth is not among them: every
// queue has one, so whoever owns the queue registers it.
func (q *AMQP) Register(r prometheus.Registerer) { q.metrics.register(r) }

// link keeps one connection.
type link struct {
	queue  *AMQP
	end    End
	wanted atomic.Bool
	gauge  prometheus.Gauge
	next   int // of the addresses, for the next connection
	// reports is set on one link of a node, which keeps the gauges of the queues.
	reports bool

	mu   sync.Mutex
	err  error     // why there is no connection, nil while there is one
	seen time.Time // when the broker last answered
}

// session is one connection of a link, from login to loss.
type session struct {
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

// fail ends the session.
func (s *session) fail(err error) {
	select {
	case s.lost <- err:
	default:
	}
}

// ready tells that the session can be used.
func (s *session) ready() { s.link.set(nil) }

// use notes, before run, that the node has this end: of others there are no metrics.
func (l *link) use() {
	l.gauge = l.queue.metrics.connected.WithLabelValues(l.end.String())
	l.wanted.Store(true)
}

// run connects, declares and serves, again and again, until ctx is done.
func (l *link) run(ctx context.Context, serve func(context.Context, *session) error) {
	log := l.queue.log.With("end", l.end.String(), "broker", l.queue.settings.String())
	pause, said := minReconnectPause, ""
	for {
		began := time.Now()
		err := l.session(ctx, func(ctx context.Context, s *session) error {
			log.Info("queue: connected", "to", s.conn.RemoteAddr().String())
			said = ""
			return serve(ctx, s)
		})
		if ctx.Err() != nil {
			l.set(errors.New("stopped"))
			return
		}
		l.set(err)
		// A broker that is away for an hour is one line, not a thousand.
		if text := err.Error(); text != said {
			log.Warn("queue: not connected; trying again until it works", "error", err)
			said = text
		}
		if time.Since(began) > steadyAfter {
			pause = minReconnectPause
		}
		// Half of the pause is random: nodes that lost the same broker do not
		// come back in step.
		rest(ctx, pause/2+rand.N(pause/2))
		pause = min(2*pause, maxReconnectPause)
	}
}

// session is one turn of run. It returns why the session ended, never nil.
func (l *link) session(ctx context.Context, serve func(context.Context, *session) error) error {
	set := l.queue.settings
	var disowned <-chan struct{}
	if l.end != Owning {
		var err error
		if disowned, err = l.queue.own.wait(ctx); err != nil {
			return err
		}
	}
	s := &session{link: l, lost: make(chan error, 1), gone: make(chan struct{}), began: time.Now(), asks: make(chan question)}
	if err := s.dial(ctx); err != nil {
		return set.explain(err)
	}
	defer func() {
		close(s.gone)
		s.raw.SetDeadline(time.Now().Add(closeTime))
		s.conn.Close()
		s.raw.Close()
		s.wg.Wait()
		if l.reports { // nobody looks now, and what was seen last is no alarm's business
			l.queue.metrics.messages.Reset()
			l.queue.metrics.consumers.Reset()
		}
	}()
	ch, err := s.declare(set)
	if err != nil {
		return err
	}
	if l.end == Owning {
		if err := own(ch, set); err != nil {
			return err
		}
	}
	s.wg.Go(func() {
		select {
		case <-disowned:
			s.fail(errOwner)
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
func (s *session) declare(set RabbitMQ) (*amqp.Channel, error) {
	q := s.link.queue
	for kept := int64(0); ; {
		ch, err := s.conn.Channel()
		if err != nil {
			return nil, err
		}
		if err = declare(ch, set, kept); err == nil {
			if before := q.keptDeadLimit.Swap(kept); kept != 0 && kept != before {
				q.log.Warn("queue: the dead letters' queue was made with another limit and is used as it is; delete it when it is empty and it is made again",
					"queue", DeadQueue, "x-delivery-limit", kept, "wanted", set.deadLimit(), "broker", set.String())
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
func (s *session) dial(ctx context.Context) error {
	raw, conn, err := s.link.queue.settings.dial(ctx, s.link.end.String(), &s.link.next)
	s.raw, s.conn = raw, conn
	return err
}

// dial connects and logs in, for a purpose that the broker shows. Of a cluster's
// addresses it tries each once, from next on, which then is the one after.
func (set RabbitMQ) dial(ctx context.Context, purpose string, next *int) (raw *patientConn, conn *amqp.Connection, err error) {
	addrs := set.addrs()
	var errs []error
	for range addrs {
		addr := addrs[*next%len(addrs)]
		*next++
		if raw, conn, err = set.dialAt(ctx, addr, purpose); err == nil || ctx.Err() != nil {
			return raw, conn, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if len(errs) > 1 {
		err = errors.Join(errs...)
	}
	return nil, nil, err
}

func (set RabbitMQ) dialAt(ctx context.Context, addr, purpose string) (*patientConn, *amqp.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, set.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	host, _ := os.Hostname()
	abort := context.AfterFunc(ctx, func() { raw.Close() })
	// No Recovery: a recovered channel counts its deliveries from 1 again, and an
	// acknowledgement of the old one would hit tickets that nobody has settled.
	patient := newPatientConn(raw, set.ConfirmTimeout)
	conn, err := amqp.Open(patient, amqp.Config{
		SASL:  []amqp.Authentication{&amqp.PlainAuth{Username: set.Username, Password: string(set.Password)}},
		Vhost: set.VirtualHost, Heartbeat: set.Heartbeat, FrameSize: frameSize, ChannelMax: 2 * maxListeners, Locale: "en_US",
		Properties: amqp.Table{"product": "seckill", "connection_name": fmt.Sprintf("seckill %s %s/%d", purpose, host, os.Getpid())},
	})
	if !abort() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
	}
	return patient, conn, err
}

const (
	// watchEvery is how often a session looks at the queue; one that consumes does so
	// often enough to bring more listeners within the first second of a sale.
	watchEvery     = time.Second
	watchListeners = 200 * time.Millisecond
	// answerLimit is how old the broker's last answer may be for Ping.
	answerLimit = 3 * time.Second
)

// watch looks at the queue until the session is gone: to know its depth, and
// that broker and queue are alive, which an open connection does not prove. It also
// answers what waiting asks.
func (s *session) watch(ch *amqp.Channel) {
	every := watchEvery
	if s.link.end == Consuming {
		every = watchListeners
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ask := question{queue: TicketQueue}
	for {
		q, err := s.look(ch, ask.queue)
		if err != nil {
			s.fail(fmt.Errorf("the queue cannot be looked at: %w", err))
			return
		}
		if ask.queue == TicketQueue {
			s.link.queue.depth.Store(int64(q.Messages))
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
func (s *session) waiting(ctx context.Context, queue string) (int, error) {
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
func (s *session) glance() {
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
func (s *session) look(ch *amqp.Channel, name string) (amqp.Queue, error) {
	q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if err == nil && s.link.reports {
		m := &s.link.queue.metrics
		m.messages.WithLabelValues(name).Set(float64(q.Messages))
		m.consumers.WithLabelValues(name).Set(float64(q.Consumers))
	}
	return q, err
}

func (l *link) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.seen = err, time.Now()
	l.gauge.Set(0)
	if err == nil {
		l.gauge.Set(1)
	}
	if l.end == Owning {
		signal(l.queue.own.news)
	}
}

func (l *link) saw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = time.Now()
}

// down tells why the link cannot be used, nil if it can.
func (l *link) down() error {
	if l.end != Owning {
		if err := l.queue.notOwned(); err != nil {
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

// closeReason reads why a channel was closed from its notification.
func closeReason(e *amqp.Error) error {
	if e == nil {
		return amqp.ErrClosed
	}
	return e
}

// patientConn bounds every write, reads in large pieces, and writes in large pieces
// while it is held. A write without deadline to a broker that has stopped
// reading would hold the client's locks for ever, and with them everything that
// could notice.
type patientConn struct {
	net.Conn
	patience time.Duration
	buffer   []byte // of reads
	unread   []byte // the rest of it

	mu      sync.Mutex
	holds   int
	unsent  []byte
	failure error // of a write whose writer has left
}

func newPatientConn(c net.Conn, patience time.Duration) *patientConn {
	return &patientConn{Conn: c, patience: patience, buffer: make([]byte, ioBuffer)}
}

// hold gathers what is written until release. The client sends every message on
// its own, a system call and a packet for each. While a connection is held,
// flush before waiting for an answer.
func (c *patientConn) hold() {
	c.mu.Lock()
	c.holds++
	c.mu.Unlock()
}

func (c *patientConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds--
	c.flushLocked()
}

func (c *patientConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes what was gathered. Nobody looks at its error: the next
// write has it, and the reader sees the connection closed.
func (c *patientConn) flushLocked() {
	if len(c.unsent) > 0 && c.failure == nil {
		if _, c.failure = c.write(c.unsent); c.failure != nil {
			c.Conn.Close()
		}
		c.unsent = c.unsent[:0]
	}
}

func (c *patientConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds > 0 {
		c.unsent = append(c.unsent, b...)
		if len(c.unsent) >= ioBuffer {
			c.flushLocked()
		}
		return len(b), c.failure
	}
	if c.failure != nil {
		return 0, c.failure
	}
	return c.write(b)
}

func (c *patientConn) write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Read is called by one goroutine, the client's reader.
func (c *patientConn) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		n, err := c.Conn.Read(c.buffer)
		if err != nil {
			return 0, err
		}
		c.unread = c.buffer[:n]
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// rest waits, but not longer than ctx lasts.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// metrics of the queue. Counters count messages, so a ticket that is sent or delivered
// again counts again.
type metrics struct {
	tickets, events                                counts
	received, redelivered, deadLetters, unreadable prometheus.Counter
	parked, noticed, heard                         prometheus.Counter
	lag, listeners                                 prometheus.Gauge
	connected, messages, consumers                 *prometheus.GaugeVec
}

// counts is what became of the messages of one publisher. What is nil is not counted.
type counts struct{ published, confirmed, returned, nacked prometheus.Counter }

func count(c prometheus.Counter, n int) {
	if c != nil {
		c.Add(float64(n))
	}
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_" + name + "_total", Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "seckill_" + name, Help: help})
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_" + name, Help: help}, []string{label})
	}
	return metrics{
		tickets: counts{
			published: counter("queue_published", "Tickets sent to the broker."),
			confirmed: counter("queue_confirmed", "Tickets that the broker has stored."),
			returned:  counter("queue_returned", "Tickets that the broker returned: no queue was bound."),
			nacked:    counter("queue_nacked", "Tickets that the broker refused: the queue was full."),
		},
		events: counts{
			published: counter("events_published", "Order events sent to the broker."),
			confirmed: counter("events_confirmed", "Order events that the broker has given to all subscribers' queues."),
			nacked:    counter("events_nacked", "Order events that a subscriber's full queue refused."),
		},
		received:    counter("queue_received", "Tickets delivered, dead letters included."),
		redelivered: counter("queue_redelivered", "Tickets delivered that had been delivered before."),
		deadLetters: counter("queue_dead_letters", "Dead letters delivered."),
		unreadable:  counter("queue_unreadable", "Messages that were no tickets and were put aside."),
		parked:      counter("queue_parked", "Copies of tickets refused as poison that the parked queue has stored."),
		noticed:     counter("notices_sent", "Notices of changed sales sent to the other nodes."),
		heard:       counter("notices_heard", "Notices of changed sales heard, this node's own included."),
		lag:         gauge("events_lag_seconds", "Age of the oldest order event that waits to be sent, as a node with the role relay last saw it in the store; 0 while none waits, and on other nodes."),
		listeners:   gauge("queue_listeners", "Listeners that take tickets."),
		connected:   gauges("queue_connected", "1 while the connection for this use stands.", "end"),
		messages:    gauges("queue_messages", "Messages that wait in a queue at the broker, at the last look.", "queue"),
		consumers:   gauges("queue_consumers", "Consumers of a queue at the broker, those of all nodes, at the last look.", "queue"),
	}
}

func (m *metrics) register(r prometheus.Registerer) {
	r.MustRegister(m.tickets.published, m.tickets.confirmed, m.tickets.returned, m.tickets.nacked)
	r.MustRegister(m.events.published, m.events.confirmed, m.events.nacked)
	r.MustRegister(m.received, m.redelivered, m.deadLetters, m.unreadable, m.parked, m.noticed, m.heard, m.lag, m.listeners, m.connected, m.messages, m.consumers)
}
