package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"seckill"
)

// Farm is a scalper's farm: many accounts behind some networks, with machines that work
// and people who read pictures for money.
type Farm struct {
	Accounts int           `json:"accounts"`
	Networks int           `json:"networks"`
	Solver   time.Duration `json:"solver_ns"` // for one picture
	Solvers  int           `json:"solvers"`   // who read pictures at the same time
	Cores    int           `json:"cores"`
	Hashes   float64       `json:"hashes"` // that a core makes in a second
	Age      time.Duration `json:"age_ns"` // of the accounts
}

// ParseFarm reads "accounts=1000,networks=50,solver=2s,cores=8", and what of solvers,
// hashes and age is given too. What is left out has the value of that example, ten
// solvers, five million hashes a second and accounts of an hour.
func ParseFarm(text string) (f Farm, err error) {
	f = Farm{Accounts: 1000, Networks: 50, Solver: 2 * time.Second, Solvers: 10, Cores: 8, Hashes: 5e6, Age: time.Hour}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		whole := func(n *int) { *n, err = strconv.Atoi(value) }
		switch name {
		case "accounts":
			whole(&f.Accounts)
		case "networks":
			whole(&f.Networks)
		case "solvers":
			whole(&f.Solvers)
		case "cores":
			whole(&f.Cores)
		case "hashes":
			f.Hashes, err = strconv.ParseFloat(value, 64)
		case "solver":
			f.Solver, err = time.ParseDuration(value)
		case "age":
			f.Age, err = time.ParseDuration(value)
		default:
			err = errors.New("want accounts, networks, solver, solvers, cores, hashes or age")
		}
		if err != nil {
			return f, fmt.Errorf("%q: %w", part, err)
		}
	}
	if f.Accounts < 1 || f.Accounts > 100_000 || f.Networks < 1 || f.Networks > 60_000 || f.Solvers < 1 || f.Cores < 1 || f.Hashes < 1 || f.Solver < 0 || f.Age < 0 {
		return f, errors.New("accounts must be 1 to 100000, networks 1 to 60000, and the others positive")
	}
	return f, nil
}

// Defence is what a sale asks of its buyers.
type Defence struct {
	Name   string
	Access seckill.Access
	// Blocked is the share of the farm's networks that the operator has on the block list.
	Blocked float64
	// Limited says that the node's limits by buyer are tight (FairConfig.Limited).
	Limited bool
}

// week is how old an account must be where its age counts.
const week = 7 * 24 * time.Hour

// NameLimits is the defence that needs a node with tight limits.
const NameLimits = "limits"

// Defences are each alone, and all of them.
func Defences() []Defence {
	age := seckill.Access{Eligible: seckill.EligibleAge, AccountAgeSeconds: int64(week.Seconds())}
	all := age
	all.Challenge, all.TriesPerBuyer, all.CooldownSeconds = seckill.ChallengeBoth, 1, 600
	return []Defence{
		{Name: "none"},
		{Name: NameLimits, Limited: true},
		{Name: "pass", Access: seckill.Access{Pass: true}},
		{Name: "formula", Access: seckill.Access{Challenge: seckill.ChallengeFormula}},
		{Name: "work", Access: seckill.Access{Challenge: seckill.ChallengeWork}},
		{Name: "both", Access: seckill.Access{Challenge: seckill.ChallengeBoth}},
		{Name: "lists", Blocked: 0.5},
		{Name: "account_age", Access: age},
		{Name: "list", Access: seckill.Access{Eligible: seckill.EligibleList}},
		{Name: "tries", Access: seckill.Access{TriesPerBuyer: 1}},
		{Name: "all", Access: all, Blocked: 0.5, Limited: true},
	}
}

// FairConfig says what a run of a farm beside people does.
type FairConfig struct {
	Server string
	// Limited is a node with tight limits by buyer, for the defences that have them; empty:
	// they meet at Server, with its limits.
	Limited  string
	Farm     Farm
	People   int
	Units    int64
	Lead     time.Duration // between the creation of a sale that costs a challenge and its opening
	Seed     uint64
	Defences []Defence
	// Token mints the token of a buyer whose account is so old.
	Token      func(buyer string, age time.Duration) (string, error)
	Solve      Solver
	AdminToken string
	Say        func(format string, args ...any) // progress

	transport http.RoundTripper // in place of the network, in tests
}

