package load

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
)

// Limits of what is recorded over time.
const (
	interval  = 100 * time.Millisecond // of a point, until there are too many
	maxPoints = 600                    // then two neighbours become one, and the interval doubles
	lookEvery = time.Second            // between two looks at the audit
)

// Point is what happened in one interval of a run.
type Point struct {
	At            time.Duration    `json:"at_ns"`    // the end of the interval, since the first buy
	Width         time.Duration    `json:"width_ns"` // of the interval
	Buys          map[string]int64 `json:"buys,omitempty"`
	Results       map[string]int64 `json:"results,omitempty"`
	Failures      int64            `json:"failures,omitempty"`
	LateStarts    int64            `json:"late_starts,omitempty"`
	BuyLatency    *Latency         `json:"buy_latency,omitempty"` // of all verdicts
	ResultLatency *Latency         `json:"result_latency,omitempty"`

	// What the servers said last in this interval, if anything.
	Left  *int64 `json:"left,omitempty"` // the sale's hint
	Stock *Stock `json:"stock,omitempty"`
}

// Stock is where the units of the sale are, by the audit, about once a second.
type Stock struct {
	Gate      int64 `json:"gate"`
	Pending   int64 `json:"pending"` // admitted, without an outcome: the depth of the queue
	Active    int64 `json:"active"`
	Returning int64 `json:"returning"`
}

// Latency is that of all answers in an interval. Of two intervals that became
// one, it is the larger of both.
type Latency struct {
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// series records points while the crowd is at work.
type series struct {
	r     *run
	start time.Time

	mu     sync.Mutex
	width  time.Duration
	points []Point
	last   Point // the part of a point that is not complete
	cutAt  time.Duration

	left           atomic.Pointer[int64]
	stock          atomic.Pointer[Stock]
	failures, late int64 // at the last point
}

// watch records points, and looks at the stock, until stop is called.
func (r *run) watch(ctx context.Context) (stop func()) {
	s := &series{r: r, start: time.Now(), width: interval}
	r.series = s
	quit := make(chan struct{})
	var wg sync.WaitGroup
	every := func(d time.Duration, do func()) {
		wg.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				do()
				select {
				case <-tick.C:
				case <-quit:
					return
				case <-ctx.Done():
					return
				}
			}
		})
	}
	every(interval, s.cut)
	// These requests are no part of the measurement: one that is slow or fails
	// leaves a gap, and the next one takes the next server.
	look := func(d time.Duration, path, auth string, v any, seen func()) {
		cl, server := r.newCaller(), 0
		every(d, func() {
			if a, err := cl.get(server, path, auth, v); err == nil && a.status == 200 && !a.broken {
				seen()
			} else {
				server++
			}
		})
	}
	var sale seckill.Sale
	look(interval, r.paths.sale, "", &sale, func() { left := sale.Left; s.left.Store(&left) })
	if r.c.AdminToken != "" {
		var au seckill.Report
		look(lookEvery, r.paths.audit, "Bearer "+r.c.AdminToken, &au, func() {
			s.stock.Store(&Stock{au.Gate, au.Pending, au.Active, au.Returning})
			au = seckill.Report{}
		})
	}
	return sync.OnceFunc(func() {
		close(quit)
		wg.Wait()
		s.cut()
		s.end()
	})
}

// cut ends a point.
func (s *series) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Point{At: time.Since(s.start)}
	p.Width = p.At - s.cutAt
	if p.Width <= 0 {
		return
	}
	s.cutAt = p.At
	p.Buys, p.BuyLatency = s.r.buys.cut()
	p.Results, p.ResultLatency = s.r.results.cut()
	failures, late := s.r.failures.total.Load(), s.r.late.Load()
	p.Failures, s.failures = failures-s.failures, failures
	p.LateStarts, s.late = late-s.late, late
	p.Left, p.Stock = s.left.Swap(nil), s.stock.Swap(nil)
	if s.last.Width > 0 {
		p = join(s.last, p)
	}
	if s.last = p; p.Width >= s.width-interval/2 {
		s.end()
	}
}

