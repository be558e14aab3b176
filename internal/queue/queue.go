// Package queue holds tickets in transit from the gate's outbox to settle, at least
// once: step 4 of the path of a purchase puts them in, step 5 takes them out and step 7
// acknowledges them.
//
// This package is the embedded queue: a bounded channel. What it holds when the
// process dies is still in the gate's outbox, and is sent again. The queue on RabbitMQ is
// in the folder rabbitmq, and queuetest is the suite that both pass.
package queue

import (
	"context"
	"sync"

	"seckill"
	"seckill/internal/duty"
)

// memoryLimit is the default number of tickets that the embedded queue holds.
const memoryLimit = 10_000

// Memory is the embedded queue.
type Memory struct {
	tickets chan seckill.Ticket

	mu       sync.Mutex
	returned []seckill.Ticket // handed back by a consumer, first in line
	more     duty.Signal      // there are returned ones
}

// NewMemory returns a queue of at most limit tickets, 0 for memoryLimit.
func NewMemory(limit int) *Memory {
	if limit <= 0 {
		limit = memoryLimit
	}
	return &Memory{tickets: make(chan seckill.Ticket, limit), more: duty.NewSignal()}
}

// Publish puts tickets into the queue, waiting while it is full, and returns
// those that it took before ctx was done.
func (q *Memory) Publish(ctx context.Context, tickets []seckill.Ticket) ([]seckill.Ticket, error) {
	for i, t := range tickets {
		select {
		case q.tickets <- t:
		case <-ctx.Done():
			return tickets[:i], ctx.Err()
		}
	}
	return tickets, nil
}

// Receive waits for tickets and returns up to max of them. done MUST be called
// once: with true they are gone, with false they are handed out again.
func (q *Memory) Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error) {
	if tickets = q.again(max); len(tickets) == 0 {
		select {
		case t := <-q.tickets:
			tickets = append(tickets, t)
		case <-q.more:
			return q.Receive(ctx, max)
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	for len(tickets) < max {
		select {
		case t := <-q.tickets:
			tickets = append(tickets, t)
			continue
		default:
		}
		break
	}
	return tickets, func(settled bool) error {
		if !settled {
			q.mu.Lock()
			q.returned = append(q.returned, tickets...)
			q.mu.Unlock()
			q.more.Send()
		}
		return nil
	}, nil
}

// again hands out returned tickets; when there are more it wakes the next one who
// waits.
func (q *Memory) again(max int) []seckill.Ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(max, len(q.returned))
	tickets := q.returned[:n:n]
	q.returned = q.returned[n:]
	if len(q.returned) > 0 {
		q.more.Send()
	}
	return tickets
}

// Depth returns how many tickets wait.
func (q *Memory) Depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tickets) + len(q.returned)
}

// Ping reports whether the queue can take tickets: as long as the process lives.
func (q *Memory) Ping(context.Context) error { return nil }
