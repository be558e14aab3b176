package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// letters are three dead letters, one of them without a seal.
type letters struct{ replayed []string }

var parked = []seckill.DeadLetter{{ID: "one", Reason: "refused", Says: "poison", Sealed: true}, {ID: "two", Reason: "rejected"}, {ID: "three", Reason: "refused", Sealed: true}}

func (l *letters) DeadLetters(context.Context) ([]seckill.DeadLetter, int, int, error) {
	return parked, 4, 0, nil
}

func (l *letters) Replay(_ context.Context, most int, wanted func(seckill.DeadLetter) bool) (n int, err error) {
	for _, p := range parked {
		if p.Sealed && wanted(p) && (most == 0 || n < most) {
			l.replayed = append(l.replayed, p.ID)
			n++
		}
	}
	return n, nil
}

func TestDeadLettersAreShownAndReplayed(t *testing.T) {
	t.Parallel()
	l := &letters{}
	s := newSystem(t, func(c *Config) { c.Letters = l })
	var v struct {
		Items   []seckill.DeadLetter
		Waiting int
	}
	s.admin("GET", "/api/admin/dead-letters", "").is(200).into(&v)
	require.Len(t, v.Items, 3)
	require.Equal(t, 4, v.Waiting)
	s.admin("POST", "/api/admin/dead-letters/replay", `{"ids":["three"]}`).is(200)
	s.admin("POST", "/api/admin/dead-letters/replay", `{"count":1}`).is(200)
	s.admin("POST", "/api/admin/dead-letters/replay", `{"all":true}`).is(200)
	require.Equal(t, []string{"three", "one", "one", "three"}, l.replayed)
	s.admin("POST", "/api/admin/dead-letters/replay", `{"all":true,"count":1}`).problem(422, "invalid_field")
	s.admin("POST", "/api/admin/dead-letters/replay", `{}`).problem(422, "invalid_field")
	none := newSystem(t, func(c *Config) { c.Letters = nil })
	none.admin("GET", "/api/admin/dead-letters", "").problem(409, "state")
	none.admin("GET", "/api/admin/engines", "").is(200)
}

func TestOneFieldFindsOrders(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	session, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	bought := s.bought(session.Buyer, s.open.ID, 2)
	for q, want := range map[string]string{strings.ToLower(s.order): s.order, s.order: s.order, ownerName: s.order, takenName: bought, strings.ToUpper(takenName): bought, session.Buyer: bought, "nobody": ""} {
		var v list[anyOrder]
		s.admin("GET", "/api/admin/orders?q="+q, "").is(200).into(&v)
		if want == "" {
			require.Empty(t, v.Items, q)
			continue
		}
		require.Len(t, v.Items, 1, q)
		require.Equal(t, want, v.Items[0].ID, q)
	}
	viewer := call{method: "GET", path: "/api/admin/orders?q=" + ownerName, token: token(t, "sam", seckill.RoleViewer)}
	s.do(viewer).problem(403, "forbidden")

	c := call{method: "GET", path: "/api/admin/orders?sale=" + s.open.ID.String(), token: token(t, "sam", seckill.RoleSupport), header: []string{"Accept", "text/csv"}}
	lines := strings.Split(strings.TrimSpace(string(s.do(c).is(200).body)), "\n")
	require.Len(t, lines, 3)
	require.True(t, strings.HasPrefix(lines[1], bought+","), lines[1])
	require.Equal(t, "'=1+1", plain("=1+1"))
}

// slowOrders are many pages of orders, each of which takes as long as the store likes.
type slowOrders struct {
	Money
	left *int
}

func (m slowOrders) AllOrders(ctx context.Context, f seckill.OrderFilter) ([]seckill.Order, error) {
	if err := duty.Rest(ctx, adminBound/3); err != nil {
		return nil, err
	}
	n := min(f.Max, *m.left)
	*m.left -= n
	return slices.Repeat([]seckill.Order{{ID: seckill.NewTicketID(time.Now())}}, n), nil
}

// A download of a large sale takes longer than a request of an administrator may: the bound
// is that of each page.
func TestALargeDownloadIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		left := 4*csvPage + 1
		s := newSystem(t, func(c *Config) { c.Money = slowOrders{c.Money, &left} })
		c := call{method: "GET", path: "/api/admin/orders", token: token(t, "sam", seckill.RoleSupport), header: []string{"Accept", "text/csv"}}
		began := time.Now()
		require.Equal(t, 4*csvPage+2, strings.Count(string(s.do(c).is(200).body), "\n"))
		require.Greater(t, time.Since(began), adminBound)
	})
}
