package store

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
)

func testAccessRules(t *testing.T, s *shop) {
	ctx := t.Context()
	plain := s.open(10)
	require.Empty(t, plain.Access)
	rule := seckill.Access{Pass: true, Challenge: seckill.ChallengeWork, TriesPerBuyer: 2, CooldownSeconds: 30, Eligible: seckill.EligibleAge, AccountAgeSeconds: 60}
	before, newest, err := s.AccessState(ctx)
	require.NoError(t, err)
	v := plain
	v.Access = rule
	asks, err := s.CreateSale(ctx, v)
	require.NoError(t, err)
	require.Equal(t, rule, asks.Access)
	after, _, err := s.AccessState(ctx)
	require.NoError(t, err)
	require.Greater(t, after["rules"], before["rules"], "nodes see that there is something new")
	rules, err := s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Equal(t, map[seckill.SaleID]seckill.Access{asks.ID: rule}, rules)

	changed, err := s.UpdateSale(ctx, asks.ID, func(v *seckill.Sale) error { v.Access = seckill.Access{}; return nil })
	require.NoError(t, err)
	require.Empty(t, changed.Access)
	rules, err = s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Empty(t, rules)
	last, next, err := s.AccessState(ctx)
	require.NoError(t, err)
	require.Equal(t, plain.ID, newest, "what is known is known up to this sale")
	require.Equal(t, asks.ID, next)
	require.Greater(t, last["rules"], after["rules"])

	_, err = s.UpdateSale(ctx, asks.ID, func(v *seckill.Sale) error { v.Access = rule; return nil })
	require.NoError(t, err)
	s.advance(2*time.Hour - time.Minute)
	rules, err = s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Len(t, rules, 1)
	s.advance(time.Minute)
	rules, err = s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Empty(t, rules, "of a sale that has been over for so long nobody asks")

	s.settings.Retention = 24 * time.Hour
	rules, err = s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Len(t, rules, 1, "the gate still knows its buyers, and sells it if its clock is hours behind")
	s.advance(23 * time.Hour)
	rules, err = s.AccessRules(ctx, time.Hour)
	require.NoError(t, err)
	require.Empty(t, rules)
}

func testAccessEntries(t *testing.T, s *shop) {
	ctx := t.Context()
	as := seckill.WithActor(ctx, seckill.Actor{Who: "root", What: "access"})
	put := func(e seckill.AccessEntry) {
		e.By = "root"
		_, err := s.SetAccessEntry(as, e, false)
		require.NoError(t, err)
	}
	put(seckill.AccessEntry{List: "block", Buyer: "王 wu"})
	put(seckill.AccessEntry{List: "block", Network: "203.0.113.0/24", Note: "农场"})
	put(seckill.AccessEntry{List: "allow", Sale: 3, Buyer: "王 wu"})
	put(seckill.AccessEntry{List: "allow", Network: "203.0.113.0/24"}) // from one list to the other
	var all []seckill.AccessEntry
	for after := (seckill.AccessEntry{}); ; {
		page, err := s.AccessEntries(ctx, after, 1)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		all, after = append(all, page...), page[0]
	}
	require.Len(t, all, 3)
	require.Equal(t, []string{"王 wu", "", "王 wu"}, []string{all[0].Buyer, all[1].Buyer, all[2].Buyer})
	require.Equal(t, "allow", all[1].List)
	require.Equal(t, "203.0.113.0/24", all[1].Network)
	require.EqualValues(t, 3, all[2].Sale)
	require.WithinDuration(t, s.clock(), all[2].CreatedAt, time.Second)

	_, err := s.SetAccessEntry(as, seckill.AccessEntry{Buyer: "王 wu"}, true)
	require.NoError(t, err)
	entries, err := s.LogEntries(ctx, seckill.LogFilter{Max: 2})
	require.NoError(t, err)
	listOf := func(text []byte) string {
		if text == nil {
			return ""
		}
		var e seckill.AccessEntry
		require.NoError(t, json.Unmarshal(text, &e))
		return e.List
	}
	require.Equal(t, []string{"block", ""}, []string{listOf(entries[0].Before), listOf(entries[0].After)}, "what was removed")
	require.Equal(t, []string{"block", "allow"}, []string{listOf(entries[1].Before), listOf(entries[1].After)}, "what was replaced")
	_, err = s.SetAccessEntry(ctx, seckill.AccessEntry{Buyer: "王 wu"}, true)
	require.ErrorIs(t, err, seckill.ErrNotFound)
	versions, _, err := s.AccessState(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 5, versions["entries"], "each change is a version, and what fails is none")

	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			_, err := s.SetAccessEntry(ctx, seckill.AccessEntry{List: "block", Buyer: fmt.Sprint("b", i), By: "root"}, false)
			return err
		})
	}
	require.NoError(t, g.Wait(), "many at once")
}

