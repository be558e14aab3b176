// Package client is the HTTP contract of docs/http-api.md as Go, for everything of ours that
// asks a server: the commands, the load generator's preparation, the end-to-end tests and the
// benchmarks. It knows nothing of what is behind the API.
//
// A Client never repeats a request by itself: whether a purchase may be sent again is the
// caller's decision.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// maxAnswer is how many bytes of an answer are read; the audit of a broken sale is the
// longest.
const maxAnswer = 16 << 20

// Client asks a server as one person.
type Client struct {
	Server string       // base address, such as http://127.0.0.1:8080
	Token  string       // sent as Authorization: Bearer; empty: nobody in particular
	HTTP   *http.Client // nil: http.DefaultClient
	Header http.Header  // sent with every request; nil: none
	Most   int64        // bytes of an answer that are read; 0: maxAnswer
}

// Answer is what a server said.
type Answer struct {
	Status     int
	Code       string        // of a problem document
	RetryAfter time.Duration // 0: none was given
	RequestID  string        // X-Request-Id
	Header     http.Header
	Body       []byte
}

// String is how errors quote an answer.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, bytes.TrimSpace(a.Body)) }

// Into decodes the body.
func (a Answer) Into(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the answer %v is not the promised JSON: %w", a, err)
	}
	return nil
}

// Says decodes the body and reports whether it is JSON of that form.
func (a Answer) Says(v any) bool { return a.Into(v) == nil }

// Usable reports whether the answer says something about the request. Others leave its
// outcome unknown, and it has to be sent again.
func (a Answer) Usable() bool { return a.Status < 500 && a.Status != http.StatusTooManyRequests }

// Problem is an answer that says no: an RFC 9457 document.
type Problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
}

func (p *Problem) Error() string {
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return fmt.Sprintf("%s (%s, request %s)", text, p.Code, p.RequestID)
}

// Problem reads the answer as a problem document. ok is false when it is none.
func (a Answer) Problem() (p *Problem, ok bool) {
	p = new(Problem)
	ok = json.Unmarshal(a.Body, p) == nil && p.Code != ""
	if p.RequestID == "" {
		p.RequestID = a.RequestID
	}
	return p, ok
}

// Do sends a request once and returns whatever the server said. body is sent as JSON; nil:
// there is none. The error says that no answer came. An answer that says
// no is no error.
func (c *Client) Do(ctx context.Context, method, path string, body any) (a Answer, err error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, content)
	if err != nil {
		return a, err
	}
	maps.Copy(req.Header, c.Header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	hc := c.HTTP
	if hc == nil {
		hc = http.DefaultClient
	}
	res, err := hc.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a = Answer{Status: res.StatusCode, Header: res.Header, RequestID: res.Header.Get("X-Request-Id")}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		a.RetryAfter = time.Duration(n) * time.Second
	}
	if a.Body, err = io.ReadAll(io.LimitReader(res.Body, cmp.Or(c.Most, maxAnswer))); err != nil {
		return a, err
	}
	if a.Status >= 400 {
		if p, ok := a.Problem(); ok {
			a.Code = p.Code
		}
	}
	return a, nil
}

// Call sends a request once and decodes the answer into v, unless v is nil. What says no is a *Problem.
func (c *Client) Call(ctx context.Context, method, path string, body, v any) error {
	a, err := c.Do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := a.Refusal(method, path); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	return a.Into(v)
}

// Refusal is the error of an answer that says no, as a *Problem if it is one.
func (a Answer) Refusal(method, path string) error {
	if a.Status < 300 {
		return nil
	}
	if p, ok := a.Problem(); ok {
		return p
	}
	return fmt.Errorf("%s %s: %d %s", method, path, a.Status, http.StatusText(a.Status))
}
