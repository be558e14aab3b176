package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill/internal/client"
	"seckill/internal/duty"
)

const (
	loginAccounts = 64 // that the logins are of
	loginPause    = time.Second
	loginBound    = time.Second // in which each is answered
	loginPassword = "a bicycle of the bench 7"
)

// besideLogins measures what many logins at once, again and again, cost a running sale, and
// how soon they are answered. Each comes over a connection and from an address of its own.
func (b *bench) besideLogins(ctx context.Context, out string) error {
	b.env = []string{"SECKILL_HTTP_TRUSTED_PROXIES=127.0.0.1/32"}
	var all []pair
	var told logins
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "%d logins at once: round %d of %d\n", b.logins, round+1, b.rounds)
		var crowd *loginCrowd
		pairs, err := b.selling(ctx, round, 2*loginBound, func(n *node) (d disturbance, err error) {
			if crowd, err = n.gather(ctx, b.logins); err != nil {
				return d, err
			}
			return disturbance{begin: func() (func() error, error) { return crowd.begin(ctx), nil }}, nil
		})
		if crowd != nil {
			crowd.leave()
		}
		if err != nil {
			return fmt.Errorf("logins: %w", err)
		}
		fmt.Fprintf(os.Stderr, "  %+v\n", crowd.logins)
		all = append(all, pairs...)
		told.add(crowd.logins)
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "%s, %d runs; the middle half of the pairs in brackets. Each second of every other window %d log in at once.\n\n", b.headOfPairs(), b.rounds, b.logins)
	fmt.Fprintf(&table, "| admitted a second | of without logins | logins | in | busy | slowest answer | later than %v |\n|---|---|---|---|---|---|---|\n", loginBound)
	fmt.Fprintf(&table, "| %.0f | **%s | %d | %d | %d | %.0f ms | %d |\n", middle(all, func(p pair) float64 { return p.with.rate }), spread(all, pair.rates),
		told.in+told.busy, told.in, told.busy, told.slowest.Seconds()*1000, told.late)
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench logins", table.String())
}

// logins are the answers to a crowd that logs in.
type logins struct {
	in, busy, late int
	slowest        time.Duration
}

func (l *logins) add(m logins) {
	l.in, l.busy, l.late, l.slowest = l.in+m.in, l.busy+m.busy, l.late+m.late, max(l.slowest, m.slowest)
}

// loginCrowd logs in, all at once.
type loginCrowd struct {
	people []*loginPerson
	logins
}

// loginPerson sends the same request each time.
type loginPerson struct {
	line
	request []byte
}

// gather makes the accounts, and the crowd.
func (n *node) gather(ctx context.Context, count int) (*loginCrowd, error) {
	var making errgroup.Group
	making.SetLimit(4)
	for i := range loginAccounts {
		making.Go(func() error {
			for {
				a, err := (&client.Client{Server: n.url}).Do(ctx, http.MethodPost, "/api/register", map[string]string{"name": loginName(i), "password": loginPassword})
				switch {
				case err != nil:
					return err
				case a.Status == http.StatusCreated:
					return nil
				case a.Usable():
					return fmt.Errorf("an account: %v", a)
				}
				duty.Rest(ctx, 100*time.Millisecond)
			}
		})
	}
	if err := making.Wait(); err != nil {
		return nil, err
	}
	c := &loginCrowd{}
	host := strings.TrimPrefix(n.url, "http://")
	for i := range count {
		body := fmt.Sprintf(`{"name":%q,"password":%q}`, loginName(i%loginAccounts), loginPassword)
		p := &loginPerson{line: line{host: host}, request: fmt.Appendf(nil, "POST /api/login HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 198.%d.%d.%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			host, 18+i>>16, i>>8&255, i&255, len(body), body)}
		c.people = append(c.people, p)
		if err := p.connect(ctx); err != nil {
			c.leave()
			return nil, err
		}
	}
	return c, nil
}

func loginName(i int) string { return fmt.Sprintf("bench.person.%d", i) }

func (c *loginCrowd) leave() {
	for _, p := range c.people {
		p.hangUp()
	}
}

// begin lets all log in once a second, until stop, which waits for the last answers.
func (c *loginCrowd) begin(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(loginPause)
		defer tick.Stop()
		for {
			if err := c.once(ctx); err != nil {
				ended <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

// once lets all log in, and waits for their answers.
func (c *loginCrowd) once(ctx context.Context) error {
	var mu sync.Mutex
	var all errgroup.Group
	for _, p := range c.people {
		all.Go(func() error {
			began := time.Now()
			a, err := p.send(ctx, p.request)
			if err != nil {
				return err
			}
			l := logins{slowest: time.Since(began)}
			switch {
			case a.Status == http.StatusOK:
				l.in = 1
			case a.Status == http.StatusServiceUnavailable && bytes.Contains(a.Body, []byte(`"code":"busy"`)) && a.Header.Get("Retry-After") != "":
				l.busy = 1
			default:
				return fmt.Errorf("a login was answered %v", a)
			}
			if l.slowest > loginBound {
				l.late = 1
			}
			mu.Lock()
			defer mu.Unlock()
			c.add(l)
			return nil
		})
	}
	return all.Wait()
}
