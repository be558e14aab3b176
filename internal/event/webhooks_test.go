package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

const hookSecret = "whsec_bm90IGEgc2VjcmV0IGF0IGFsbCwganVzdCBhIHRlc3Q="

// server is a receiver of webhooks: as it is at this moment, and what it has taken.
type server struct {
	t      testing.TB
	answer func(r *http.Request, since time.Duration) (int, error) // since its start

	mu        sync.Mutex
	born      time.Time
	asked     int
	now, most int // requests at once
	took      []string
	late      time.Duration // the longest that an event took
}

// ok takes whatever comes.
func ok(*http.Request, time.Duration) (int, error) { return http.StatusOK, nil }

// wait is a server's work: it ends with the request.
func wait(r *http.Request, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// endless is an answer whose body never ends.
type endless struct{ read *int }

func (e endless) Read(b []byte) (int, error) { *e.read += len(b); return len(b), nil }

func (s *server) serve(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked++
	s.now++
	s.most = max(s.most, s.now)
	since := time.Since(s.born)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	body, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	hook, err := webhooks.NewWebhook(hookSecret)
	require.NoError(s.t, err)
	if r.Header.Get("webhook-timestamp") != fmt.Sprint(time.Now().Unix()) {
		s.t.Error("a try is not signed anew")
	}
	code, err := s.answer(r, since)
	if err != nil {
		return nil, err
	}
	resp := &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{"Location": {"http://elsewhere/"}}, Body: io.NopCloser(strings.NewReader("")), Request: r}
	if code/100 == 2 {
		// The library goes by the wall clock; the bubble's is another.
		require.NoError(s.t, hook.VerifyIgnoringTimestamp(body, r.Header))
		s.mu.Lock()
		defer s.mu.Unlock()
		id := r.Header.Get("webhook-id")
		require.Contains(s.t, string(body), `"id":"`+id+`"`)
		if !slices.Contains(s.took, id) {
			at, _, _ := strings.Cut(strings.SplitN(string(body), `"at":"`, 2)[1], `"`)
			happened, err := time.Parse(time.RFC3339Nano, at)
			require.NoError(s.t, err)
			s.late = max(s.late, time.Since(happened))
		}
		s.took = append(s.took, id)
	}
	return resp, nil
}

// town is all servers, by host name.
type town map[string]*server

func (w town) RoundTrip(r *http.Request) (*http.Response, error) {
	s := w[r.URL.Host]
	if s == nil {
		return nil, errors.New("no such host")
	}
	return s.serve(r)
}

// shop is a store with a sale, and webhooks to a town.
type shop struct {
	*store.Store
	t    testing.TB
	sale seckill.Sale
	hook *Webhooks
	ids  []string // of the events that have happened
}

func newShop(t testing.TB, w town, log io.Writer) *shop {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.db")
	storetest.Make(t, file, store.Open)
	s, err := store.Open(t.Context(), "sqlite:"+file, store.Settings{HookTypes: seckill.EventTypes})
	require.NoError(t, err)
	require.NoError(t, s.Prepare(t.Context()))
	signer, err := webhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	var receivers []Receiver
	for _, name := range slices.Sorted(maps.Keys(w)) {
		w[name].t, w[name].born = t, time.Now()
		receivers = append(receivers, Receiver{Name: name, URL: "http://" + name + "/", Signer: signer})
	}
	v := &shop{Store: s, t: t, hook: NewWebhooks(receivers, s, slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry())}
	v.hook.transport = w
	now := time.Now()
	v.sale, err = s.CreateSale(t.Context(), seckill.Sale{Title: "a sale", Price: 100, Currency: "CNY", Total: 1000, LimitPerBuyer: 5, OpensAt: now, ClosesAt: now.Add(24 * time.Hour), HoldSeconds: 600})
	require.NoError(t, err)
	return v
}

// places makes n orders.
func (s *shop) places(n int) (orders []string) {
	s.t.Helper()
	var tickets []seckill.Ticket
	for range n {
		id := seckill.NewTicketID(time.Now())
		tickets = append(tickets, seckill.Ticket{ID: id, Sale: s.sale.ID, Buyer: "b" + id[9:], Quantity: 1, Seq: int64(len(s.ids) + len(tickets) + 1), At: time.Now()})
	}
	_, err := s.Settle(s.t.Context(), tickets)
	require.NoError(s.t, err)
	for _, v := range tickets {
		orders = append(orders, v.ID)
		s.ids = append(s.ids, v.ID+"-1")
	}
	return orders
}

