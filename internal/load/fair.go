package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// fair is one meeting.
type fair struct {
	FairConfig
	defence Defence
	run     string // in the names of the buyers
	server  string
	lead    time.Duration
	sale    seckill.Sale
	opens   time.Time       // by this machine's clock
	from    networks        // of this meeting alone: the server remembers those of others for an hour
	blocked map[string]bool // addresses on the block list

	mu      sync.Mutex
	row     Fair
	solvers places // the farm's people
	cores   places // the farm's processors
}

// actor is a buyer of either side.
type actor struct {
	id     string
	farmed bool
	listed bool // on the list that the operator uploads, where the sale asks for one
	age    time.Duration
	from   string // the address of its network
	client client.Client
	rand   *mathrand.Rand
}

// forwarded sends requests as a proxy does that this server trusts: with the address of
// the actor's network.
type forwarded struct {
	next    http.RoundTripper
	address string
}

func (f forwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Forwarded-For", f.address)
	return f.next.RoundTrip(r)
}

func (f *fair) meet(ctx context.Context) (Fair, error) {
	transport := f.transport
	if transport == nil {
		network := &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute}
		defer network.CloseIdleConnections()
		transport = network
	}
	admin := client.Client{Server: f.server, Token: f.AdminToken, HTTP: &http.Client{Transport: transport}}
	actors, err := f.actors(transport)
	if err != nil {
		return Fair{}, err
	}
	remove, err := f.block(ctx, &admin)
	defer remove()
	if err != nil {
		return Fair{}, err
	}
	if err := f.create(ctx, &admin); err != nil {
		return Fair{}, err
	}
	if err := f.upload(ctx, &admin, actors); err != nil {
		return Fair{}, err
	}
	f.row = Fair{Defence: f.defence.Name, Units: f.Units}
	f.solvers, f.cores = make(places, f.Farm.Solvers), make(places, f.Farm.Cores)
	var all errgroup.Group
	for _, a := range actors {
		all.Go(func() error { return f.play(ctx, a) })
	}
	err = all.Wait()
	return f.row, err
}

// create makes the sale.
func (f *fair) create(ctx context.Context, admin *client.Client) (err error) {
	made, err := admin.CreateSale(ctx, client.NewSale{
		Title: "Fair access: " + f.defence.Name, Price: 9900, Currency: "CNY", Total: f.Units, LimitPerBuyer: 1, HoldSeconds: 3600,
		OpensAt: time.Now().Add(f.lead).UTC(), ClosesAt: time.Now().Add(f.lead + time.Hour).UTC(), Access: f.defence.Access,
	})
	if err != nil {
		return err
	}
	f.sale = made.Sale
	f.opens, err = opening(ctx, admin, f.sale)
	return err
}

// opening is when the sale opens by this machine's clock. The server's clock decides: how
// far it is from this one is known within a round trip, so the shortest of some counts.
// The answer to the creation is none of them: it comes when the gate has the sale.
func opening(ctx context.Context, c *client.Client, sale seckill.Sale) (at time.Time, err error) {
	shortest := time.Duration(math.MaxInt64)
	for range 5 {
		sent := time.Now()
		a, err := c.Do(ctx, "GET", client.SalePath(sale.ID.String()), nil)
		if err != nil {
			return at, err
		}
		var v seckill.Sale
		if trip := time.Since(sent); a.Says(&v) && trip < shortest {
			shortest, at = trip, v.OpensAt.Add(sent.Add(trip/2).Sub(v.ServerNow))
		}
	}
	if at.IsZero() {
		return at, errors.New("the server does not say what time it is")
	}
	return at, nil
}

// uploadPiece is how many buyers of a list are sent at once: a body holds 8 KB.
const uploadPiece = 100

