package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"seckill"
)

// needsRole is a request of somebody who has fewer rights than the role.
type needsRole string

func (e needsRole) Error() string { return "needs the role " + string(e) }

// asPerson serves a request of a person of the shop who must have the role at least.
// What it changes stands in the log under their name: the store writes the entry with
// the change, and a refusal is noted here.
func (a *API) asPerson(least string, w http.ResponseWriter, r *request, serve func(http.ResponseWriter, *request) error) error {
	actor := a.actor(r, r.who.Buyer, r.who.Role, action(r.Method, r.Pattern))
	if r.who.Role != "" && !r.who.Account() && a.newTokens.first(bearer(r.Request)) {
		token := actor
		token.What, token.Intent = seckill.LogToken, r.Method+" "+r.URL.Path
		a.note(seckill.LogEntry{Actor: token, Subject: fingerprint(bearer(r.Request)), Result: seckill.LogDone})
	}
	if !seckill.HasRole(r.who.Role, least) {
		actor.Intent = r.Method + " " + r.URL.Path
		a.refused(r, actor, needsRole(least))
		return needsRole(least)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return serve(w, r)
	}
	if _, err := r.previewing(); err != nil {
		return err
	}
	actor.Intent = a.intent(r)
	r.Request = r.WithContext(seckill.WithActor(r.Context(), actor))
	err := serve(w, r)
	a.refused(r, actor, err)
	return err
}

// action names what a route does, for the log: POST /api/admin/sales/{sale}/pause is
// sales.pause, PATCH /api/admin/sales/{sale} is sales.change.
func action(method, pattern string) string {
	var words []string
	for word := range strings.SplitSeq(strings.TrimPrefix(pattern, "/api/admin/"), "/") {
		if !strings.HasPrefix(word, "{") {
			words = append(words, word)
		}
	}
	switch {
	case method == http.MethodGet, method == http.MethodHead:
		words = append(words, "read")
	case method == http.MethodPatch:
		words = append(words, "change")
	case method == http.MethodDelete:
		words = append(words, "delete")
	case len(words) == 1:
		words = append(words, "create")
	}
	return strings.Join(words, ".")
}

// intent is what the request asks for: its line, and its body where that holds no secret.
func (a *API) intent(r *request) string {
	line := r.Method + " " + r.URL.RequestURI()
	if strings.HasSuffix(r.URL.Path, "/password") || r.ContentLength == 0 {
		return line
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), again{rest, err}), rest}
	var compact bytes.Buffer
	if json.Compact(&compact, head) != nil {
		return line
	}
	return line + " " + compact.String()
}

// again reads on where intent stopped: at an error, or beyond what it wanted.
type again struct {
	io.Reader
	err error
}

func (a again) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	return a.Reader.Read(p)
}

// refused notes that somebody was not allowed to do something, or that it was not
// possible. Of what failed for want of a part of ours the outcome is unknown: if it is in
// force, its entry was written with it.
func (a *API) refused(r *request, actor seckill.Actor, err error) {
	var needs needsRole
	if err == nil || !errors.As(err, &needs) && !errors.Is(err, seckill.ErrState) && !errors.Is(err, seckill.ErrStock) {
		return
	}
	e := seckill.LogEntry{Actor: actor, Subject: r.PathValue("order") + r.PathValue("name")}
	e.Sale, _ = r.saleID()
	e.Result, _ = code(err)
	a.note(e)
}

// Limits of the refusals that one node notes: a buyer who asks for what is not theirs
// must not fill the log, nor use up the room of what people of the shop are refused. How
// many more there were stands in it too.
const (
	refusalsOfOne = 10  // in a minute
	refusalsOfAll = 300 // of all buyers, and as many of the people of the shop
)

// note has an entry of the log written that belongs to no change.
func (a *API) note(e seckill.LogEntry) {
	if a.Notes == nil {
		return
	}
	all := "people"
	if e.Role == "" {
		all = "buyers"
	}
	if e.Result != seckill.LogDone && !(a.limits.refusals.allow(e.Who) && a.limits.allRefusals.allow(all)) {
		a.Notes.More(e)
		return
	}
	a.Notes.Note(e)
}

// newTokens remembers which tokens with a role, that no login has made, were used on this
// node. The log has each of them once, whatever the nodes remember.
type newTokens struct {
	mu   sync.Mutex
	seen map[string]bool
}

const tokensMost = 10_000 // that are remembered

// first reports whether this is the first use.
func (t *newTokens) first(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[token] {
		return false
	}
	if t.seen == nil || len(t.seen) >= tokensMost {
		t.seen = map[string]bool{}
	}
	t.seen[token] = true
	return true
}

// fingerprint names a token without giving it away.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// did notes a change that the store knows nothing of.
func (a *API) did(r *request, subject string) {
	if actor, ok := seckill.ActorOf(r.Context()); ok {
		a.note(seckill.LogEntry{Actor: actor, Subject: subject, Result: seckill.LogDone})
	}
}

// People is what the routes read of the people of the shop and of what they did.
type People interface {
	LogEntries(ctx context.Context, f seckill.LogFilter) ([]seckill.LogEntry, error)
}

// listLog shows what people of the shop did, newest first.
func (a *API) listLog(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := seckill.LogFilter{Who: q.Get("who"), What: q.Get("what"), Max: limit + 1}
	if before := cmp.Or(cursor, q.Get("before")); before != "" {
		if f.Before, err = strconv.ParseInt(before, 10, 64); err != nil || f.Before < 1 {
			return &seckill.FieldError{Field: "before", Must: "must be the id of an entry, or the next of an earlier page"}
		}
	}
	if s := q.Get("sale"); s != "" {
		if f.Sale, err = seckill.ParseSaleID(s); err != nil {
			return &seckill.FieldError{Field: "sale", Must: "must be a sale's id"}
		}
	}
	if len(f.Who) > 256 || len(f.What) > 64 {
		return &seckill.FieldError{Field: "who", Must: "must be a buyer's id, and what the name of an action"}
	}
	entries, err := a.People.LogEntries(r.Context(), f)
	if err != nil {
		return err
	}
	return writeList(w, r, newList(entries, limit, func(e seckill.LogEntry) string { return strconv.FormatInt(e.ID, 10) }))
}
