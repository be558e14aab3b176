package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/packed"
	"seckill/internal/payment"
)

// problem is an RFC 9457 document.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail,omitempty"`
	Reason    string `json:"reason,omitempty"` // of a code that has several
	RequestID string `json:"request_id,omitempty"`
}

// kinds are the codes of the contract, with their status and title.
var kinds = map[string]problem{
	// Verdicts.
	"sold_out": {Status: http.StatusConflict, Title: "Sold out"},
	"not_open": {Status: http.StatusConflict, Title: "Not open yet"},
	"ended":    {Status: http.StatusConflict, Title: "The sale has ended"},
	"paused":   {Status: http.StatusConflict, Title: "The sale is paused"},
	"limit":    {Status: http.StatusConflict, Title: "You hold a ticket for another quantity"},
	"busy":     {Status: http.StatusServiceUnavailable, Title: "Too many are before you, try again in a moment"},

	// Ours.
	"unavailable": {Status: http.StatusServiceUnavailable, Title: "Not available right now"},
	"internal":    {Status: http.StatusInternalServerError, Title: "Internal error"},

	// The caller's.
	"bad_json":               {Status: http.StatusBadRequest, Title: "The body is not the JSON that this route takes"},
	"unauthorized":           {Status: http.StatusUnauthorized, Title: "Not logged in"},
	"second_factor":          {Status: http.StatusUnauthorized, Title: "A code of the second factor is needed"},
	"forbidden":              {Status: http.StatusForbidden, Title: "Not allowed"},
	"not_found":              {Status: http.StatusNotFound, Title: "Not found"},
	"method_not_allowed":     {Status: http.StatusMethodNotAllowed, Title: "Method not allowed"},
	"state":                  {Status: http.StatusConflict, Title: "Not possible in this state"},
	"stock":                  {Status: http.StatusConflict, Title: "The gate holds fewer units"},
	"name_taken":             {Status: http.StatusConflict, Title: "The name is taken"},
	"body_too_large":         {Status: http.StatusRequestEntityTooLarge, Title: "The body is too large"},
	"unsupported_media_type": {Status: http.StatusUnsupportedMediaType, Title: "The body must be plain JSON with the content type application/json"},
	"invalid_field":          {Status: http.StatusUnprocessableEntity, Title: "A field is not valid"},
	"weak_password":          {Status: http.StatusUnprocessableEntity, Title: "The password is too weak"},
	"too_many_requests":      {Status: http.StatusTooManyRequests, Title: "Too many requests"},
	"pass_required":          {Status: http.StatusForbidden, Title: "This sale asks for a pass"},
	"challenge_required":     {Status: http.StatusForbidden, Title: "A challenge must be solved first"},
	"challenge_failed":       {Status: http.StatusForbidden, Title: "The challenge is not solved"},
	"not_eligible":           {Status: http.StatusConflict, Title: "Not everybody may buy in this sale"},
}

// Errors of this stage.
var (
	errHashing   = fmt.Errorf("too many log in: %w", seckill.ErrBusy)
	errSessions  = fmt.Errorf("this node has not read yet whose sessions were ended: %w", seckill.ErrUnavailable)
	errPanic     = errors.New("panic")
	errMethod    = errors.New("method not allowed")
	errBadJSON   = errors.New("bad JSON")
	errTooLarge  = errors.New("body too large")
	errMediaType = errors.New("media type")
	errTitle     = errors.New("the store does not say what the sale's title is, and this node has no copy of it: pause the sale, which needs no title")
	errTooMany   = errors.New("too many tries")
	errSlowed    = fmt.Errorf("%w: others are before this one", errTooMany)
)

