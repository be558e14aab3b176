package account

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// withSessions is newAccounts with a verifier that knows whose sessions have ended.
func withSessions(t *testing.T, obliged ...string) (*Accounts, *accounts, *Verifier) {
	t.Helper()
	a, store, _ := newAccounts(t, obliged...)
	v, err := NewVerifier(Checks{Sessions: NewSessions(store, time.Hour, slog.New(slog.DiscardHandler))}, theSecret)
	require.NoError(t, err)
	return a, store, v
}

// Each of these ends the sessions of one account and of no other, also where the token is
// remembered; who logs in after it has a good one.
func TestWhatEndsSessions(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(a *Accounts, who Who) error{
		"another password": func(a *Accounts, who Who) error {
			_, err := a.SetPassword(t.Context(), "li.wei", goodPassword, false)
			return err
		},
		"a block": func(a *Accounts, who Who) error {
			_, err := a.SetBlocked(t.Context(), "li.wei", true)
			if _, in := a.Login(t.Context(), "li.wei", goodPassword, ""); in != ErrBlocked {
				return fmt.Errorf("a blocked account logs in: %v", in)
			}
			if err == nil {
				_, err = a.SetBlocked(t.Context(), "LI.WEI", false)
			}
			return err
		},
		"another role":     func(a *Accounts, who Who) error { _, err := a.SetRole(t.Context(), "li.wei", ""); return err },
		"an administrator": func(a *Accounts, who Who) error { _, err := a.EndSessions(t.Context(), "li.wei"); return err },
		"oneself":          func(a *Accounts, who Who) error { return a.EndOwnSessions(t.Context(), who) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a, _, v := withSessions(t)
			s, err := a.Register(t.Context(), "li.wei", goodPassword, seckill.RoleOperator)
			require.NoError(t, err)
			other, err := a.Register(t.Context(), "other", goodPassword, "")
			require.NoError(t, err)
			who, err := v.Verify(s.Token, true)
			require.NoError(t, err)
			require.NoError(t, end(a, who))
			require.NoError(t, v.sessions.Look(t.Context()))
			for _, remember := range []bool{false, true} {
				_, err = v.Verify(s.Token, remember)
				require.ErrorIs(t, err, ErrEnded)
				require.ErrorIs(t, err, ErrToken)
			}
			again, err := a.Login(t.Context(), "li.wei", goodPassword, "")
			require.NoError(t, err)
			for _, good := range []Session{again, other} {
				_, err = v.Verify(good.Token, true)
				require.NoError(t, err)
			}
			minted, err := Mint(theSecret, "a script", seckill.RoleAdmin, time.Minute)
			require.NoError(t, err)
			_, err = v.Verify(minted, false)
			require.NoError(t, err, "a token without an account has no generation")
		})
	}
}

// slow is a store that answers with what was so when it was asked, after a while.
type slow struct {
	EndedStore
	takes time.Duration
}

func (s slow) Ended(ctx context.Context, after int64, most int) ([]seckill.EndedSessions, error) {
	all, err := s.EndedStore.Ended(ctx, after, most)
	if rested := duty.Rest(ctx, s.takes); rested != nil {
		return nil, rested
	}
	return all, err
}

// A node that was not told itself has an end of sessions in force within a second, whenever
// it comes between two looks, at a store that takes 400 ms to answer. The clock is not the
// machine's, so this is what the pauses allow.
func TestAnEndIsInForceWithinASecond(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, store, _ := newAccounts(t)
				sessions := NewSessions(slow{store, takes}, time.Hour, slog.New(slog.DiscardHandler))
				v, err := NewVerifier(Checks{Sessions: sessions}, theSecret)
				require.NoError(t, err)
				ctx, stop := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { _ = sessions.Run(ctx); close(done) }()
				defer func() { stop(); <-done }()
				<-sessions.Loaded()
				for i := range 5 {
					name := fmt.Sprintf("boss %d", i)
					s, err := a.Register(t.Context(), name, goodPassword, seckill.RoleAdmin)
					require.NoError(t, err)
					_, err = v.Verify(s.Token, true)
					require.NoError(t, err)
					_ = duty.Rest(ctx, 137*time.Millisecond) // at other moments of the rhythm each time
					_, err = a.SetBlocked(t.Context(), name, true)
					require.NoError(t, err)
					began := time.Now()
					for err = nil; err == nil; _, err = v.Verify(s.Token, true) {
						_ = duty.Rest(ctx, 10*time.Millisecond)
					}
					require.ErrorIs(t, err, ErrEnded)
					require.LessOrEqual(t, time.Since(began), time.Second)
				}
			})
		})
	}
}

