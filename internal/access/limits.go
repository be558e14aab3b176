package access

import "time"

// limiter is a token bucket for each of very many names, in a table of fixed size that
// holds no pointers: 16 bytes for each name remembered, whoever asks.
//
// A bucket is kept as the time at which it is full again (the generic cell rate
// algorithm), in nanoseconds since 1970. A full bucket is the same as none, so a name that
// asks little loses nothing when it is forgotten, and who floods is forgotten last.
type limiter struct {
	step  int64 // nanoseconds in which one request is earned
	burst int64 // nanoseconds that a whole bucket takes to fill
	full  *table[int64]
}

func newLimiter(remembered, rate, burst int) *limiter {
	step := int64(time.Second) / int64(rate)
	return &limiter{step: step, burst: step * int64(burst), full: newTable(remembered, func(full *int64) int64 { return *full })}
}

// take takes one request out of the bucket of that name, and returns how long to wait
// when it is empty, else 0.
func (l *limiter) take(name string, now time.Time) (wait time.Duration) {
	at := now.UnixNano()
	l.full.use(name, func(full *int64) {
		next := max(*full, at) + l.step
		if over := next - at - l.burst; over > 0 {
			wait = time.Duration(over)
			return
		}
		*full = next
	})
	return wait
}
