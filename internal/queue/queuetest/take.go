package queuetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// patience is how long a test waits for a ticket that is there, or for a confirm.
const patience = time.Minute

// Far is what tickets are received from: the queue, or its dead letters.
type Far interface {
	Receive(ctx context.Context, max int) ([]seckill.Ticket, func(bool) error, error)
}

// Receive receives, and fails the test when nothing comes.
func Receive(t testing.TB, q Far, max int) ([]seckill.Ticket, func(bool) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tickets, done, err := q.Receive(ctx, max)
	require.NoError(t, err)
	require.NotEmpty(t, tickets)
	return tickets, done
}

// Collect receives and settles until every one of the tickets has come.
func Collect(t testing.TB, q Far, tickets []seckill.Ticket) {
	t.Helper()
	missing := map[string]bool{}
	for _, ticket := range tickets {
		missing[ticket.ID] = true
	}
	for len(missing) > 0 {
		got, done := Receive(t, q, 100)
		for _, ticket := range got {
			delete(missing, ticket.ID)
		}
		require.NoError(t, done(true))
	}
}

// Near is what tickets are published to.
type Near interface {
	Publish(ctx context.Context, tickets []seckill.Ticket) ([]seckill.Ticket, error)
}

// Publish publishes tickets, all of which must be confirmed.
func Publish(t testing.TB, q Near, tickets ...seckill.Ticket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	confirmed, err := q.Publish(ctx, tickets)
	require.NoError(t, err)
	require.Equal(t, tickets, confirmed, "all are confirmed")
}

// CollectN receives and settles n tickets.
func CollectN(t testing.TB, q Far, n int) {
	t.Helper()
	for n > 0 {
		got, done := Receive(t, q, n)
		require.NoError(t, done(true))
		n -= len(got)
	}
}
