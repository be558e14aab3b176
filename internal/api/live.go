package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"seckill"
	"seckill/internal/live"
)

// streamWrite is how long one event may take: who takes longer has gone, and asks again.
const streamWrite = 10 * time.Second

// nodes is the table of nodes.
func (a *API) nodes(w http.ResponseWriter, r *request) error {
	nodes, says := a.Live.Nodes(r.Context())
	return writeJSON(w, http.StatusOK, struct {
		list[live.Node]
		Says string `json:"says,omitempty"`
	}{list[live.Node]{Items: nodes}, says})
}

// live streams a picture of all nodes each second. The newest one counts: who reads
// slowly misses those between. It ends with the node, when the token ends, and after the
// number of events that the caller names.
func (a *API) live(w http.ResponseWriter, r *request) error {
	var sale seckill.SaleID
	if s := r.URL.Query().Get("sale"); s != "" {
		id, err := seckill.ParseSaleID(s)
		if err != nil {
			return &seckill.FieldError{Field: "sale", Must: "must be a sale's id"}
		}
		sale = id
	}
	events := 0
	if s := r.URL.Query().Get("events"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return &seckill.FieldError{Field: "events", Must: "must be at least 1"}
		}
		events = n
	}
	watcher := a.Live.Watch(sale)
	defer a.Live.Leave(watcher)
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // nothing more is to be read
	w.Header()["Content-Type"] = []string{"text/event-stream"}
	w.Header().Set("X-Accel-Buffering", "no") // nginx passes events on at once
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if sale != 0 { // of all, the past would be too long
		if _, err := fmt.Fprintf(w, "event: past\ndata: %s\n\n", a.Live.Past(sale)); err != nil {
			return nil
		}
	}
	// The browser asks again after this long, in milliseconds.
	if _, err := fmt.Fprint(w, "retry: 2000\n\n"); err != nil || c.Flush() != nil {
		return nil
	}
	for {
		select {
		case picture := <-watcher.C:
			if _, err := a.Tokens.Verify(bearer(r.Request), true); err != nil {
				return nil // whoever is blocked sees no more, within a second
			}
			_ = c.SetWriteDeadline(time.Now().Add(streamWrite))
			if _, err := fmt.Fprintf(w, "event: live\ndata: %s\n\n", picture); err != nil || c.Flush() != nil {
				return nil
			}
			if events--; events == 0 {
				return nil
			}
		case <-r.Context().Done():
			return nil
		case <-a.Stopping.Done():
			return nil
		}
	}
}

// balances are the last counts of the sales, those that do not add up first.
func (a *API) balances(w http.ResponseWriter, r *request) error {
	all := slices.Collect(maps.Values(a.Live.Balances(r.Context())))
	red := func(b live.Balance) bool { return b.OK != nil && !*b.OK }
	slices.SortFunc(all, func(x, y live.Balance) int {
		switch {
		case red(x) && !red(y):
			return -1
		case red(y) && !red(x):
			return 1
		}
		return cmp.Compare(y.Sale, x.Sale)
	})
	return writeJSON(w, http.StatusOK, newList(all, len(all), func(live.Balance) string { return "" }))
}

// balance is the last count of one sale, if it has been counted.
func (a *API) balance(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	b, ok := a.Live.Balances(r.Context())[id]
	if !ok {
		if _, err := a.Sales.Get(r.Context(), id); err != nil {
			return err
		}
		b.Sale, b.Says, b.Violations = id, "it is not among the last counts: open sales are counted all the time, each of the others in its turn", []seckill.Breach{}
	}
	return writeJSON(w, http.StatusOK, b)
}
