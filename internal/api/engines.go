package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"seckill"
	"seckill/internal/live"
)

// Limits of the dead letters that a person looks at.
const (
	lettersTime = 20 * time.Second
	lettersMost = 1000 // shown in one answer
)

// Letters are the dead letters of a shared queue. Nobody else sees them while one looks.
type Letters interface {
	DeadLetters(ctx context.Context) (letters []seckill.DeadLetter, waiting, more int, err error)
	// Replay sends those that wanted says to the queue again, at most so many (0: all), and
	// returns how many it sent.
	Replay(ctx context.Context, most int, wanted func(seckill.DeadLetter) bool) (int, error)
}

// engines shows what the nodes say of the engines.
func (a *API) engines(w http.ResponseWriter, r *request) error {
	nodes, says := a.Live.Nodes(r.Context())
	type listeners struct {
		Node    string `json:"node"`
		Running bool   `json:"running"`
	}
	v := struct {
		Parts     live.Parts  `json:"parts"` // as the answering node has them
		Nodes     []live.Node `json:"nodes"`
		NodesSay  string      `json:"nodes_say,omitempty"`
		Listeners []listeners `json:"listeners"`
		Letters   bool        `json:"dead_letters"` // there is a queue that has some
		Console   string      `json:"rabbitmq_console,omitempty"`
	}{Nodes: nodes, NodesSay: says, Listeners: []listeners{}, Letters: a.Letters != nil, Console: a.QueueConsole}
	for _, n := range nodes {
		if n.ID == a.Live.Teller.Node.ID {
			v.Parts = n.Parts
		}
		if n.Listeners != nil {
			v.Listeners = append(v.Listeners, listeners{n.Name, *n.Listeners})
		}
	}
	return writeJSON(w, http.StatusOK, v)
}

var errNoLetters = fmt.Errorf("the queue is embedded: it has no dead letters: %w", seckill.ErrState)

// deadLetters shows the messages that wait for a person.
func (a *API) deadLetters(w http.ResponseWriter, r *request) error {
	if a.Letters == nil {
		return errNoLetters
	}
	ctx, cancel := context.WithTimeout(r.Context(), lettersTime)
	defer cancel()
	letters, waiting, more, err := a.Letters.DeadLetters(ctx)
	if err != nil {
		return err
	}
	if len(letters) > lettersMost {
		more, letters = more+len(letters)-lettersMost, letters[:lettersMost]
	}
	return writeJSON(w, http.StatusOK, struct {
		Items   []seckill.DeadLetter `json:"items"`
		Waiting int                  `json:"waiting"` // that settle has still to try alone
		More    int                  `json:"more"`
	}{some(letters), waiting, more})
}

// replayLetters sends dead letters to the queue again: those named, the first ones, or all.
func (a *API) replayLetters(w http.ResponseWriter, r *request) error {
	var body struct {
		IDs   []string `json:"ids"`
		Count *int     `json:"count"`
		All   bool     `json:"all"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{body.IDs != nil, body.Count != nil, body.All} {
		if is {
			given++
		}
	}
	if given != 1 || body.IDs != nil && len(body.IDs) == 0 || body.Count != nil && *body.Count < 1 || len(body.IDs) > lettersMost {
		return &seckill.FieldError{Field: "ids", Must: "must be given, or count (at least 1), or all"}
	}
	if a.Letters == nil {
		return errNoLetters
	}
	most := 0
	if body.Count != nil {
		most = *body.Count
	}
	ctx, cancel := context.WithTimeout(r.Context(), lettersTime)
	defer cancel()
	n, err := a.Letters.Replay(ctx, most, func(l seckill.DeadLetter) bool { return len(body.IDs) == 0 || slices.Contains(body.IDs, l.ID) })
	if n > 0 {
		a.did(r, fmt.Sprintf("%d replayed", n))
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"replayed": n})
}
