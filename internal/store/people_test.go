package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
)

func raise(a *seckill.Account) error { a.Generation++; return nil }

// testEnded lets many accounts end their sessions at once, while a reader asks again and
// again for what is behind the last version that it has seen.
func testEnded(t *testing.T, s *shop) {
	ctx := t.Context()
	const writers, each = 6, 8
	for w := range writers {
		require.NoError(t, s.CreateAccount(ctx, seckill.Account{Name: fmt.Sprint("account ", w), Buyer: fmt.Sprint("b", w), Hash: "h"}))
	}
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for range each {
				if _, err := s.UpdateAccount(ctx, fmt.Sprint("ACCOUNT ", w), raise); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	seen, version := map[string]int64{}, int64(0)
	look := func() {
		for {
			page, err := s.Ended(ctx, version, 3)
			require.NoError(t, err)
			for _, e := range page {
				require.Greater(t, e.Version, version)
				require.Greater(t, e.Generation, seen[e.Buyer])
				require.Equal(t, s.clock().UTC(), e.At)
				seen[e.Buyer], version = e.Generation, e.Version
			}
			if len(page) == 0 {
				return
			}
		}
	}
	for running := true; running; {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		look()
	}
	for w := range writers {
		require.EqualValues(t, each, seen[fmt.Sprint("b", w)])
	}
	require.EqualValues(t, writers*each, version, "one version for each")
}

func testPeople(t *testing.T, s *shop) {
	ctx := t.Context()
	for i, name := range []string{"Ann", "bob", "annette", "Zoë"} {
		require.NoError(t, s.CreateAccount(ctx, seckill.Account{Name: name, Buyer: fmt.Sprint("b", i), Role: []string{seckill.RoleAdmin, "", "", seckill.RoleViewer}[i], Hash: "h"}))
	}
	names := func(f seckill.AccountFilter) (all []string) {
		for {
			page, err := s.Accounts(ctx, f)
			require.NoError(t, err)
			for _, a := range page {
				all = append(all, a.Name)
			}
			if len(page) < f.Max {
				return all
			}
			f.After = page[len(page)-1].Name
		}
	}
	require.Equal(t, []string{"Ann", "Zoë"}, names(seckill.AccountFilter{Max: 1}))
	require.Equal(t, []string{"Ann", "annette"}, names(seckill.AccountFilter{Begins: "AN", Max: 1}))
	require.Equal(t, []string{"Zoë"}, names(seckill.AccountFilter{Begins: "zoe\u0308", Max: 10}))

	factor := seckill.Factor{Secret: "JBSWY3DPEHPK3PXP", Confirmed: true, Step: 58_000_000}
	a, err := s.UpdateAccount(ctx, "BOB", func(a *seckill.Account) error {
		a.Role, a.Hash, a.Blocked, a.Factor = seckill.RoleSupport, "another", true, factor
		return nil
	})
	require.NoError(t, err)
	got, err := s.Account(ctx, "bob")
	require.NoError(t, err)
	require.Equal(t, a, got)
	require.Equal(t, factor, got.Factor)
	require.True(t, got.Blocked)
	ended, err := s.Ended(ctx, 0, 10)
	require.NoError(t, err)
	require.Empty(t, ended, "nobody's sessions were ended")
	no := errors.New("no")
	_, err = s.UpdateAccount(ctx, "bob", func(a *seckill.Account) error { a.Role, a.Generation = "", 7; return no })
	require.ErrorIs(t, err, no)
	_, err = s.UpdateAccount(ctx, "nobody", raise)
	require.ErrorIs(t, err, seckill.ErrNotFound)
	again, err := s.Account(ctx, "bob")
	require.NoError(t, err)
	require.Equal(t, got, again)

	require.ErrorIs(t, s.DeleteAccount(ctx, "bob", func(seckill.Account) error { return no }), no)
	require.NoError(t, s.DeleteAccount(ctx, "Bob", func(a seckill.Account) error { require.Equal(t, "bob", a.Name); return nil }))
	_, err = s.Account(ctx, "bob")
	require.ErrorIs(t, err, seckill.ErrNotFound)
	ended, err = s.Ended(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, ended, 1)
	require.Equal(t, "b1", ended[0].Buyer)
	require.EqualValues(t, 1, ended[0].Generation)
	require.NoError(t, s.CreateAccount(ctx, seckill.Account{Name: "BOB", Buyer: "b9", Hash: "h"}), "the name is free again")
	fresh, err := s.Account(ctx, "bob")
	require.NoError(t, err)
	require.Zero(t, fresh.Factor)
	require.False(t, fresh.Blocked)
}

func testLog(t *testing.T, s *shop) {
	actor := seckill.Actor{Who: "王 wu", Role: seckill.RoleOperator, From: "2001:db8::1", RequestID: "r1", What: "sales.pause", Intent: `POST /x {"a":"` + strings.Repeat("字", 2000) + `"}`}
	as := seckill.WithActor(t.Context(), actor)
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	entries := func(f seckill.LogFilter) []seckill.LogEntry {
		if f.Max == 0 {
			f.Max = 100
		}
		all, err := s.LogEntries(t.Context(), f)
		require.NoError(t, err)
		return all
	}
	require.Empty(t, entries(seckill.LogFilter{}), "nobody of the shop has done anything")
	_, err := s.UpdateSale(as, sale.ID, func(v *seckill.Sale) error { v.Paused = true; return nil })
	require.NoError(t, err)
	no := errors.New("no")
	_, err = s.UpdateSale(as, sale.ID, func(v *seckill.Sale) error { v.Paused = false; return no })
	require.ErrorIs(t, err, no)
	all := entries(seckill.LogFilter{})
	require.Len(t, all, 1, "what failed is not in force")
	e := all[0]
	require.Equal(t, []any{sale.ID, "sales.pause", seckill.LogDone, "王 wu", seckill.RoleOperator, "2001:db8::1", "r1"}, []any{e.Sale, e.What, e.Result, e.Who, e.Role, e.From, e.RequestID})
	require.Len(t, []rune(e.Intent), maxIntent, "what is too long is cut")
	require.Equal(t, s.clock().UTC(), e.At)
	require.JSONEq(t, `{"paused":false,"version":1}`, string(e.Before))
	require.JSONEq(t, `{"paused":true,"version":2}`, string(e.After))

	// Growth is done with its beginning, shrinking when the gate has decided.
	for _, m := range []seckill.Move{{ID: "more", Delta: 5}, {ID: "less", Delta: -3}, {ID: "too much", Delta: -300}} {
		m.Sale = sale.ID
		begun, err := s.BeginMove(as, m)
		require.NoError(t, err)
		result := entries(seckill.LogFilter{What: "sales.stock"})[0]
		require.Equal(t, m.ID, result.Subject)
		require.Equal(t, map[bool]string{true: seckill.LogDone, false: seckill.LogBegun}[m.Delta > 0], result.Result)
		_, err = s.FinishMove(t.Context(), begun, m.ID != "too much") // by the keeper of whatever node
		require.NoError(t, err)
		_, err = s.BeginMove(as, m)
		require.NoError(t, err)
		result = entries(seckill.LogFilter{What: "sales.stock"})[0]
		if m.ID == "too much" { // it was forgotten, so it has begun again
			require.Equal(t, "stock", entries(seckill.LogFilter{What: "sales.stock"})[1].Result)
			continue
		}
		require.Equal(t, seckill.LogDone, result.Result)
		require.Equal(t, m.ID, result.Subject)
	}

	_, err = s.TransitionBy(as, v.ID, "", seckill.Paid, "x", "")
	require.NoError(t, err)
	before := len(entries(seckill.LogFilter{}))
	for range 2 {
		_, err = s.Refund(as, seckill.RefundRequest{Order: v.ID, Restock: true, By: "王 wu"})
		require.NoError(t, err)
	}
	require.Len(t, entries(seckill.LogFilter{}), before+1, "a repeat changes nothing")
	e = entries(seckill.LogFilter{What: "orders"})[0]
	require.Equal(t, v.ID, e.Subject)
	require.Contains(t, string(e.Before), `"state":"paid"`)
	require.Contains(t, string(e.After), `"state":"refunded"`)

	require.NoError(t, s.Log(t.Context(), seckill.LogEntry{At: time.UnixMilli(5), Actor: seckill.Actor{Who: "b", What: "login"}, Subject: "bob", Result: "forbidden"},
		seckill.LogEntry{Actor: seckill.Actor{Who: "c", What: seckill.LogToken}, Subject: "f00d", Result: seckill.LogDone}, seckill.LogEntry{Actor: seckill.Actor{Who: "c", What: seckill.LogToken}, Subject: "f00d", Result: seckill.LogDone}))
	require.Len(t, entries(seckill.LogFilter{What: seckill.LogToken}), 1)
	login := entries(seckill.LogFilter{Who: "b"})
	require.Len(t, login, 1)
	require.Equal(t, time.UnixMilli(5).UTC(), login[0].At)
	require.Empty(t, login[0].Before)
	require.Empty(t, entries(seckill.LogFilter{What: "sale"}), "not a word's beginning")
	for _, e := range entries(seckill.LogFilter{Sale: sale.ID, What: "sales"}) {
		require.True(t, strings.HasPrefix(e.What, "sales."), e.What)
	}
	var paged []seckill.LogEntry
	for f := (seckill.LogFilter{Max: 2}); ; f.Before = paged[len(paged)-1].ID {
		page := entries(f)
		paged = append(paged, page...)
		if len(page) < 2 {
			break
		}
	}
	require.Equal(t, entries(seckill.LogFilter{}), paged)

	// What is too old goes, the oldest first and so many at a time; what is not stays.
	ids, newest := len(paged), paged[0].ID
	s.advance(time.Hour)
	require.NoError(t, s.Log(t.Context(), seckill.LogEntry{At: s.clock(), Actor: seckill.Actor{Who: "d", What: "login"}, Result: seckill.LogDone}))
	for left := ids; left > 0; {
		removed, err := s.TrimLog(t.Context(), time.Hour-time.Second, 3)
		require.NoError(t, err)
		require.Equal(t, min(3, left), removed)
		left -= removed
		require.Len(t, entries(seckill.LogFilter{}), left+1)
	}
	for range 2 {
		removed, err := s.TrimLog(t.Context(), time.Hour-time.Second, 3)
		require.NoError(t, err)
		require.Zero(t, removed)
	}
	rest := entries(seckill.LogFilter{})
	require.Len(t, rest, 1)
	require.Equal(t, "d", rest[0].Who)
	require.Greater(t, rest[0].ID, newest)
}

// A database that has come further gets the tables whose numbers were given out before
// and whose files came later.
func TestNumbersInBetweenAreMigrated(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "seckill.db")
	s, err := Open(t.Context(), url, Settings{})
	require.NoError(t, err)
	for _, q := range []string{"DROP TABLE admin_log", "DELETE FROM goose_db_version WHERE version_id = 31"} {
		_, err = s.w.ExecContext(t.Context(), q)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), url, Settings{})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.LogEntries(t.Context(), seckill.LogFilter{Max: 1})
	require.NoError(t, err)
}
