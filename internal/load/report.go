package load

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"seckill"
)

// Report is what a run measured and found. Durations are nanoseconds in JSON.
type Report struct {
	Servers     []string       `json:"servers"`
	Sale        seckill.SaleID `json:"sale"`
	Started     time.Time      `json:"started"`
	Buyers      int            `json:"buyers"`
	Concurrency int            `json:"concurrency"`
	Repeats     int            `json:"repeats"`
	Prefix      string         `json:"prefix"` // of the buyers' ids

	// Loop is "closed" or "open". In the open loop latency counts from the
	// intended start of a request.
	Loop   string        `json:"loop"`
	Rate   float64       `json:"rate,omitempty"` // arrivals per second
	Burst  int           `json:"burst,omitempty"`
	Ramp   time.Duration `json:"ramp_ns,omitempty"`
	Phases bool          `json:"phases,omitempty"` // nobody asked while others bought
	// LateStarts counts arrivals that started more than 10 ms after their time,
	// because this process or Concurrency did not keep up.
	LateStarts  int64         `json:"late_starts"`
	LatestStart time.Duration `json:"latest_start_ns"`

	Misbehaved map[string]int `json:"misbehaved,omitempty"` // buyers, by habit

	// The buy phase: requests with a verdict, over the time from the first
	// request to the last verdict, waits for Retry-After included.
	BuyRequests int64         `json:"buy_requests"`
	BuyTime     time.Duration `json:"buy_ns"`
	BuyRate     float64       `json:"buy_per_second"`

	// The result phase with Phases; without, all queries from the first buy to
	// the last outcome, and the rate is that of polling, not what the servers
	// can do.
	ResultRequests int64         `json:"result_requests"`
	ResultTime     time.Duration `json:"result_ns"`
	ResultRate     float64       `json:"result_per_second"`

	// The processor time of the two phases. Without Phases, that of the buy phase
	// holds the queries meanwhile, and the other is empty.
	BuyEffort    Effort `json:"buy_effort"`
	ResultEffort Effort `json:"result_effort"`

	Buys    []Line         `json:"buys"`    // answers to buys, by verdict
	Results []Line         `json:"results"` // answers to queries for the outcome, by status
	Final   map[string]int `json:"final"`   // buyers, by what became of them
	Units   int64          `json:"units"`   // placed in this run

	// Failures counts requests that got no usable answer, by cause: transport
	// errors, and statuses such as 500 and 503 unavailable. They are retried
	// and no findings, but they make figures of speed worthless.
	Failures map[string]int64 `json:"failures"`
	// Failovers counts requests that went on to the next server at once because
	// nobody listened at the first: they are no failures. FailedInARow is the
	// longest row of failures of one buyer.
	Failovers    int64 `json:"failovers"`
	FailedInARow int64 `json:"failed_in_a_row"`

	Audit    *seckill.Report `json:"audit,omitempty"` // at rest
	Checks   []Check         `json:"checks"`
	Findings []string        `json:"findings"` // everything that does not add up

	Series []Point `json:"series"` // from the first buy to the last outcome
}

// Line is the latencies of one kind of answer.
type Line struct {
	Name  string        `json:"name"`
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
	Curve []Quantile    `json:"curve"` // the whole distribution, the last point at 100
}

// Quantile says that P percent of the answers took at most At.
type Quantile struct {
	P  float64       `json:"p"`
	At time.Duration `json:"at_ns"`
}

