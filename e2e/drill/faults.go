package main

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"seckill/internal/duty"
	"seckill/internal/stack"
)

// how a part breaks.
type how int

const (
	kill  how = iota // kill -9, and started again
	wipe             // kill -9, and started again with nothing
	cut              // no connection, and none can be made
	delay            // every connection is slow, some seconds long
	reset            // connections are reset, again and again
	forge            // somebody writes what no gate has made
	hang             // the engine is stopped (SIGSTOP) and goes on later
	full             // the engine takes nothing any more
)

// fault is one kind of what happens in the middle of a sale.
type fault struct {
	name string
	says string     // in the report
	part stack.Kind // empty: a node
	how  how
	hold [2]time.Duration // how long the part is away at least and at most; an engine's start comes on top

	routes bool // a round of --routes: visitors ask every route, too
}

const second = time.Second

// long enough for every bound on a wait to be reached.
var bounded = [2]time.Duration{9 * second, 12 * second}

var faults = []fault{
	{"node-kill", "a node is killed (`kill -9`) and started again", "", kill, [2]time.Duration{0, 2 * second}, false},
	{"redis-kill", "Redis is killed", stack.KindRedis, kill, [2]time.Duration{2 * second, 4 * second}, false},
	{"rabbitmq-kill", "RabbitMQ is killed", stack.KindRabbitMQ, kill, [2]time.Duration{0, second}, false},
	{"rabbitmq-wipe", "RabbitMQ is killed and its data are wiped", stack.KindRabbitMQ, wipe, [2]time.Duration{0, second}, false},
	{"mariadb-kill", "MariaDB is killed", stack.KindMariaDB, kill, [2]time.Duration{0, 3 * second}, false},
	{"redis-cut", "Redis: the connection is cut", stack.KindRedis, cut, [2]time.Duration{2 * second, 4 * second}, false},
	{"redis-delay", "Redis: the connection is slow", stack.KindRedis, delay, [2]time.Duration{2 * second, 5 * second}, false},
	{"redis-reset", "Redis: the connection is reset", stack.KindRedis, reset, [2]time.Duration{second, 3 * second}, false},
	{"rabbitmq-cut", "RabbitMQ: the connection is cut", stack.KindRabbitMQ, cut, [2]time.Duration{second, 4 * second}, false},
	{"rabbitmq-delay", "RabbitMQ: the connection is slow", stack.KindRabbitMQ, delay, [2]time.Duration{2 * second, 5 * second}, false},
	{"rabbitmq-reset", "RabbitMQ: the connection is reset", stack.KindRabbitMQ, reset, [2]time.Duration{second, 3 * second}, false},
	{"mariadb-cut", "MariaDB: the connection is cut", stack.KindMariaDB, cut, [2]time.Duration{second, 4 * second}, false},
	{"mariadb-delay", "MariaDB: the connection is slow", stack.KindMariaDB, delay, [2]time.Duration{2 * second, 5 * second}, false},
	{"mariadb-reset", "MariaDB: the connection is reset", stack.KindMariaDB, reset, [2]time.Duration{second, 3 * second}, false},
	{"mariadb-minute", "MariaDB is killed and away for a minute", stack.KindMariaDB, kill, [2]time.Duration{time.Minute, time.Minute}, false},
	{"forged", "1,000 messages, entries and holds are forged or damaged", "", forge, [2]time.Duration{}, false},
	{"redis-hang", "Redis hangs", stack.KindRedis, hang, bounded, true},
	{"redis-slow", "Redis is slow", stack.KindRedis, delay, bounded, true},
	{"redis-full", "Redis is full", stack.KindRedis, full, bounded, true},
	{"rabbitmq-hang", "RabbitMQ hangs", stack.KindRabbitMQ, hang, bounded, true},
	{"rabbitmq-slow", "RabbitMQ is slow", stack.KindRabbitMQ, delay, bounded, true},
	{"rabbitmq-full", "RabbitMQ is full", stack.KindRabbitMQ, full, bounded, true},
	{"mariadb-hang", "MariaDB hangs", stack.KindMariaDB, hang, bounded, true},
	{"mariadb-slow", "MariaDB is slow", stack.KindMariaDB, delay, bounded, true},
	{"mariadb-full", "MariaDB is full", stack.KindMariaDB, full, bounded, true},
}

// long faults have a lane of their own, where most of the time nothing happens.
func (f *fault) long() bool { return f.hold[0] >= time.Minute }

// gone reports whether nothing reaches the part, or nothing is taken by it, while the
// fault lasts.
func (f *fault) gone() bool {
	return f.how == kill || f.how == wipe || f.how == cut || f.how == hang || f.how == full
}

// plan is what the seed decides about a round.
type plan struct {
	fault
	number  int   // of this kind, from 1
	after   int64 // tickets that the crowd has when it happens
	hold    time.Duration
	hits    [nodes]bool // the nodes that are killed, or lose their connection
	stream  string      // of what is slow or reset: to the node (downstream), to the engine (upstream)
	millis  int64       // of delay, or until a reset
	jitter  int64       // of delay
	strikes int         // resets, with pauses between
	seed    uint64      // of the crowd
}

