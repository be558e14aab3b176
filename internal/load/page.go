package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

const maxDrawn = 150 // points of a curve

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"short": short, "color": color, "known": known, "count": func(n int64) string { return grouped(float64(n)) },
}).Parse(pageSource))

// WriteHTML writes the report as one page that needs nothing else: no script, no
// other file, no network.
func (r *Report) WriteHTML(w io.Writer) error {
	return page.Execute(w, map[string]any{
		"R": r, "Hosts": r.hosts(), "About": r.about(), "Charts": r.charts(),
		"Took": r.Started.Format("2006-01-02 15:04:05 MST"), "P99": p99(r.Buys), "ResultP99": p99(r.Results),
		"Tables": []lines{{"Buy, by verdict", r.Buys}, {"Result, by status", r.Results}},
		"Failed": sum64(r.Failures), "Buys": each(r.BuyEffort), "Asks": each(r.ResultEffort),
	})
}

// each is the processor time per request, of the load and of the servers.
func each(e Effort) (s string) {
	if e.Requests == 0 {
		return ""
	}
	n := time.Duration(e.Requests)
	if s = short(e.Load / n); e.Servers > 0 {
		s += " / " + short(e.Servers/n)
	}
	return s
}

type lines struct {
	Title string
	Lines []Line
}

// hosts are the servers without what is the same for all: the page has no
// address that anything could follow.
func (r *Report) hosts() string {
	var out []string
	for _, s := range r.Servers {
		_, host, _ := strings.Cut(s, "://")
		out = append(out, host)
	}
	return strings.Join(out, ", ")
}

// p99 is the largest 99th percentile of the lines.
func p99(lines []Line) (d time.Duration) {
	for _, l := range lines {
		d = max(d, l.P99)
	}
	return d
}

