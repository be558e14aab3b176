package seckill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatBecomesOfATicket(t *testing.T) {
	t.Parallel()
	opens := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	closes := opens.Add(time.Hour)
	for _, c := range []struct {
		name           string
		exists, active bool
		quantity       int
		left           int64
		want           Reason
		at             time.Time // zero: while the sale is open
	}{
		{"it fits", true, false, 2, 5, ReasonNone, time.Time{}},
		{"it just fits", true, false, 2, 2, ReasonNone, time.Time{}},
		{"a unit is missing", true, false, 2, 1, ReasonSoldOut, time.Time{}},
		{"everything is sold", true, false, 1, 0, ReasonSoldOut, time.Time{}},
		{"more is sold than there is", true, false, 1, -1, ReasonSoldOut, time.Time{}},
		{"the buyer has an active order", true, true, 1, 5, ReasonLimit, time.Time{}},
		{"the buyer has an active order, and nothing is left", true, true, 1, 0, ReasonLimit, time.Time{}},
		{"there is no such sale", false, false, 1, 0, ReasonNoSale, time.Time{}},
		{"it is at the limit", true, false, 2, 5, ReasonNone, opens},
		{"it is above any limit that the sale has had", true, false, 3, 5, ReasonNotAdmitted, time.Time{}},
		{"it is from before the opening", true, false, 1, 5, ReasonNotAdmitted, opens.Add(-time.Millisecond)},
		{"it is from the last moment", true, false, 1, 5, ReasonNone, closes.Add(-time.Millisecond)},
		{"it is from the moment of the closing", true, false, 1, 5, ReasonNotAdmitted, closes},
		{"nobody was admitted, whoever holds an order", true, true, 3, 0, ReasonNotAdmitted, time.Time{}},
	} {
		ticket := Ticket{Quantity: c.quantity, At: c.at}
		if c.at.IsZero() {
			ticket.At = opens.Add(time.Minute)
		}
		terms := &Terms{Opens: opens, Closes: closes, Limit: 2}
		if !c.exists {
			terms = nil
		}
		require.Equal(t, c.want, ticket.Settle(terms, c.active, c.left), c.name)
	}
}