func (s *shop) becomes(to seckill.OrderState, step string, orders ...string) {
	s.t.Helper()
	for _, id := range orders {
		_, err := s.TransitionBy(s.t.Context(), id, "", to, "administrator", "")
		require.NoError(s.t, err)
		s.ids = append(s.ids, id+step)
	}
}

// run delivers until the test ends it.
func (s *shop) run() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.hook.Run(ctx) }()
	return func() { cancel(); <-done }
}

// until lets time pass until a server has taken every event, and no more than that.
func (s *shop) until(most time.Duration, name string, v *server) {
	s.t.Helper()
	for began := time.Now(); time.Since(began) < most; time.Sleep(10 * time.Second) {
		v.mu.Lock()
		seen := map[string]bool{}
		for _, id := range v.took {
			seen[id] = true
		}
		v.mu.Unlock()
		if len(seen) == len(s.ids) {
			return
		}
	}
	s.t.Logf("%s has not taken every event within %v", name, most)
}

// all demands that a server has every event, those of an order in its order, and tells
// how many it got twice.
func (s *shop) all(name string, v *server) (twice int) {
	s.t.Helper()
	seen, last := map[string]bool{}, map[string]string{}
	for _, id := range v.took {
		if seen[id] {
			twice++
			continue
		}
		seen[id] = true
		order, _, _ := strings.Cut(id, "-")
		require.Greater(s.t, id, last[order], "%s: in the order of its states", name)
		last[order] = id
	}
	require.ElementsMatch(s.t, s.ids, slices.Collect(maps.Keys(seen)), "%s: nothing is lost", name)
	return twice
}

// Receivers are away for a minute, hang, answer 500 or send elsewhere: nothing is lost,
// the order of each order's events is kept, and nobody else waits for them.
func TestReceiversThatAreIllDelayNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const ill = time.Minute
		minute := func(f func(*http.Request) (int, error)) func(*http.Request, time.Duration) (int, error) {
			return func(r *http.Request, since time.Duration) (int, error) {
				if since < ill {
					return f(r)
				}
				return http.StatusOK, nil
			}
		}
		poison, lossy := "", atomic.Int64{}
		w := town{
			"good":     {answer: ok},
			"away":     {answer: minute(func(*http.Request) (int, error) { return 0, errors.New("connection refused") })},
			"broken":   {answer: minute(func(*http.Request) (int, error) { return 500, nil })},
			"forwards": {answer: minute(func(*http.Request) (int, error) { return 302, nil })},
			"hangs":    {answer: minute(func(r *http.Request) (int, error) { return 0, wait(r, time.Hour) })},
			"slow":     {answer: func(r *http.Request, _ time.Duration) (int, error) { return 200, wait(r, 5*time.Second) }},
			"lossy": {answer: func(*http.Request, time.Duration) (int, error) {
				return []int{500, 200, 429, 200, 200}[lossy.Add(1)%5], nil
			}},
			"choosy": {answer: func(r *http.Request, since time.Duration) (int, error) {
				if since < 5*ill && strings.HasPrefix(r.Header.Get("webhook-id"), poison) {
					return 500, nil
				}
				return 200, nil
			}},
			"elsewhere": {answer: func(*http.Request, time.Duration) (int, error) { return 503, nil }},
		}
		var log strings.Builder
		s := newShop(t, w, &log)
		defer s.Close()
		poison = s.places(1)[0]
		stop := s.run()
		defer stop()
		for range 12 {
			orders := s.places(5)
			time.Sleep(3 * time.Second)
			s.becomes(seckill.Paid, "-2", orders[:4]...)
			s.becomes(seckill.Cancelled, "-2", orders[4])
			time.Sleep(2 * time.Second)
			s.becomes(seckill.Refunded, "-3", orders[:2]...)
		}
		s.becomes(seckill.Paid, "-2", poison)
		s.until(15*time.Minute, "choosy", w["choosy"])
		time.Sleep(time.Minute)
		for _, name := range []string{"good", "away", "broken", "forwards", "hangs", "slow", "lossy", "choosy"} {
			v := w[name]
			v.mu.Lock()
			twice := s.all(name, v)
			require.LessOrEqual(t, v.most, hookTogether, name)
			t.Logf("%-8s took %d of %d, %d of them again, %d requests, at most %d at once, the last after %v", name, len(v.took)-twice, len(s.ids), twice, v.asked, v.most, v.late)
			v.mu.Unlock()
		}
		require.Less(t, w["good"].late, 2*hookLook, "nobody else is waited for")
		require.Less(t, w["away"].asked, len(s.ids)+20, "it is not stormed while it is away")
		require.Less(t, w["away"].late, ill+hookMost+5*time.Second, "and hears soon when it is back")
		require.Less(t, w["slow"].late, ill)
		require.Empty(t, w["elsewhere"].took, "it has taken none of what was sent to others")
		require.Equal(t, 2, strings.Count(log.String(), "receiver=away"), "an outage is one line, and its end another")
		require.NotContains(t, log.String(), "receiver=good")
	})
}