func testEligible(t *testing.T, s *shop) {
	ctx := t.Context()
	sale := s.open(10)
	listed := func() (all []string) {
		require.NoError(t, s.Eligible(ctx, sale.ID, func(b string) { all = append(all, b) }))
		return all
	}
	n, err := s.SetEligible(ctx, sale.ID, seckill.BuyerList{Buyers: []string{"a", "b", "a"}, Mode: seckill.BuyersReplace})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = s.SetEligible(ctx, sale.ID, seckill.BuyerList{Buyers: []string{"b", "c"}, Mode: seckill.BuyersAdd, More: true})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.ElementsMatch(t, []string{"a", "b"}, listed(), "what broke off half-way is in force nowhere, whoever reads it now")
	n, err = s.SetEligible(ctx, sale.ID, seckill.BuyerList{Buyers: []string{"d"}, Mode: seckill.BuyersReplace})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"d"}, listed())
	versions, _, err := s.AccessState(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, versions["eligible:"+sale.ID.String()], "a piece before the last one is no version")
	n, err = s.SetEligible(ctx, sale.ID, seckill.BuyerList{Buyers: nil, Mode: seckill.BuyersReplace})
	require.NoError(t, err)
	require.Zero(t, n)
	require.Empty(t, listed(), "nobody may buy")
	_, err = s.SetEligible(ctx, 999, seckill.BuyerList{Buyers: []string{"d"}, Mode: seckill.BuyersReplace})
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

// A list that replaces another one is in force when its last piece is there, and so is
// what is added. One that broke off leaves nothing behind.
func testEligiblePieces(t *testing.T, s *shop) {
	ctx := t.Context()
	sale := s.open(10)
	send := func(mode, upload string, more bool, buyers ...string) error {
		_, err := s.SetEligible(ctx, sale.ID, seckill.BuyerList{Buyers: buyers, Mode: mode, Upload: upload, More: more})
		return err
	}
	set := func(add, more bool, buyers ...string) {
		t.Helper()
		mode := seckill.BuyersReplace
		if add {
			mode = seckill.BuyersAdd
		}
		require.NoError(t, send(mode, "", more, buyers...))
	}
	holds := func(buyers ...string) {
		t.Helper()
		var all []string
		require.NoError(t, s.Eligible(ctx, sale.ID, func(b string) { all = append(all, b) }))
		require.ElementsMatch(t, buyers, all)
	}
	set(false, false, "a", "b")
	set(false, true, "b", "broken off")
	holds("a", "b")
	set(false, true, "b", "c")
	holds("a", "b")
	set(true, true, "d")
	holds("a", "b")
	set(true, false, "e")
	holds("b", "c", "d", "e")
	set(true, true, "f")
	holds("b", "c", "d", "e")
	set(true, false, "b")
	holds("b", "c", "d", "e", "f")

	// A list whose pieces have a name holds when its last piece is there, and never else.
	require.NoError(t, send(seckill.BuyersReplace, "one", true, "b", "half"))
	set(true, false, "g") // it broke off, and later somebody adds a buyer
	holds("b", "c", "d", "e", "f", "g")
	require.ErrorIs(t, send(seckill.BuyersContinue, "one", false, "rest"), seckill.ErrState)
	holds("b", "c", "d", "e", "f", "g")
	require.NoError(t, send(seckill.BuyersReplace, "two", true, "h"))
	require.NoError(t, send(seckill.BuyersAdd, "three", true, "i")) // two at once
	require.ErrorIs(t, send(seckill.BuyersContinue, "two", false, "j"), seckill.ErrState)
	require.NoError(t, send(seckill.BuyersContinue, "three", true, "k"))
	require.NoError(t, send(seckill.BuyersContinue, "three", true, "k"), "a repeat")
	holds("b", "c", "d", "e", "f", "g")
	require.NoError(t, send(seckill.BuyersContinue, "three", false, "l"))
	holds("b", "c", "d", "e", "f", "g", "i", "k", "l")
	require.NoError(t, send(seckill.BuyersContinue, "three", false, "l"), "the answer was lost, and the last piece is sent again")
	require.NoError(t, send(seckill.BuyersReplace, "four", true, "m"))
	require.NoError(t, send(seckill.BuyersContinue, "four", false, "n"))
	holds("m", "n")
}

