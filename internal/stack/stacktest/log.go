package stacktest

import (
	"io"
	"strings"
	"sync"
)

// logKept is how many lines of a log a test prints that failed.
const logKept = 100

// Log is for the log of a node: it keeps the last lines, one for each Write, and a test that
// fails prints them, as it prints the end of an engine's log. Of what is written after the test
// has ended nothing is said.
func Log(t T, of string) io.Writer {
	l := &lines{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s ends with:\n%s", of, l)
		}
	})
	return l
}

// lines are the last that were written.
type lines struct {
	mu   sync.Mutex
	last []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last[max(0, len(l.last)+1-logKept):], string(p))
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(strings.Join(l.last, ""))
}
