package seckill

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatBecomesOfATicket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		exists, active bool
		quantity       int
		left           int64
		want           Reason
	}{
		{"it fits", true, false, 2, 5, ReasonNone},
		{"it just fits", true, false, 2, 2, ReasonNone},
		{"a unit is missing", true, false, 2, 1, ReasonSoldOut},
		{"everything is sold", true, false, 1, 0, ReasonSoldOut},
		{"more is sold than there is", true, false, 1, -1, ReasonSoldOut},
		{"the buyer has an active order", true, true, 1, 5, ReasonLimit},
		{"the buyer has an active order, and nothing is left", true, true, 1, 0, ReasonLimit},
		{"there is no such sale", false, false, 1, 0, ReasonNoSale},
	} {
		ticket := Ticket{Quantity: c.quantity}
		require.Equal(t, c.want, ticket.Settle(c.exists, c.active, c.left), c.name)
	}
}
