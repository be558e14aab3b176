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
}

// lane lets one after another through, at a pace, each larger network in its turn.
type lane struct {
	*room.Fair
	pace, wait time.Duration
}

func (l *lanes) of(key string, pace, wait time.Duration, waiting int) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.all[key]
	if !ok {
		if len(l.all) >= lanesMax {
			clear(l.all)
		}
		one = &lane{l.rooms.Lane("login_lanes", 1, waiting, wait), pace, wait}
		l.all[key] = one
	}
	return one
}

// turn waits for the next turn in the lane of somebody from that side. Where others are
// before it for longer than the lane's wait the error is errSlowed.
func (l *lane) turn(ctx context.Context, side string) error {
	leave, err := l.Enter(ctx, side)
	if errors.Is(err, seckill.ErrBusy) {
		return errSlowed
	}
	if err == nil {
		leave(l.pace)
	}
	return err
}
