// Package redisgate is the gate that several nodes share, on Redis. It does the steps that
// package gate lists. Every decision is one Lua script (lua/), so that Redis makes it in
// one step for all nodes.
//
// What stands where in Redis, and in which form, is in layout.go; which script takes
// which keys and arguments is in scripts.go; docs/redis.md is for people who operate
// a Redis. Around the scripts:
//
//	connection.go  breaker.go   reaching Redis, and answering at once while it is gone
//	reserve.go     pacer.go     buyers who ask together are decided on together
//	find.go        view.go      where a ticket stands; what a node remembers of that
//	outcomes.go    changes.go   outcomes, returned units, stock moves and versions
//	outbox.go      sweeper.go   from the outbox to the queue, and again what got lost
//	rebuild.go     cut.go       closing, rebuilding and auditing a sale
//	stops.go                    emergency stops, while the store is away
//	board.go                    what each node tells the others of itself
//	trust.go    holds.go        what is in the outbox and in the holds, and is not the gate's
//	damaged.go                  keys and numbers that no gate has written
//	belong.go      settings.go  whose Redis this is, and whether it keeps what it is told
//	once.go                     what may happen once among all nodes: a solved challenge
package redisgate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/ca"
	"seckill/internal/duty"
	"seckill/internal/gate"
)

// Settings are what a gate is opened with.
type Settings struct {
	// Address is where Redis is: redis://user:password@host:port/db, with TLS rediss://…,
	// with an own CA rediss://…?ca=FILE.
	Address string
	// Outbox is the most tickets without an outcome in each bucket, so that one hot sale may
	// fill its own; 0 for gate.OutboxLimit.
	Outbox int
	// Connections are how many connections all calls share, a power of two; 0: what the
	// client takes, by the cores, 4 at most.
	Connections int
	// Node is the name of this node among the readers of the outbox. One that had the name
	// before reads again at once what it had been given and not sent when it died. Empty: a
	// name that nobody has had.
	Node string
	// Seals seal the tickets that the gate admits; what is in the outbox without one of them
	// is put aside. nil: tickets are not sealed, in tests.
	Seals *seckill.Seals
	// Outcome is what the store says of a ticket, for a hold without a seal that is known
	// here; nil: nobody can be asked.
	Outcome func(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Outcome, error)
	// Strangers reports whether other nodes have a secret that is not known here; nil: none.
	Strangers func(ctx context.Context) (bool, error)
	Log       *slog.Logger
}

// Gate is the gate that several nodes share. Every decision is one Lua script;
// the keys of a sale share one of 16 hash tags, so that it works on a cluster.
// A missing key means closed: the state is rebuilt, never guessed.
//
// A breaker stands before it: once a call has found Redis gone, every further
// one fails at once until it answers again. On a cluster each bucket has its own:
// a master that is gone closes its sales and no others.
type Gate struct {
	// What Settings say: limit is Outbox.
	limit     int
	node      string
	seals     *seckill.Seals
	outcome   func(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Outcome, error)
	strangers func(ctx context.Context) (bool, error)
	log       *slog.Logger

	flags    *gate.Flags
	waiters  gate.Waiters
	closed   *gate.Closings // when outcomes came
	options  rueidis.ClientOption
	where    string // for messages, without secrets
	prefix   string // of every key
	asides   map[string]prometheus.Counter
	full     atomic.Int64     // when Redis last had no memory for somebody, in nanoseconds since 1970
	skewed   atomic.Bool      // a call came too late by Redis' clock, or a command had no master: Run then asks Redis for its time again at once
	patience time.Duration    // for one call
	clock    func() time.Time // instead of Redis' clock, in tests; else nil

	client   atomic.Pointer[rueidis.Client]
	cluster  atomic.Bool
	breakers [bucketCount]breaker  // of the buckets on a cluster, else the first is that of all
	foreign  atomic.Pointer[error] // set when this Redis belongs to another store: then every call fails with it
	// Only the relay of this node uses these two.
	claimFrom [bucketCount]string // the entry from which the next claim goes on
	stranger  duty.Complaint      // of tickets that are left to other nodes

	claimed atomic.Int64 // when dead nodes' entries were last asked for, in nanoseconds since 1970
	tied    atomic.Bool  // Belong has found that this Redis belongs to the store that was named
	lost    duty.Signal
	added   duty.Signal // this node has written to the outbox

	lengths [bucketCount]atomic.Int64 // of the outbox streams, at the last look
	oldest  [bucketCount]atomic.Int64 // when their first entries were admitted, in ms since 1970; 0: there are none
	wrong   [bucketCount]atomic.Bool  // a key of the bucket, or of a sale there, was of another type than gates make

	lines lines
	pacer *pacer

	mu    sync.Mutex
	shut  map[seckill.SaleID]string // tokens of the sales that this node shut
	views map[seckill.SaleID]*view
	sent  map[string]entry // tickets taken from the outbox and not confirmed by the queue
	// For each bucket, the outbox entry after which this node must read again what it was
	// given, because an answer with entries may have been lost. Empty: none was lost.
	rereadFrom [bucketCount]string
	strange    [bucketCount][]string // entries that were taken and are to be left to other nodes
	tries      map[string]resend
	late       map[seckill.SaleID]map[string]seckill.Outcome // by ticket, of sales that stay closed
	formed     map[seckill.SaleID]struct{}                   // sales whose holds are sealed, as this node has seen
	unsealed   map[seckill.SaleID]string                     // notes without a seal that this node has rung for
}

