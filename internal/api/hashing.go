package api

import (
	"context"
	"runtime"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"seckill/internal/room"
)

// Limits of hashing. A password takes a core for some 30 ms, so who waits longer
// than hashWait had better come again.
const (
	hashWait    = 450 * time.Millisecond
	hashWaiting = 64 // at most, for each place, and a quarter of accountPlaces for all of them

	// A crowd that logs in must not be a crowd at the store.
	accountReads = 16
	readsWaiting = 128

	// Places beside those, for browsers that have logged in with the name before: however many
	// networks a crowd comes from, it does not keep them out.
	knownHashes  = 1
	knownReads   = 4
	knownWaiting = 64 // in front of each of the two
)

// reserved is a room with another one beside it that only known devices enter.
type reserved struct{ all, known *room.Fair }

// of is the room for a login from that side, and from that device if it has logged in with
// the name before: it takes the other room where it would wait in this one.
func (r reserved) of(side, device string) *room.Fair {
	if device != "" && r.all.Crowded() && !r.known.Full(side) {
		return r.known
	}
	return r.all
}

// hashesByCores is how many passwords are hashed at once where nobody says: half
// of the cores, for purchases have the others.
func hashesByCores() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// While buyers come in numbers, hashing passwords gets a small share of the cores:
// a place rests several times as long as the hash took. A hash runs for 10 ms at a
// time before the scheduler takes it off its core, a purchase for microseconds, so
// without a rest one hash would take more than all purchases.
const (
	rushPerCore = 200 // purchases per second and core that make a rush
	restFactor  = 6
	restMost    = 500 * time.Millisecond // a machine that is slow for a moment must not close logins for longer
)

// hash has a password hashed by work, and gives its place back, after its rest, however
// that ends.
func (a *API) hash(leave func(rest time.Duration), work func()) {
	began, answered := time.Now(), a.metrics.buyAnswers()
	defer func() {
		took := time.Since(began)
		if a.metrics.buyAnswers()-answered < rushPerCore*float64(runtime.GOMAXPROCS(0))*took.Seconds()+1 {
			leave(0)
		} else {
			leave(min(restFactor*took, restMost))
		}
	}()
	work()
}

// read has an account read at the store in a place of its own, in turn by side, which is
// given back by done, at the latest when the password is hashed.
func (a *API) read(ctx context.Context, side, device string, until time.Time) (done func(), err error) {
	leave, err := enterUntil(ctx, a.limits.reading.of(side, device), side, until)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { leave(0) }), nil
}

// enterUntil waits for a place until then, at most as long as the room lets wait.
func enterUntil(ctx context.Context, place *room.Fair, side string, until time.Time) (leave func(rest time.Duration), err error) {
	waits, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if leave, err = place.Enter(waits, side); err != nil && ctx.Err() == nil && waits.Err() != nil {
		err = errHashing
	}
	return leave, err
}

// hashes is where the password of a request is hashed: account.Accounts.In.
func (a *API) hashes(r *request) func(work func()) error {
	return func(work func()) error {
		leave, err := a.limits.hashing.all.Enter(r.Context(), side(a.client(r.Request)))
		if err == nil {
			a.hash(leave, work)
		}
		return err
	}
}

// buyAnswers is how many purchases were answered so far, with whatever verdict.
func (m *metrics) buyAnswers() (n float64) {
	for _, c := range append(m.verdicts[:len(m.verdicts):len(m.verdicts)], m.over) {
		var v dto.Metric
		if c.Write(&v) == nil {
			n += v.GetCounter().GetValue()
		}
	}
	return n
}
