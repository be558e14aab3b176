package crowd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"seckill/internal/duty"
)

const (
	again    = 20 * time.Millisecond  // between two tries
	againMax = 150 * time.Millisecond // the longest pause before one more
	tryTime  = 45 * time.Second       // for one try; longer than any answer takes
)

// client sends requests to nodes that may be down, each to any of them.
type client struct {
	nodes []string
	http  *http.Client
	bad   func(rule, format string, args ...any)
}

func newClient(nodes []string, bad func(rule, format string, args ...any)) *client {
	return &client{nodes: nodes, bad: bad, http: &http.Client{Timeout: tryTime, Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 256,
	}}}
}

// answer is what a node said.
type answer struct {
	status     int
	code       string // of a problem document
	retryAfter string
	body       []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body)) }

// said decodes the body into v.
func (a answer) said(v any) bool { return json.Unmarshal(a.body, v) == nil }

// usable answers say something about the request; others leave its outcome
// unknown.
func (a answer) usable() bool { return a.status < 500 && a.status != http.StatusTooManyRequests }

// once sends a request once, to any node.
func (c *client) once(ctx context.Context, method, path, token string, body any) (answer, error) {
	return c.to(ctx, c.nodes[mathrand.IntN(len(c.nodes))], method, path, token, body)
}

// to sends a request once, to one node.
func (c *client) to(ctx context.Context, node, method, path, token string, body any) (a answer, err error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, node+path, content)
	if err != nil {
		return a, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.retryAfter = res.StatusCode, res.Header.Get("Retry-After")
	if a.body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return a, err
	}
	if a.status >= 400 {
		var p struct{ Code string }
		if !a.said(&p) || p.Code == "" {
			c.bad(ruleContract, "%s %s: %v is not a problem document", method, path, a)
		}
		a.code = p.Code
	}
	if a.status >= 500 && (a.code != "busy" && a.code != "unavailable" || a.retryAfter == "") {
		c.bad(ruleContract, "%s %s: %v", method, path, a)
	}
	return a, nil
}

// insist sends a request until the answer says something.
func (c *client) insist(ctx context.Context, method, path, token string, body any) (answer, error) {
	for wait := again; ; wait = min(2*wait, againMax) {
		a, err := c.once(ctx, method, path, token, body)
		if err == nil && a.usable() {
			return a, nil
		}
		if duty.Rest(ctx, wait) != nil {
			if err == nil {
				err = fmt.Errorf("the last answer was %v", a)
			}
			return a, fmt.Errorf("%s %s: no answer in time: %w", method, path, err)
		}
	}
}