// cutCA takes the parameter ca off the address: the file of the server's own CA
// (redis.ca_file).
func cutCA(address string) (rest, file string) {
	u, err := url.Parse(address)
	if err != nil || !u.Query().Has("ca") {
		return address, ""
	}
	q := u.Query()
	file = q.Get("ca")
	q.Del("ca")
	u.RawQuery = q.Encode()
	return u.String(), file
}

// Open returns the gate at an address. It does not need Redis to be there yet: Run
// connects.
func Open(s Settings) (*Gate, error) {
	address, own := cutCA(s.Address)
	options, err := rueidis.ParseURL(address)
	if err == nil && own != "" {
		if options.TLSConfig == nil {
			return nil, errors.New("gate: redis.ca_file needs TLS: write rediss:// instead of redis:// in --gate")
		}
		if options.TLSConfig, err = ca.TLS(own, options.TLSConfig.ServerName); err != nil {
			return nil, fmt.Errorf("gate: redis.ca_file: %w", err)
		}
	}
	if err != nil {
		return nil, errors.New("gate: the address is not of the form redis://user:password@host:port/db (check --gate)")
	}
	share(&options, s.Connections)
	options.DisableCache = true
	options.DisableRetry = true // the client must not repeat a command whose outcome is unknown: our caller does, with the same ticket
	options.ConnWriteTimeout = callTimeout
	options.Dialer.Timeout = callTimeout
	options.ClientName = "seckill"
	notYet := fmt.Errorf("gate: not connected to Redis at %s yet (check --gate): %w", strings.Join(options.InitAddress, ","), seckill.ErrUnavailable)
	g := &Gate{
		flags: gate.NewFlags(), closed: gate.NewClosings(0), options: options, where: strings.Join(options.InitAddress, ","), prefix: "seckill:", patience: callTimeout,
		limit: s.Outbox, node: s.Node, log: s.Log, seals: s.Seals, outcome: s.Outcome, strangers: s.Strangers,
		asides: map[string]prometheus.Counter{"outbox": gate.NewAside("outbox"), "holds": gate.NewAside("holds"), "stops": gate.NewAside("stops"), "keys": gate.NewAside("keys")},
		lost:   duty.NewSignal(), added: duty.NewSignal(), lines: lines{by: map[seckill.SaleID]*line{}}, pacer: newPacer(),
		shut: map[seckill.SaleID]string{}, views: map[seckill.SaleID]*view{}, sent: map[string]entry{}, tries: map[string]resend{}, late: map[seckill.SaleID]map[string]seckill.Outcome{}, formed: map[seckill.SaleID]struct{}{}, unsealed: map[seckill.SaleID]string{},
	}
	for i := range g.breakers {
		g.breakers[i].down.Store(&notYet)
	}
	if g.limit <= 0 {
		g.limit = gate.OutboxLimit
	}
	if g.node == "" {
		g.node = rand.Text()
		return g, nil
	}
	for b := range g.rereadFrom {
		g.rereadFrom[b] = "0"
	}
	return g, nil
}

// Lost receives when sales may be closed, so that somebody looks.
func (g *Gate) Lost() <-chan struct{} { return g.lost }

// Ping reports whether Redis answers, or any part of a cluster.
func (g *Gate) Ping(context.Context) (err error) {
	for b := range bucketCount {
		if _, err = g.up(b); err == nil {
			return nil
		}
	}
	return err
}

// fullFor is for how long a gate is called full after Redis has said so.
const fullFor = 15 * time.Second

// Degraded says what this gate cannot do although it answers, "" for nothing.
func (g *Gate) Degraded() string {
	if gone := len(g.broken()); gone > 0 && gone < bucketCount {
		return fmt.Sprintf("%d of %d parts of the Redis Cluster at %s do not answer: their sales are closed", gone, bucketCount, g.where)
	}
	if time.Since(time.Unix(0, g.full.Load())) < fullFor {
		return fmt.Sprintf("Redis at %s is full: nobody is admitted until outcomes have made room, or maxmemory is raised", g.where)
	}
	return ""
}

// Now is Redis' clock, as last compared with this node's; of a cluster that of one
// master.
func (g *Gate) Now() time.Time { return g.now(0) }

// now is the clock that decides for a bucket.
func (g *Gate) now(bucket int) time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now().Add(time.Duration(g.breaker(bucket).offset.Load()))
}

// Register makes the gate's metrics.
func (g *Gate) Register(r prometheus.Registerer) {
	r.MustRegister(g.asides["outbox"], g.asides["holds"], g.asides["stops"], g.asides["keys"],
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_pending_tickets", Help: "Admitted tickets without an outcome, as this node last saw them."}, func() float64 {
			var n int64
			for b := range g.lengths {
				n += g.lengths[b].Load()
			}
			return float64(n)
		}),
		prometheus.NewGaugeFunc(gate.OldestOpts, func() float64 {
			var most time.Duration
			for b := range g.oldest {
				if at := g.oldest[b].Load(); at != 0 {
					most = max(most, g.now(b).Sub(time.UnixMilli(at)))
				}
			}
			return most.Seconds()
		}))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_gate_up", Help: "The share of Redis that answers: 1 is all of it, 0 none."}, func() float64 {
		return 1 - float64(len(g.broken()))/bucketCount
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_gate_clock_skew_seconds", Help: "How far Redis' clock, which opens and closes sales, is ahead of this node's; of a cluster, that of the master that is furthest away."}, func() float64 {
		return g.skew().Seconds()
	}))
}
