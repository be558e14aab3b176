package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
	"seckill/internal/stack"
)

// family is the processor time of a process and of everything that it started.
func family(pid int) float64 {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	children := map[int][]int{}
	for _, d := range dir {
		id, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		_, rest, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], id)
		}
	}
	var all func(int) float64
	all = func(pid int) float64 {
		sum := cpuTime(pid)
		for _, c := range children[pid] {
			sum += all(c)
		}
		return sum
	}
	return all(pid)
}

const (
	backlog = 80_000 // tickets that wait in RabbitMQ when settling begins

	ticketQueue = "seckill.tickets"
	// The shipped settings of a node's listeners at their most.
	listeners   = 4
	prefetch    = 1024
	settleBatch = 1024
)

// consumers are who drains a full queue.
var consumers = []string{
	"a node that only settles: the committed order and its event in the store, the finished ticket at the gate",
	"a bare consumer that writes the same orders to the store, in one transaction for as many, and acknowledges them",
	"a bare consumer that acknowledges each message and does nothing else",
	"the same, acknowledging hundreds at once as a node does",
}

// settling compares a node that settles a full queue with bare consumers of the same
// messages with the same prefetch.
func (b *bench) settling(ctx context.Context) (string, error) {
	rates := make([][]float64, len(consumers))
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "settling: round %d of %d:", round+1, b.rounds)
		for consumer := range consumers {
			_, err := b.onStack(ctx, func(s *stack.Stack) (r run, err error) {
				rate, err := b.drain(ctx, s, consumer)
				rates[consumer] = append(rates[consumer], rate)
				return r, err
			})
			if err != nil {
				return "", err
			}
			fmt.Fprintf(os.Stderr, " %.0f", rates[consumer][round])
		}
		fmt.Fprintln(os.Stderr, " a second")
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\nA full queue of %d tickets, drained with the shipped settings (%d listeners, prefetch %d):\n\n| by | a second | the node to this |\n|---|---|---|\n", backlog, listeners, prefetch)
	same := func(n float64) float64 { return n }
	for consumer, name := range consumers {
		fmt.Fprintf(&table, "| %s | %.0f |", name, middle(rates[consumer], same))
		if consumer == 0 {
			table.WriteString(" |\n")
			continue
		}
		fmt.Fprintf(&table, " **%.2f** |\n", middle(rates[0], same)/middle(rates[consumer], same))
	}
	return table.String(), nil
}

func (b *bench) drain(ctx context.Context, s *stack.Stack, consumer int) (rate float64, err error) {
	n, err := b.serve(ctx, s, "--run", "api,relay")
	if err != nil {
		return 0, err
	}
	defer n.stop()
	target, tokens, err := b.open(ctx, n, seckill.MaxTotal, "d", backlog)
	if err == nil {
		err = n.all(ctx, "POST", target, tokens, backlog)
	}
	if err != nil {
		return 0, err
	}
	conn, err := amqp.Dial(s.RabbitMQ.URL())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	waiting := func(count int) error {
		for {
			q, err := ch.QueueDeclarePassive(ticketQueue, true, false, false, false, nil)
			if err != nil || q.Messages >= count {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := waiting(backlog); err != nil {
		return 0, err
	}
	n.stop() // nobody is left who would announce events meanwhile
	start := time.Now()
	switch consumer {
	case 1:
		var db *sql.DB
		if db, err = shop(s.MariaDB.URL()); err != nil {
			return 0, err
		}
		defer db.Close()
		err = consume(ctx, conn, settleBatch, func(some []amqp.Delivery) error { return write(ctx, db, some) })
	case 2:
		err = consume(ctx, conn, 1, nil)
	case 3:
		err = consume(ctx, conn, prefetch/2, nil)
	}
	if err != nil {
		return 0, err
	}
	if consumer > 0 {
		return backlog / time.Since(start).Seconds(), nil
	}
	settler, err := b.serve(ctx, s, "--run", "api,settle")
	if err != nil {
		return 0, err
	}
	defer settler.stop()
	profiled := make(chan error, 1)
	go func() { profiled <- settler.profile(ctx, b.profile, 2) }()
	// From when the node settles its first: starting it is not what is measured.
	var first time.Time
	var had float64
	for {
		placed, _, err := settler.counts(ctx)
		if err != nil {
			return 0, err
		}
		if placed > 0 && first.IsZero() {
			first, had = time.Now(), placed
		}
		if placed >= backlog {
			took := time.Since(first)
			if _, err := settler.rests(ctx, target); err != nil {
				return 0, err
			}
			return (placed - had) / took.Seconds(), <-profiled
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// consume is the bare consumer of the whole backlog: it acknowledges up to most
// messages at once, after work on them, if there is any.
func consume(ctx context.Context, conn *amqp.Connection, most int, work func([]amqp.Delivery) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	got := make(chan int, backlog)
	for range listeners {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if err := ch.Qos(prefetch, 0, false); err != nil {
			return err
		}
		deliveries, err := ch.Consume(ticketQueue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		go func() {
			for some := make([]amqp.Delivery, 0, most); ; some = some[:0] {
				select {
				case d := <-deliveries:
					some = append(some, d)
				case <-ctx.Done():
					return
				}
				for late := linger(most); late != nil && len(some) < most; {
					select {
					case d := <-deliveries:
						some = append(some, d)
					case <-late:
						late = nil
					}
				}
				if work != nil {
					if err := work(some); err != nil {
						cancel(err)
						return
					}
				}
				some[len(some)-1].Ack(len(some) > 1)
				got <- len(some)
			}
		}()
	}
	for total := 0; total < backlog; {
		select {
		case n := <-got:
			total += n
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// linger is how long company is waited for, if any is wanted.
func linger(most int) <-chan time.Time {
	if most == 1 {
		return nil
	}
	return time.After(time.Millisecond)
}