// One that answers 410 hears nothing more until a person wants it to, and loses nothing.
func TestAReceiverThatIsGoneIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := false
		w := town{"good": {answer: ok}, "gone": {answer: func(*http.Request, time.Duration) (int, error) {
			if back {
				return 200, nil
			}
			return http.StatusGone, nil
		}}}
		var log strings.Builder
		s := newShop(t, w, &log)
		defer s.Close()
		stop := s.run()
		defer stop()
		orders := s.places(1)
		time.Sleep(time.Minute)
		s.becomes(seckill.Paid, "-2", orders...)
		s.places(3)
		time.Sleep(60 * hookPause)
		w["gone"].mu.Lock()
		require.Equal(t, 1, w["gone"].asked)
		back = true
		w["gone"].mu.Unlock()
		require.Contains(t, log.String(), "answered 410")
		all, err := s.hook.Receivers(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 5, all[0].Waiting)
		require.NotNil(t, all[0].Stopped)
		_, err = s.hook.Replay(t.Context(), seckill.Replay{Receiver: "gone"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		s.all("gone", w["gone"])
		s.all("good", w["good"])
	})
}

// A receiver that was stopped for longer than an event is tried is told all of it when a
// person starts it again: it has days to come back, like any other.
func TestAReceiverThatWasStoppedForDaysIsNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Int64
		answer.Store(http.StatusGone)
		w := town{"gone": {answer: func(*http.Request, time.Duration) (int, error) { return int(answer.Load()), nil }}}
		s := newShop(t, w, io.Discard)
		defer s.Close()
		stop := s.run()
		s.becomes(seckill.Paid, "-2", s.places(3)...)
		time.Sleep(time.Minute)
		stop() // all of it goes on after a start, and nothing has to happen meanwhile
		time.Sleep(hookKeep + time.Hour)
		defer s.run()()
		time.Sleep(time.Minute)
		_, err := s.hook.Replay(t.Context(), seckill.Replay{Receiver: "gone"})
		require.NoError(t, err)
		answer.Store(http.StatusInternalServerError)
		time.Sleep(60 * hookPause)
		all, err := s.hook.Receivers(t.Context())
		require.NoError(t, err)
		require.Nil(t, all[0].Stopped)
		require.Zero(t, all[0].Failed)
		require.EqualValues(t, 6, all[0].Waiting)
		answer.Store(http.StatusOK)
		s.until(3*time.Hour, "gone", w["gone"])
		s.all("gone", w["gone"])
	})
}

