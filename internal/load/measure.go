package load

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longest     = 2 * time.Minute // latencies above count as this
	significant = 3               // digits kept of a latency
	maxShown    = 20              // findings of a rule, and kinds of failures, that are listed one by one
)

// tally keeps the latencies of answers by what the answer was.
type tally struct {
	mu     sync.Mutex
	byName map[string]*hdrhistogram.Histogram // microseconds
	total  int64
}

func (t *tally) record(name string, took time.Duration) {
	us := min(max(took, time.Microsecond), longest).Microseconds()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byName[name]
	if h == nil {
		if t.byName == nil {
			t.byName = make(map[string]*hdrhistogram.Histogram)
		}
		h = hdrhistogram.New(1, longest.Microseconds(), significant)
		t.byName[name] = h
	}
	if err := h.RecordValue(us); err == nil {
		t.total++
	}
}

func (t *tally) count() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// lines returns one line for each of names that occurred, in that order, then
// the others.
func (t *tally) lines(names ...string) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Line
	add := func(name string) {
		h := t.byName[name]
		if h == nil {
			return
		}
		at := func(p float64) time.Duration { return time.Duration(h.ValueAtPercentile(p)) * time.Microsecond }
		out = append(out, Line{
			Name: name, Count: h.TotalCount(),
			P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: time.Duration(h.Max()) * time.Microsecond,
		})
		delete(t.byName, name)
	}
	for _, name := range names {
		add(name)
	}
	for _, name := range sortedKeys(t.byName) {
		add(name)
	}
	return out
}

// failures counts requests without a usable answer by their cause.
type failures struct {
	mu     sync.Mutex
	byName map[string]int64
}

func (f *failures) add(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName == nil {
		f.byName = make(map[string]int64)
	}
	if _, known := f.byName[name]; !known && len(f.byName) >= maxShown {
		name = "other"
	}
	f.byName[name]++
}

// findings keeps what does not add up, by the rule it breaks.
type findings struct {
	mu     sync.Mutex
	byRule map[string]*finding
}

type finding struct {
	shown []string
	count int
}

func (f *findings) add(rule, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byRule == nil {
		f.byRule = make(map[string]*finding)
	}
	k := f.byRule[rule]
	if k == nil {
		k = new(finding)
		f.byRule[rule] = k
	}
	k.count++
	if len(k.shown) < maxShown {
		k.shown = append(k.shown, rule+": "+fmt.Sprintf(format, args...))
	}
}

// list returns the findings of a rule, the first ones in words and the rest as
// a number.
func (f *findings) list(rule string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.byRule[rule]
	if k == nil {
		return nil
	}
	out := append([]string(nil), k.shown...)
	if k.count > len(k.shown) {
		out = append(out, fmt.Sprintf("%s: %d more of this kind, %d in all", rule, k.count-len(k.shown), k.count))
	}
	return out
}
