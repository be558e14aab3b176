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

// guesses counts the wrong passwords of the current window, or the refusals, by account. Its
// lock is that of the notes.
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
	key, g := n.guesses.account(e.Who)
	if key != "" && g.noted < guessesOfOne && n.guesses.noted < guessesOfAll {
		g.noted++
		n.guesses.noted++
		return true
	}
	g.count(e)
	return false
}

// More counts an entry of which the log has enough: one that says how many there were
// follows when the window is over. Those of buyers are one together.
func (n *Notes) More(e seckill.LogEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	who := e.Who
	if e.Role == "" {
		who = "" // nobody's id
	}
	_, g := n.refusals.account(who)
	g.count(e)
}

// account is what came for an account, and the key under which that is counted.
func (g *guesses) account(who string) (key string, of *guessed) {
	if g.of == nil {
		g.of = map[string]*guessed{}
	}
	if _, known := g.of[who]; !known && len(g.of) >= guessAccounts {
		who = ""
	}
	if g.of[who] == nil {
		g.of[who] = &guessed{}
	}
	return who, g.of[who]
}

func (g *guessed) count(e seckill.LogEntry) {
	e.At = time.Now()
	g.unsaid, g.last = g.unsaid+1, e
}

// counted takes what was counted in the window that ends, one entry for each account. Its
// place and time are those of the last guess.
func (n *Notes) counted() (entries []seckill.LogEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	entries = append(n.guesses.counted(), n.refusals.counted()...)
	n.guesses, n.refusals = guesses{}, guesses{}
	return entries
}

func (g *guesses) counted() (entries []seckill.LogEntry) {
	for who, g := range g.of {
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
	return entries
}