// Whatever is left of a receiver that is configured no more is forgotten in the end.
func TestAReceiverThatIsTakenOutIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := town{"good": {answer: ok}, "out": {answer: func(*http.Request, time.Duration) (int, error) { return http.StatusGone, nil }}}
		var log strings.Builder
		s := newShop(t, w, &log)
		defer s.Close()
		stop := s.run()
		s.places(3)
		time.Sleep(time.Minute)
		stop()
		s.hook.receivers = s.hook.receivers[:1]
		stop = s.run()
		time.Sleep(2 * strayLook)
		stop()
		left := func() int64 {
			v, err := s.ReceiverState(t.Context(), "out")
			require.NoError(t, err)
			if v.Stopped != nil {
				v.Waiting += 100
			}
			return v.Waiting
		}
		require.EqualValues(t, 103, left(), "it may come back")
		time.Sleep(hookKeep)
		stop = s.run()
		time.Sleep(2 * strayLook)
		stop()
		require.Zero(t, left())
		require.Contains(t, log.String(), "receiver=out events=3")
		s.all("good", w["good"])
	})
}

// What a node had sent and not noted when it was killed, the next one sends again.
func TestAnotherNodeGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := town{"good": {answer: func(r *http.Request, _ time.Duration) (int, error) { return 200, wait(r, 10*time.Millisecond) }}}
		s := newShop(t, w, io.Discard)
		defer s.Close()
		orders := s.places(20)
		s.becomes(seckill.Paid, "-2", orders...)
		for range 40 {
			stop := s.run()
			time.Sleep(hookLook + 25*time.Millisecond)
			stop()
			require.Zero(t, w["good"].now)
		}
		s.all("good", w["good"])
	})
}

// The pauses of a delivery grow to an hour, no two are alike, and after days it is given up.
func TestADeliveryIsTriedForDays(t *testing.T) {
	t.Parallel()
	w := town{"broken": {t: t, answer: func(*http.Request, time.Duration) (int, error) { return 500, nil }}}
	signer, err := webhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	hooks := NewWebhooks(nil, nil, slog.New(slog.DiscardHandler), nil)
	hooks.transport = w
	h := newHook(hooks, &Receiver{Name: "broken", URL: "http://broken/?key=hush", Signer: signer})
	pauses := map[time.Duration]bool{}
	for tries := range 30 {
		v := h.try(t.Context(), seckill.Delivery{Event: "e", Tries: tries})
		whole := min(hookPause<<min(tries, 20), hookLongest)
		require.Equal(t, seckill.DeliveryWaiting, v.State)
		require.True(t, v.Pause >= whole/2 && v.Pause < whole, "%v of %v", v.Pause, whole)
		pauses[v.Pause] = true
	}
	require.Len(t, pauses, 30)
	require.Equal(t, seckill.DeliveryWaiting, h.try(t.Context(), seckill.Delivery{Event: "e", Tries: 200, Age: hookGiveUp - time.Minute}).State)
	v := h.try(t.Context(), seckill.Delivery{Event: "e", Tries: 200, Age: hookGiveUp + time.Minute})
	require.Equal(t, seckill.DeliveryFailed, v.State)
	require.Equal(t, "it answered 500 Internal Server Error", v.Error)
	h.to.URL = "http://nobody/?key=hush"
	require.NotContains(t, h.try(t.Context(), seckill.Delivery{Event: "e"}).Error, "hush")
}

// Whoever cannot prove by TLS that he is the receiver hears nothing.
func TestAWrongCertificateIsNotTold(t *testing.T) {
	t.Parallel()
	heard := false
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard = true }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	signer, err := webhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	h := newHook(NewWebhooks(nil, nil, slog.New(slog.DiscardHandler), nil), &Receiver{Name: "erp", URL: s.URL, Signer: signer})
	defer h.client.CloseIdleConnections()
	v := h.try(t.Context(), seckill.Delivery{Event: "e", Since: time.Now()})
	require.Equal(t, seckill.DeliveryWaiting, v.State)
	require.Contains(t, v.Error, "certificate")
	require.False(t, heard)
}

// Of an answer without end only its beginning is read.
func TestAnAnswerWithoutEndIsCut(t *testing.T) {
	t.Parallel()
	read := 0
	signer, err := webhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	hooks := NewWebhooks(nil, nil, slog.New(slog.DiscardHandler), nil)
	hooks.transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(endless{&read}), Request: r}, nil
	})
	h := newHook(hooks, &Receiver{Name: "chatty", URL: "http://chatty/", Signer: signer})
	require.Equal(t, seckill.DeliveryDelivered, h.try(t.Context(), seckill.Delivery{Event: "e"}).State)
	require.LessOrEqual(t, read, 2*hookAnswer)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
