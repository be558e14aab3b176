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
// buyers of a node from their orders.
const (
	patientShare   = 4 // of so many connections that read one is theirs
	patientWaiting = 64
	patientWait    = 15 * time.Second // or less, as long as the request may take
)

// patientRoom has their places.
func patientRoom(connections int, m *room.Metrics) *room.Fair {
	places := max(1, connections/patientShare)
	if m == nil {
		return room.NewLane(places, patientWaiting, patientWait)
	}
	return room.NewFair("store_reads_of_people", places, patientWaiting, patientWait, m)
}

// reading calls f, for people of the shop when one of their connections is free.
func (s *Store) reading(ctx context.Context, f func() error) error {
	return s.use(func() error {
		if seckill.Patient(ctx) {
			leave, err := s.patient.Enter(ctx, "")
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("%w: others read: %w", seckill.ErrUnavailable, err)
			}
			if err != nil {
				return err
			}
			defer leave(0)
		}
		return f()
	})
}

// Collectors are the metrics of its connections.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.w, "write"), collectors.NewDBStatsCollector(s.r, "read")}
}
