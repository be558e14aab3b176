package load

import (
	"math"
	"time"
)

// lateBy is how much later than intended a buyer may arrive before it counts as
// a late start. Timers and a busy scheduler need some of it.
const lateBy = 10 * time.Millisecond

// arrivals says when buyers arrive in the open loop: burst of them at once, then the
// others at a rate that grows from 0 to rate, per second, during ramp. It knows
// nothing of the answers: a slow server does not slow down who arrives.
type arrivals struct {
	burst int
	rate  float64
	ramp  time.Duration
}

// at is the intended start of arrival i, counted from 0, since the first one.
func (p arrivals) at(i int) time.Duration {
	n := float64(i - p.burst)
	if n < 0 || p.rate <= 0 {
		return 0
	}
	// The rate is rate·t/ramp until ramp, so rate·t²/(2·ramp) have arrived by t.
	ramp := p.ramp.Seconds()
	s := ramp/2 + n/p.rate
	if during := p.rate * ramp / 2; n < during {
		s = math.Sqrt(2 * ramp * n / p.rate)
	}
	return time.Duration(s * float64(time.Second))
}
