//go:build crash

// Package crash marks the moments at which a test may kill the process.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The environment variable SECKILL_CRASH=MOMENT:N kills the process with
// SIGKILL when it comes to that moment for the Nth time. With MOMENT:N:DURATION
// it stays in that moment first, while everything else goes on.
var at, nth, stay = func() (at string, nth int64, stay time.Duration) {
	at, rest, _ := strings.Cut(os.Getenv("SECKILL_CRASH"), ":")
	n, d, _ := strings.Cut(rest, ":")
	nth, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		nth = 1
	}
	stay, _ = time.ParseDuration(d)
	return at, nth, stay
}()

var seen atomic.Int64

// Here marks a moment; only marks with armed set count.
func Here(moment string, armed bool) {
	if armed && moment == at && seen.Add(1) == nth {
		time.Sleep(stay)
		os.Stderr.WriteString("crash: dies at " + moment + "\n")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