// Who deletes an account ends its sessions, and who takes the name gets none of them.
func TestADeletedAccountIsOut(t *testing.T) {
	t.Parallel()
	a, _, v := withSessions(t)
	s, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	old, err := v.Verify(s.Token, true)
	require.NoError(t, err)
	require.NoError(t, a.Delete(t.Context(), "li.wei"))
	require.NoError(t, v.sessions.Look(t.Context()))
	_, err = v.Verify(s.Token, true)
	require.ErrorIs(t, err, ErrEnded)
	fresh, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	_, err = v.Verify(fresh.Token, true)
	require.NoError(t, err)
	require.ErrorIs(t, a.EndOwnSessions(t.Context(), old), seckill.ErrNotFound, "the name is somebody else's")
}

// Whoever acts under their own account cannot close the door behind themselves.
func TestNobodyTakesTheirOwnRightsAway(t *testing.T) {
	t.Parallel()
	a, store, _ := withSessions(t)
	s, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	ctx := seckill.WithActor(t.Context(), seckill.Actor{Who: s.Buyer})
	_, err = a.SetRole(ctx, "root", seckill.RoleViewer)
	require.ErrorIs(t, err, seckill.ErrState)
	_, err = a.SetBlocked(ctx, "root", true)
	require.ErrorIs(t, err, seckill.ErrState)
	require.ErrorIs(t, a.Delete(ctx, "root"), seckill.ErrState)
	before := store.all["root"]
	for _, noFactor := range []bool{false, true} {
		_, err = a.SetPassword(ctx, "ROOT", "another "+goodPassword, noFactor)
		require.ErrorIs(t, err, seckill.ErrState, "without the old one")
	}
	require.Equal(t, before, store.all["root"])
	require.Equal(t, seckill.RoleAdmin, store.all["root"].Role)
	require.Zero(t, store.all["root"].Generation)
}

// The memory is bounded. What is forgotten does not make an ended session good again:
// older logins end instead.
func TestWhatIsForgottenStaysEnded(t *testing.T) {
	t.Parallel()
	a, store, v := withSessions(t)
	v.sessions.most = 100
	s, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	now := time.Now()
	add := func(buyer string, at time.Time) {
		store.ended = append(store.ended, seckill.EndedSessions{Buyer: buyer, Generation: 1, At: at, Version: int64(len(store.ended) + 1)})
	}
	add(s.Buyer, now)
	for i := range 250 {
		add(fmt.Sprint("crowd ", i), now.Add(time.Duration(i)*time.Second))
		require.NoError(t, v.sessions.Look(t.Context()))
		require.LessOrEqual(t, len(v.sessions.now.Load().accounts), 100)
	}
	require.NotContains(t, v.sessions.now.Load().accounts, s.Buyer)
	_, err = v.Verify(s.Token, false)
	require.ErrorIs(t, err, ErrEnded)
	minted, err := Mint(theSecret, "a script", "", time.Minute)
	require.NoError(t, err)
	_, err = v.Verify(minted, false)
	require.NoError(t, err, "a login has not made it")
	t.Log("what ended longer ago than a token lives is not remembered at all")
	old, most := NewSessions(store, time.Hour, slog.New(slog.DiscardHandler)), len(store.ended)
	for i := range store.ended {
		store.ended[i].At = now.Add(-2 * time.Hour)
	}
	require.NoError(t, old.Look(t.Context()))
	require.Empty(t, old.now.Load().accounts)
	require.EqualValues(t, most, old.version)
}

// codeOf is what an authenticator shows at a moment.
func codeOf(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	require.NoError(t, err)
	return code
}

