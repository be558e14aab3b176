package load

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// The words of GET ticket, and what else can become of a buyer.
const (
	statusPlaced   = "placed"
	statusRefused  = "refused"
	statusNone     = "none"       // 404
	endUnanswered  = "unanswered" // no server could say, until the end
	endUnexpected  = "unexpected" // an answer that the contract does not know
	endStillQueued = "queued"     // no outcome within Settle
)

// buyer is one buyer and the log of what it was told. It belongs to one
// goroutine at a time.
type buyer struct {
	n        int
	id       string
	auth     string // the Authorization header
	quantity int
	body     []byte // of the buy request; nil for one unit

	sends int // requests so far: they take turns over the servers
	polls int // queries that found the ticket queued

	habit  Habit
	hung   bool          // it has hung up once
	due    time.Time     // in the open loop: when its next request is meant to start
	streak int64         // requests in a row that failed
	wait   time.Duration // before it asks next, between two phases

	doubt   bool   // a buy of this buyer may have been admitted without its knowing
	verdict string // the last answer to a buy; "" before any
	ticket  string
	status  string // placed or refused, once known
	order   string
	reason  string
	lost    bool // the server denied the ticket at least once
}

// end is what became of the buyer, in a word or two.
func (b *buyer) end() string {
	switch {
	case b.status == statusRefused:
		return statusRefused + ": " + b.reason
	case b.status != "":
		return b.status
	case b.ticket != "":
		return endStillQueued
	case b.verdict == "":
		return endUnanswered
	}
	return b.verdict
}

func (b *buyer) String() string {
	if b.ticket == "" {
		return "buyer " + b.id
	}
	return "buyer " + b.id + ", ticket " + b.ticket
}

// nextServer lets each further request of a buyer meet another node.
func (r *run) nextServer(b *buyer) int {
	b.sends++
	return (b.n + b.sends) % len(r.client.hosts)
}

// each calls f for every buyer, at most Concurrency at a time, each worker with
// callers of its own. With a pace, a buyer is not called before its arrival; one
// that finds all workers busy comes late, and is counted.
func (r *run) each(ctx context.Context, buyers []*buyer, p *arrivals, f func(*caller, *buyer)) error {
	callers := make([]*caller, min(r.c.Concurrency, len(buyers)))
	for i := range callers {
		callers[i] = r.newCaller()
	}
	start := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, cl := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(buyers)) {
					return
				}
				b := buyers[i]
				if p != nil {
					b.due = start.Add(p.at(int(i)))
					if d := time.Until(b.due); d > 0 && duty.Rest(ctx, d) != nil {
						return
					}
					if late := time.Since(b.due); late > lateBy {
						r.late.Add(1)
						raise(&r.latest, int64(late))
					}
				}
				f(cl, b)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// plan notes when the next request of a buyer is meant to start. In the closed
// loop a buyer who has to wait for a worker has not started yet.
func (r *run) plan(b *buyer, after time.Duration) {
	if r.arrivals != nil {
		b.due = time.Now().Add(after)
	}
}

// lateness is how long ago the next request of a buyer should have started. It counts as
// part of the latency: when the server stalls, the requests behind start late, and a
// measurement that begins at their real start would leave that wait out.
func (b *buyer) lateness() time.Duration {
	if b.due.IsZero() {
		return 0
	}
	late := time.Since(b.due)
	b.due = time.Time{}
	return max(late, 0)
}

// raise makes n at least v.
func raise(n *atomic.Int64, v int64) {
	for old := n.Load(); v > old && !n.CompareAndSwap(old, v); old = n.Load() {
	}
}

// shop takes a buyer to a verdict and reports whether it was admitted, and how
// long to wait before asking. It gives up when nobody at all has got a verdict
// for Settle: then the servers are gone.
func (r *run) shop(ctx context.Context, cl *caller, b *buyer) (poll time.Duration, admitted bool) {
	repeats, first := r.c.Repeats, b.verdict == ""
	switch {
	case !first:
		repeats = 1 // asking again, after a verdict
	case b.habit == Parallel:
		repeats = max(repeats, parallelBuys)
	}
	for {
		var a reply
		var wait time.Duration
		if b.habit == HangsUp && !b.hung {
			b.hung, b.doubt, wait = true, true, jitter(retryWait)
			if _, err := r.try(r.nextServer(b), func(server int) (reply, error) {
				return reply{}, r.hangUp(ctx, cl, server, b)
			}); err != nil {
				wait = r.failed(b, reply{}, err)
			}
		} else {
			a, wait = r.attempt(ctx, cl, b, repeats)
		}
		if wait == 0 {
			r.lastNews.Store(time.Now().UnixNano())
			if first && b.habit == Duplicates {
				r.annoy(ctx, cl, b)
			}
			return pollAfter(a, 0), b.ticket != ""
		}
		r.plan(b, wait)
		patience := time.Unix(0, r.lastNews.Load()).Add(r.c.Settle)
		if time.Now().Add(wait).After(patience) || duty.Rest(ctx, wait) != nil {
			return 0, false
		}
	}
}