func (f fault) plan(seed uint64, number int, units int64) plan {
	var kind int
	for kind = range faults {
		if faults[kind].name == f.name {
			break
		}
	}
	stream := uint64(kind)*1_000_000 + uint64(number)
	random := mathrand.New(mathrand.NewPCG(seed, stream))
	p := plan{fault: f, number: number, seed: seed*1_000_000_000 + stream}
	p.after = 20 + random.Int64N(2*units)
	p.hold = f.hold[0] + time.Duration(random.Int64N(int64(f.hold[1]-f.hold[0])+1))
	p.hits = [nodes]bool{true, true}
	switch dice := random.IntN(4); {
	case f.how == forge: // all go on as if nothing were
		p.hits = [nodes]bool{}
	case f.part == "": // one of them
		p.hits[dice%2] = false
	case f.gone() && f.how != cut || f.routes: // an engine is away for everybody
	case dice < 2: // one node alone, half of the time
		p.hits[dice] = false
	}
	p.stream = []string{"downstream", "upstream"}[random.IntN(2)]
	switch f.how {
	case delay:
		p.millis = 200 + random.Int64N(2300)
		p.jitter = 1 + random.Int64N(p.millis)
		if f.routes {
			p.millis, p.jitter = 100+p.millis/8, 1+p.jitter/16 // slow, and not gone
		}
	case reset:
		p.millis = random.Int64N(150)
		p.strikes = 2 + random.IntN(4)
	}
	return p
}

// String names the round as -only takes it.
func (p *plan) String() string { return fmt.Sprintf("%s/%d", p.name, p.number) }

// describe says what happens.
func (p *plan) describe() string {
	s := fmt.Sprintf("at ticket %d for %v", p.after, p.hold.Round(10*time.Millisecond))
	switch p.how {
	case cut, delay, reset:
		s += fmt.Sprintf(", nodes %v", p.hits)
	}
	switch p.how {
	case delay:
		s += fmt.Sprintf(", %s %d±%d ms", p.stream, p.millis, p.jitter)
	case reset:
		s += fmt.Sprintf(", %s after %d ms, %d times", p.stream, p.millis, p.strikes)
	}
	return s
}

// happen makes the fault happen, calls begun when it has, and ends it when its time is
// over. ended is called when the part is about to be there again or, where that
// makes no difference to buyers, when it is.
func (l *lane) happen(ctx context.Context, p *plan, begun, ended func()) error {
	if p.part == "" {
		return l.killNode(ctx, p, begun, ended)
	}
	e := l.engine(p.part)
	switch p.how {
	case hang, full:
		end, err := l.hangOrFill(ctx, p)
		if err != nil {
			return err
		}
		begun()
		err = duty.Rest(ctx, p.hold)
		ended()
		return errors.Join(err, end())
	case kill, wipe:
		if err := e.Kill(); err != nil {
			return err
		}
		begun()
		if err := duty.Rest(ctx, p.hold); err != nil {
			return err
		}
		if p.how == wipe {
			if err := e.Wipe(); err != nil {
				return err
			}
		}
		if p.part == stack.KindRedis {
			ended()
			return e.Start(ctx)
		}
		err := e.Start(ctx)
		ended()
		return err
	}
	var struck []*wire
	for i, hit := range p.hits {
		if hit {
			struck = append(struck, l.wires[i][p.part])
		}
	}
	each := func(f func(w *wire) error) (err error) {
		for _, w := range struck {
			err = errors.Join(err, f(w))
		}
		return err
	}
	switch p.how {
	case cut:
		each(func(w *wire) error { w.Stop(); return nil })
		begun()
		err := duty.Rest(ctx, p.hold)
		ended()
		return errors.Join(err, each((*wire).mend))
	case delay:
		err := each(func(w *wire) error {
			return w.poison("latency", p.stream, 1, fmt.Sprintf(`{"latency":%d,"jitter":%d}`, p.millis, p.jitter))
		})
		if err != nil {
			return err
		}
		begun()
		err = duty.Rest(ctx, p.hold)
		ended()
		return errors.Join(err, each((*wire).heal))
	default:
		attributes := fmt.Sprintf(`{"timeout":%d}`, p.millis)
		if err := each(func(w *wire) error { return w.poison("reset_peer", p.stream, 0, attributes) }); err != nil {
			return err
		}
		begun()
		pause := p.hold / time.Duration(2*p.strikes)
		for range p.strikes {
			for _, does := range []bool{true, false} {
				if err := each(func(w *wire) error { return w.reset(does, attributes) }); err != nil {
					return err
				}
				if err := duty.Rest(ctx, pause); err != nil {
					return err
				}
			}
		}
		ended()
		return each((*wire).heal)
	}
}

func (l *lane) killNode(ctx context.Context, p *plan, begun, ended func()) error {
	i := 0
	if p.hits[1] {
		i = 1
	}
	l.nodes[i].Kill()
	begun()
	if err := duty.Rest(ctx, p.hold); err != nil {
		return err
	}
	err := l.startNode(i)
	ended()
	return err
}
