package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"seckill"
	"seckill/internal/sale"
)

// Readiness is what a node says of itself before an opening.
type Readiness struct {
	Weak     func(ctx context.Context) ([]string, error) // settings of the engines that are weaker than promised
	Disk     func() (free, size int64, err error)        // of the data directory, in bytes
	Provider string                                      // who takes the money
}

// Limits of the preflight.
const (
	mostSkew    = 500 * time.Millisecond // of a node's clock and the gate's
	mostNodeAge = 3 * time.Second        // of what a node has told
	leastFree   = 1 << 30                // bytes, and a tenth of the disk
	mostQueued  = 1000                   // tickets that still wait before an opening
	openingsGap = 5 * time.Minute        // between two openings that do not disturb one another
)

// The states of a check.
const (
	checkOK      = "ok"
	checkWarn    = "warn"
	checkBad     = "bad"
	checkUnknown = "unknown"
)

const checkPublished = "published" // the check that asks whether buyers can find the sale

// preflightRoles are the roles that some node must have.
var preflightRoles = []string{"api", "relay", "settle", "expire"}

// check is one line of the preflight.
type check struct {
	Name  string         `json:"name"`
	State string         `json:"state"`
	Value any            `json:"value"`
	Limit any            `json:"limit,omitempty"`
	AgeMS *int64         `json:"age_ms"`         // of the value; null: it was not measured, or just now
	Says  string         `json:"says,omitempty"` // in English, with what an engine has said
	Code  string         `json:"code,omitempty"` // what says says, for readers of other languages: the console has a word for each code and name
	With  map[string]any `json:"with,omitempty"` // the numbers and names of the code; seconds end in _s
}

func (c *check) aged(ms int64) *check {
	c.AgeMS = &ms
	return c
}

// coded names what the check says; with are names and values in turn.
func (c *check) coded(code string, with ...any) *check {
	if c.Code = code; len(with) > 0 {
		c.With = map[string]any{}
		for pair := range slices.Chunk(with, 2) {
			c.With[pair[0].(string)] = pair[1]
		}
	}
	return c
}

// preflight looks at everything that an opening needs. It goes when publish would go
// without a reason.
func (a *API) preflight(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	sale, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	checks := a.checks(r.Context(), sale)
	return writeJSON(w, http.StatusOK, struct {
		Go     bool    `json:"go"`
		Checks []check `json:"checks"`
	}{len(red(checks)) == 0, checks})
}

// checks are all lines of the preflight of a sale.
func (a *API) checks(ctx context.Context, sale seckill.Sale) (checks []check) {
	add := func(name, state string, value, limit any, says string) *check {
		checks = append(checks, check{Name: name, State: state, Value: value, Limit: limit, Says: says})
		return &checks[len(checks)-1]
	}
	a.checkNodes(ctx, add)
	a.checkEngines(ctx, add)
	a.checkSale(ctx, sale, add)
	return checks
}

// publish shows a sale to everybody. With "preflight" it is the Go of the console: this
// node looks at the checks itself, and goes with a red one only for a reason, which stands
// in the log as part of what was asked for. Without it the sale is published as it is:
// programs that publish have done so before there were checks.
func (a *API) publish(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		Preflight bool   `json:"preflight"`
		Reason    string `json:"reason"`
	}
	if err := decode(w, r.Request, &body, true); err != nil {
		return err
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	mustBeGreen := body.Preflight && strings.TrimSpace(body.Reason) == ""
	if only, err := r.previewing(); err != nil {
		return err
	} else if only && mustBeGreen {
		if err := a.green(r.Context(), id); err != nil {
			return err
		}
	}
	return a.switched(w, r, id, "publish", func(s *sale.Sales, ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
		if mustBeGreen {
			if err := a.green(ctx, id); err != nil {
				return seckill.Sale{}, err
			}
		}
		return s.Publish(ctx, id)
	})
}

// green is an error that names the red checks of a sale that is not published yet. What is
// unknown is red. That the sale is not published is no reason against publishing it.
func (a *API) green(ctx context.Context, id seckill.SaleID) error {
	v, err := a.Sales.Get(ctx, id)
	if err != nil || v.Shelf == seckill.Published {
		return err // a repeat changes nothing
	}
	if red := red(a.checks(ctx, v)); len(red) > 0 {
		return fmt.Errorf("not all checks have passed: %s; give a reason to publish all the same: %w", strings.Join(red, ", "), seckill.ErrState)
	}
	return nil
}

// red names the checks against publishing: what is bad, and what nobody knows.
func red(checks []check) (names []string) {
	for _, c := range checks {
		if c.Name != checkPublished && (c.State == checkBad || c.State == checkUnknown) {
			names = append(names, c.Name+" ("+c.State+")")
		}
	}
	return names
}

