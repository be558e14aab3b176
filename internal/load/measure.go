package load

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longest     = 2 * time.Minute // latencies above count as this
	significant = 3               // digits kept of a latency
	maxShown    = 20              // findings of a rule, and kinds of failures, that are listed one by one
)

// latencies keeps the latencies of answers by what the answer was, those of the
// whole run and those since the last cut.
type latencies struct {
	mu     sync.Mutex
	byName map[string]*kind
	total  int64

	recent *hdrhistogram.Histogram // all names
}

type kind struct {
	all    *hdrhistogram.Histogram // microseconds
	recent int64
}

func newHistogram(digits int) *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), digits)
}

func (t *latencies) record(name string, took time.Duration) {
	us := min(max(took, time.Microsecond), longest).Microseconds()
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.byName[name]
	if k == nil {
		if t.byName == nil {
			t.byName, t.recent = make(map[string]*kind), newHistogram(significant-1)
		}
		k = &kind{all: newHistogram(significant)}
		t.byName[name] = k
	}
	if k.all.RecordValue(us) == nil && t.recent.RecordValue(us) == nil {
		k.recent++
		t.total++
	}
}

func (t *latencies) count() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// cut returns the answers since the last cut: how many of each name, and their
// latencies, nil if there was none.
func (t *latencies) cut() (counts map[string]int64, took *Latency) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range t.byName {
		if k.recent > 0 {
			if counts == nil {
				counts = make(map[string]int64)
			}
			counts[name], k.recent = k.recent, 0
		}
	}
	if counts != nil {
		at := func(p float64) time.Duration { return microseconds(t.recent.ValueAtPercentile(p)) }
		took = &Latency{P50: at(50), P90: at(90), P99: at(99), Max: microseconds(t.recent.Max())}
		t.recent.Reset()
	}
	return counts, took
}

// lines returns one line for each of names that occurred, in that order, then
// the others.
func (t *latencies) lines(names ...string) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range sortedKeys(t.byName) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var out []Line
	for _, name := range names {
		k := t.byName[name]
		if k == nil {
			continue
		}
		at := func(p float64) time.Duration { return microseconds(k.all.ValueAtPercentile(p)) }
		l := Line{
			Name: name, Count: k.all.TotalCount(),
			P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: microseconds(k.all.Max()),
		}
		for _, p := range quantiles {
			// Beyond that there is no answer between this one and the slowest.
			if float64(l.Count)*(1-p/100) < 1 {
				break
			}
			l.Curve = append(l.Curve, Quantile{p, at(p)})
		}
		l.Curve = append(l.Curve, Quantile{100, l.Max})
		out = append(out, l)
	}
	return out
}

// quantiles are the points of a Line's curve.
var quantiles = []float64{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 92.5, 95, 97.5, 99, 99.5, 99.9, 99.95, 99.99, 99.999}

func microseconds(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// failures counts requests without a usable answer by their cause.
type failures struct {
	mu     sync.Mutex
	byName map[string]int64
	total  atomic.Int64
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
	f.total.Add(1)
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
