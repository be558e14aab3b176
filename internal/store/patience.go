package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"seckill"
	"seckill/internal/room"
)

// People of the shop read with a part of the connections: sixteen slow searches would keep all
// buyers of a node from their orders. What takes long has half of that part: an audit keeps nobody
// from a list.
const (
	patientShare   = 4 // of so many connections that read one is theirs, and two where there are three or more
	patientWaiting = 64
	patientWait    = 15 * time.Second // or less, as long as the request may take
	longWait       = time.Minute      // the same for what takes long
)

// patience has their places.
type patience struct{ all, long *room.Fair }

func newPatience(connections int, m *room.Metrics) patience {
	places := min(max(2, connections/patientShare), max(1, connections-1))
	long := max(1, places/2)
	if m == nil {
		return patience{room.NewLane(places, patientWaiting, patientWait), room.NewLane(long, patientWaiting, longWait)}
	}
	return patience{room.NewFair("store_reads_of_people", places, patientWaiting, patientWait, m),
		room.NewFair("store_long_reads_of_people", long, patientWaiting, longWait, m)}
}

// enter takes a place, in each person's turn.
func (p patience) enter(ctx context.Context, of seckill.Patience) (leave func(), err error) {
	if !of.Long {
		one, err := p.all.Enter(ctx, of.Who)
		return func() { one(0) }, err
	}
	half, err := p.long.Enter(ctx, of.Who)
	if err != nil {
		return nil, err
	}
	one, err := p.all.Enter(ctx, of.Who)
	if err != nil {
		half(0)
		return nil, err
	}
	return func() { one(0); half(0) }, nil
}

// reading calls f, for people of the shop when one of their connections is free.
func (s *Store) reading(ctx context.Context, f func() error) error {
	return s.use(func() error {
		if p, patient := seckill.PatienceOf(ctx); patient {
			leave, err := s.patient.enter(ctx, p)
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("%w: others read: %w", seckill.ErrUnavailable, err)
			}
			if err != nil {
				return err
			}
			defer leave()
		}
		return f()
	})
}

// Collectors are the metrics of its connections.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.w, "write"), collectors.NewDBStatsCollector(s.r, "read")}
}
