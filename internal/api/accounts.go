package api

import (
	"errors"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/account"
)

// loginBody is what opens a session; the code only where the account has a second factor.
type loginBody struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Code     string `json:"code"`
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

func (a *API) register(w http.ResponseWriter, r *request) (err error) {
	address, from := network(a.client(r.Request)), side(a.client(r.Request))
	if a.limits.hashing.all.Full(from) {
		return errHashing
	}
	var c newAccount
	if err := decode(w, r.Request, &c, false); err != nil {
		return err
	}
	back, ok := a.limits.registrations.take(address)
	if !ok {
		return errTooMany
	}
	defer func() {
		if errors.Is(err, seckill.ErrBusy) || errors.Is(err, seckill.ErrUnavailable) {
			back() // the fault is ours
		}
	}()
	if err := a.mayRegister(r, c.Invite, solution{c.Work, c.Formula, c.Answer, c.Captcha}); err != nil {
		return err
	}
	done, err := a.read(r.Context(), from, "", time.Now().Add(loginWait))
	if err != nil {
		return err
	}
	defer done()
	hashes := a.hashes(r)
	s, err := a.Accounts.In(func(work func()) error {
		done()
		return hashes(work)
	}).RegisterInvited(r.Context(), c.Name, c.Password, c.Invite)
	if err != nil {
		return err
	}
	a.Access.Registered(r.Context(), s.Buyer, a.client(r.Request))
	a.remember(w, r.Request, c.Name)
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusCreated, s)
}

// login lets the right password in, whoever else tries. Who has tried too often is
// slowed down: their passwords are looked at one after another, at a pace.
func (a *API) login(w http.ResponseWriter, r *request) error {
	address, from := network(a.client(r.Request)), side(a.client(r.Request))
	var c loginBody
	if err := decode(w, r.Request, &c, false); err != nil {
		return err
	}
	device := a.limits.devices.knows(r.Request, c.Name)
	if a.limits.hashing.of(from, device).Full(from) {
		return errHashing
	}
	coder := pair(c.Name, "", device) // whoever has only the password keeps no known device out
	if c.Code != "" && a.limits.codes.over(coder) {
		return errTooMany
	}
	until := time.Now().Add(loginWait)
	done, err := a.read(r.Context(), from, device, until)
	if err != nil {
		return err
	}
	defer done()
	slowed := false
	var kept error // why the password was not looked at, if it was not
	place := func(work func()) error {
		done()
		for {
			if lane := a.limits.lane(c.Name, address, device); lane != nil && !slowed {
				if kept = lane.turn(r.Context(), neighbourhood(a.client(r.Request))); kept != nil {
					return kept
				}
				if slowed = true; lane.wait > laneWait {
					until = time.Now().Add(loginWait)
				}
			}
			var leave func(time.Duration)
			if leave, kept = enterUntil(r.Context(), a.limits.hashing.of(from, device), from, until); kept != nil {
				return kept
			}
			// A try is counted only here, after the wait for a place, so a thousand guesses at
			// once get no more fast tries than a thousand in a row: the others go to the slow lane.
			if !a.limits.try(c.Name, address, device) && !slowed {
				leave(0)
				continue
			}
			a.hash(leave, work)
			return nil
		}
	}
	s, err := a.Accounts.In(place).Login(r.Context(), c.Name, c.Password, c.Code)
	if kept != nil {
		return kept
	}
	if errors.Is(err, account.ErrLogin) {
		a.noteGuess(r, s.Buyer, s.Role, seckill.LogLogin, c.Name)
		return a.limits.failed(c.Name, address, device, slowed)
	}
	if errors.Is(err, account.ErrFactor) && c.Code != "" {
		a.limits.codes.count(coder)
		a.limits.failed(c.Name, address, device, slowed)
	}
	if err != nil {
		if c.Code != "" || !errors.Is(err, account.ErrFactor) { // a login that lacks the code has not failed: the client learns now that it must ask for one
			result, _ := code(err)
			a.noteOwn(r, s.Buyer, s.Role, seckill.LogLogin, c.Name, result)
		}
		return err
	}
	a.noteOwn(r, s.Buyer, s.Role, seckill.LogLogin, c.Name, seckill.LogDone)
	a.remember(w, r.Request, c.Name)
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusOK, s)
}

// me says who the cookie or the token names.
func (a *API) me(w http.ResponseWriter, r *request) error {
	return writeJSON(w, http.StatusOK, struct {
		Buyer string `json:"buyer"`
		Name  string `json:"name,omitempty"`
		Role  string `json:"role,omitempty"`

		Factor bool `json:"second_factor"`
	}{r.who.Buyer, r.who.Name, r.who.Role, r.who.Factor})
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
	age := int(s.Life / time.Second)
	if s.Life < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: s.Token, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.secure(r)})
}

// secure reports whether the client's connection is TLS, here or at a proxy of ours.
func (a *API) secure(r *http.Request) bool {
	return r.TLS != nil || a.trusted(remote(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
}
