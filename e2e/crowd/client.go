package crowd

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"seckill/e2e/lots"
	"seckill/internal/client"
	"seckill/internal/duty"
)

const (
	again    = 20 * time.Millisecond  // between two tries
	againMax = 150 * time.Millisecond // the longest pause before one more
	tryTime  = 45 * time.Second       // for one try; longer than any answer takes
)

// asker sends requests to nodes that may be down, each to any of them.
type asker struct {
	nodes []string
	lots  *mathrand.Rand
	http  *http.Client
	bad   func(rule, format string, args ...any)
}

func newAsker(nodes []string, seed uint64, bad func(rule, format string, args ...any)) *asker {
	return &asker{nodes: nodes, lots: lots.New(seed), bad: bad, http: &http.Client{Timeout: tryTime, Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 256,
	}}}
}

// once sends a request once, to any node.
func (c *asker) once(ctx context.Context, method, path, token string, body any) (client.Answer, error) {
	return c.to(ctx, c.nodes[c.lots.IntN(len(c.nodes))], method, path, token, body)
}

// to sends a request once, to one node.
func (c *asker) to(ctx context.Context, node, method, path, token string, body any) (a client.Answer, err error) {
	a, err = (&client.Client{Server: node, Token: token, HTTP: c.http}).Do(ctx, method, path, body)
	if err != nil {
		return a, err
	}
	if a.Status >= 400 && a.Code == "" {
		c.bad(ruleContract, "%s %s: %v is not a problem document", method, path, a)
	}
	if a.Status >= 500 && (a.Code != "busy" && a.Code != "unavailable" || a.RetryAfter == 0) {
		c.bad(ruleContract, "%s %s: %v", method, path, a)
	}
	return a, nil
}

// insist sends a request until the answer says something.
func (c *asker) insist(ctx context.Context, method, path, token string, body any) (client.Answer, error) {
	for pause := (duty.Backoff{First: again, Most: againMax}); ; {
		a, err := c.once(ctx, method, path, token, body)
		if err == nil && a.Usable() {
			return a, nil
		}
		if duty.Rest(ctx, pause.Next()) != nil {
			if err == nil {
				err = fmt.Errorf("the last answer was %v", a)
			}
			return a, fmt.Errorf("%s %s: no answer in time: %w", method, path, err)
		}
	}
}
