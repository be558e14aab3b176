// Package payers is everybody around the money of a node that dies under them: buyers
// who pay, twice, too late or with another amount, a shop whose server repeats,
// reorders, loses and delays what it tells, lies, and gives back unasked (lies.go), its
// receiver of webhooks, and an administrator who gives back whole orders and parts.
//
// The shop keeps its own books. Finish compares them with those of the node.
package payers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"seckill"
	"seckill/e2e/lots"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// Secret is the shop's, and Env what a node is told of it.
const Secret = "whsec_dGhlIHNob3Agb2YgdGhlIHBheWVycyBoYXMgYSBzZWNyZXQ="

const (
	price = 100
	again = 20 * time.Millisecond // before a request is repeated
	kinds = 12                    // of buyers, see live
	least = 4000                  // units of the sale: some are left whenever one is wanted
)

// Payers is one run against one node.
type Payers struct {
	URL     string // where the node is, when it is up; several have commas between
	Token   []byte // the node's auth.secret
	Workers int
	Most    int64 // payments to make; 0: until Stop

	Hears time.Duration // how long Finish waits for the last events once the money is at rest; 0: as long as it may

	Captured, Late, Parts, Wholes, Wrong atomic.Int64

	seed  uint64
	lots  *rand.Rand
	hook  *webhooks.Webhook
	admin string
	sale  string
	run   string
	next  atomic.Int64
	shop  *http.Server
	at    string

	mu       sync.Mutex
	took     map[string]taken     // by reference: what the shop has
	gave     map[string]taken     // by our refund's id: what it gave back
	again    map[string]int       // by our refund's id: how often it was asked for
	wentBack map[string]time.Time // by our refund's id: when the money went
	asked    int                  // for refunds, repeats included

	heard heard

	lies    lies
	short   string       // the sale whose orders expire at once
	earlier atomic.Value // an order that was lied about

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// New starts the shop; nobody pays before Start. The seed decides what each buyer does.
func New(url string, token []byte, workers int, seed uint64) (*Payers, error) {
	hook, err := webhooks.NewWebhook(Secret)
	if err != nil {
		return nil, err
	}
	p := &Payers{URL: url, Token: token, Workers: workers, seed: seed, lots: lots.New(seed), hook: hook, took: map[string]taken{}, gave: map[string]taken{}, lies: newLies(), again: map[string]int{}, wentBack: map[string]time.Time{}, heard: heard{last: map[string]seckill.Event{}, seen: map[string]bool{}}, run: seckill.NewTicketID(time.Now())[9:17]}
	if p.admin, err = account.Mint(token, "treasurer", seckill.RoleAdmin, 24*time.Hour); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.at = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/refunds", p.refund)
	mux.HandleFunc("/hooks", p.hear)
	p.shop = &http.Server{Handler: mux}
	go p.shop.Serve(l)
	return p, nil
}

// Env is what the node must be told.
func (p *Payers) Env() []string {
	return []string{"SECKILL_PAYMENT_PROVIDER=shop", "SECKILL_PAYMENT_SECRET=" + Secret, "SECKILL_PAYMENT_REFUND_URL=" + p.at + "/refunds", p.hooks()}
}

// Close ends the shop.
func (p *Payers) Close() error { return p.shop.Close() }

// refund is the shop's server: it gives back once for each id, and says so at once, by
// a callback, or not at all.
func (p *Payers) refund(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var f struct {
		Refund, Order, Reference, Currency string
		Amount                             int64
	}
	if err != nil || p.hook.Verify(body, r.Header) != nil || json.Unmarshal(body, &f) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.slowly(r.Context())
	p.mu.Lock()
	p.gave[f.Refund] = taken{f.Order, f.Amount, f.Currency}
	p.asked++
	p.again[f.Refund]++
	tries := p.again[f.Refund]
	if tries == 1 {
		p.wentBack[f.Refund] = time.Now() // once, however often it is asked for: a later time would be another way
	}
	c := seckill.Callback{Event: "back " + f.Refund, Type: seckill.GivenBack, Order: f.Order, Reference: f.Refund, Amount: f.Amount, Currency: f.Currency, At: p.wentBack[f.Refund]}
	p.mu.Unlock()
	if tries == 1 {
		p.bounce(r.Context(), c)
	}
	switch trouble := p.lots.IntN(4); {
	case trouble == 0 && tries < 3:
		w.WriteHeader(http.StatusInternalServerError) // done, and nobody hears of it
	case trouble == 1 && tries < 3:
		p.tellOnce(r.Context(), c)
	default:
		fmt.Fprint(w, `{"status":"refunded"}`)
	}
}

// tellOnce sends a callback once, and reports whether the node has taken it.
func (p *Payers) tellOnce(ctx context.Context, c seckill.Callback) bool {
	body, err := json.Marshal(c)
	if err != nil {
		return false
	}
	now := time.Now()
	signature, err := p.hook.Sign(c.Event, now, body)
	if err != nil {
		return false
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.node()+"/api/payments/shop", strings.NewReader(string(body)))
	if err != nil {
		return false
	}
	r.Header.Set("webhook-id", c.Event)
	r.Header.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
	r.Header.Set("webhook-signature", signature)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// tell sends a callback until the node has taken it, and sometimes once more. It reports
// whether the node has.
func (p *Payers) tell(ctx context.Context, c seckill.Callback) bool {
	c.At, c.Currency = time.Now(), cmp.Or(c.Currency, "CNY")
	if !p.insistTell(ctx, c) {
		return false
	}
	if p.lots.IntN(3) == 0 {
		p.tellOnce(ctx, c)
	}
	return true
}

// insistTell sends a callback as it is until the node has taken it.
func (p *Payers) insistTell(ctx context.Context, c seckill.Callback) bool {
	for !p.tellOnce(ctx, c) {
		if duty.Rest(ctx, again) != nil {
			return false
		}
	}
	return true
}

// capture takes money for an order and tells of it: doubled under other ids, and after
// a rest.
func (p *Payers) capture(ctx context.Context, order, reference string, amount int64) {
	p.captureIn(ctx, order, reference, amount, "CNY")
}

func (p *Payers) captureIn(ctx context.Context, order, reference string, amount int64, currency string) {
	p.mu.Lock()
	p.took[reference] = taken{order, amount, currency}
	p.mu.Unlock()
	p.slowly(ctx)
	p.Captured.Add(1)
	for i := range 1 + p.lots.IntN(2) {
		duty.Rest(ctx, time.Duration(p.lots.IntN(10))*time.Millisecond) // messages of several orders come in no order
		p.tell(ctx, seckill.Callback{Event: fmt.Sprint(reference, " ", i), Type: seckill.Captured, Order: order, Reference: reference, Amount: amount, Currency: currency})
	}
}

// node is one of the nodes.
func (p *Payers) node() string {
	all := strings.Split(p.URL, ",")
	return all[p.lots.IntN(len(all))]
}

// insist sends a request until the answer is usable.
func (p *Payers) insist(ctx context.Context, token, method, path string, body any) (client.Answer, error) {
	c := client.Client{Token: token, HTTP: &http.Client{Timeout: 5 * time.Second}}
	for {
		c.Server = p.node()
		a, err := c.Do(ctx, method, path, body)
		if err == nil && a.Usable() {
			return a, nil
		}
		if err := duty.Rest(ctx, again); err != nil {
			return a, err
		}
	}
}

// Start creates the sale, whose late payments take units again, and lets buyers in.
func (p *Payers) Start(ctx context.Context) error {
	now := time.Now().UTC()
	sale := func(title string, total int64, hold int) (string, error) {
		a, err := p.insist(ctx, p.admin, "POST", "/api/admin/sales", map[string]any{"title": title + " " + p.run, "price": price, "currency": "CNY", "total": total,
			"limit_per_buyer": 3, "opens_at": now, "closes_at": now.Add(24 * time.Hour), "hold_seconds": hold, "late_payment": "retake"})
		if err != nil {
			return "", err
		}
		var s seckill.Sale
		if err := a.Into(&s); err != nil || s.ID == 0 {
			return "", fmt.Errorf("no sale: %v %w", a, err)
		}
		return s.ID.String(), nil
	}
	var err error
	if p.sale, err = sale("paid", max(least, 4*p.Most), 600); err != nil {
		return err
	}
	if p.short, err = sale("expires", 8*expireds, 1); err != nil {
		return err
	}
	p.heard.faulty = p.Most > 0
	ctx, p.stop = context.WithCancel(ctx)
	for range p.Workers {
		p.wg.Go(func() {
			for ctx.Err() == nil && (p.Most == 0 || p.Captured.Load() < p.Most) {
				p.live(ctx)
			}
		})
	}
	return nil
}

// Stop lets nobody in any more. What was begun is left as it is.
func (p *Payers) Stop() { p.stop(); p.wg.Wait() }

// Wait returns when Most payments were made.
func (p *Payers) Wait() { p.wg.Wait() }

// live is one buyer.
func (p *Payers) live(ctx context.Context) {
	number := p.next.Add(1)
	name := fmt.Sprintf("payer %s %d", p.run, number)
	token, err := account.Mint(p.Token, name, "", 24*time.Hour)
	if err != nil {
		return
	}
	what, sale := rand.New(rand.NewPCG(p.seed, uint64(number))).IntN(kinds), p.sale
	if number <= kinds { // each once, however short the run is
		what = int(number) - 1
	}
	expires := what == 11 && p.lies.expired.Add(1) <= expireds
	if expires {
		sale = p.short
	}
	if _, err := p.insist(ctx, token, "POST", "/api/sales/"+sale+"/ticket", map[string]int{"quantity": 2}); err != nil {
		return
	}
	var said struct{ Order string }
	for said.Order == "" {
		a, err := p.insist(ctx, token, "GET", "/api/sales/"+sale+"/ticket?wait=2s", nil)
		if err != nil {
			return
		}
		if a.Status != http.StatusOK || !a.Says(&said) || strings.Contains(string(a.Body), "refused") {
			return
		}
	}
	order, ref := said.Order, "pay "+said.Order
	refund := func(body any) bool {
		a, err := p.insist(ctx, p.admin, "POST", "/api/admin/orders/"+order+"/refund", body)
		return err == nil && a.Status == http.StatusOK
	}
	if expires {
		p.expire(ctx, token, order, ref)
		return
	}
	p.insist(ctx, token, "POST", "/api/orders/"+order+"/pay", nil)
	switch what {
	case 0, 1: // late: units again, or back
		p.insist(ctx, token, "POST", "/api/orders/"+order+"/cancel", nil)
		p.Late.Add(1)
		p.capture(ctx, order, ref, 2*price)
	case 2: // twice
		p.capture(ctx, order, ref, 2*price)
		p.capture(ctx, order, ref+" again", 2*price)
	case 3: // a part goes back
		p.capture(ctx, order, ref, 2*price)
		p.Parts.Add(1)
		refund(map[string]any{"id": "part " + order, "units": 1, "restock": p.lots.IntN(2) == 0, "reason": "broken"})
	case 4: // all of it goes back
		p.capture(ctx, order, ref, 2*price)
		p.Wholes.Add(1)
		refund(nil)
	case 5: // the shop lies about the amount, and gives it back when it is told to
		p.lies.note(p.lies.back, ref)
		p.capture(ctx, order, ref, 2*price-1)
		p.Wrong.Add(1)
		if refund(map[string]any{"payment": ref}) {
			p.lies.note(p.lies.given, ref)
		}
		p.insist(ctx, token, "POST", "/api/orders/"+order+"/cancel", nil)
	case 6: // cancelled while the money comes
		var both sync.WaitGroup
		both.Go(func() { p.capture(ctx, order, ref, 2*price) })
		both.Go(func() { p.insist(ctx, token, "POST", "/api/orders/"+order+"/cancel", nil) })
		both.Wait()
	case 8: // the shop says something else of the same payment
		p.contradict(ctx, order, ref)
	case 9: // money that fits no order
		p.mispay(ctx, order, ref)
	case 10: // the shop gives back unasked
		p.unasked(ctx, order, ref)
	case 11: // the first try fails
		p.failFirst(ctx, token, order, ref)
	default:
		p.capture(ctx, order, ref, 2*price)
	}
}

// Finish waits until nothing is due any more, and compares the shop's books with the
// node's. What it finds is empty when every cent is explained.
func (p *Payers) Finish(ctx context.Context) (found []string) {
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	// What the shop took and could not tell, it tells now.
	p.mu.Lock()
	took := maps.Clone(p.took)
	p.mu.Unlock()
	for r, t := range took {
		p.tell(ctx, seckill.Callback{Event: r + " at last", Type: seckill.Captured, Order: t.order, Reference: r, Amount: t.amount, Currency: t.currency})
	}
	p.lies.mu.Lock()
	hand := maps.Clone(p.lies.hand)
	p.lies.mu.Unlock()
	for _, c := range hand {
		p.tell(ctx, c)
	}
	found = append(found, p.stranded(ctx)...)
	var money []seckill.Money
	for _, sale := range []string{p.sale, p.short} {
		report, err := p.atRest(ctx, sale)
		if err != nil {
			bad("sale %s: %v", sale, err)
			return found
		}
		if !report.OK {
			bad("the audit: %v", report.Violations)
		}
		money = append(money, report.Money...)
	}
	// Money of orders that never were is in no sale.
	for due := true; due; {
		due = false
		err := pages(ctx, p, "/api/admin/refunds?state=due", func(seckill.Refund) { due = true })
		if err != nil || due && duty.Rest(ctx, 200*time.Millisecond) != nil {
			bad("refunds are still due, or there is no list of them: %v", err)
			return found
		}
	}
	all, err := p.allMoney(ctx)
	if err != nil {
		bad("no books: %v", err)
		return found
	}
	found = append(found, p.toldOfAll(ctx)...)
	found = append(found, p.believed(ctx)...)
	p.mu.Lock()
	defer p.mu.Unlock()
	// By currency: taken and given back, of the orders of our sales and of all that there is.
	type sums map[string][2]int64
	ours, theirs, allOurs, allTheirs := sums{}, sums{}, sums{}, sums{}
	add := func(to sums, currency string, took, gave int64) {
		v := to[currency]
		to[currency] = [2]int64{v[0] + took, v[1] + gave}
	}
	moved := func(order, currency string, took, gave int64) {
		add(allTheirs, currency, took, gave)
		if !p.lies.unknown[order] {
			add(theirs, currency, took, gave)
		}
	}
	for _, t := range p.took {
		moved(t.order, t.currency, t.amount, 0)
	}
	for _, t := range p.gave {
		moved(t.order, t.currency, 0, t.amount)
	}
	for _, c := range hand {
		moved(c.Order, "CNY", 0, c.Amount)
	}
	for _, m := range money {
		add(ours, m.Currency, m.Captured, m.Refunded)
	}
	if !maps.Equal(ours, theirs) {
		bad("the shop took and gave back %v, the node says %v", theirs, ours)
	}
	for _, m := range all {
		add(allOurs, m.Currency, m.Captured, m.Refunded)
		if n := m.Unexplained(); n != 0 || m.Due+m.Late != 0 {
			bad("of all money %d is unexplained: %+v", n, m)
		}
	}
	if !maps.Equal(allOurs, allTheirs) {
		bad("the shop took and gave back %v with the money of no order, the node's books say %v", allTheirs, allOurs)
	}
	return found
}

// allMoney is the audit of all money that the node has, of each sale and of no order.
func (p *Payers) allMoney(ctx context.Context) ([]seckill.Money, error) {
	var books struct{ Money []seckill.Money }
	a, err := p.insist(ctx, p.admin, "GET", "/api/admin/books?from=2026-01-01&to=2026-01-01", nil) // of a day without lines
	if err == nil {
		err = a.Into(&books)
	}
	return books.Money, err
}

// atRest is the audit of a sale when nothing is due and nothing waits.
func (p *Payers) atRest(ctx context.Context, sale string) (report seckill.Report, err error) {
	var waits error // what the last look found
	for {
		a, err := p.insist(ctx, p.admin, "GET", "/api/admin/sales/"+sale+"/audit", nil)
		if err == nil {
			err = a.Into(&report)
		}
		if err != nil { // and that may be the end of the time
			return report, errors.Join(waits, err)
		}
		rest := int64(0)
		for _, m := range report.Money {
			rest += m.Due + m.Late
		}
		if rest == 0 && report.Pending == 0 && report.Returning == 0 {
			return report, nil
		}
		waits = fmt.Errorf("money still waits: %+v", report)
		if duty.Rest(ctx, 200*time.Millisecond) != nil {
			return report, waits
		}
	}
}
