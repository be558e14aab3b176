package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"seckill"
)

//go:embed course.html
var courseSource string

var coursePage = template.Must(template.Must(page.Clone()).New("course").Parse(courseSource))

// WriteCourse writes the report of a real sale as one page, in the form of the report of
// a load: rehearsal and reality can lie side by side. What nobody knows is a dash.
func WriteCourse(w io.Writer, c *seckill.Course, now time.Time) error {
	charts := courseCharts(c)
	var checks []Check
	age := max(0, now.Sub(c.Balance.At))
	asOf := strings.TrimSuffix("as of "+c.Balance.At.UTC().Format(time.RFC3339)+": "+c.Balance.Says, ": ")
	verdict, tone := "", "warn"
	switch c.Balance.State(age) {
	case seckill.BalanceUnknown:
		verdict, tone = "– it was not counted", "bad"
		checks = append(checks, Check{Name: "balance", Skipped: true, Detail: "not counted"})
	case seckill.BalanceBad:
		verdict, tone = "✗ it does not add up", "bad"
	case seckill.BalanceOld:
		verdict = "– it added up when it was counted last, " + age.Round(time.Second).String() + " before this report"
		checks = append(checks, Check{Name: "balance", Skipped: true, Detail: asOf})
	case seckill.BalancePartly:
		verdict = "– what was counted adds up, and not all of it was counted"
		checks = append(checks, Check{Name: "balance", Skipped: true, Detail: asOf})
	case seckill.BalanceOK:
		verdict, tone = "✓ everything adds up", ""
		checks = append(checks, Check{Name: "balance", OK: true, Detail: asOf})
	}
	for _, v := range c.Balance.Violations {
		checks = append(checks, Check{Name: v.Rule, Detail: v.Ticket + " " + v.Says})
	}
	return coursePage.ExecuteTemplate(w, "course", map[string]any{
		"C": c, "Made": now.UTC().Format("2006-01-02 15:04:05 MST"), "Charts": charts, "Checks": checks,
		"Verdict": verdict, "Tone": tone,
		"Price": seckill.FormatMoney(c.Sale.Price, c.Sale.Currency), "Rate": best(c.Steps), "Verdicts": named(c.Verdicts),
		"Opens": c.Sale.OpensAt.UTC().Format(time.RFC3339), "Closes": c.Sale.ClosesAt.UTC().Format(time.RFC3339),
	})
}

// courseCharts draws what was settled, and how long admissions and outcomes took, over the
// same time.
func courseCharts(c *seckill.Course) (charts []chart) {
	var counts, times Report
	var from time.Time
	for _, s := range c.Steps {
		from = earlier(from, s.At)
	}
	for _, p := range c.Paces {
		from = earlier(from, p.At)
	}
	var end time.Duration
	for _, s := range c.Steps {
		p := Point{At: s.At.Add(s.Width).Sub(from), Width: s.Width, Results: map[string]int64{statusPlaced: s.Placed, statusRefused: s.Refused}}
		counts.Series, end = append(counts.Series, p), max(end, p.At)
	}
	for _, v := range c.Paces {
		p := Point{At: v.At.Add(v.Width).Sub(from), Width: v.Width, BuyLatency: latencyOf(v.Admission), ResultLatency: latencyOf(v.Outcome)}
		times.Series, end = append(times.Series, p), max(end, p.At)
	}
	if len(counts.Series) > 1 {
		charts = counts.overTimeUntil(end)
	}
	if len(times.Series) > 1 {
		note := ""
		if c.Nodes > 1 {
			note = fmt.Sprintf(", of %d nodes since %s started", c.Nodes, c.Node)
		}
		for len(times.Series) > maxDrawn {
			times.Series = halved(times.Series)
		}
		for _, l := range []struct {
			title, note string
			of          func(Point) *Latency
		}{
			{"Latency of an admission", "how long the gate took", func(p Point) *Latency { return p.BuyLatency }},
			{"Latency of an outcome", "from the admission to the order", func(p Point) *Latency { return p.ResultLatency }},
		} {
			if curves, low, high := times.latencies(l.of); len(curves) > 0 {
				charts = append(charts, draw(l.title, l.note+"; p50, p90, p99 and the slowest of each interval"+note, linear(0, end.Seconds(), seconds), logarithmic(low, high, microLabel), curves))
			}
		}
	}
	return charts
}

// earlier is the earlier of two moments, of which the first may not be known yet.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func latencyOf(s *seckill.Spread) *Latency {
	if s == nil {
		return nil
	}
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	return &Latency{P50: ms(s.P50), P90: ms(s.P90), P99: ms(s.P99), Max: ms(s.Max)}
}

// best is the most that was placed in a second.
func best(steps []seckill.Step) (rate float64) {
	for _, s := range steps {
		rate = max(rate, float64(s.Placed)/s.Width.Seconds())
	}
	return rate
}

type count struct {
	Name string
	N    int64
}

func named(counts map[string]int64) (all []count) {
	for _, name := range sortedKeys(counts) {
		all = append(all, count{name, counts[name]})
	}
	return all
}

// known is a number, or a dash where it is not known.
func known(n *int64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}