// attempt is one try to buy. A wait of 0 says that the verdict is known,
// anything else how long to wait before the next try.
func (r *run) attempt(ctx context.Context, cl *caller, b *buyer, repeats int) (a reply, wait time.Duration) {
	if b.doubt {
		a, err := r.ask(cl, b)
		switch {
		case err != nil || a.again():
			return a, r.failed(b, a, err)
		case a.status == 200:
			r.admitted(b, a)
			return a, 0
		case a.status != 404:
			b.verdict = endUnexpected
			r.found.add(ruleContract, "%v: GET ticket answered %v", b, a)
			return a, 0
		}
	}
	late := b.lateness()
	if repeats == 1 {
		a, err := r.buy(cl, r.nextServer(b), b, late)
		return r.judge(ctx, b, []reply{a}, []error{err})
	}
	for len(cl.more) < repeats {
		cl.more = append(cl.more, r.newCaller())
	}
	answers, errs := make([]reply, repeats), make([]error, repeats)
	var wg sync.WaitGroup
	for i := range repeats {
		server := r.nextServer(b)
		wg.Go(func() { answers[i], errs[i] = r.buy(cl.more[i], server, b, late) })
	}
	wg.Wait()
	return r.judge(ctx, b, answers, errs)
}

// try sends a request to a server, and to the next one at once while it is sure
// that nobody has got it.
func (r *run) try(server int, send func(server int) (reply, error)) (reply, error) {
	start, hosts := time.Now(), len(r.client.hosts)
	for i := 1; ; i++ {
		a, err := send(server)
		if i > 1 {
			a.took = time.Since(start)
		}
		if i == hosts || !unsent(err) {
			return a, err
		}
		r.failovers.Add(1)
		server = (server + 1) % hosts
	}
}

// get asks for any path, of the next server if need be.
func (r *run) get(cl *caller, server int, path, auth string, v any) (reply, error) {
	return r.try(server, func(server int) (reply, error) { return cl.get(server, path, auth, v) })
}

// buy sends one buy request, late by so much, and records its answer.
func (r *run) buy(cl *caller, server int, b *buyer, late time.Duration) (reply, error) {
	a, err := r.try(server, func(server int) (reply, error) { return cl.postTicket(server, b) })
	a.took += late
	if err == nil {
		if v := verdictOf(a); v != "" {
			r.buys.record(v, a.took)
		}
	}
	return a, err
}

// verdictOf returns the verdict that an answer to a buy is, or "" if it is none.
func verdictOf(a reply) string {
	if a.broken {
		return ""
	}
	switch {
	case a.status == 202 && a.Said.Status == client.Word(seckill.Queued.String()):
		return seckill.Queued.String()
	case a.status == 503 && a.Code == seckill.Busy.String():
		return a.Code
	case a.status == 409:
		for _, v := range seckill.Verdicts() {
			if v != seckill.Queued && v != seckill.Busy && a.Code == v.String() {
				return a.Code
			}
		}
	}
	return ""
}

// judge makes one verdict of the answers to identical requests: admitted if any
// says so, in doubt if any is missing, else what the others say.
func (r *run) judge(ctx context.Context, b *buyer, answers []reply, errs []error) (a reply, wait time.Duration) {
	verdict := ""
	for i, a := range answers {
		v := verdictOf(a)
		switch {
		case errs[i] != nil || a.again():
			wait = max(wait, r.failed(b, a, errs[i]))
			b.doubt = b.doubt || errs[i] != nil || a.status >= 500
			if v == seckill.Busy.String() {
				b.verdict = v
			}
		case v == seckill.Queued.String() && a.Ticket != "":
			r.admitted(b, a)
		case v == "" || v == seckill.Queued.String():
			r.found.add(ruleContract, "buyer %s: POST ticket answered %v", b.id, a)
			verdict = endUnexpected
		case verdict == "" || v == seckill.SoldOut.String():
			verdict = v
		}
	}
	switch {
	case b.ticket != "":
		return answers[0], 0
	case wait > 0:
		return reply{}, wait
	}
	b.verdict, b.streak = verdict, 0
	return answers[0], 0
}