func TestASecondFactor(t *testing.T) {
	t.Parallel()
	a, store, v := withSessions(t)
	s, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	who, err := v.Verify(s.Token, false)
	require.NoError(t, err)
	require.False(t, who.Factor)

	secret, url, err := a.NewFactor(t.Context(), who)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(url, "otpauth://totp/Seckill:root?"), url)
	require.Contains(t, url, secret)
	_, err = a.Login(t.Context(), "root", goodPassword, "")
	require.NoError(t, err, "it counts once it is confirmed")
	now := time.Now()
	for _, wrong := range []string{"", "000000", "12345", codeOf(t, secret, now.Add(time.Hour)), codeOf(t, secret, now.Add(-5*time.Minute))} {
		_, err = a.ConfirmFactor(t.Context(), who, wrong)
		require.ErrorIs(t, err, ErrFactor, wrong)
	}
	with, err := a.ConfirmFactor(t.Context(), who, codeOf(t, secret, now))
	require.NoError(t, err)
	who, err = v.Verify(with.Token, false)
	require.NoError(t, err)
	require.True(t, who.Factor)
	_, _, err = a.NewFactor(t.Context(), who)
	require.ErrorIs(t, err, seckill.ErrState, "nobody replaces one that is in force")

	whose, err := a.Login(t.Context(), "root", goodPassword, "")
	require.ErrorIs(t, err, ErrFactor)
	require.Empty(t, whose.Token)
	_, err = a.Login(t.Context(), "root", "wrong horse battery", codeOf(t, secret, now))
	require.ErrorIs(t, err, ErrLogin, "who does not know the password is not told that there is a second factor")
	_, err = a.Login(t.Context(), "root", goodPassword, codeOf(t, secret, now))
	require.ErrorIs(t, err, ErrFactor, "a code is good once, also for something else")
	next := codeOf(t, secret, now.Add(30*time.Second))
	in := make(chan error, 4)
	match, others := a.match, meet(t, int64(cap(in)))
	a.match = func(password, hash string) (bool, error) { others(); return match(password, hash) } // each has read the account before one uses the code
	for range cap(in) {
		go func() { _, err := a.Login(t.Context(), "root", goodPassword, next); in <- err }()
	}
	good := 0
	for range cap(in) {
		if <-in == nil {
			good++
		}
	}
	require.Equal(t, 1, good, "of many who show one code at once, one gets in")
	a.match = match

	store.all["root"] = withStep(store.all["root"], 0)
	require.NoError(t, a.RemoveFactor(t.Context(), who, codeOf(t, secret, time.Now())))
	_, err = a.Login(t.Context(), "root", goodPassword, "")
	require.NoError(t, err)
	require.ErrorIs(t, a.RemoveFactor(t.Context(), who, "123456"), seckill.ErrState)
}

func withStep(a seckill.Account, step int64) seckill.Account {
	a.Factor.Step = step
	return a
}

// Who is obliged to have a second factor has no role until it is set up, and can set it up
// with that session.
func TestAdminsCanBeObligedToHaveASecondFactor(t *testing.T) {
	t.Parallel()
	a, _, v := withSessions(t, seckill.RoleAdmin)
	s, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	require.Equal(t, FactorRequired, s.Factor)
	who, err := v.Verify(s.Token, false)
	require.NoError(t, err)
	require.Empty(t, who.Role)
	secret, _, err := a.NewFactor(t.Context(), who)
	require.NoError(t, err)
	s, err = a.ConfirmFactor(t.Context(), who, codeOf(t, secret, time.Now()))
	require.NoError(t, err)
	require.Empty(t, s.Factor)
	who, err = v.Verify(s.Token, false)
	require.NoError(t, err)
	require.Equal(t, seckill.RoleAdmin, who.Role)
	viewer, err := a.Register(t.Context(), "viewer", goodPassword, seckill.RoleViewer)
	require.NoError(t, err)
	require.Equal(t, seckill.RoleViewer, viewer.Role)
}

// A script's token belongs to no account, whatever its buyer is called.
func TestAScriptHasNoAccount(t *testing.T) {
	t.Parallel()
	a, _, v := withSessions(t)
	s, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	token, err := Mint(theSecret, s.Buyer, seckill.RoleAdmin, time.Minute)
	require.NoError(t, err)
	who, err := v.Verify(token, false)
	require.NoError(t, err)
	_, _, err = a.NewFactor(t.Context(), who)
	require.ErrorIs(t, err, seckill.ErrState)
	require.ErrorIs(t, a.EndOwnSessions(t.Context(), who), seckill.ErrState)
}

// hanging is a store that tells nothing until its caller leaves.
type hanging struct{ asked chan struct{} }

func (h hanging) Ended(ctx context.Context, _ int64, _ int) ([]seckill.EndedSessions, error) {
	h.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// While a look hangs nobody else waits for it longer than they want to.
func TestALookThatHangsKeepsNobody(t *testing.T) {
	t.Parallel()
	store := hanging{make(chan struct{})}
	s := NewSessions(store, time.Hour, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- s.Look(ctx) }()
	<-store.asked
	began := time.Now()
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	require.ErrorIs(t, s.Look(soon), context.DeadlineExceeded)
	require.Less(t, time.Since(began), endedTime/2)
	cancel()
	require.ErrorIs(t, <-over, context.Canceled)
}
