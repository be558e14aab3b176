package event

import (
	"errors"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
)

// A notice reaches every node that is connected, the sender included, and is
// otherwise gone: nothing waits for it and nothing fails.
func TestNotices(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	direct := s
	w := rabbittest.Cuttable(t, &s)
	var hears []chan string
	var brokers []*rabbit.Broker
	node := func(s rabbit.Settings) *Notices {
		heard := make(chan string, 10_000)
		hears = append(hears, heard)
		broker := rabbittest.New(t, s)
		n := NewNotices(broker, func(sale seckill.SaleID, version int64) { heard <- fmt.Sprintf("%s v%d", sale, version) }, nil)
		rabbittest.Run(t, broker, rabbit.Noticing)
		rabbittest.Up(t, broker, rabbit.Noticing)
		brokers = append(brokers, broker)
		return n
	}
	a, b := node(direct), node(s)
	a.Send(7, 3)
	for _, heard := range hears {
		require.Equal(t, "7 v3", <-heard)
	}
	require.NoError(t, brokers[0].Ping(t.Context()))

	w.Cut()
	rabbittest.Fails(t, brokers[1], rabbit.Noticing)
	require.NoError(t, brokers[1].Ping(t.Context()), "a node without notices serves")
	for range 10_000 { // more than fit
		b.Send(1, 1)
	}
	a.Send(7, 4)
	require.Equal(t, "7 v4", <-hears[0])
	w.Mend(t)
	rabbittest.Up(t, brokers[1], rabbit.Noticing)
	for n := 0; n < noticesWaiting; n++ { // what had room is late, the rest is lost
		require.Equal(t, "1 v1", <-hears[1])
	}
	a.Send(7, 5)
	require.Equal(t, "7 v5", <-hears[1], "and 7 v4 never came")

	// What is no notice is passed over.
	ch := rabbittest.Channel(t, direct)
	for _, body := range []string{"", "x", `{"v":2,"sale":"7","version":9}`} {
		require.NoError(t, ch.Publish(rabbit.SaleExchange, "", false, false, amqp.Publishing{Body: []byte(body)}))
	}
	a.Send(7, 6)
	require.Equal(t, "7 v6", <-hears[1])

	// An exchange that somebody deletes comes back with the next notice.
	require.NoError(t, ch.ExchangeDelete(rabbit.SaleExchange, false, false))
	rabbittest.Eventually(t, func() error {
		a.Send(9, 1)
		for {
			select {
			case got := <-hears[0]:
				if got == "9 v1" {
					return nil
				}
			default:
				return errors.New("not heard yet")
			}
		}
	})
}
