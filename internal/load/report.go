package load

import (
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

	// The buy phase: requests with a verdict, over the time from the first
	// request to the last verdict, waits for Retry-After included.
	BuyRequests int64         `json:"buy_requests"`
	BuyTime     time.Duration `json:"buy_ns"`
	BuyRate     float64       `json:"buy_per_second"`

	Buys    []Line         `json:"buys"`    // answers to buys, by verdict
	Results []Line         `json:"results"` // answers to queries for the outcome, by status
	Final   map[string]int `json:"final"`   // buyers, by what became of them
	Units   int64          `json:"units"`   // placed in this run

	// Failures counts requests that got no usable answer, by cause: transport
	// errors, and statuses such as 500 and 503 unavailable. They are retried
	// and no findings, but they make figures of speed worthless.
	Failures map[string]int64 `json:"failures"`

	Audit    *Audit   `json:"audit,omitempty"` // at rest
	Checks   []Check  `json:"checks"`
	Findings []string `json:"findings"` // everything that does not add up
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
}

// Check is one rule and how it went.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Detail  string `json:"detail"`
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Sale %s on %s\n", r.Sale, strings.Join(r.Servers, ", "))
	fmt.Fprintf(&b, "%d buyers (%s-…), %d at once", r.Buyers, r.Prefix, r.Concurrency)
	if r.Repeats > 1 {
		fmt.Fprintf(&b, ", %d identical requests each", r.Repeats)
	}
	fmt.Fprintf(&b, "\n%d verdicts in %v: %.0f per second\n\n", r.BuyRequests, r.BuyTime.Round(time.Millisecond), r.BuyRate)

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
