package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
	"seckill/internal/load"
	"seckill/internal/stack"
)

const (
	auditBacklog = 300_000 // tickets of the audited sale in the outbox
	auditPause   = time.Second
	auditPairs   = 6
	auditWindow  = 5 * time.Second
	auditRate    = 1000 // buyers of the other sale in a second
	auditLines   = 64   // over so many connections

	// buckets is how many streams the outbox of internal/gate/redisgate has: so many sales
	// further is one in the same stream.
	buckets = 16
)

// quarter is what the buyers of a window saw, in milliseconds.
type quarter struct {
	p50, p99      float64
	sent, refused int
}

// besideAudits measures what the buyers of one sale notice of another sale of the same
// stream of Redis, whose long outbox is audited each second. Nobody settles meanwhile.
func (b *bench) besideAudits(ctx context.Context, out string) error {
	var all [][2]quarter
	var told audits
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "audits: round %d of %d\n", round+1, b.rounds)
		_, err := b.onStack(ctx, func(s *stack.Stack) (r run, err error) {
			pairs, t, err := b.audited(ctx, s)
			all = append(all, pairs...)
			told.add(t)
			return r, err
		})
		if err != nil {
			return fmt.Errorf("audits: %w", err)
		}
		fmt.Fprintf(os.Stderr, "  %+v\n", told)
	}
	side := func(i int) (p50, p99 float64, sent, refused int) {
		for _, p := range all {
			sent, refused = sent+p[i].sent, refused+p[i].refused
		}
		return middle(all, func(p [2]quarter) float64 { return p[i].p50 }), middle(all, func(p [2]quarter) float64 { return p[i].p99 }), sent, refused
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "%d buyers a second over %d connections on the same machine: %d cores, %s, %s. %d pairs of windows of %v, %d runs; the middle half of the pairs in brackets. %d tickets of the other sale in the outbox; "+
		"%d audits, the middle one in %.1f s, the slowest in %.1f s, %d told busy.\n\n", auditRate, auditLines, runtime.NumCPU(), cpu(), runtime.Version(), auditPairs*b.rounds, auditWindow, b.rounds, auditBacklog,
		len(told.took), middle(told.took, time.Duration.Seconds), slices.Max(told.took).Seconds(), told.busy)
	fmt.Fprint(&table, "| | buyers | 503 | p50 ms | p99 ms | p99, of that without |\n|---|---|---|---|---|---|\n")
	p50, p99, sent, refused := side(1)
	fmt.Fprintf(&table, "| without | %d | %d | %.1f | %.1f | |\n", sent, refused, p50, p99)
	p50, p99, sent, refused = side(0)
	fmt.Fprintf(&table, "| an audit each second | %d | %d | %.1f | %.1f | **%s |\n", sent, refused, p50, p99, spread(all, func(p [2]quarter) float64 { return p[0].p99 / p[1].p99 }))
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench audits", table.String())
}

