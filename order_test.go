package seckill

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every state, every change, in time and late. What is not listed is impossible.
func TestOrderBecomes(t *testing.T) {
	t.Parallel()
	const (
		changes = "changes"
		repeat  = "changes nothing"
	)
	type step struct {
		from, to OrderState
		late     bool
	}
	allowed := map[step]string{
		{Unpaid, Paid, false}:      changes,
		{Unpaid, Cancelled, false}: changes,
		{Unpaid, Cancelled, true}:  changes,
		{Unpaid, Expired, true}:    changes,
		{Paid, Refunded, false}:    changes,
		{Paid, Refunded, true}:     changes,
	}
	states := []OrderState{Unpaid, Paid, Cancelled, Expired, Refunded}
	for _, s := range states {
		allowed[step{s, s, false}], allowed[step{s, s, true}] = repeat, repeat
	}
	for _, from := range states {
		for _, to := range states {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s to %s, late %t", from, to, late), func(t *testing.T) {
					now := noon.Add(-time.Nanosecond) // the last moment in time
					if late {
						now = noon // the first moment that is late
					}
					o := Order{ID: "the order", State: from, ExpiresAt: noon}
					changed, err := o.Become(to, now)
					require.Equal(t, from, o.State, "Become decides, it does not do")
					switch allowed[step{from, to, late}] {
					case changes:
						require.NoError(t, err)
						require.True(t, changed)
					case repeat:
						require.NoError(t, err)
						require.False(t, changed)
					default:
						require.ErrorIs(t, err, ErrState)
						require.ErrorContains(t, err, "the order")
						require.False(t, changed)
					}
				})
			}
		}
	}
}

func TestWhichOrdersHoldTheirUnits(t *testing.T) {
	t.Parallel()
	for state, active := range map[OrderState]bool{Unpaid: true, Paid: true, Cancelled: false, Expired: false, Refunded: false, "refused": false, "": false} {
		require.Equal(t, active, state.Active(), string(state))
	}
}