func sum64(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// chart is a drawing of 1000 by 1000 that is stretched to its place; its labels
// are text beside it, at percentages, so that they are readable at every width.
type chart struct {
	Title, Note string
	Curves      []curve
	X, Y        []tick
}

type curve struct {
	Name string
	Path string
	Area bool
}

type tick struct {
	Label string
	At    float64 // percent from the left, or from the bottom
}

// Down is the place from the top, in the units of the drawing.
func (t tick) Down() float64 { return 1000 - 10*t.At }

// xy are the points of one curve; NaN is a gap.
type xy struct {
	name string
	x, y []float64
	area bool
}

// charts draws what there is to draw.
func (r *Report) charts() (out []chart) {
	if len(r.Series) > 0 {
		out = r.overTimeUntil(r.Series[len(r.Series)-1].At)
	}
	for _, t := range []lines{{"Distribution of buys", r.Buys}, {"Distribution of results", r.Results}} {
		if c, ok := distribution(t.Title, t.Lines); ok {
			out = append(out, c)
		}
	}
	return out
}

// overTimeUntil draws what there is over time, from 0 to last.
func (r *Report) overTimeUntil(last time.Duration) (out []chart) {
	// More points than a curve is wide would be a blur.
	drawn := *r
	for len(drawn.Series) > maxDrawn {
		drawn.Series = halved(drawn.Series)
	}
	r = &drawn
	end := last.Seconds()
	add := func(title, note string, y axis, curves []xy) {
		if len(curves) > 0 {
			out = append(out, draw(title, note, linear(0, end, seconds), y, curves))
		}
	}
	buys, asks := func(p Point) map[string]int64 { return p.Buys }, func(p Point) map[string]int64 { return p.Results }
	rates := func(title, note string, counts func(Point) map[string]int64, names []string) {
		curves, top := r.stacked(counts, names)
		add(title, note, linear(0, top, grouped), curves)
	}
	latency := func(title string, of func(Point) *Latency) {
		curves, low, high := r.latencies(of)
		add(title, "p50, p90, p99 and the slowest of each interval", logarithmic(low, high, microLabel), curves)
	}
	rates("Verdicts per second", "buy requests by verdict, stacked", buys, verdicts())
	latency("Latency of a buy", func(p Point) *Latency { return p.BuyLatency })
	rates("Results per second", "queries for the ticket by status, stacked", asks, statuses)
	latency("Latency of a result", func(p Point) *Latency { return p.ResultLatency })

	units := func(title, note string, curves ...xy) {
		top, some := 4.0, []xy(nil)
		for _, c := range curves {
			if len(c.x) > 0 {
				top, some = max(top, slices.Max(c.y)), append(some, c)
			}
		}
		add(title, note, linear(0, top, grouped), some)
	}
	stock := func(name string, of func(*Stock) int64) xy {
		return r.seen(name, func(p Point) (int64, bool) {
			if p.Stock == nil {
				return 0, false
			}
			return of(p.Stock), true
		})
	}
	left := r.seen("left", func(p Point) (int64, bool) {
		if p.Left == nil {
			return 0, false
		}
		return *p.Left, true
	})
	units("Stock", "units left as the sale shows them; at the gate and in orders by the audit",
		left, stock("gate", func(s *Stock) int64 { return s.Gate }), stock("active", func(s *Stock) int64 { return s.Active }))
	units("Queue depth", "units admitted and not settled yet, by the audit", stock("pending", func(s *Stock) int64 { return s.Pending }))
	return out
}

// stacked makes one area for each name, on top of each other, and returns the
// highest sum too. The areas are drawn from the highest to the lowest.
func (r *Report) stacked(counts func(Point) map[string]int64, names []string) (curves []xy, top float64) {
	sums := make([]float64, len(r.Series))
	var x []float64
	for _, p := range r.Series {
		x = append(x, (p.At - p.Width/2).Seconds())
	}
	for _, name := range names {
		some := false
		for i, p := range r.Series {
			n := counts(p)[name]
			some = some || n > 0
			sums[i] += float64(n) / p.Width.Seconds()
		}
		if some {
			curves = append(curves, xy{name, x, slices.Clone(sums), true})
		}
	}
	slices.Reverse(curves)
	return curves, max(1, slices.Max(sums))
}

func (r *Report) latencies(of func(Point) *Latency) (curves []xy, low, high float64) {
	low, high = math.Inf(1), 0
	for _, q := range []struct {
		name string
		at   func(*Latency) time.Duration
	}{
		{"max", func(l *Latency) time.Duration { return l.Max }}, {"p99", func(l *Latency) time.Duration { return l.P99 }},
		{"p90", func(l *Latency) time.Duration { return l.P90 }}, {"p50", func(l *Latency) time.Duration { return l.P50 }},
	} {
		c := xy{name: q.name}
		some := false
		for _, p := range r.Series {
			y := math.NaN()
			if l := of(p); l != nil {
				y = micros(q.at(l))
				low, high, some = min(low, y), max(high, y), true
			}
			c.x, c.y = append(c.x, (p.At-p.Width/2).Seconds()), append(c.y, y)
		}
		if some {
			curves = append(curves, c)
		}
	}
	return curves, low, high
}

// seen makes a curve of what was seen now and then.
func (r *Report) seen(name string, of func(Point) (int64, bool)) xy {
	c := xy{name: name}
	for _, p := range r.Series {
		if n, ok := of(p); ok {
			c.x, c.y = append(c.x, p.At.Seconds()), append(c.y, float64(n))
		}
	}
	return c
}

// distribution draws latency by percentile; each nine has as much room as the
// one before.
func distribution(title string, all []Line) (chart, bool) {
	nines := func(p float64) float64 { return -math.Log10(1 - p/100) }
	var curves []xy
	low, high, right := math.Inf(1), 0.0, 1.0
	for _, l := range all {
		c := xy{name: l.Name}
		for _, q := range l.Curve {
			x := nines(q.P)
			if q.P == 100 { // the slowest of n answers
				x = math.Log10(float64(l.Count))
			}
			c.x, c.y = append(c.x, x), append(c.y, micros(q.At))
			low, high, right = min(low, micros(q.At)), max(high, micros(q.At)), max(right, x)
		}
		curves = append(curves, c)
	}
	if len(curves) == 0 {
		return chart{}, false
	}
	x := axis{lo: 0, hi: right}
	for _, p := range []float64{0, 90, 99, 99.9, 99.99, 99.999} {
		if nines(p) <= right {
			x.ticks = append(x.ticks, mark{fmt.Sprintf("p%g", p), nines(p)})
		}
	}
	x.ticks[0].label = "all"
	return draw(title, "latency that so many percent of the answers stay within", x, logarithmic(low, high, microLabel), curves), true
}

// --- axes -----------------------------------------------------------------------

type axis struct {
	lo, hi float64
	log    bool
	ticks  []mark
}

type mark struct {
	label string
	at    float64
}

// at is where v stands, 0 to 1.
func (a axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		v, lo, hi = math.Log10(v), math.Log10(lo), math.Log10(hi)
	}
	return min(max((v-lo)/(hi-lo), 0), 1)
}

