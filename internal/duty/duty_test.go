package duty

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABackoffDoublesUpToItsMost(t *testing.T) {
	t.Parallel()
	b := Backoff{First: 10 * time.Millisecond, Most: 50 * time.Millisecond}
	var pauses []time.Duration
	for range 5 {
		pauses = append(pauses, b.Next())
	}
	const ms = time.Millisecond
	require.Equal(t, []time.Duration{10 * ms, 20 * ms, 40 * ms, 50 * ms, 50 * ms}, pauses)
	b.Reset()
	require.Equal(t, 10*ms, b.Next())
}

func TestASpreadBackoffIsBetweenHalfAndAllOfThePause(t *testing.T) {
	t.Parallel()
	b := Backoff{First: time.Second, Most: time.Second, Spread: true}
	seen := map[time.Duration]bool{}
	for range 100 {
		pause := b.Next()
		require.GreaterOrEqual(t, pause, time.Second/2)
		require.Less(t, pause, time.Second)
		seen[pause] = true
	}
	require.Greater(t, len(seen), 50, "nodes do not come back in step")
}

func TestARestEndsWithItsTimeASignalOrTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		Rest(t.Context(), time.Minute)
		require.Equal(t, time.Minute, time.Since(began))

		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		Rest(ctx, time.Minute)
		require.Equal(t, time.Second, time.Since(began))

		began = time.Now()
		wake := NewSignal()
		wake.Send()
		wake.Send() // adds nothing
		RestOr(t.Context(), time.Minute, wake)
		require.Zero(t, time.Since(began), "a signal that came before is not lost")
		RestOr(t.Context(), time.Minute, wake)
		require.Equal(t, time.Minute, time.Since(began), "and counts once")
	})
}

func TestTheSameComplaintIsNewOnceAndAgainAfterASuccess(t *testing.T) {
	t.Parallel()
	var c Complaint
	a, b := errors.New("a"), errors.New("b")
	require.True(t, c.New(a))
	require.False(t, c.New(a))
	require.True(t, c.New(b))
	require.False(t, c.New(nil))
	require.True(t, c.New(b))
}

// book keeps leases in memory.
type book struct {
	mu    sync.Mutex
	owner string
	ends  time.Time
	asked int
	away  error
}

func (b *book) Lease(_ context.Context, _, owner string, ttl time.Duration) (bool, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.away != nil {
		return false, "", b.away
	}
	if now := time.Now(); b.owner == owner || now.After(b.ends) {
		b.owner, b.ends = owner, now.Add(ttl)
	}
	return b.owner == owner, b.owner, nil
}

func (b *book) Unlease(_ context.Context, _, owner string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner == owner {
		b.owner, b.ends = "", time.Time{}
	}
	return nil
}

func lease(b *book, owner string) *Lease {
	return &Lease{Leases: b, Name: "x", Owner: owner, Life: 15 * time.Second, Standby: 2 * time.Second}
}

func TestALeaseIsHeldByOneAndTakenOverWhenItsHolderIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		one, two := lease(b, "one"), lease(b, "two")
		hold := func(l *Lease, want bool) {
			t.Helper()
			held, err := l.Held(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, held)
		}
		hold(one, true)
		hold(two, false)
		require.Equal(t, "one", two.Holder())
		asked := b.asked
		for range 100 {
			hold(one, true)
			hold(two, false)
		}
		require.Equal(t, asked, b.asked, "nobody asks at every turn")
		for range 60 { // it is renewed as long as its holder goes on
			time.Sleep(time.Second)
			hold(one, true)
			hold(two, false)
		}
		time.Sleep(16 * time.Second) // its holder was killed
		hold(two, true)
		hold(one, false)
		two.Release(t.Context())
		time.Sleep(3 * time.Second)
		hold(one, true)
	})
}

func TestALeaseIsNotHeldForSureWhenItCannotBeRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		l := lease(b, "one")
		held, err := l.Held(t.Context())
		require.NoError(t, err)
		require.True(t, held)
		until := l.Until()
		b.away = errors.New("scripted")
		time.Sleep(6 * time.Second)
		_, err = l.Held(t.Context())
		require.ErrorIs(t, err, b.away)
		require.Equal(t, until, l.Until(), "it is ours until then")
	})
}

func TestAKeptLeaseIsRenewedUntilItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		l := lease(b, "one")
		held, err := l.Held(t.Context())
		require.NoError(t, err)
		require.True(t, held)
		end := l.Keep(t.Context())
		time.Sleep(time.Hour)
		other := lease(b, "two")
		held, err = other.Held(t.Context())
		require.NoError(t, err)
		require.False(t, held, "an hour later it is held still")
		end()
		time.Sleep(3 * time.Second)
		held, err = other.Held(t.Context())
		require.NoError(t, err)
		require.True(t, held, "it is given back")
	})
}

// Who counts failures elsewhere pauses as long as who counts them here.
func TestABackoffKnowsThePauseAfterSoManyFailures(t *testing.T) {
	t.Parallel()
	for _, b := range []Backoff{{First: time.Second, Most: time.Minute}, {First: 7, Most: 5 * time.Hour}, {First: time.Minute, Most: time.Minute}} {
		counting := b
		for failed := range 70 {
			require.Equal(t, counting.Next(), b.After(failed), failed)
		}
	}
	spread := Backoff{First: time.Second, Most: time.Minute, Spread: true}
	require.GreaterOrEqual(t, spread.After(2), 2*time.Second)
	require.Less(t, spread.After(2), 4*time.Second)
	require.LessOrEqual(t, spread.After(1_000_000), time.Minute)
}