// audited fills the outbox with the tickets of one sale, and lets buyers of another one go
// on while the first is audited, and while it is not.
func (b *bench) audited(ctx context.Context, s *stack.Stack) (pairs [][2]quarter, told audits, err error) {
	n, err := b.serve(ctx, s, "--run", "api")
	if err != nil {
		return nil, told, err
	}
	defer n.stop()
	desk, err := b.serve(ctx, s, "--run", "api") // who audits asks a node of their own
	if err != nil {
		return nil, told, err
	}
	defer desk.stop()
	target, tokens, err := b.open(ctx, n, seckill.MaxTotal, "d", auditBacklog)
	if err == nil {
		err = n.all(ctx, http.MethodPost, target, tokens, auditBacklog)
	}
	if err != nil {
		return nil, told, err
	}
	if r, err := desk.report(ctx, target); err != nil || r.Pending < auditBacklog {
		return nil, told, errors.Join(err, fmt.Errorf("%d of %d tickets are in the outbox", r.Pending, auditBacklog))
	}
	filled, err := seckill.ParseSaleID(strings.Split(target, "/")[3])
	if err != nil {
		return nil, told, err
	}
	var other seckill.SaleID
	for other == 0 || other%buckets != filled%buckets {
		if other, err = load.Fresh(ctx, n.url, n.admin, seckill.MaxTotal, 1, time.Hour, seckill.Access{}); err != nil {
			return nil, told, err
		}
	}
	lines := make([]*line, auditLines)
	for i := range lines {
		lines[i] = &line{host: strings.TrimPrefix(n.url, "http://")}
		defer lines[i].hangUp()
		if err := lines[i].connect(ctx); err != nil {
			return nil, told, err
		}
	}
	buyers := 0
	pairs, err = inTurn(auditPairs, func(disturbed bool) (q quarter, err error) {
		stop := func() (audits, error) { return audits{}, nil }
		if disturbed {
			stop = desk.auditing(ctx, target)
			duty.Rest(ctx, auditPause)
		}
		q, err = b.buy(ctx, lines, other, buyers)
		buyers += q.sent
		t, serr := stop()
		told.add(t)
		return q, errors.Join(err, serr)
	})
	return pairs, told, err
}

// buy sends buyers at a steady rate for one window. What is late because of those before
// counts as slow: the time of each begins when it was due.
func (b *bench) buy(ctx context.Context, lines []*line, sale seckill.SaleID, first int) (q quarter, err error) {
	var mu sync.Mutex
	var took []float64
	var all errgroup.Group
	begin, count := time.Now(), int(auditWindow.Seconds()*auditRate)
	for i, l := range lines {
		all.Go(func() error {
			for at := i; at < count; at += len(lines) {
				token, err := account.Mint([]byte(b.secret), "other-"+strconv.Itoa(first+at), "", time.Hour)
				if err != nil {
					return err
				}
				request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", client.TicketPath(sale.String()), l.host, token)
				due := begin.Add(time.Duration(at) * time.Second / auditRate)
				duty.Rest(ctx, time.Until(due))
				a, err := l.send(ctx, request)
				if err != nil {
					return err
				}
				mu.Lock()
				took = append(took, time.Since(due).Seconds()*1000)
				if a.Status == http.StatusServiceUnavailable {
					q.refused++
				}
				mu.Unlock()
				if a.Status != http.StatusAccepted && a.Status != http.StatusServiceUnavailable {
					return fmt.Errorf("a buyer was answered %v", a)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return q, err
	}
	slices.Sort(took)
	q.sent, q.p50, q.p99 = len(took), took[len(took)/2], took[len(took)*99/100]
	return q, ctx.Err()
}

// audits are the answers to who audits.
type audits struct {
	took []time.Duration
	busy int
}

func (a *audits) add(b audits) {
	a.took, a.busy = append(a.took, b.took...), a.busy+b.busy
}

// auditing begins an audit each second, however long they take, until stop, which waits for
// the last of them.
func (n *node) auditing(ctx context.Context, target string) (stop func() (audits, error)) {
	begins, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	var told audits
	var all errgroup.Group
	all.Go(func() error {
		tick := time.NewTicker(auditPause)
		defer tick.Stop()
		for begins.Err() == nil {
			all.Go(func() error {
				began := time.Now()
				r, err := n.report(ctx, target)
				var no *client.Problem
				busy := errors.As(err, &no) && no.Status == http.StatusServiceUnavailable
				if err == nil && r.Pending < auditBacklog {
					err = fmt.Errorf("an audit saw %d of %d tickets", r.Pending, auditBacklog)
				}
				mu.Lock()
				defer mu.Unlock()
				if busy {
					told.busy++
					return nil
				}
				told.took = append(told.took, time.Since(began))
				return err
			})
			select {
			case <-tick.C:
			case <-begins.Done():
			}
		}
		return nil
	})
	return func() (audits, error) {
		cancel()
		err := all.Wait()
		return told, err
	}
}