// linear has about four ticks at round values.
func linear(lo, hi float64, label func(float64) string) axis {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/4)))
	for _, m := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (hi-lo)/step <= 5 {
			break
		}
		step *= m
	}
	a := axis{lo: lo, hi: hi}
	for v := lo; v <= hi*1.0001; v += step {
		a.ticks = append(a.ticks, mark{label(v), v})
	}
	return a
}

// logarithmic has its ticks at powers of ten.
func logarithmic(lo, hi float64, label func(float64) string) axis {
	lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi*1.0001)))
	a := axis{lo: lo, hi: hi, log: true}
	for v := lo; v <= hi*1.0001; v *= 10 {
		a.ticks = append(a.ticks, mark{label(v), v})
	}
	return a
}

func draw(title, note string, x, y axis, curves []xy) chart {
	c := chart{Title: title, Note: note}
	for _, t := range x.ticks {
		c.X = append(c.X, tick{t.label, 100 * x.at(t.at)})
	}
	for _, t := range y.ticks {
		c.Y = append(c.Y, tick{t.label, 100 * y.at(t.at)})
	}
	for _, k := range curves {
		var d strings.Builder
		begun := false
		at := func(i int, v float64) string { return fmt.Sprintf("%.1f %.1f", 1000*x.at(k.x[i]), 1000-1000*y.at(v)) }
		last := 0
		for i, v := range k.y {
			switch {
			case math.IsNaN(v):
				begun = false
				continue
			case begun:
				d.WriteString("L" + at(i, v))
			case k.area:
				d.WriteString("M" + at(i, 0) + "L" + at(i, v))
			default:
				// A point of its own has a length of 0 and, with round ends, a dot.
				d.WriteString("M" + at(i, v) + "L" + at(i, v))
			}
			begun, last = true, i
		}
		if k.area {
			d.WriteString("L" + at(last, 0) + "Z")
		}
		c.Curves = append(c.Curves, curve{k.name, d.String(), k.area})
	}
	return c
}

func micros(d time.Duration) float64 { return max(1, float64(d.Microseconds())) }

func microLabel(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%g s", us/1e6)
	case us >= 1e3:
		return fmt.Sprintf("%g ms", us/1e3)
	}
	return fmt.Sprintf("%g µs", us)
}

func seconds(s float64) string { return fmt.Sprintf("%g s", math.Round(s*1000)/1000) }

// grouped writes 12345 as 12,345.
func grouped(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	if v < 10 && v != math.Trunc(v) {
		return fmt.Sprintf("%.1f", v)
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// color names the colour of a curve: the same thing has the same one everywhere.
func color(name string) string {
	switch name {
	case "queued", "p90", "left":
		return "blue"
	case "placed", "active", "p50":
		return "green"
	case "sold_out", "none", "gate":
		return "grey"
	case "refused", "busy", "max":
		return "red"
	case "p99", "pending":
		return "amber"
	}
	return "violet"
}
