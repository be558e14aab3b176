package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
)

// TestAClusterOfThree drives RabbitMQ as it should be run: three nodes, each queue
// on all of them, one address after the other.
func TestAClusterOfThree(t *testing.T) {
	t.Parallel()
	c := stack.OwnCluster(t, stack.KindRabbitMQ)
	t.Run("behaves as one", func(t *testing.T) {
		s := at(t, c.Members[0].Fresh(t))
		s.Addresses, s.DeliveryLimit = c.Addrs(), 1_000_000
		for _, b := range behaviours {
			if b.name == memoryOnly || strings.HasPrefix(b.name, "many senders") {
				continue // the latter give up before three disks can have confirmed
			}
			t.Run(b.name, func(t *testing.T) {
				q := run(t, s, Publishing, Consuming)
				b.test(&line{t: t, conforming: connected(t, q)})
				require.NoError(t, q.Close())
				_, err := channel(t, s).QueuePurge(TicketQueue, false)
				require.NoError(t, err)
			})
		}
	})
	t.Run("goes on without its leader and waits without a majority", func(t *testing.T) {
		s := at(t, c.URL())
		s.Addresses = c.Addrs()
		s.ConfirmTimeout, s.ConnectTimeout = 3*time.Second, 3*time.Second
		q := run(t, s, Publishing, Consuming)
		connected(t, q)
		all := relay(t, q, 200)
		require.NoError(t, c.Settle(t.Context()))

		// The leader, with the connections that are to it.
		leader, members := whereIs(t, c, s, TicketQueue)
		require.Equal(t, len(c.Members), members)
		first := c.Members[leader]
		began := time.Now()
		require.NoError(t, first.Kill())
		all = append(all, relay(t, q, 200)...)
		t.Logf("confirmed %v after the leader was killed", time.Since(began).Round(time.Millisecond))
		received := map[string]bool{}
		drainInto(t, q, received, all)

		// A second one: what is left is no majority, and says so.
		second := c.Members[(leader+1)%len(c.Members)]
		require.NoError(t, second.Kill())
		began = time.Now()
		waiting := some(100)
		eventually(t, func() error {
			confirmed, err := q.Publish(t.Context(), waiting[:1])
			require.True(t, len(confirmed) == 0 || err == nil)
			if len(confirmed) > 0 {
				return errStillThere // the node has not noticed
			}
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			return nil
		})
		eventually(t, func() error {
			if q.Ping(t.Context()) == nil {
				return errStillThere
			}
			return nil
		})
		t.Logf("unavailable %v after the second was killed", time.Since(began).Round(time.Millisecond))

		require.NoError(t, second.Start(t.Context()))
		began = time.Now()
		insist(t, q, waiting)
		t.Logf("confirmed %v after it was back", time.Since(began).Round(time.Millisecond))
		drainInto(t, q, received, waiting)
		require.NoError(t, first.Start(t.Context()))
		connected(t, q)
		last := relay(t, q, 100)
		drainInto(t, q, received, last)
	})
}

var errStillThere = errors.New("it is still there")

// relay sends n new tickets as a relay does: those that are not confirmed again.
func relay(t testing.TB, q *AMQP, n int) []seckill.Ticket {
	t.Helper()
	tickets := some(n)
	insist(t, q, tickets)
	return tickets
}

func insist(t testing.TB, q *AMQP, tickets []seckill.Ticket) {
	t.Helper()
	eventually(t, func() error {
		confirmed, err := q.Publish(t.Context(), tickets)
		tickets = without(tickets, confirmed)
		return err
	})
	require.Empty(t, tickets)
}

// drainInto receives until each of the tickets has come; some come twice.
func drainInto(t testing.TB, q far, received map[string]bool, tickets []seckill.Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		for !received[ticket.ID] {
			some, done := receive(t, q, 100)
			if err := done(true); err != nil {
				require.ErrorIs(t, err, ErrStale)
				continue
			}
			for _, got := range some {
				received[got.ID] = true
			}
		}
	}
}

// whereIs tells the member of a cluster that leads a queue, and how many have it.
func whereIs(t testing.TB, c *stack.Cluster, s RabbitMQ, queue string) (leader, members int) {
	t.Helper()
	address, user, password := c.Members[0].Console()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"api/queues/"+url.PathEscape(s.VirtualHost)+"/"+queue, nil)
	require.NoError(t, err)
	req.SetBasicAuth(user, password)
	req.Close = true
	var state struct {
		Leader  string
		Members []string
	}
	eventually(t, func() error {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&state); err != nil || state.Leader == "" {
			return fmt.Errorf("no leader yet: %s, %w", res.Status, err)
		}
		return nil
	})
	_, err = fmt.Sscanf(state.Leader, "rabbit@127.0.0.%d", &leader)
	require.NoError(t, err)
	return leader - 1, len(state.Members)
}
