package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"seckill"
	"seckill/internal/room"
)

const lanesMax = 10_000 // lanes that are remembered

// lanes are the slow lanes of those who have tried too often.
type lanes struct {
	mu    *sync.Mutex
	all   map[string]*lane
	rooms *room.Metrics
	// waiting has who waits in any of them, apart from known devices, of which each has a lane of
	// its own: whoever attacks many names must leave places of the room `accounts` to the others.
	waiting *room.Room
}

func newLanes(rooms *room.Metrics) lanes {
	return lanes{mu: &sync.Mutex{}, all: map[string]*lane{}, rooms: rooms, waiting: room.New("login_lanes", lanePlaces, rooms)}
}

// lane lets one after another through, at a pace, each larger network in its turn.
type lane struct {
	*room.Fair
	pace, wait time.Duration
	waiting    *room.Room // of all lanes; nil for that of a known device
}

func (l *lanes) of(key, device string, pace, wait time.Duration, waiting int) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.all[key]
	if !ok {
		if len(l.all) >= lanesMax {
			clear(l.all)
		}
		one = &lane{Fair: l.rooms.Lane("login_lanes", 1, waiting, wait), pace: pace, wait: wait}
		if device == "" {
			one.waiting = l.waiting
		}
		l.all[key] = one
	}
	return one
}

// turn waits for the next turn in the lane of somebody from that side. Where others are
// before it for longer than the lane's wait, or too many wait in all lanes, the error is
// errSlowed.
func (l *lane) turn(ctx context.Context, side string) error {
	if l.waiting != nil {
		if l.waiting.Enter() != nil {
			return errSlowed
		}
		defer l.waiting.Leave()
	}
	leave, err := l.Enter(ctx, side)
	if errors.Is(err, seckill.ErrBusy) {
		return errSlowed
	}
	if err == nil {
		leave(l.pace)
	}
	return err
}