// The people: who they are and how fast. Times are drawn from log-normal distributions
// around these medians.
const (
	peopleReact  = 600 * time.Millisecond // to press when the sale has opened
	peopleRead   = 4 * time.Second        // for a picture
	peoplePhone  = 300_000                // hashes a second in a browser on a phone
	peopleNew    = 0.01                   // have an account of less than a week
	peopleShared = 0.1                    // share their network with nineteen others
)

// readWrong is the share of the pictures that is read wrongly, by people and by the farm's
// readers: the answer is sent, and another picture fetched.
const readWrong = 0.05

// shortLead is the time before the opening of a sale where nobody has anything to solve:
// then it is waited for in vain.
const shortLead = 6 * time.Second

// Fair is what came of a farm beside people under one defence.
type Fair struct {
	Defence string `json:"defence"`
	Units   int64  `json:"units"`
	Farm    int64  `json:"farm"`   // units that the farm got
	People  int64  `json:"people"` // units that people got
	// Alarms are the people whom the defence kept from asking in time, whether or not there
	// was a unit left for them. Each is counted once, for the first of the reasons below.
	Alarms     int64 `json:"alarms"`
	Ineligible int64 `json:"not_eligible"` // the rules keep them out, whatever they heard
	Passless   int64 `json:"no_pass"`      // no pass when they pressed
	Limited    int64 `json:"limited"`      // too many requests, or another refusal

	Passes   int64   `json:"passes"`   // that the farm had
	Pictures int64   `json:"pictures"` // that its people read
	Seconds  float64 `json:"seconds"`  // of its processors
}

// FairReport is a run.
type FairReport struct {
	Farm   Farm   `json:"farm"`
	People int    `json:"people"`
	Seed   uint64 `json:"seed"`
	Rows   []Fair `json:"rows"`
}

// RunFair lets the farm and the people meet at one fresh sale for each defence. What the
// actors are is drawn from the seed; the race itself is real, and so are the requests.
func RunFair(ctx context.Context, c FairConfig) (FairReport, error) {
	report := FairReport{Farm: c.Farm, People: c.People, Seed: c.Seed}
	for _, d := range c.Defences {
		f := &fair{FairConfig: c, defence: d, server: c.Server, lead: c.Lead, from: newNetworks(), run: strconv.FormatUint(mathrand.Uint64(), 36)}
		if d.Limited && c.Limited != "" {
			f.server = c.Limited
		}
		if k := d.Access.Challenge; !k.Formula() && !k.Work() {
			f.lead = min(f.lead, shortLead)
		}
		row, err := f.meet(ctx)
		if err != nil {
			return report, fmt.Errorf("defence %s: %w", d.Name, err)
		}
		if c.Say != nil {
			c.Say("%-12s farm %d, people %d of %d units, %d false alarms, %d passes of the farm", d.Name, row.Farm, row.People, row.Units, row.Alarms, row.Passes)
		}
		report.Rows = append(report.Rows, row)
	}
	return report, nil
}

// Of returns the row of that defence.
func (r FairReport) Of(defence string) (Fair, bool) {
	i := slices.IndexFunc(r.Rows, func(f Fair) bool { return f.Defence == defence })
	if i < 0 {
		return Fair{}, false
	}
	return r.Rows[i], true
}

// WriteText writes the table, as docs/fairness.md has it.
func (r FairReport) WriteText(w io.Writer) error {
	bare, _ := r.Of("none")
	_, err := fmt.Fprintf(w, "%d accounts of %v on %d networks, %d readers of %v, %d cores of %.0f hashes a second, beside %d people, seed %d\n\n"+
		"| defence | units | the farm got | of what it gets without | people got | false alarms | not eligible | no pass | limited | passes of the farm | pictures read | processor seconds |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
		r.Farm.Accounts, r.Farm.Age, r.Farm.Networks, r.Farm.Solvers, r.Farm.Solver, r.Farm.Cores, r.Farm.Hashes, r.People, r.Seed)
	for _, row := range r.Rows {
		without := "–"
		if bare.Farm > 0 {
			without = fmt.Sprintf("%.0f %%", 100*float64(row.Farm)/float64(bare.Farm))
		}
		_, werr := fmt.Fprintf(w, "| %s | %d | %d (%.0f %%) | %s | %d | %d (%.1f %%) | %d | %d | %d | %d | %d | %.0f |\n", row.Defence, row.Units, row.Farm, 100*float64(row.Farm)/float64(row.Units),
			without, row.People, row.Alarms, 100*float64(row.Alarms)/float64(max(1, r.People)), row.Ineligible, row.Passless, row.Limited, row.Passes, row.Pictures, row.Seconds)
		err = errors.Join(err, werr)
	}
	return err
}
