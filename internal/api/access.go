package api

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"seckill"
	"seckill/internal/access"
)

// Lists keeps who may ask for tickets.
type Lists interface {
	SetAccessEntry(ctx context.Context, e seckill.AccessEntry, remove bool) (seckill.AccessEntry, error)
	AccessEntries(ctx context.Context, after seckill.AccessEntry, max int) ([]seckill.AccessEntry, error)
	SetEligible(ctx context.Context, sale seckill.SaleID, p seckill.BuyerList) (int, error)
}

// unknownWait is how long a purchase waits for the store because nothing is known of its
// sale, each of the two times: it has a place among those who buy.
const unknownWait = 250 * time.Millisecond

// passHeader carries a pass for clients that send no body.
const passHeader = "X-Seckill-Pass"

// limited counts the request against what one buyer may send, then serves it.
func (a *API) limited(serve func(http.ResponseWriter, *request) error) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		if err := a.Access.Request(r.who.Buyer); err != nil {
			return err
		}
		return serve(w, r)
	}
}

// asker is the caller of a request, as the rules see them.
func (a *API) asker(r *request) access.Asker {
	return access.Asker{Buyer: r.who.Buyer, Since: r.who.Since, Address: a.client(r.Request)}
}

// admitted checks whether the caller may ask the gate for a ticket of the sale. It is
// on the path of every purchase: it calls nobody, but for a sale that was made a moment ago.
func (a *API) admitted(r *request, sale seckill.SaleID, pass string) error {
	if pass == "" {
		if h := r.Header[passHeader]; len(h) > 0 {
			pass = h[0]
		}
	}
	who, address := access.Asker{Buyer: r.who.Buyer, Since: r.who.Since}, func() netip.Addr { return a.client(r.Request) }
	err := a.Access.Admit(sale, who, pass, address)
	if errors.Is(err, access.ErrUnread) {
		ctx, cancel := context.WithTimeout(r.Context(), unknownWait)
		defer cancel()
		a.Access.Learn(ctx)
		err = a.Access.Admit(sale, who, pass, address)
	}
	return err
}

// wantsSound is the body of the routes that give challenges.
type wantsSound struct {
	Sound string `json:"sound"`
}

func (b wantsSound) check() error {
	if b.Sound != "" && b.Sound != "zh" && b.Sound != "en" {
		return &seckill.FieldError{Field: "sound", Must: "must be zh or en"}
	}
	return nil
}