// The limit counts what holds, and what is over goes.
func testEligibleEnds(t *testing.T, s *shop) {
	ctx := t.Context()
	s.mostEligible = 3
	old, sale := s.open(10), s.open(10)
	set := func(id seckill.SaleID, buyers ...string) error {
		_, err := s.SetEligible(ctx, id, seckill.BuyerList{Buyers: buyers, Mode: seckill.BuyersReplace})
		return err
	}
	require.NoError(t, set(old.ID, "a", "b"))
	require.NoError(t, set(old.ID, "c", "d"), "another list counts in place of the first")
	require.NoError(t, set(sale.ID, "a"))
	require.Error(t, set(sale.ID, "a", "b"))
	_, err := s.UpdateSale(ctx, old.ID, func(v *seckill.Sale) error { v.TriesPerBuyer = 2; return nil })
	require.NoError(t, err)
	_, err = s.TransitionBy(ctx, s.place(old.ID, "li.wei", 1).ID, "", seckill.Cancelled, "li.wei", "")
	require.NoError(t, err)

	for _, e := range []seckill.AccessEntry{{Sale: old.ID, Buyer: "a"}, {Sale: old.ID, Network: "203.0.113.0/24"}, {Sale: sale.ID, Buyer: "a"}, {Buyer: "a"}} {
		e.List, e.By = "block", "root"
		_, err := s.SetAccessEntry(ctx, e, false)
		require.NoError(t, err)
	}
	entries := func() (sales []seckill.SaleID) {
		all, err := s.AccessEntries(ctx, seckill.AccessEntry{}, 9)
		require.NoError(t, err)
		for _, e := range all {
			sales = append(sales, e.Sale)
		}
		return sales
	}

	trim := func(max int) int {
		n, err := s.TrimAccess(ctx, time.Hour, max)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, trim(9), "nothing is over")
	_, err = s.UpdateSale(ctx, old.ID, func(v *seckill.Sale) error { v.ClosesAt = s.clock().Add(time.Second); return nil })
	require.NoError(t, err)
	s.advance(time.Hour)
	require.Zero(t, trim(9), "not for long")
	s.advance(2 * time.Second)
	require.Equal(t, 3, trim(1), "of each table")
	require.Equal(t, 2, trim(1))
	require.Zero(t, trim(1))
	require.Equal(t, []seckill.SaleID{0, sale.ID}, entries(), "those of all sales, and of one that is not over, stay")
	logged, err := s.LogEntries(ctx, seckill.LogFilter{What: "access.remove", Sale: old.ID, Max: 9})
	require.NoError(t, err)
	require.Len(t, logged, 2, "whoever opens the sale again finds what it has lost")
	require.Equal(t, "203.0.113.0/24", logged[0].Subject)
	require.Contains(t, string(logged[0].Before), `"block"`)
	require.Equal(t, "a", logged[1].Subject)
	versions, _, err := s.AccessState(ctx)
	require.NoError(t, err)
	require.Contains(t, versions, "eligible:"+sale.ID.String())
	require.EqualValues(t, 6, versions["entries"], "the nodes read them again")
	require.NoError(t, set(sale.ID, "a", "b", "c"))
	tries, err := s.TriesSince(ctx, seckill.Tries{}, 9)
	require.NoError(t, err)
	require.Empty(t, tries)
	_, err = s.SetAccessEntry(ctx, seckill.AccessEntry{Sale: old.ID, Buyer: "b", List: "block", By: "root"}, false)
	require.NoError(t, err)
	require.Zero(t, trim(9), "whoever is about to open it again sets one before")
	s.advance(time.Hour + time.Second)
	trim(9)
	require.NotContains(t, entries(), old.ID)
}