// Check is one rule and how it went.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Detail  string `json:"detail"`
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Sale %s on %s\n", r.Sale, strings.Join(r.Servers, ", "))
	fmt.Fprintf(&b, "%d buyers (%s-…), %d at once", r.Buyers, r.Prefix, r.Concurrency)
	if r.Repeats > 1 {
		fmt.Fprintf(&b, ", %d identical requests each", r.Repeats)
	}
	fmt.Fprintf(&b, "\n%d verdicts in %v: %.0f per second\n", r.BuyRequests, r.BuyTime.Round(time.Millisecond), r.BuyRate)
	for _, line := range r.about() {
		fmt.Fprintln(&b, line)
	}
	b.WriteByte('\n')

	// text/tabwriter aligns all columns alike. The numbers need the right, so
	// the names come padded.
	var lines strings.Builder
	t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { fmt.Fprintf(t, "%-18s\t%s\t\n", cells[0], strings.Join(cells[1:], "\t")) }
	table := func(title string, lines []Line) {
		row(title, "count", "p50", "p90", "p99", "p99.9", "max")
		for _, l := range lines {
			row("  "+l.Name, fmt.Sprint(l.Count), short(l.P50), short(l.P90), short(l.P99), short(l.P999), short(l.Max))
		}
	}
	table("buy, by verdict", r.Buys)
	if len(r.Results) > 0 {
		row("", "", "", "", "", "", "")
		table("result, by status", r.Results)
	}
	t.Flush()
	for line := range strings.Lines(lines.String()) {
		b.WriteString(strings.TrimRight(strings.TrimPrefix(line, "  "), " \n") + "\n")
	}

	fmt.Fprintf(&b, "\nbuyers    ")
	for i, k := range sortedKeys(r.Final) {
		fmt.Fprintf(&b, "%s%s %d", separator(i), k, r.Final[k])
	}
	fmt.Fprintf(&b, "  (%d units placed)\nfailures  ", r.Units)
	if len(r.Failures) == 0 {
		b.WriteString("none")
	}
	for i, k := range sortedKeys(r.Failures) {
		fmt.Fprintf(&b, "%s%s %d", separator(i), k, r.Failures[k])
	}

	if r.Failovers > 0 || r.FailedInARow > 0 {
		fmt.Fprintf(&b, "\nretries   at most %d failures of one buyer in a row, %d requests went on to the next server", r.FailedInARow, r.Failovers)
	}

	b.WriteString("\n\nchecks\n")
	t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		mark := "✗"
		switch {
		case c.Skipped:
			mark = "–"
		case c.OK:
			mark = "✓"
		}
		fmt.Fprintf(t, "  %s %s\t%s\n", mark, c.Name, c.Detail)
	}
	t.Flush()

	if len(r.Findings) > 0 {
		b.WriteString("\nfindings\n")
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "  %s\n", f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about says how the load was made and what it cost, a line each.
func (r *Report) about() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if r.ResultRequests > 0 {
		note := ", at the buyers' polling"
		if r.Phases {
			note = ""
		}
		add("%d results in %v: %.0f per second%s", r.ResultRequests, r.ResultTime.Round(time.Millisecond), r.ResultRate, note)
	}
	if r.Loop == "open" {
		how := fmt.Sprintf("%g arrivals per second", r.Rate)
		if r.Ramp > 0 {
			how += fmt.Sprintf(" after %v of growth", r.Ramp)
		}
		if r.Burst > 0 {
			how = fmt.Sprintf("%d arrivals at once, then ", r.Burst) + how
		}
		add("open loop: %s; latency from the intended start", how)
		if r.LateStarts > 0 {
			add("late starts: %d, the worst %s late: this machine, or its %d at once, did not keep up", r.LateStarts, short(r.LatestStart), r.Concurrency)
		}
	}
	for i, k := range sortedKeys(r.Misbehaved) {
		if i == 0 {
			lines = append(lines, "misbehaved: ")
		}
		lines[len(lines)-1] += fmt.Sprintf("%s%s %d", separator(i), k, r.Misbehaved[k])
	}
	for _, p := range []struct {
		name string
		Effort
	}{{"buying", r.BuyEffort}, {"asking", r.ResultEffort}} {
		if p.Requests == 0 {
			continue
		}
		each := func(d time.Duration) string { return short(d / time.Duration(p.Requests)) }
		s := fmt.Sprintf("processor per request while %s: %s here", p.name, each(p.Load))
		if p.Servers > 0 {
			s += fmt.Sprintf(", %s at the servers (%.2f of it)", each(p.Servers), float64(p.Load)/float64(p.Servers))
		}
		add("%s", s)
	}
	return lines
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ", "
}

// short writes a duration with three digits or a few more.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d µs", d.Microseconds())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
