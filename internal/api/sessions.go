package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"

	"seckill"
	"seckill/internal/account"
)

// Each of these ends or guards the caller's own sessions. Whoever tries codes is limited
// as whoever tries passwords.

// newFactor makes the secret of a second factor; until it is confirmed a repeat makes
// another one.
func (a *API) newFactor(w http.ResponseWriter, r *request) error {
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	secret, url, err := a.Accounts.NewFactor(r.Context(), r.who)
	if err != nil {
		return err
	}
	picture, err := account.FactorPicture(url)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Secret  string `json:"secret"`
		URL     string `json:"url"`
		Picture string `json:"picture"`
	}{secret, url, "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture)})
}

// confirmFactor puts it in force, and makes a session that was begun with it.
func (a *API) confirmFactor(w http.ResponseWriter, r *request) error {
	var s account.Session
	ctx := a.asOneself(r, "me.second-factor")
	err := a.withCode(w, r, func(code string) (err error) {
		s, err = a.Accounts.ConfirmFactor(ctx, r.who, code)
		return err
	})
	if err != nil {
		return err
	}
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusOK, s)
}

// removeFactor takes it away; a repeat is 409.
func (a *API) removeFactor(w http.ResponseWriter, r *request) error {
	ctx := a.asOneself(r, "me.second-factor.delete")
	err := a.withCode(w, r, func(code string) error { return a.Accounts.RemoveFactor(ctx, r.who, code) })
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// withCode does what needs a code of the caller's second factor.
func (a *API) withCode(w http.ResponseWriter, r *request, do func(code string) error) error {
	var body struct {
		Code string `json:"code"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if a.limits.codes.over(r.who.Buyer) {
		return errTooMany
	}
	err := do(body.Code)
	if errors.Is(err, account.ErrFactor) {
		a.limits.codes.count(r.who.Buyer)
	}
	return err
}

// logoutEverywhere ends all sessions of the caller's account, on every node within a
// second. A repeat ends those that were begun since.
func (a *API) logoutEverywhere(w http.ResponseWriter, r *request) error {
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	if err := a.Accounts.EndOwnSessions(a.asOneself(r, "me.logout-everywhere"), r.who); err != nil {
		return err
	}
	a.inForce(r)
	a.setSession(w, r.Request, account.Session{Life: -1})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// changePassword gives the caller's account another password, for the old one. Its other
// sessions end.
func (a *API) changePassword(w http.ResponseWriter, r *request) error {
	var body struct {
		Old string `json:"password"`
		New string `json:"new_password"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if a.limits.codes.over(r.who.Buyer) {
		return errTooMany
	}
	s, err := a.Accounts.In(a.hashes(r)).ChangePassword(a.asOneself(r, "me.password"), r.who, body.Old, body.New)
	if errors.Is(err, account.ErrLogin) {
		a.limits.codes.count(r.who.Buyer)
		a.noteGuess(r, r.who.Buyer, r.who.Role, "me.password", r.who.Name)
	}
	if err != nil {
		return err
	}
	a.inForce(r)
	a.setSession(w, r.Request, s)
	return writeJSON(w, http.StatusOK, s)
}

// inForce makes this node know at once whose sessions have ended. Where it fails the node
// learns it as the others do.
func (a *API) inForce(r *request) {
	if s := a.Tokens.Sessions(); s != nil {
		if err := s.Look(r.Context()); err != nil {
			a.Log.Warn("api: sessions were ended, and this node does not know it yet", "request_id", r.id, "error", err)
		}
	}
}

// asOneself is the context in which the caller changes their own account. The store writes
// the entry of the log with the change, where the account has a role.
func (a *API) asOneself(r *request, what string) context.Context {
	actor := a.actor(r, r.who.Buyer, r.who.Role, what)
	actor.Intent = r.Method + " " + r.URL.Path
	return seckill.WithActor(r.Context(), actor)
}

// actor is whoever the log names for a request.
func (a *API) actor(r *request, who, role, what string) seckill.Actor {
	return seckill.Actor{Who: who, Role: role, From: a.client(r.Request).String(), RequestID: r.id, What: what}
}

// noteOwn notes a login of somebody with a role, or a try with a session that has ended.
// Buyers are not in the log.
func (a *API) noteOwn(r *request, who, role, what, name, result string) {
	if role == "" {
		return
	}
	a.note(seckill.LogEntry{Actor: a.actor(r, who, role, what), Subject: name, Result: result})
}

// noteGuess notes a wrong password for an account of somebody with a role. The account is
// named as it is, and what was typed is kept nowhere. These have limits of their own (see
// account.Notes): whoever guesses uses up no room of what the person does.
func (a *API) noteGuess(r *request, who, role, what, name string) {
	if role == "" || a.Notes == nil {
		return
	}
	result, _ := code(account.ErrLogin)
	a.Notes.Guess(seckill.LogEntry{Actor: a.actor(r, who, role, what), Subject: name, Result: result})
}

// name is the account's name in the path.
func (r *request) name() string { return r.PathValue("name") }

// listPeople shows accounts by name: those that begin with q, or else those with a role.
func (a *API) listPeople(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query().Get("q")
	if q != "" && !seckill.ValidBuyer(q) || cursor != "" && !seckill.ValidBuyer(cursor) {
		return &seckill.FieldError{Field: "q", Must: "must be the beginning of a name, and cursor the next of an earlier page"}
	}
	people, err := a.Accounts.People(r.Context(), seckill.AccountFilter{Begins: q, After: cursor, Max: limit + 1})
	if err != nil {
		return err
	}
	return writeList(w, r, newList(people, limit, func(p account.Person) string { return p.Name }))
}

// setRole gives an account a role; its sessions end.
func (a *API) setRole(w http.ResponseWriter, r *request) error {
	var body struct {
		Role *string `json:"role"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if body.Role == nil {
		return &seckill.FieldError{Field: "role", Must: "must be given: viewer, support, operator, admin, or empty for a buyer"}
	}
	return a.person(w, r, func() (account.Person, error) { return a.Accounts.SetRole(r.Context(), r.name(), *body.Role) })
}

// setBlocked keeps an account out, or lets it in again.
func (a *API) setBlocked(blocked bool) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		if err := decode(w, r.Request, &struct{}{}, true); err != nil {
			return err
		}
		return a.person(w, r, func() (account.Person, error) { return a.Accounts.SetBlocked(r.Context(), r.name(), blocked) })
	}
}

// setPassword gives an account another password; its sessions end.
func (a *API) setPassword(w http.ResponseWriter, r *request) error {
	var body struct {
		Password string `json:"password"`
		NoFactor bool   `json:"remove_second_factor"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	return a.person(w, r, func() (account.Person, error) {
		return a.Accounts.In(a.hashes(r)).SetPassword(r.Context(), r.name(), body.Password, body.NoFactor)
	})
}

// endSessions ends the sessions of an account.
func (a *API) endSessions(w http.ResponseWriter, r *request) error {
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	return a.person(w, r, func() (account.Person, error) { return a.Accounts.EndSessions(r.Context(), r.name()) })
}

// deleteAccount forgets an account; what it has bought stays. A repeat is 404.
func (a *API) deleteAccount(w http.ResponseWriter, r *request) error {
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	if err := a.Accounts.Delete(r.Context(), r.name()); err != nil {
		return err
	}
	a.inForce(r)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// person answers with the account that do has changed.
func (a *API) person(w http.ResponseWriter, r *request, do func() (account.Person, error)) error {
	p, err := do()
	if err != nil {
		return err
	}
	a.inForce(r)
	return writeJSON(w, http.StatusOK, p)
}