// end makes the last, maybe incomplete point one of the others.
func (s *series) end() {
	if s.last.Width > 0 {
		s.points, s.last = append(s.points, s.last), Point{}
	}
	if len(s.points) > maxPoints {
		s.points = halved(s.points)
		s.width *= 2
	}
}

// halved makes one point of every two.
func halved(points []Point) []Point {
	half := make([]Point, 0, len(points)/2+1)
	for pair := range slices.Chunk(points, 2) {
		p := pair[0]
		if len(pair) == 2 {
			p = join(p, pair[1])
		}
		half = append(half, p)
	}
	return half
}

// join makes one point of two neighbours.
func join(a, b Point) Point {
	b.Width += a.Width
	b.Failures += a.Failures
	b.LateStarts += a.LateStarts
	b.Buys, b.Results = sum(a.Buys, b.Buys), sum(a.Results, b.Results)
	b.BuyLatency, b.ResultLatency = slower(a.BuyLatency, b.BuyLatency), slower(a.ResultLatency, b.ResultLatency)
	if b.Left == nil {
		b.Left = a.Left
	}
	if b.Stock == nil {
		b.Stock = a.Stock
	}
	return b
}

func sum(a, b map[string]int64) map[string]int64 {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == 0 {
			return b
		}
		return a
	}
	c := maps.Clone(a)
	for name, n := range b {
		c[name] += n
	}
	return c
}

func slower(a, b *Latency) *Latency {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return &Latency{max(a.P50, b.P50), max(a.P90, b.P90), max(a.P99, b.P99), max(a.Max, b.Max)}
}

// live says in a few words what is going on: the answers per second by name and
// the 99th percentile over the last second.
func (s *series) live() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p Point
	for i := len(s.points) - 1; i >= 0 && p.Width < time.Second; i-- {
		p = join(s.points[i], p)
	}
	took := slower(p.BuyLatency, p.ResultLatency)
	if took == nil {
		return ""
	}
	var words []string
	for _, counts := range []map[string]int64{p.Buys, p.Results} {
		for _, name := range sortedKeys(counts) {
			words = append(words, fmt.Sprintf("%s %.0f/s", name, float64(counts[name])/p.Width.Seconds()))
		}
	}
	return strings.Join(words, " ") + ", p99 " + short(took.P99)
}

// Effort is the processor time behind the requests of a phase.
type Effort struct {
	Requests int64         `json:"requests"`
	Load     time.Duration `json:"load_ns"`              // of this process
	Servers  time.Duration `json:"servers_ns,omitempty"` // of all servers, if their operations listeners were given
}

// measure starts a measurement of the effort; the returned function ends it.
func (r *run) measure() func() Effort {
	start := r.spent()
	return func() Effort {
		end := r.spent()
		e := Effort{end.Requests - start.Requests, end.Load - start.Load, 0}
		if start.Servers > 0 && end.Servers > start.Servers {
			e.Servers = end.Servers - start.Servers
		}
		return e
	}
}

// spent is what has been spent so far. Servers is 0 if one of them did not say.
func (r *run) spent() Effort {
	e := Effort{Requests: r.buys.count() + r.results.count(), Load: ownTime()}
	for i := range r.c.Ops {
		seconds, err := r.cpuSeconds(i)
		if err != nil {
			e.Servers = 0
			break
		}
		e.Servers += time.Duration(seconds * float64(time.Second))
	}
	return e
}

// cpuSeconds reads the processor time of a server from its metrics.
func (r *run) cpuSeconds(server int) (float64, error) {
	a, err := r.ops.get(server, "/metrics", "", nil)
	for line := range bytes.Lines(r.ops.resp.Body()) {
		if v, ok := bytes.CutPrefix(line, []byte("process_cpu_seconds_total ")); ok && err == nil {
			return strconv.ParseFloat(string(bytes.TrimSpace(v)), 64)
		}
	}
	what := fmt.Sprintf("status %d, without process_cpu_seconds_total", a.status)
	if err != nil {
		what = failure(err)
	}
	return 0, fmt.Errorf("%s/metrics: %s: give the operations listener of each server, or none", r.c.Ops[server], what)
}