type adds func(name, state string, value, limit any, says string) *check

// checkNodes looks at what the nodes tell of themselves.
func (a *API) checkNodes(ctx context.Context, add adds) {
	nodes, says := a.Live.Nodes(ctx)
	ready, roles, oldest := 0, map[string]int{}, int64(0)
	versions, settings := map[string]int{}, map[string]int{}
	var skew int64
	var wrong, stopped []string
	for _, n := range nodes {
		ok := n.AgeMS < mostNodeAge.Milliseconds() && len(n.Parts) > 0
		for _, part := range []string{"gate", "queue", "store", "node"} {
			if p, known := n.Parts[part]; known && !p.OK {
				ok = false
				wrong = append(wrong, n.Name+": "+part+": "+p.Says)
			}
		}
		if ok {
			ready++
		}
		for _, role := range n.Roles {
			roles[role]++
		}
		if n.Listeners != nil && !*n.Listeners {
			stopped = append(stopped, n.Name)
		}
		oldest = max(oldest, n.AgeMS)
		versions[n.Version]++
		settings[n.Settings]++
		skew = max(skew, n.SkewMS, -n.SkewMS)
	}
	// What this node alone says of itself proves nothing about the others.
	state := func(ok bool) string {
		switch {
		case says != "" || len(nodes) == 0:
			return checkUnknown
		case ok:
			return checkOK
		}
		return checkBad
	}
	if says != "" {
		add("nodes", checkUnknown, nil, nil, says).coded("unheard")
	} else {
		add("nodes", state(ready == len(nodes)), fmt.Sprintf("%d of %d", ready, len(nodes)), nil, strings.Join(wrong, "; ")).coded("ready", "ready", ready, "of", len(nodes)).aged(oldest)
	}
	for _, same := range []struct {
		name  string
		kinds int
	}{{"same version", len(versions)}, {"same settings", len(settings)}} {
		c := add(same.name, state(same.kinds == 1), same.kinds, 1, says).aged(oldest)
		if says != "" {
			c.coded("unheard")
		}
	}
	c := add("clocks", state(skew <= mostSkew.Milliseconds()), skew, mostSkew.Milliseconds(), "milliseconds between a node's clock and the gate's").coded("skew").aged(oldest)
	if says != "" {
		c.coded("unheard").Says = says
	}
	for _, role := range preflightRoles {
		if roles[role] == 0 && len(nodes) > 0 && says == "" {
			add("role "+role, checkBad, 0, 1, "no node has it").coded("no_role").aged(oldest)
		}
	}
	if len(stopped) > 0 {
		add("listeners", checkWarn, strings.Join(stopped, ", "), nil, "these take no tickets from the queue").coded("stopped").aged(oldest)
	}
}

// checkEngines looks at what the promise needs of the engines and of this machine.
func (a *API) checkEngines(ctx context.Context, add adds) {
	if a.Ready.Weak != nil {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		switch weak, err := a.Ready.Weak(ctx); {
		case err != nil:
			add("engines durable", checkUnknown, nil, nil, err.Error()).coded("unasked")
		case len(weak) > 0:
			add("engines durable", checkBad, len(weak), 0, strings.Join(weak, "; ")).coded("weak")
		default:
			add("engines durable", checkOK, 0, 0, "")
		}
	}
	if a.Ready.Disk != nil {
		switch free, size, err := a.Ready.Disk(); {
		case err != nil:
			add("disk", checkUnknown, nil, nil, err.Error()).coded("unasked")
		case free < leastFree || free < size/10:
			add("disk", checkBad, free, max(leastFree, size/10), "bytes free on this node").coded("free")
		default:
			add("disk", checkOK, free, max(leastFree, size/10), "bytes free on this node").coded("free")
		}
	}
	if a.Ready.Provider == "test" {
		add("payment", checkWarn, "test", nil, "nobody takes the money: whoever asks has paid").coded("test_payment")
	} else if a.Ready.Provider != "" {
		add("payment", checkOK, a.Ready.Provider, nil, "")
	}
}

