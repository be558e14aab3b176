package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"seckill/internal/client"
)

// make drill has 300,000: go test ./e2e -run TestWhoLooksAtALongOutboxInRedis -looks 300000 -timeout 30m
var lookTickets = flag.Int("looks", 0, "how many tickets wait in Redis' outbox while people of the shop look at the sale; on a machine with other work buyers hear 503 without it")

// Tickets wait in Redis' outbox, and nobody relays them. People of the shop look at the sale
// in every way that there is, all the time, and the balance counts: nobody who buys
// meanwhile is turned away.
func TestWhoLooksAtALongOutboxInRedis(t *testing.T) {
	t.Parallel()
	if *lookTickets == 0 {
		t.Skip("only with -looks=TICKETS: make drill")
	}
	e := startEnginesWith(t, []string{"SECKILL_RUN=api,expire", "SECKILL_LIMITS_OUTBOX=4000000"})
	chief := admin(t, e.nodes[0])
	eventually(t, "sales can be made", func() bool { // with engines that have just started
		status, _, err := chief.try("GET", "/api/admin/sales", nil)
		return err == nil && status == http.StatusOK
	})
	sale := chief.creates(int64(2**lookTickets), 1)
	path := client.AdminPath(sale, "")
	buy := func(from, to int) {
		t.Helper()
		var refused atomic.Pointer[string]
		var buyers sync.WaitGroup
		var next atomic.Int64
		next.Store(int64(from))
		for range 128 {
			buyers.Go(func() {
				for refused.Load() == nil {
					n := int(next.Add(1))
					if n > to {
						return
					}
					status, said, err := buyer(t, e.nodes[n%2], fmt.Sprint("b", n)).try("POST", client.TicketPath(sale), map[string]int{"quantity": 1})
					if err != nil || status != http.StatusAccepted {
						why := fmt.Sprintf("buyer %d hears %d %s %v", n, status, said.Code, err)
						refused.Store(&why)
					}
				}
			})
		}
		buyers.Wait()
		if why := refused.Load(); why != nil {
			t.Fatal(*why)
		}
	}
	buy(0, *lookTickets)

	looking, stop := context.WithCancel(t.Context())
	defer stop()
	var lookers sync.WaitGroup
	seen := map[string]*atomic.Int64{}
	for _, look := range []string{"/audit", "/balance", "/after", "/preflight", "/api/admin/balance", "/api/admin/live?events=2&sale=" + sale, "/api/admin/live?events=2"} {
		answered := &atomic.Int64{}
		seen[look] = answered
		if !strings.HasPrefix(look, "/api") {
			look = strings.TrimSuffix(path, "/") + look
		}
		for i := range e.nodes {
			c := admin(t, e.nodes[i])
			lookers.Go(func() {
				for looking.Err() == nil {
					a, err := (&client.Client{Server: c.url, Token: c.token}).Do(looking, http.MethodGet, look, nil)
					if err == nil && a.Status == http.StatusOK {
						answered.Add(1)
					}
				}
			})
		}
	}
	began := time.Now()
	for bought := *lookTickets; ; bought += *lookTickets / 20 {
		buy(bought, bought+*lookTickets/20)
		all := true
		for _, n := range seen {
			all = all && n.Load() > 0
		}
		if all && bought > *lookTickets || time.Since(began) > patience || bought+*lookTickets/10 > 2**lookTickets {
			break
		}
	}
	stop()
	lookers.Wait()
	for look, n := range seen {
		t.Logf("%s was answered %d times", look, n.Load())
		if n.Load() == 0 {
			t.Errorf("%s was never answered", look)
		}
	}
}
