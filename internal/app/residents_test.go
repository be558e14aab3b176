package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/settle"
	"seckill/internal/stack/stacktest"
)

// The page for people lists what the table says, in the table's order.
func TestThePageListsTheResidents(t *testing.T) {
	t.Parallel()
	n, _ := node(t, embedded(t))
	var want []string
	for _, r := range n.residents() {
		role, needs, once, stops := "every node", "", "", "with the others"
		if r.role != "" {
			role = "`" + r.role + "`"
		}
		if r.needs != "" {
			needs = "`" + r.needs + "` "
		}
		if r.exclusive != "" {
			once = r.exclusive + " "
		}
		if r.lasting {
			stops = "last"
		}
		want = append(want, fmt.Sprintf("| %s | %s | %s| %s| %s |", r.name, role, needs, once, stops))
	}
	page, err := os.ReadFile("../../docs/lifecycle.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "|---|---|---|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	require.Equal(t, strings.Join(want, "\n"), table)
}

// A node runs the residents of its roles and parts, and names the one that fails.
func TestANodeRunsTheResidentsOfItsRoles(t *testing.T) {
	t.Parallel()
	ran := make(chan string, 10)
	row := func(name, role, needs string, present, lasting bool, err error) resident {
		return resident{name: name, role: role, needs: needs, present: present, lasting: lasting, run: func(context.Context) error {
			ran <- name
			return err
		}}
	}
	failed := errors.New("scripted")
	table := []resident{
		row("a", "", "", false, false, nil),
		row("b", RoleSettle, "", false, false, nil),
		row("c", RoleRelay, "", false, false, nil),
		row("d", RoleSettle, "Redis", false, false, nil),
		row("e", RoleSettle, "Redis", true, false, failed),
		row("f", "", "", false, true, nil),
	}
	n := &Node{config: Config{Run: []string{RoleSettle}}}
	require.NoError(t, n.start(t.Context(), table, true).Wait())
	require.Equal(t, "f", stacktest.Await(t, "the last one runs", ran))
	err := n.start(t.Context(), table, false).Wait()
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "e: ")
	close(ran)
	var names []string
	for name := range ran {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"a", "b", "e"}, names)
}

// Without a seal a ticket of the queue is settled only if the gate waits for exactly it.
func TestTheGateVouchesForWhatItHolds(t *testing.T) {
	t.Parallel()
	at := time.Now().Truncate(time.Millisecond)
	held := seckill.Ticket{ID: seckill.NewTicketID(at), Sale: 1, Buyer: "ann", Quantity: 2, Seq: 7, At: at}
	for name, change := range map[string]func(p *seckill.Progress, t *seckill.Ticket){
		"another time":     func(_ *seckill.Progress, t *seckill.Ticket) { t.At = at.Add(-time.Hour) },
		"another quantity": func(_ *seckill.Progress, t *seckill.Ticket) { t.Quantity = 1 },
		"another number":   func(_ *seckill.Progress, t *seckill.Ticket) { t.Seq = 8 },
		"another ticket":   func(_ *seckill.Progress, t *seckill.Ticket) { t.ID = seckill.NewTicketID(at) },
		"it is final":      func(p *seckill.Progress, _ *seckill.Ticket) { p.Final = true },
		"another time, and the gate has only the id": func(p *seckill.Progress, t *seckill.Ticket) {
			p.Ticket.At, t.At = time.Time{}, at.Add(time.Second)
		},
	} {
		p, ticket := seckill.Progress{Outcome: seckill.Outcome{Ticket: held}}, held
		change(&p, &ticket)
		if vouched(&p, &ticket, nil) != settle.Forged {
			t.Errorf("%s: the gate vouches", name)
		}
	}
	for _, at := range []time.Time{at, {}} {
		p := seckill.Progress{Outcome: seckill.Outcome{Ticket: held}}
		if p.Ticket.At = at; vouched(&p, &held, nil) != settle.Admitted {
			t.Errorf("the gate does not vouch for what it holds since %v", at)
		}
		if p.Unproven = true; vouched(&p, &held, nil) != settle.Elsewhere {
			t.Error("the gate vouches by a hold whose seal is not known")
		}
		if vouched(&p, &held, seckill.ErrUnavailable) != settle.Forged {
			t.Error("nobody knows")
		}
	}
}
