package api

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/settle"
)

// world is everything that a refused request must leave as it was: what the
// gate and the store say about every sale, and the buyers' orders.
type world struct {
	Cuts      map[seckill.SaleID]seckill.Cut
	Snapshots map[seckill.SaleID]seckill.Snapshot
	Orders    map[string][]seckill.Order
	Newcomer  bool // has an account

	commits int64 // SQLite's data_version: another one after each commit of anybody else
}

func (s *system) world() world {
	s.t.Helper()
	ctx := context.Background()
	w := world{Snapshots: map[seckill.SaleID]seckill.Snapshot{}, Orders: map[string][]seckill.Order{}, commits: s.version()}
	sales, err := s.store.Sales(ctx, 0, 1000)
	require.NoError(s.t, err)
	ids := make([]seckill.SaleID, len(sales))
	for i, v := range sales {
		ids[i] = v.ID
	}
	w.Cuts = s.cuts(ids)
	for _, id := range ids {
		w.Snapshots[id], err = s.store.Look(ctx, id, w.Cuts[id].Outbox)
		require.NoError(s.t, err)
	}
	for _, b := range s.buyer {
		w.Orders[b], err = s.store.Orders(ctx, b, "", 1000)
		require.NoError(s.t, err)
	}
	_, err = s.store.Account(ctx, newcomer)
	w.Newcomer = err == nil
	return w
}

func (s *system) version() (n int64) {
	s.t.Helper()
	require.NoError(s.t, s.commits.QueryRow("PRAGMA data_version").Scan(&n))
	return n
}

func (s *system) cuts(ids []seckill.SaleID) map[seckill.SaleID]seckill.Cut {
	s.t.Helper()
	cuts := map[seckill.SaleID]seckill.Cut{}
	for _, id := range ids {
		cut, err := s.gate.Cut(context.Background(), id)
		if !errors.Is(err, seckill.ErrUnavailable) { // closed until it is rebuilt
			require.NoError(s.t, err)
		}
		cuts[id] = cut
	}
	return cuts
}

// still demands that the world is as it was. Where nobody has written to the
// store it need not be read again, which is most of the time of these tests.
func (s *system) still(before world) {
	s.t.Helper()
	diff := cmp.Diff(before.Cuts, s.cuts(slices.Collect(maps.Keys(before.Cuts))))
	if s.version() != before.commits {
		diff = cmp.Diff(before, s.world(), cmpopts.IgnoreUnexported(world{}))
	}
	if diff != "" {
		s.t.Errorf("the world has changed (-before +after):\n%s", diff)
	}
}

func noMetrics() prometheus.Registerer { return prometheus.NewRegistry() }

// valve is a queue whose far end can be held shut, so that tickets stay queued.
type valve struct {
	settle.Queue
	mu   sync.Mutex
	shut chan struct{} // closed when it opens again; nil while it is open
}

func (v *valve) Receive(ctx context.Context, max int) ([]seckill.Ticket, func(bool) error, error) {
	tickets, done, err := v.Queue.Receive(ctx, max)
	v.mu.Lock()
	shut := v.shut
	v.mu.Unlock()
	if err == nil && shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			done(false)
			return nil, nil, ctx.Err()
		}
	}
	return tickets, done, err
}

// hold keeps tickets from being settled until the function it returns is called.
func (v *valve) hold() (release func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	shut := make(chan struct{})
	v.shut = shut
	return func() {
		v.mu.Lock()
		v.shut = nil
		v.mu.Unlock()
		close(shut)
	}
}

// log keeps what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