// checkSale looks at the sale itself.
func (a *API) checkSale(ctx context.Context, sale seckill.Sale, add adds) {
	b := a.Live.Balances(ctx)[sale.ID]
	switch b.State(time.Duration(b.AgeMS) * time.Millisecond) {
	case seckill.BalanceUnknown:
		add("balance", checkUnknown, nil, nil, strings.TrimSuffix("not counted yet: "+b.Says, ": ")).coded("not_counted")
	case seckill.BalanceBad:
		v := b.Violations[0]
		add("balance", checkBad, len(b.Violations), 0, v.Rule+": "+v.Says).coded("broken", "rule", v.Rule, "ticket", v.Ticket).aged(b.AgeMS)
	case seckill.BalanceOld:
		add("balance", checkUnknown, 0, 0, strings.TrimSuffix("it added up when it was counted last: "+b.Says, ": ")).coded("old").aged(b.AgeMS)
	case seckill.BalancePartly:
		add("balance", checkUnknown, 0, 0, b.Says).coded("partly").aged(b.AgeMS)
	default:
		add("balance", checkOK, 0, 0, b.Says).aged(b.AgeMS)
	}
	var age int64
	if sale.AsOf != nil {
		age = time.Since(*sale.AsOf).Milliseconds()
	}
	switch price := seckill.FormatMoney(sale.Price, sale.Currency); {
	case sale.Price == 0:
		add("price", checkWarn, price, nil, "it costs nothing").coded("no_price").aged(age)
	case sale.ListPrice > 0 && sale.ListPrice <= sale.Price:
		add("price", checkWarn, price, seckill.FormatMoney(sale.ListPrice, sale.Currency), "the list price is not above the price").coded("not_above").aged(age)
	case sale.ListPrice > 0 && sale.Price*10 < sale.ListPrice:
		add("price", checkWarn, price, seckill.FormatMoney(sale.ListPrice, sale.Currency), "it is less than a tenth of the list price").coded("tenth").aged(age)
	default:
		add("price", checkOK, price, nil, "").aged(age)
	}
	wait := sale.OpensAt.Sub(sale.ServerNow).Round(time.Second)
	c := add("opening", opening(sale), inZones(sale.OpensAt), nil, inWords(sale)).aged(age)
	switch {
	case sale.State == seckill.StateEnded:
		c.coded("ended")
	case wait <= 0:
		c.coded("opened", "ago_s", -wait.Seconds(), "state", sale.State)
	default:
		c.coded("opens", "in_s", wait.Seconds(), "for_s", sale.ClosesAt.Sub(sale.OpensAt).Seconds())
	}
	if sale.Shelf == seckill.Draft {
		add(checkPublished, checkBad, "draft", "published", "nobody can buy a draft").coded("draft").aged(age)
	} else if sale.Shelf == seckill.Unlisted {
		add(checkPublished, checkWarn, "hidden", nil, "only who has its address finds it").coded("hidden").aged(age)
	}
	states, err := a.Live.Teller.Source.States(ctx, []seckill.SaleID{sale.ID})
	switch s, ok := states[sale.ID]; {
	case err != nil:
		add("gate", checkUnknown, nil, nil, err.Error()).coded("unasked")
	case !ok || !s.Open:
		add("gate", checkBad, nil, nil, "the gate has no state of the sale").coded("no_state")
	default:
		add("gate", map[bool]string{true: checkOK, false: checkBad}[s.Left > 0], s.Left, 1, "units that it can sell").coded("units")
		if n := s.Seq - s.Finished; n > mostQueued {
			add("backlog", checkWarn, n, mostQueued, "tickets still wait for their outcome").coded("waiting")
		}
	}
	others, _, err := a.Sales.Watched(ctx)
	if err != nil {
		add("other openings", checkUnknown, nil, nil, err.Error()).coded("unasked")
		return
	}
	var near []string
	for _, o := range others {
		if gap := o.OpensAt.Sub(sale.OpensAt).Abs(); o.ID != sale.ID && gap < openingsGap && o.OpensAt.After(sale.ServerNow) {
			near = append(near, o.ID.String())
		}
	}
	if len(near) > 0 {
		add("other openings", checkWarn, strings.Join(near, ", "), nil, "these open within five minutes of it").coded("near")
	} else {
		add("other openings", checkOK, 0, nil, "")
	}
}

func opening(sale seckill.Sale) string {
	switch {
	case sale.State == seckill.StateEnded:
		return checkBad
	case sale.State == seckill.StateScheduled:
		return checkOK
	}
	return checkWarn
}

// inWords says when a sale opens, from now.
func inWords(sale seckill.Sale) string {
	wait := sale.OpensAt.Sub(sale.ServerNow).Round(time.Second)
	switch {
	case sale.State == seckill.StateEnded:
		return "it has ended"
	case wait <= 0:
		return fmt.Sprintf("it opened %v ago and is %s", -wait, sale.State)
	}
	return fmt.Sprintf("it opens in %v and is open for %v", wait, sale.ClosesAt.Sub(sale.OpensAt))
}

// inZones is a moment where the people of a shop may be.
func inZones(t time.Time) string {
	all := []string{t.UTC().Format("2006-01-02 15:04:05 UTC")}
	for _, name := range []string{"Asia/Shanghai", "Europe/Berlin", "America/New_York"} {
		if zone, err := time.LoadLocation(name); err == nil {
			all = append(all, t.In(zone).Format("15:04 ")+name)
		}
	}
	return strings.Join(all, ", ")
}
