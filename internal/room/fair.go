package room

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Fair is a room in front of which some may wait. They come from several sides,
// and each side has its turn: a thousand who come from one address do not keep out
// the one who comes from another.
type Fair struct {
	full    error
	places  int
	waiting int           // most who wait
	wait    time.Duration // longest wait
	busy    prometheus.Counter

	mu     sync.Mutex
	taken  int
	queued int
	sides  map[string][]chan struct{} // who waits; a closed channel is a place
	turns  []string                   // the sides in the order of their turns
}

// NewFair makes a room with places, in front of which at most waiting wait, each at
// most for wait.
func NewFair(name string, places, waiting int, wait time.Duration, m *Metrics) *Fair {
	f := m.Lane(name, places, waiting, wait)
	count := func(n *int) func() float64 {
		return func() float64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			return float64(*n)
		}
	}
	m.gauge("seckill_room_places", placesHelp, name, func() float64 { return float64(places) })
	m.gauge("seckill_room_taken", takenHelp, name, count(&f.taken))
	m.gauge("seckill_room_waiting", "Who waits for a place in a room.", name, count(&f.queued))
	return f
}

// NewLane makes a room without a name and without metrics, of which there may be thousands.
func NewLane(places, waiting int, wait time.Duration) *Fair {
	return &Fair{full: full("lane"), places: places, waiting: waiting, wait: wait, busy: unseen, sides: map[string][]chan struct{}{}}
}

// Lane is NewLane for one of many rooms of one name, which count together who was turned
// away.
func (m *Metrics) Lane(name string, places, waiting int, wait time.Duration) *Fair {
	f := NewLane(places, waiting, wait)
	f.full, f.busy = full(name), m.busy.WithLabelValues(name)
	return f
}

// unseen counts for nobody.
var unseen = prometheus.NewCounter(prometheus.CounterOpts{Name: "unseen"})

// Crowded reports whether somebody waits for a place.
func (f *Fair) Crowded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued > 0
}

// Full reports whether somebody from that side would be turned away at once.
func (f *Fair) Full(side string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued >= f.waiting && len(f.longest()) <= len(f.sides[side])+1
}

// Enter takes a place for somebody from a side, such as a client's address. leave
// gives the place back, after a rest in which nobody has it. The error wraps
// seckill.ErrBusy, or is that of the context.
func (f *Fair) Enter(ctx context.Context, side string) (leave func(rest time.Duration), err error) {
	f.mu.Lock()
	if f.taken < f.places && f.queued == 0 {
		f.taken++
		f.mu.Unlock()
		return f.leave, nil
	}
	if f.queued >= f.waiting {
		// The queue is full: turn away the last of the side that waits in the greatest number;
		// if that is this side, turn away the caller.
		longest := f.longest()
		if len(longest) <= len(f.sides[side])+1 {
			f.mu.Unlock()
			f.busy.Inc()
			return nil, f.full
		}
		last := longest[len(longest)-1]
		f.remove(last)
		last <- struct{}{} // "turned away": the channel has room for one word
	}
	turn := make(chan struct{}, 1)
	if len(f.sides[side]) == 0 {
		f.turns = append(f.turns, side)
	}
	f.sides[side] = append(f.sides[side], turn)
	f.queued++
	f.mu.Unlock()

	late := time.NewTimer(f.wait)
	defer late.Stop()
	select {
	case _, turnedAway := <-turn:
		if turnedAway {
			f.busy.Inc()
			return nil, f.full
		}
		return f.leave, nil
	case <-late.C:
		err = f.full
	case <-ctx.Done():
		err = ctx.Err()
	}
	f.mu.Lock()
	if !f.remove(turn) {
		// The answer came between the timeout and the lock. A closed channel is a place, which
		// must be given on; a value means turned away.
		if _, turnedAway := <-turn; !turnedAway {
			f.mu.Unlock()
			f.leave(0)
			f.mu.Lock()
		}
	}
	f.mu.Unlock()
	f.busy.Inc()
	return nil, err
}

// leave gives a place to the next one.
func (f *Fair) leave(rest time.Duration) {
	if rest > 0 {
		time.AfterFunc(rest, func() { f.leave(0) })
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queued == 0 {
		f.taken--
		return
	}
	side := f.turns[0]
	next := f.sides[side][0]
	f.remove(next)
	if len(f.sides[side]) > 0 { // the next one of this side has to wait until the other sides have had their turns
		f.turns = append(slices.DeleteFunc(f.turns, func(s string) bool { return s == side }), side)
	}
	close(next)
}

// longest is the side with the most who wait.
func (f *Fair) longest() (most []chan struct{}) {
	for _, all := range f.sides {
		if len(all) > len(most) {
			most = all
		}
	}
	return most
}

// remove takes who waits out of the queue; false if it is not there any more.
func (f *Fair) remove(turn chan struct{}) bool {
	for side, all := range f.sides {
		i := slices.Index(all, turn)
		if i < 0 {
			continue
		}
		f.queued--
		if f.sides[side] = slices.Delete(all, i, i+1); len(f.sides[side]) == 0 {
			delete(f.sides, side)
			f.turns = slices.DeleteFunc(f.turns, func(s string) bool { return s == side })
		}
		return true
	}
	return false
}
