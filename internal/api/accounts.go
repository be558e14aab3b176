package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/httprate"
	"golang.org/x/sync/semaphore"

	"seckill/internal/account"
)

type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// newAccount is what a new account may have to bring along beside its credentials.
type newAccount struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Invite   string `json:"invite"`
	Work     string `json:"work"`
	Formula  string `json:"formula"`
	Answer   string `json:"answer"`
	Captcha  string `json:"captcha"`
}

func (a *API) register(w http.ResponseWriter, r *request) error {
	var c newAccount
	if err := decode(w, r.Request, &c, false); err != nil {
		return err
	}
	address := network(a.client(r.Request))
	if a.limits.address.over(address) {
		return errTooMany
	}
	if err := a.mayRegister(r, c.Invite, solution{c.Work, c.Formula, c.Answer, c.Captcha}); err != nil {
		return err
	}
	a.limits.address.count(address)
	s, err := a.Accounts.RegisterInvited(r.Context(), c.Name, c.Password, c.Invite)
	if err != nil {
		return err
	}
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusCreated, s)
}

func (a *API) login(w http.ResponseWriter, r *request) error {
	var c credentials
	if err := decode(w, r.Request, &c, false); err != nil {
		return err
	}
	address := network(a.client(r.Request))
	// Who waits here has not been counted yet, so the limits are asked when it is
	// their turn: a thousand guesses at once are no more than one after another.
	if err := a.limits.logins.Acquire(r.Context(), 1); err != nil {
		return err
	}
	defer a.limits.logins.Release(1)
	if a.limits.name.over(c.Name) || a.limits.address.over(address) {
		return errTooMany
	}
	s, err := a.Accounts.Login(r.Context(), c.Name, c.Password)
	if err != nil {
		if errors.Is(err, account.ErrLogin) {
			a.limits.name.count(c.Name)
			a.limits.address.count(address)
		}
		return err
	}
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusOK, s)
}

// me says who the cookie or the token names.
func (a *API) me(w http.ResponseWriter, r *request) error {
	return writeJSON(w, http.StatusOK, struct {
		Buyer string `json:"buyer"`
		Name  string `json:"name,omitempty"`
		Role  string `json:"role,omitempty"`
	}{r.who.Buyer, r.who.Name, r.who.Role})
}

func (a *API) logout(w http.ResponseWriter, r *request) error {
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	a.setSession(w, r.Request, account.Session{Life: -1})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setSession gives the token to a browser: no script reads it, no other site
// sends it along.
func (a *API) setSession(w http.ResponseWriter, r *http.Request, s account.Session) {
	secure := r.TLS != nil || a.trusted(remote(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
	age := int(s.Life / time.Second)
	if s.Life < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: s.Token, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure})
}

// limits of guessing, by name and by address.
type limits struct {
	name, address *failures
	logins        *semaphore.Weighted // under way
}

func newLimits(name, address int) limits {
	return limits{newFailures(name), newFailures(address), semaphore.NewWeighted(account.HashesAtOnce)}
}

// failures counts by key within a sliding minute.
type failures struct {
	*httprate.RateLimiter
	limit float64
}

const failureWindow = time.Minute

func newFailures(limit int) *failures {
	// With a counter that it is given the limiter counts full minutes of the
	// clock, as count does; with its own they would begin when it was made.
	counter := httprate.WithLimitCounter(httprate.NewLocalLimitCounter(failureWindow))
	return &failures{httprate.NewRateLimiter(limit, failureWindow, counter), float64(limit)}
}

// over reports whether one more failure would be too many.
func (f *failures) over(key string) bool {
	_, rate, err := f.Status(key)
	return err == nil && rate+1 > f.limit
}

func (f *failures) count(key string) {
	f.Counter().Increment(key, time.Now().UTC().Truncate(failureWindow))
}