// admitted records the ticket that an answer names.
func (r *run) admitted(b *buyer, a reply) {
	switch {
	case a.Ticket == "":
		r.found.add(ruleContract, "%v: an answer without a ticket: %v", b, a)
		b.verdict = endUnexpected
		return
	case b.ticket == "":
		b.ticket = a.Ticket
	case b.ticket != a.Ticket:
		r.found.add(ruleOneTicket, "%v: another answer names %v", b, a)
	}
	b.verdict, b.doubt, b.streak = seckill.Queued.String(), false, 0
}

// ask sends one query for the buyer's ticket and records its answer.
func (r *run) ask(cl *caller, b *buyer) (reply, error) {
	late := b.lateness()
	a, err := r.try(r.nextServer(b), func(server int) (reply, error) { return cl.getTicket(server, b) })
	a.took += late
	if err == nil {
		switch {
		case a.status == 200 && a.Said.Status != "" && !a.broken:
			r.results.record(string(a.Said.Status), a.took)
		case a.status == 404:
			r.results.record(statusNone, a.took)
		}
	}
	return a, err
}

// follow asks once for the outcome of an admitted buyer. Until it is final, it
// returns how long to wait before the next query.
func (r *run) follow(cl *caller, b *buyer) (wait time.Duration, final bool) {
	a, err := r.ask(cl, b)
	switch {
	case err != nil || a.again():
		return r.failed(b, a, err), false
	}
	b.streak = 0
	switch {
	case a.status == 404:
		if !b.lost {
			r.found.add(ruleNoLostAccept, "%v: GET ticket answered %v", b, a)
		}
		b.lost = true
		b.polls++
		return pollAfter(a, b.polls), false
	case a.status != 200 || a.broken || a.Ticket == "":
		r.found.add(ruleContract, "%v: GET ticket answered %v", b, a)
		b.status = endUnexpected
		return 0, true
	case a.Ticket != b.ticket:
		r.found.add(ruleOneTicket, "%v: GET ticket answered %v", b, a)
	}
	switch s := string(a.Said.Status); {
	case s == seckill.Queued.String():
		b.polls++
		return pollAfter(a, b.polls), false
	case s == statusPlaced && a.Order != "" || s == statusRefused && a.Reason != "":
		b.status, b.order, b.reason = s, a.Order, a.Reason
	default:
		r.found.add(ruleContract, "%v: GET ticket answered %v", b, a)
		b.status = endUnexpected
	}
	return 0, true
}

// pollAfter is how long to wait before the query number polls: what the server
// asked for or half a second, half as much again after each query in vain, and
// up to a quarter more or less, so that buyers do not all ask at the same moment.
func pollAfter(a reply, polls int) time.Duration {
	d := time.Duration(a.PollAfterMS) * time.Millisecond
	if d <= 0 {
		d = 500 * time.Millisecond
	}
	for ; polls > 0 && d < maxPoll; polls-- {
		d += d / 2
	}
	return jitter(min(max(d, minPoll), maxPoll))
}

func jitter(d time.Duration) time.Duration { return d*3/4 + mathrand.N(d/2) }

// failed counts a request that got no usable answer, of a buyer or nil, and
// returns how long to wait before the next one.
func (r *run) failed(b *buyer, a reply, err error) time.Duration {
	if b != nil && (err != nil || verdictOf(a) == "") {
		b.streak++
		raise(&r.streak, b.streak)
	}
	switch {
	case err != nil:
		r.failures.add(failure(err))
	case verdictOf(a) == "":
		name := fmt.Sprintf("HTTP %d", a.status)
		if a.Code != "" {
			name += " " + a.Code
		}
		r.failures.add(name)
	}
	if a.retryAfter > 0 {
		return jitter(a.retryAfter)
	}
	return jitter(retryWait)
}

// insist repeats a request until a server can answer it, for at most patience.
func (r *run) insist(ctx context.Context, patience time.Duration, do func() (reply, error)) (reply, error) {
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	return r.insistSince(ctx, &now, patience, do)
}

// insistSince repeats a request until a server can answer it, or until it is patience since
// news, in nanoseconds since 1970.
func (r *run) insistSince(ctx context.Context, news *atomic.Int64, patience time.Duration, do func() (reply, error)) (reply, error) {
	for {
		a, err := do()
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		if err == nil && !a.again() {
			return a, nil
		}
		wait := r.failed(nil, a, err)
		if time.Now().Add(wait).After(time.Unix(0, news.Load()).Add(patience)) {
			last := a.String()
			if err != nil {
				last = failure(err)
			}
			return a, fmt.Errorf("no usable answer within %v, the last was: %s", patience.Round(time.Millisecond), last)
		}
		if err := duty.Rest(ctx, wait); err != nil {
			return a, err
		}
	}
}