// challenge gives the caller what a pass for the sale costs; each call makes a new one.
func (a *API) challenge(w http.ResponseWriter, r *request) error {
	sale, body, err := passOf[wantsSound](a, w, r)
	if err == nil {
		err = body.check()
	}
	if err != nil {
		return err
	}
	who := a.asker(r)
	if err := a.Access.Reach(who.Address); err != nil {
		return err
	}
	if v := a.Access.Given(sale); v != seckill.Queued {
		verdictAnswers[v].write(w)
		return nil
	}
	kind, err := a.Access.Kind(sale, &who)
	if err != nil {
		return err
	}
	p, err := a.Access.Puzzle(r.Context(), kind, access.ForSale(sale.ID, who.Buyer), who, body.Sound)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

// solution is what a caller sends for a challenge.
type solution struct {
	Work    string `json:"work"`
	Formula string `json:"formula"`
	Answer  string `json:"answer"`
	Captcha string `json:"captcha"`
}

func (s solution) given() access.Solution {
	return access.Solution{Work: s.Work, Formula: s.Formula, Answer: s.Answer, Foreign: s.Captcha}
}

// pass gives the caller a pass for the sale, for the solution of a challenge where the
// sale asks for one. A solution is good once; passes may be fetched again for another.
func (a *API) pass(w http.ResponseWriter, r *request) error {
	sale, body, err := passOf[solution](a, w, r)
	if err != nil {
		return err
	}
	who := a.asker(r)
	if err := a.Access.Reach(who.Address); err != nil {
		return err
	}
	pass, until, v, err := a.Access.Pass(r.Context(), sale, who, body.given())
	if err != nil {
		return err
	}
	if v != seckill.Queued {
		verdictAnswers[v].write(w)
		return nil
	}
	return writeJSON(w, http.StatusOK, struct {
		Pass      string    `json:"pass"`
		ExpiresAt time.Time `json:"expires_at"`
	}{pass, until})
}

// passOf reads the sale and the body of a route about passes.
func passOf[T any](a *API, w http.ResponseWriter, r *request) (sale seckill.Sale, body T, err error) {
	id, err := r.saleID()
	if err != nil {
		return sale, body, err
	}
	if err := decode(w, r.Request, &body, true); err != nil {
		return sale, body, err
	}
	sale, err = a.Sales.Get(r.Context(), id)
	return sale, body, err
}

// registrationChallenge gives what a new account costs here.
func (a *API) registrationChallenge(w http.ResponseWriter, r *request) error {
	var body wantsSound
	if err := decode(w, r.Request, &body, true); err != nil {
		return err
	}
	if err := body.check(); err != nil {
		return err
	}
	who := a.Access.Newcomer(a.client(r.Request))
	if err := a.Access.Reach(who.Address); err != nil {
		return err
	}
	p, err := a.Access.Puzzle(r.Context(), a.Access.RegistrationKind(), access.ForAccount(access.Network(who.Address)), who, body.Sound)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

// mayRegister checks what the configuration asks of a new account.
func (a *API) mayRegister(r *request, invite string, s solution) error {
	switch {
	case a.Registration == RegistrationClosed:
		return errClosed
	case a.Registration == RegistrationInvited && invite == "":
		return seckill.ErrNotInvited
	}
	who := a.Access.Newcomer(a.client(r.Request))
	if err := a.Access.Reach(who.Address); err != nil {
		return err
	}
	return a.Access.Solved(r.Context(), a.Access.RegistrationKind(), access.ForAccount(access.Network(who.Address)), who, s.given())
}

// Who may make an account (auth.registration).
const (
	RegistrationOpen    = "open"
	RegistrationInvited = "invited"
	RegistrationClosed  = "closed"
)

var errClosed = errors.New("accounts are made by the shop, not here")

// invite makes an invitation: its code opens so many accounts.
func (a *API) invite(w http.ResponseWriter, r *request) error {
	body := struct {
		Uses  int `json:"uses"`
		Hours int `json:"hours"`
	}{1, 24}
	if err := decode(w, r.Request, &body, true); err != nil {
		return err
	}
	switch {
	case body.Uses < 1 || body.Uses > 100_000:
		return &seckill.FieldError{Field: "uses", Must: "must be 1 to 100000"}
	case body.Hours < 1 || body.Hours > 24*366:
		return &seckill.FieldError{Field: "hours", Must: "must be 1 to 8784"}
	}
	code, until, err := a.Accounts.Invite(r.Context(), body.Uses, time.Duration(body.Hours)*time.Hour)
	if err != nil {
		return err
	}
	a.Log.Info("admin: invite", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "uses", body.Uses, "until", until)
	return writeJSON(w, http.StatusCreated, struct {
		Invite    string    `json:"invite"`
		Uses      int       `json:"uses"`
		ExpiresAt time.Time `json:"expires_at"`
	}{code, body.Uses, until})
}

// entryBody names a line of the lists.
type entryBody struct {
	List    string         `json:"list"`
	Sale    seckill.SaleID `json:"sale"`
	Buyer   string         `json:"buyer"`
	Network string         `json:"network"`
	Note    string         `json:"note"`
}

// entry checks the line.
func (a *API) entry(r *request, body entryBody) (e seckill.AccessEntry, err error) {
	e = seckill.AccessEntry{List: body.List, Sale: body.Sale, Buyer: body.Buyer, Note: body.Note, By: r.who.Buyer}
	switch {
	case (body.Buyer == "") == (body.Network == ""):
		return e, &seckill.FieldError{Field: "buyer", Must: "or network must be given, and not both"}
	case body.Buyer != "" && !seckill.ValidBuyer(body.Buyer):
		return e, &seckill.FieldError{Field: "buyer", Must: "must be 1 to 64 printable characters"}
	case len(body.Note) > 200 || !seckill.Printable(body.Note):
		return e, &seckill.FieldError{Field: "note", Must: "must be at most 200 printable bytes"}
	}
	if body.Network != "" {
		if e.Network, err = access.ParseNetwork(body.Network); err != nil {
			return e, err
		}
	}
	if body.Sale != 0 {
		if _, err := a.Sales.Get(r.Context(), body.Sale); errors.Is(err, seckill.ErrNotFound) {
			return e, &seckill.FieldError{Field: "sale", Must: "must be a sale that exists, or be left out for all of them"}
		} else if err != nil {
			return e, err
		}
	}
	return e, nil
}

// setEntry puts a buyer or a network on a list; a repeat leaves it there.
func (a *API) setEntry(w http.ResponseWriter, r *request) error {
	var body entryBody
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if body.List != seckill.ListBlock && body.List != seckill.ListAllow {
		return &seckill.FieldError{Field: "list", Must: "must be block or allow"}
	}
	return a.changeEntry(w, r, body, false)
}

// removeEntry takes a buyer or a network off its list; one that is on none is 404.
func (a *API) removeEntry(w http.ResponseWriter, r *request) error {
	var body struct {
		Sale    seckill.SaleID `json:"sale"`
		Buyer   string         `json:"buyer"`
		Network string         `json:"network"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	return a.changeEntry(w, r, entryBody{Sale: body.Sale, Buyer: body.Buyer, Network: body.Network}, true)
}

func (a *API) changeEntry(w http.ResponseWriter, r *request, body entryBody, remove bool) error {
	e, err := a.entry(r, body)
	if err != nil {
		return err
	}
	if e, err = a.Lists.SetAccessEntry(r.Context(), e, remove); err != nil {
		return err
	}
	a.Log.Info("admin: access", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "list", e.List, "removed", remove, "sale", e.Sale, "buyer", e.Buyer, "network", e.Network)
	if err := a.Access.LookAtRules(r.Context()); err != nil {
		return err // it is stored, and will be in force when the store answers again
	}
	if remove {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeJSON(w, http.StatusOK, e)
}

// listEntries shows the lists.
func (a *API) listEntries(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	var after seckill.AccessEntry
	if cursor != "" {
		sale, subject, ok := strings.Cut(cursor, ",")
		n, err := strconv.ParseInt(sale, 10, 64)
		if !ok || err != nil || n < 0 || len(subject) < 2 {
			return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
		after.Sale = seckill.SaleID(n)
		if kind, name := subject[0], subject[1:]; kind == 'n' {
			after.Network = name
		} else {
			after.Buyer = name
		}
	}
	entries, err := a.Lists.AccessEntries(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	return writeList(w, r, newList(entries, limit, func(e seckill.AccessEntry) string {
		if e.Network != "" {
			return e.Sale.String() + ",n" + e.Network
		}
		return e.Sale.String() + ",b" + e.Buyer
	}))
}

// setEligible uploads the buyers who may buy in a sale, a piece at a time: the first
// replaces the list or adds to it, the others continue it under the same name. A repeat changes
// nothing. None of them is in force before the last one. A list is emptied by one that has
// nobody in it.
func (a *API) setEligible(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		CSV    string `json:"csv"`
		Mode   string `json:"mode"`
		Upload string `json:"upload"`
		More   bool   `json:"more"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	switch body.Mode {
	case seckill.BuyersReplace, seckill.BuyersAdd:
	case seckill.BuyersContinue:
		if body.Upload == "" {
			return &seckill.FieldError{Field: "upload", Must: "must be the name under which the list began"}
		}
	default:
		return &seckill.FieldError{Field: "mode", Must: "must be replace, add or continue"}
	}
	if body.Upload != "" && (utf8.RuneCountInString(body.Upload) > 64 || !seckill.Printable(body.Upload)) {
		return &seckill.FieldError{Field: "upload", Must: "must be 1 to 64 printable characters"}
	}
	buyers, err := readBuyers(body.CSV)
	if err != nil {
		return err
	}
	if len(buyers) == 0 && body.Mode != seckill.BuyersReplace {
		return &seckill.FieldError{Field: "csv", Must: "must have a line for each buyer"}
	}
	sale, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	n, err := a.Lists.SetEligible(r.Context(), id, seckill.BuyerList{Buyers: buyers, Mode: body.Mode, Upload: body.Upload, More: body.More})
	if err != nil {
		return err
	}
	a.changed(r, "eligible", sale, "mode", body.Mode, "buyers", n)
	if !body.More {
		if err := a.Access.Look(r.Context()); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, struct {
		Sale   seckill.SaleID `json:"sale"`
		Buyers int            `json:"buyers"`
	}{id, n})
}

// readBuyers reads the first column of a table. A first line that says "buyer" is its
// head. One bad line makes the whole table bad.
func readBuyers(table string) (buyers []string, err error) {
	rows := csv.NewReader(strings.NewReader(strings.TrimPrefix(table, "\ufeff")))
	rows.FieldsPerRecord, rows.ReuseRecord = -1, true
	for first := true; ; first = false {
		row, err := rows.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &seckill.FieldError{Field: "csv", Must: "must be a table of comma-separated values: " + err.Error()}
		}
		buyer := strings.TrimSpace(row[0])
		if first && strings.EqualFold(buyer, "buyer") {
			continue
		}
		if !seckill.ValidBuyer(buyer) {
			line, _ := rows.FieldPos(0)
			return nil, &seckill.FieldError{Field: "csv", Must: "must have a buyer's id, 1 to 64 printable characters, in the first column: line " + strconv.Itoa(line) + " has not"}
		}
		buyers = append(buyers, buyer)
	}
	return buyers, nil
}