// upload sends the list of who may buy, where the sale asks for one.
func (f *fair) upload(ctx context.Context, admin *client.Client, actors []*actor) error {
	if f.defence.Access.Eligible != seckill.EligibleList {
		return nil
	}
	var buyers []string
	for _, a := range actors {
		if a.listed {
			buyers = append(buyers, a.id)
		}
	}
	mode := "replace"
	for sent := 0; sent < len(buyers); sent += uploadPiece {
		end := min(sent+uploadPiece, len(buyers))
		body := map[string]any{"csv": strings.Join(buyers[sent:end], "\n"), "mode": mode, "more": end < len(buyers)}
		if err := admin.Call(ctx, "POST", "/api/admin/sales/"+f.sale.ID.String()+"/eligible", body, nil); err != nil {
			return fmt.Errorf("the list of who may buy: %w", err)
		}
		mode = "add"
	}
	return nil
}

// block puts a share of the farm's networks on the block list, and returns how to take
// them off again.
func (f *fair) block(ctx context.Context, admin *client.Client) (remove func(), err error) {
	f.blocked = map[string]bool{}
	remove = func() {
		for n := range f.blocked {
			admin.Do(context.WithoutCancel(ctx), "POST", "/api/admin/access/remove", map[string]string{"network": n})
		}
	}
	for n := range int(f.defence.Blocked * float64(f.Farm.Networks)) {
		network := f.from.address(n)
		a, err := admin.Do(ctx, "POST", "/api/admin/access", map[string]string{"list": seckill.ListBlock, "network": network, "note": "a farm"})
		if err != nil || a.Status != http.StatusOK {
			return remove, errors.Join(err, fmt.Errorf("the network %s was not blocked: %v", network, a))
		}
		f.blocked[network] = true
	}
	return remove, nil
}

// Where the networks of people begin, behind those of the farm, and where those begin that
// many of them share.
const (
	homes  = 1 << 22
	shared = 1 << 23
)

