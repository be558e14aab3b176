// Package room bounds what is scarce, beside the stages that use it: each kind of
// work has a room with a name and a number of places, and cannot use the places of
// another kind. Who finds a room full is told "busy" at once (seckill.ErrBusy), or
// after a bounded wait.
package room

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
)

// Metrics are those of all rooms of a node.
type Metrics struct {
	registry prometheus.Registerer
	busy     *prometheus.CounterVec
}

// NewMetrics registers what rooms count, once for all stages of a node that have rooms.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_room_busy_total", Help: "Who was turned away because a room was full, by room."}, []string{"room"})}
	var there prometheus.AlreadyRegisteredError
	if err := r.Register(m.busy); errors.As(err, &there) {
		m.busy = there.ExistingCollector.(*prometheus.CounterVec)
	} else if err != nil {
		panic(err)
	}
	return m
}

// gauge shows a number of a room.
func (m *Metrics) gauge(name, help, room string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"room": room}}, value))
}

const (
	placesHelp = "Places of a room: so much of one kind of work is done at once."
	takenHelp  = "Places of a room that are taken."
)

// Room has places, and nobody waits for one.
type Room struct {
	full   error
	places int64
	taken  atomic.Int64
	busy   prometheus.Counter
}

// New makes a room of that name with places.
func New(name string, places int, m *Metrics) *Room {
	r := &Room{full: full(name), places: int64(places), busy: m.busy.WithLabelValues(name)}
	m.gauge("seckill_room_places", placesHelp, name, func() float64 { return float64(places) })
	m.gauge("seckill_room_taken", takenHelp, name, func() float64 { return float64(r.taken.Load()) })
	return r
}

// full is the error of a room without a place.
func full(name string) error { return fmt.Errorf("the room %q is full: %w", name, seckill.ErrBusy) }

// Enter takes a place, which Leave gives back; the error wraps seckill.ErrBusy.
func (r *Room) Enter() error {
	if r.taken.Add(1) > r.places {
		r.taken.Add(-1)
		r.busy.Inc()
		return r.full
	}
	return nil
}

// Leave gives a place back.
func (r *Room) Leave() { r.taken.Add(-1) }
