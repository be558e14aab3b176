package load

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"seckill"
)

//go:embed course.html
var courseSource string

var coursePage = template.Must(template.Must(page.Clone()).New("course").Parse(courseSource))

// WriteCourse writes the report of a real sale as one page, in the form of the report of
// a load: rehearsal and reality can lie side by side. What nobody knows is a dash.
func WriteCourse(w io.Writer, c *seckill.Course, now time.Time) error {
	r := Report{}
	for _, s := range c.Steps {
		r.Series = append(r.Series, Point{At: s.At.Add(s.Width).Sub(c.Steps[0].At), Width: s.Width, Results: map[string]int64{statusPlaced: s.Placed, statusRefused: s.Refused}})
	}
	var charts []chart
	if len(r.Series) > 1 {
		charts = r.charts()
	}
	var checks []Check
	switch {
	case c.Balance.OK == nil:
		checks = append(checks, Check{Name: "balance", Skipped: true, Detail: "not counted"})
	case *c.Balance.OK:
		checks = append(checks, Check{Name: "balance", OK: true, Detail: "as of " + c.Balance.At.Format(time.RFC3339)})
	}
	for _, v := range c.Balance.Violations {
		checks = append(checks, Check{Name: v.Rule, Detail: v.Ticket + " " + v.Says})
	}
	return coursePage.ExecuteTemplate(w, "course", map[string]any{
		"C": c, "Made": now.UTC().Format("2006-01-02 15:04:05 MST"), "Charts": charts, "Checks": checks,
		"Bad":   slices.ContainsFunc(checks, func(c Check) bool { return !c.OK && !c.Skipped }),
		"Price": seckill.FormatMoney(c.Sale.Price, c.Sale.Currency), "Rate": best(c.Steps), "Verdicts": named(c.Verdicts),
		"Opens": c.Sale.OpensAt.UTC().Format(time.RFC3339), "Closes": c.Sale.ClosesAt.UTC().Format(time.RFC3339),
	})
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