func testTries(t *testing.T, s *shop) {
	ctx := t.Context()
	free, limited := s.open(10), s.open(10)
	limited, err := s.UpdateSale(ctx, limited.ID, func(v *seckill.Sale) error { v.TriesPerBuyer = 2; return nil })
	require.NoError(t, err)
	since := s.clock().Add(-time.Minute)
	tries := func() map[string]int {
		all, err := s.TriesSince(ctx, seckill.Tries{Changed: since}, 100)
		require.NoError(t, err)
		m := map[string]int{}
		for _, v := range all {
			require.Equal(t, limited.ID, v.Sale)
			m[v.Buyer] = v.Count
		}
		return m
	}
	cancel := func(sale seckill.SaleID, by string) string {
		order := s.place(sale, "li.wei", 1).ID
		_, err := s.TransitionBy(ctx, order, "", seckill.Cancelled, by, "")
		require.NoError(t, err)
		return order
	}
	cancel(free.ID, "li.wei")
	cancel(limited.ID, "root")
	require.Empty(t, tries(), "what the shop cancels is no try")
	one := cancel(limited.ID, "li.wei")
	require.Equal(t, map[string]int{"li.wei": 1}, tries(), "in the sale that asks for it")
	paid := s.place(limited.ID, "han.mei", 1)
	s.become(seckill.Paid, paid)
	s.become(seckill.Refunded, paid)
	require.Equal(t, map[string]int{"li.wei": 1}, tries(), "who has paid has not tried")
	s.place(limited.ID, "li.wei", 1)
	s.advance(24 * time.Hour)
	_, err = s.Expire(ctx, 100)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"li.wei": 2}, tries(), "an order that expired is one too")
	first, err := s.TriesSince(ctx, seckill.Tries{Changed: since}, 1)
	require.NoError(t, err)
	of, err := s.TriesOf(ctx, limited.ID, "li.wei")
	require.NoError(t, err)
	require.Equal(t, first[0], of)
	of, err = s.TriesOf(ctx, limited.ID, "han.mei")
	require.NoError(t, err)
	require.Zero(t, of)
	rest, err := s.TriesSince(ctx, first[0], 100)
	require.NoError(t, err)
	require.Empty(t, rest, "pages do not overlap")

	// An order that is paid for late was no try, and its buyer does not wait again for it.
	s.advance(time.Minute)
	require.NoError(t, s.write(ctx, "paid late", func(tx *tx) error { return tx.unnoteTry(ctx, one, limited.ID, "li.wei", s.clock()) }))
	late, err := s.TriesSince(ctx, first[0], 100)
	require.NoError(t, err)
	require.Len(t, late, 1, "the nodes see that there is something new")
	require.Equal(t, 1, late[0].Count)
	require.Equal(t, first[0].Last, late[0].Last, "the cool-down is from the end of the order, not from the payment")
}

func testInvites(t *testing.T, s *shop) {
	ctx := t.Context()
	join := func(name, invite string) error {
		return s.CreateAccount(ctx, seckill.Account{Name: name, Buyer: "b-" + name, Hash: "x", Invite: invite})
	}
	require.NoError(t, s.Invite(ctx, "one", 1, s.clock().Add(time.Hour)))
	require.NoError(t, s.Invite(ctx, "old", 9, s.clock().Add(time.Minute)))
	require.NoError(t, join("a", "one"))
	require.ErrorIs(t, join("b", "one"), seckill.ErrNotInvited, "it is used up")
	require.ErrorIs(t, join("b", "none"), seckill.ErrNotInvited)
	s.advance(2 * time.Minute)
	require.ErrorIs(t, join("b", "old"), seckill.ErrNotInvited)
	require.NoError(t, s.Invite(ctx, "two", 1, s.clock().Add(time.Hour)))
	require.ErrorIs(t, join("a", "two"), seckill.ErrNameTaken)
	require.NoError(t, join("b", "two"), "a name that is taken uses no invitation")
	_, err := s.Account(context.WithoutCancel(ctx), "b")
	require.NoError(t, err)
}
