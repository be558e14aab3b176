package account

import (
	"fmt"
	"time"

	"seckill"
)

// Limits of the wrong passwords that one node writes down. Whoever guesses must not fill
// the log: so many of an account are entries of their own, the others are one entry that
// says how many there were.
const (
	guessWindow   = time.Minute
	guessesOfOne  = 5   // entries of one account in a window
	guessesOfAll  = 100 // and of all
	guessAccounts = 100 // that are counted apart in a window; the others are one entry together
)

// guesses counts the wrong passwords of the current window, by account. Its lock is that
// of the notes.
type guesses struct {
	noted int
	of    map[string]*guessed
}

// guessed is what came for one account.
type guessed struct {
	noted, unsaid int
	last          seckill.LogEntry
}

// Guess has a wrong password for an account of somebody with a role written soon, or
// counted where there are many.
func (n *Notes) Guess(e seckill.LogEntry) {
	if n.counts(e) {
		n.Note(e)
	}
}

// counts reports whether the entry is one of its own; else it is counted.
func (n *Notes) counts(e seckill.LogEntry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := e.Who
	if n.guesses.of == nil {
		n.guesses.of = map[string]*guessed{}
	}
	if _, known := n.guesses.of[key]; !known && len(n.guesses.of) >= guessAccounts {
		key = "" // nobody's id
	}
	g := n.guesses.of[key]
	if g == nil {
		g = &guessed{}
		n.guesses.of[key] = g
	}
	if key != "" && g.noted < guessesOfOne && n.guesses.noted < guessesOfAll {
		g.noted++
		n.guesses.noted++
		return true
	}
	e.At = time.Now()
	g.unsaid, g.last = g.unsaid+1, e
	return false
}

// counted takes what was counted in the window that ends, one entry for each account. Its
// place and time are those of the last guess.
func (n *Notes) counted() (entries []seckill.LogEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for who, g := range n.guesses.of {
		if g.unsaid == 0 {
			continue
		}
		e := g.last
		e.Intent = fmt.Sprintf("%d more, the last one from here", g.unsaid)
		if who == "" {
			e.Who, e.Role, e.Subject = "", "", ""
			e.Intent = fmt.Sprintf("%d more for other accounts, the last one from here", g.unsaid)
		}
		entries = append(entries, e)
	}
	n.guesses = guesses{}
	return entries
}