// code is the one table from errors to codes. The detail is for the client.
func code(err error) (code, detail string) {
	var field *seckill.FieldError
	var cross crossSite
	var guest guestPage
	var later *access.Later
	var role needsRole
	switch {
	case errors.As(err, &field):
		return "invalid_field", field.Error()
	case errors.Is(err, errTitle):
		return "unavailable", errTitle.Error()
	case errors.Is(err, seckill.ErrNotFound):
		return "not_found", ""
	case errors.Is(err, seckill.ErrState):
		return "state", err.Error()
	case errors.Is(err, seckill.ErrStock):
		return "stock", ""
	case errors.Is(err, seckill.ErrNameTaken):
		return "name_taken", ""
	case errors.Is(err, account.ErrWeakPassword):
		return "weak_password", err.Error()
	case errors.Is(err, account.ErrLogin):
		return "unauthorized", err.Error()
	case errors.Is(err, account.ErrFactor):
		return "second_factor", err.Error()
	case errors.Is(err, account.ErrToken):
		return "unauthorized", "log in, or send a valid token as Authorization: Bearer …"
	case errors.Is(err, payment.ErrSignature):
		return "unauthorized", payment.ErrSignature.Error()
	case errors.Is(err, payment.ErrBody):
		return "bad_json", err.Error()
	case errors.Is(err, payment.ErrBusy):
		return "busy", ""
	case errors.Is(err, access.ErrPass):
		return "pass_required", err.Error()
	case errors.Is(err, access.ErrNotEligible):
		return "not_eligible", err.Error()
	case errors.Is(err, access.ErrUnsolved):
		return "challenge_required", err.Error()
	case errors.Is(err, access.ErrWrong):
		return "challenge_failed", err.Error()
	case errors.As(err, &later):
		return "too_many_requests", ""
	case errors.As(err, &role), errors.As(err, &cross), errors.As(err, &guest), errors.Is(err, errClosed), errors.Is(err, account.ErrBlocked), errors.Is(err, seckill.ErrNotInvited):
		return "forbidden", err.Error()
	case errors.Is(err, errMethod):
		return "method_not_allowed", ""
	case errors.Is(err, errBadJSON):
		return "bad_json", err.Error()
	case errors.Is(err, errTooLarge):
		return "body_too_large", "at most " + strconv.Itoa(maxBody) + " bytes"
	case errors.Is(err, errMediaType):
		return "unsupported_media_type", ""
	case errors.Is(err, errTooMany):
		return "too_many_requests", ""
	case errors.Is(err, seckill.ErrBusy):
		return "busy", ""
	case errors.Is(err, seckill.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "unavailable", ""
	}
	return "internal", ""
}

// reason tells apart what has the same code, where that says something else to a person.
func reason(err error) string {
	if later := (*access.Later)(nil); errors.As(err, &later) {
		return later.Why
	}
	switch {
	case errors.Is(err, access.ErrTries):
		return "tries"
	case errors.Is(err, seckill.ErrNotInvited):
		return "not_invited"
	case errors.Is(err, errClosed):
		return "closed"
	}
	return ""
}

// fail answers with the problem that err is, which no cache may keep, also outside /api.
// What is ours is logged; what is the caller's is not.
func (a *API) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	code, detail := code(err)
	p := kinds[code]
	w.Header()["Cache-Control"] = noStore
	switch {
	case p.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter(err))
		if r.Context().Err() == nil && !errors.Is(err, seckill.ErrBusy) {
			if unsaid, ok := a.unavailable.next(time.Now()); ok {
				a.Log.Warn("api: unavailable", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", err, "unsaid", unsaid)
			}
		}
	case p.Status == http.StatusTooManyRequests:
		after := 60
		if later := (*access.Later)(nil); errors.As(err, &later) {
			after = later.Seconds()
		}
		if errors.Is(err, errSlowed) {
			after = 1
		}
		w.Header().Set("Retry-After", strconv.Itoa(after))
	case p.Status == http.StatusInternalServerError:
		a.Log.Error("api: internal error", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", err)
	case p.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	a.metrics.problems.WithLabelValues(code).Inc()
	if p.Status == http.StatusServiceUnavailable && wantsPage(r) {
		writeBusyPage(w)
		return
	}
	p.Type, p.Code, p.Detail, p.Reason, p.RequestID = "about:blank", code, detail, reason(err), id
	body, _ := json.Marshal(p)
	(&prepared{p.Status, problemType, body, nil}).write(w)
}

// busyPage is what a person gets who asks for a page that this node cannot give right
// now. It is the page that nginx sends when no node answers; a test compares the two.
//
//go:embed busy.html
var busyPage []byte

// wantsPage tells a person's browser, which asks for a page, from a program.
func wantsPage(r *http.Request) bool {
	return !isAPI(r.URL.Path) && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/html")
}

// writeBusyPage sends busyPage, which asks again by itself; not everybody at once.
func writeBusyPage(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Refresh", strconv.Itoa(4+rand.IntN(4)))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	(&prepared{http.StatusServiceUnavailable, []string{"text/html; charset=utf-8"}, busyPage, nil}).write(w)
}

// retryAfter is in seconds. A crowd that was turned away together must not come
// back together.
func retryAfter(err error) string {
	if errors.Is(err, seckill.ErrBusy) {
		return strconv.Itoa(1 + rand.IntN(3))
	}
	return "1"
}

// seldom lets one line a second through: an outage meets every request.
type seldom struct{ last, unsaid atomic.Int64 }

// next reports whether to say it now, and how often it was not said since.
func (s *seldom) next(now time.Time) (unsaid int64, ok bool) {
	last := s.last.Load()
	if now.UnixNano()-last < int64(time.Second) || !s.last.CompareAndSwap(last, now.UnixNano()) {
		s.unsaid.Add(1)
		return 0, false
	}
	return s.unsaid.Swap(0), true
}

// prepared is an answer whose bytes exist before the request does.
type prepared struct {
	status      int
	contentType []string
	body        []byte
	retryAfter  []string
}

var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	oneSecond   = []string{"1"}

	// verdictAnswers are the answers of the gate that carry nothing but the
	// verdict. Queued has a ticket and is not among them.
	verdictAnswers = func() (all [16]*prepared) {
		for _, v := range seckill.Verdicts() {
			if v == seckill.Queued {
				continue
			}
			p := kinds[v.String()]
			p.Type, p.Code = "about:blank", v.String()
			body, err := json.Marshal(p)
			if err != nil || p.Status == 0 {
				panic("api: no answer for the verdict " + v.String())
			}
			all[v] = &prepared{status: p.Status, contentType: problemType, body: body}
			if p.Status == http.StatusServiceUnavailable {
				all[v].retryAfter = oneSecond
			}
		}
		return all
	}()
	soldOut = verdictAnswers[seckill.SoldOut]
)

func (p *prepared) write(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = p.contentType
	if p.retryAfter != nil {
		h["Retry-After"] = p.retryAfter
	}
	w.WriteHeader(p.status)
	w.Write(p.body)
}

// writeList answers with a list, which may be long enough to be worth packing.
func writeList[T any](w http.ResponseWriter, r *request, l list[T]) error {
	body, err := json.Marshal(l)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	packed.Write(w, r.Request, http.StatusOK, body)
	return nil
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(body)
	return nil
}
