package stacktest

import "time"

// awaitLimit bounds what hangs: a test that waits without a limit takes the results of its whole
// package with it.
const awaitLimit = 2 * time.Minute

// Await receives from a channel. A test to which nothing comes, or which is not told of the
// channel's end, fails.
func Await[V any](t T, what string, from <-chan V) (v V) {
	t.Helper()
	limit := time.NewTimer(awaitLimit)
	defer limit.Stop()
	select {
	case v = <-from:
	case <-limit.C:
		t.Fatalf("not within %v: %s", awaitLimit, what)
	}
	return v
}

// AwaitAll is [Await] for a group of goroutines.
func AwaitAll(t T, what string, all interface{ Wait() }) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		all.Wait()
	}()
	Await(t, what, over)
}