func (f *fair) actors(transport http.RoundTripper) ([]*actor, error) {
	var all []*actor
	add := func(name string, n int, farmed bool, age time.Duration, address string) error {
		a := &actor{id: fmt.Sprintf("%s-%s-%d", f.run, name, n), farmed: farmed, listed: !farmed && age >= week, age: age, from: address, rand: mathrand.New(mathrand.NewPCG(f.Seed, uint64(len(all))))}
		token, err := f.Token(a.id, age)
		a.client = client.Client{Server: f.server, Token: token, HTTP: &http.Client{Transport: forwarded{transport, address}, Timeout: time.Minute}}
		all = append(all, a)
		return err
	}
	for n := range f.Farm.Accounts {
		if err := add("farm", n, true, f.Farm.Age, f.from.address(n%f.Farm.Networks)); err != nil {
			return nil, err
		}
	}
	draw := mathrand.New(mathrand.NewPCG(f.Seed, math.MaxUint64))
	for n := range f.People {
		age := 90 * 24 * time.Hour
		if draw.Float64() < peopleNew {
			age = time.Hour
		}
		address := f.from.address(homes + n)
		if draw.Float64() < peopleShared {
			address = f.from.address(shared + n%max(1, int(float64(f.People)*peopleShared/20)))
		}
		if err := add("home", n, false, age, address); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// keptOut reports whether the rules let the actor buy nothing, whatever it hears when it
// asks: behind the over flag everybody hears sold_out.
func (f *fair) keptOut(a *actor) bool {
	rule := f.defence.Access
	switch {
	case f.blocked[a.from]:
		return true
	case rule.Eligible == seckill.EligibleAge:
		return a.age < rule.AccountAge()
	case rule.Eligible == seckill.EligibleList:
		return !a.listed
	}
	return false
}

// play takes one actor through the sale.
func (f *fair) play(ctx context.Context, a *actor) error {
	if !a.farmed { // people open the page some time before the opening; the farm is there at once
		duty.Rest(ctx, time.Duration(a.rand.Float64()*float64(f.lead)/3))
	}
	if _, err := f.do(ctx, a, "GET", client.SalePath(f.sale.ID.String()), nil); err != nil {
		return err
	}
	press := f.opens
	if !a.farmed {
		press = press.Add(around(a.rand, peopleReact))
	}
	pass, passless := "", false
	if f.defence.Access.Complete().Pass {
		var err error
		if pass, err = f.fetchPass(ctx, a); err != nil {
			return err
		}
		passless = pass == "" || time.Now().After(press)
	}
	duty.Rest(ctx, time.Until(press))
	refused, err := f.buy(ctx, a, pass)
	if a.farmed {
		return err
	}
	f.count(func(row *Fair) {
		switch {
		case f.keptOut(a) || refused == "not_eligible":
			row.Ineligible++
		case passless:
			row.Passless++
		case refused != "":
			row.Limited++
		}
		row.Alarms = row.Ineligible + row.Passless + row.Limited
	})
	return err
}

// tooLate is when nobody fetches a pass any more: the sale has sold out.
const tooLate = 3 * time.Second

// challengeFresh is how old a challenge may be when the farm begins to solve it: shipped
// ones hold five minutes.
const challengeFresh = 4 * time.Minute

// fetchPass fetches a pass, at the actor's speed. It gives up, with none, when the sale is
// not for them or when it has been open for some seconds.
func (f *fair) fetchPass(ctx context.Context, a *actor) (string, error) {
	for tries := 0; tries < 20 && time.Since(f.opens) < tooLate; tries++ {
		// The farm fetches all its challenges first, while they are cheap, and then waits for
		// its few readers and cores.
		c, err := f.patient(ctx, a, "/challenge", nil)
		if err != nil || c.Status != http.StatusOK {
			return "", err // not eligible, or not in time: no pass for this one
		}
		fetched := time.Now()
		kind, reader, core := f.defence.Access.Challenge, func() {}, func() {}
		switch {
		case a.farmed && kind.Formula():
			reader = f.solvers.take(ctx)
		case a.farmed && kind.Work():
			core = f.cores.take(ctx)
		}
		if waited := time.Since(fetched); time.Since(f.opens) >= tooLate || waited > challengeFresh {
			reader()
			core()
			if waited > challengeFresh {
				continue // it may be over before it is solved
			}
			return "", nil
		}
		body, hashes, err := f.Solve(f.sale.ID, a.id, c.Body)
		if err != nil {
			reader()
			core()
			return "", err
		}
		if !a.farmed {
			if f.human(ctx, a, hashes, kind.Formula()) {
				body["answer"] = wrongAnswer
			}
		} else {
			if kind.Formula() {
				f.spend(ctx, f.Farm.Solver)
				f.count(func(row *Fair) { row.Pictures++ })
				reader()
				if a.rand.Float64() < readWrong {
					body["answer"] = wrongAnswer
				}
				if kind.Work() {
					core = f.cores.take(ctx)
				}
			}
			seconds := float64(hashes) / f.Farm.Hashes
			spent := f.spend(ctx, time.Duration(seconds*float64(time.Second)))
			f.count(func(row *Fair) { row.Seconds += spent.Seconds() })
			core()
		}
		if time.Since(f.opens) >= tooLate {
			return "", nil // the sale is over for this buyer: people give up by now
		}
		p, err := f.patient(ctx, a, "/pass", body)
		if err != nil {
			return "", err
		}
		var v struct{ Pass string }
		if p.Status == http.StatusOK && p.Says(&v) {
			if a.farmed {
				f.count(func(row *Fair) { row.Passes++ })
			}
			return v.Pass, nil
		}
		if p.Status == http.StatusConflict {
			return "", nil
		}
	}
	return "", nil
}

// wrongAnswer is right for no formula.
const wrongAnswer = "-1"

// patient posts to a route of the sale until it is not told to wait, or until nobody is
// interested in a pass any more.
func (f *fair) patient(ctx context.Context, a *actor, route string, body any) (v client.Answer, err error) {
	for {
		v, err = f.do(ctx, a, "POST", client.SalePath(f.sale.ID.String())+route, body)
		if err != nil || v.Status != http.StatusTooManyRequests && v.Status != http.StatusServiceUnavailable {
			return v, err
		}
		if f.spend(ctx, max(v.RetryAfter, retryWait)); time.Since(f.opens) >= tooLate || ctx.Err() != nil {
			return v, ctx.Err()
		}
	}
}

// spend takes that time, or as much of it as is left until nobody is interested in a pass
// any more, and returns how long it took.
func (f *fair) spend(ctx context.Context, d time.Duration) time.Duration {
	d = min(d, max(0, time.Until(f.opens.Add(tooLate))))
	duty.Rest(ctx, d)
	return d
}

// do sends a request of an actor, again when a connection broke: every request here may
// be repeated.
func (f *fair) do(ctx context.Context, a *actor, method, path string, body any) (v client.Answer, err error) {
	for range 10 {
		if v, err = a.client.Do(ctx, method, path, body); err == nil || ctx.Err() != nil {
			return v, err
		}
		duty.Rest(ctx, 50*time.Millisecond)
	}
	return v, err
}

// human takes the time that a person and a phone need for a challenge, and reports
// whether the picture was read wrongly. The phone works while its owner reads, as the page
// does it (challenge.js).
func (f *fair) human(ctx context.Context, a *actor, hashes int64, picture bool) (wrong bool) {
	takes := time.Duration(float64(hashes) / peoplePhone * float64(time.Second))
	if picture {
		takes = max(takes, around(a.rand, peopleRead))
		wrong = a.rand.Float64() < readWrong
	}
	f.spend(ctx, takes)
	return wrong
}

// mostEarly is how long the gate may say that the sale is not open when it should be by
// the clock here.
const mostEarly = 10 * time.Second

// buy asks for a ticket until the sale says yes or no. refused is what keeps from one
// beside the end of the units: the last answer, or too_many_requests when that was
// heard at all.
func (f *fair) buy(ctx context.Context, a *actor, pass string) (refused string, err error) {
	var body any
	if pass != "" {
		body = map[string]string{"pass": pass}
	}
	for tries := 0; tries < 50; {
		v, err := f.do(ctx, a, "POST", client.TicketPath(f.sale.ID.String()), body)
		if err != nil {
			return refused, err
		}
		switch {
		case v.Status == http.StatusAccepted:
			return refused, f.outcome(ctx, a)
		case v.Code == seckill.NotOpen.String() && time.Since(f.opens) < mostEarly:
			if duty.Rest(ctx, 5*time.Millisecond) != nil {
				return refused, ctx.Err()
			}
		case v.Status == http.StatusTooManyRequests || v.Status == http.StatusServiceUnavailable:
			if v.Status == http.StatusTooManyRequests {
				refused = v.Code
			}
			if tries++; duty.Rest(ctx, v.RetryAfter) != nil {
				return refused, ctx.Err()
			}
		case v.Code == seckill.SoldOut.String():
			return refused, nil
		default:
			return v.Code, nil
		}
	}
	return "unanswered", nil
}

// outcome asks what became of the ticket.
func (f *fair) outcome(ctx context.Context, a *actor) error {
	for range 60 {
		v, err := f.do(ctx, a, "GET", client.TicketPath(f.sale.ID.String())+"?wait=10s", nil)
		if err != nil {
			return err
		}
		var said struct{ Status, Order string }
		switch {
		case v.Status == http.StatusOK && v.Says(&said) && said.Status == statusPlaced:
			f.count(func(row *Fair) {
				if a.farmed {
					row.Farm++
				} else {
					row.People++
				}
			})
			// Both pay: a farm sells what it has got.
			_, err := f.do(ctx, a, "POST", "/api/orders/"+said.Order+"/pay", nil)
			return err
		case said.Status == statusRefused:
			return nil
		case v.Status != http.StatusOK:
			duty.Rest(ctx, max(v.RetryAfter, 100*time.Millisecond))
		}
	}
	return errors.New("a ticket has no outcome after ten minutes")
}

func (f *fair) count(change func(*Fair)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.row)
}

// around draws a time from a log-normal distribution with that median.
func around(r *mathrand.Rand, median time.Duration) time.Duration {
	return time.Duration(float64(median) * math.Exp(0.5*r.NormFloat64()))
}

// places is a number of places.
type places chan struct{}

// take waits for a place, and returns how it is given back.
func (p places) take(ctx context.Context) (give func()) {
	select {
	case p <- struct{}{}:
		return func() { <-p }
	case <-ctx.Done():
		return func() {}
	}
}
