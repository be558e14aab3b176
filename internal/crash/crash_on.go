//go:build crash

// Package crash marks the moments at which a test may kill the process.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// The environment variable SECKILL_CRASH=MOMENT:N kills the process with
// SIGKILL when it comes to that moment for the Nth time.
var at, nth = func() (string, int64) {
	at, n, _ := strings.Cut(os.Getenv("SECKILL_CRASH"), ":")
	nth, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		nth = 1
	}
	return at, nth
}()

var seen atomic.Int64

// Here marks a moment; only marks with armed set count.
func Here(moment string, armed bool) {
	if armed && moment == at && seen.Add(1) == nth {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
