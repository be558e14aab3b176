package gatetest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

// admissionTable is the table of cases; its head says what a line means.
//
//go:embed admission.txt
var admissionTable string

// Case is one line of admission.txt.
type Case struct {
	Line          string
	Moment        string // early, opening, open, last, closing
	Paused, Ended bool
	Limit         int
	Has           string // pending, placed, released, refused; "": nothing
	Units         int    // of the ticket that the buyer has
	Left          int64
	Full          bool
	Wants         int
	Hears         string
}

// Cases reads admission.txt.
func Cases() (cases []Case, err error) {
	for i, line := range strings.Split(admissionTable, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(f) != 7 {
			return nil, fmt.Errorf("admission.txt:%d: %d columns instead of 7", i+1, len(f))
		}
		c := Case{Line: strings.Join(f, " "), Full: f[4] == "full", Hears: f[6]}
		var by, units string
		c.Moment, by, _ = strings.Cut(f[0], "+")
		c.Paused, c.Ended = by == "paused", by == "ended"
		c.Has, units, _ = strings.Cut(strings.TrimPrefix(f[2], "nothing"), ":")
		var errs [4]error
		c.Limit, errs[0] = strconv.Atoi(f[1])
		if c.Has != "" {
			c.Units, errs[1] = strconv.Atoi(units)
		}
		c.Left, errs[2] = strconv.ParseInt(f[3], 10, 64)
		c.Wants, errs[3] = strconv.Atoi(f[5])
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("admission.txt:%d: %w", i+1, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// sale is the case's sale, whose window begins at opens.
func (c *Case) sale(opens time.Time) seckill.Sale {
	return seckill.Sale{ID: SaleID, Version: 2, LimitPerBuyer: c.Limit, OpensAt: opens, ClosesAt: opens.Add(time.Hour), Paused: c.Paused, Ended: c.Ended}
}

// after is how long after the opening the buyer comes.
func (c *Case) after() time.Duration {
	switch c.Moment {
	case "early":
		return -time.Millisecond
	case "opening":
		return 0
	case "last":
		return time.Hour - time.Millisecond
	case "closing":
		return time.Hour
	}
	return time.Minute
}

// Rule is what the rule says to the case, in the words of the column hears.
func (c *Case) Rule() string {
	opens := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	sale := c.sale(opens)
	r := seckill.Request{Quantity: c.Wants, Now: opens.Add(c.after()), Left: c.Left, OutboxTakes: !c.Full}
	if c.Has == "pending" || c.Has == "placed" {
		r.Held = c.Units
	}
	verdict, err := sale.Admit(&r)
	return said(verdict, err, r.Repeat())
}

// said puts an answer into the words of the column hears.
func said(verdict seckill.Verdict, err error, same bool) string {
	var field *seckill.FieldError
	switch {
	case errors.As(err, &field):
		return field.Field
	case err != nil:
		return err.Error()
	case verdict != seckill.Queued:
		return verdict.String()
	case same:
		return "queued+same"
	}
	return "queued+new"
}

// RunAdmission holds a gate to the table of cases, and to what the rule says of cases
// that are drawn at random.
func RunAdmission(t *testing.T, open func(t testing.TB, limit int) Subject) {
	cases, err := Cases()
	require.NoError(t, err)
	for _, c := range cases {
		t.Run(c.Line, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.Hears, c.ask(t, open))
		})
	}
	t.Run("drawn", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) {
			c := anyCase(rt)
			require.Equal(rt, c.Rule(), c.ask(t, open), "%+v", c)
		})
	})
}

// anyCase draws a case. Its left is what the gate can be brought to have.
func anyCase(t *rapid.T) Case {
	c := Case{
		Moment: rapid.SampledFrom([]string{"early", "opening", "open", "open", "open", "last", "closing"}).Draw(t, "moment"),
		Limit:  rapid.IntRange(1, 4).Draw(t, "limit"),
		Has:    rapid.SampledFrom([]string{"", "pending", "placed", "released", "refused"}).Draw(t, "has"),
		Left:   rapid.Int64Range(0, 4).Draw(t, "left"),
		Full:   rapid.Bool().Draw(t, "full"),
		Wants:  rapid.IntRange(-1, 5).Draw(t, "wants"),
	}
	switch rapid.IntRange(0, 5).Draw(t, "administrator") {
	case 0:
		c.Paused = true
	case 1:
		c.Ended = true
	}
	if c.Has != "" {
		c.Units = rapid.IntRange(1, 4).Draw(t, "units")
	}
	return c
}

// ask brings a gate to the state of the case, asks, and returns what the buyer hears.
func (c *Case) ask(t *testing.T, open func(t testing.TB, limit int) Subject) string {
	t.Helper()
	limit := 0
	if c.Full {
		limit = 1
	}
	w := NewWorld(t, open(t, limit), func(s *seckill.Sale) { s.Total, s.LimitPerBuyer = 100, max(c.Units, 1) })
	var has seckill.Ticket
	if c.Has != "" {
		has = w.Admit("ann", c.Units)
	}
	switch c.Has {
	case "placed":
		w.Settle(seckill.ReasonNone, has)
	case "refused":
		w.Settle(seckill.ReasonLimit, has)
	case "released":
		w.Settle(seckill.ReasonNone, has)
		w.Store.end(has)
		w.BringBack(has)
	}
	if c.Full && c.Has != "pending" {
		w.Admit("bob", 1)
	}
	cut, err := w.Cut(context.Background(), SaleID)
	require.NoError(t, err)
	if c.Left >= 0 {
		require.True(t, w.MoveStock("to what the case says", c.Left-cut.Left))
	} else {
		// Only a rebuild makes a gate that owes.
		w.Store.sales[SaleID].sale.Total += c.Left - cut.Left
		w.Rebuild()
	}
	// The clock stands still: the window is put around it.
	sale := c.sale(w.Clock.Now().Add(-c.after()))
	require.NoError(t, w.Apply(context.Background(), sale))

	a, err := w.Reserve(context.Background(), SaleID, "ann", c.Wants)
	hears := said(a.Verdict, err, a.Ticket == has.ID)
	left := c.Left
	switch hears {
	case "quantity":
		return hears
	case "queued+new":
		left -= int64(c.Wants)
		require.True(t, seckill.ValidTicketID(a.Ticket))
	case "queued+same":
	default:
		require.Empty(t, a.Ticket)
	}
	require.Equal(t, max(0, left), a.Left, "the answer says what is left")
	return hears
}
