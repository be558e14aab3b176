package api

import (
	"sync"
	"time"

	"github.com/go-chi/httprate"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/room"
)

// Limits of logins.
const (
	pairPace    = 500 * time.Millisecond // of slowed tries, by name and address together
	namePace    = time.Second            // by name, from all addresses
	addressPace = 200 * time.Millisecond // by address, for all names
	nameFactor  = 10                     // as many tries by name from all addresses as this many addresses have

	loginWait = 750 * time.Millisecond // for all that one login waits for, the lane of a name aside
	laneWait  = 600 * time.Millisecond // longest wait in a slow lane
	nameWait  = 4 * time.Second        // in that of a name, in which each larger network has its turn
	nameQueue = 8                      // most who wait there: about nameWait/namePace of them have their turn
)

// limits of logins and registrations.
type limits struct {
	reading       reserved  // whose account is read before, in front of hashing
	hashing       reserved  // who has a password hashed
	registrations *failures // by address
	pairs         *failures // tries by name and address, right ones too
	failedPairs   *failures // wrong ones by name and address
	names         *failures // tries by name, from all addresses
	addresses     *failures // wrong ones by address
	codes         *failures // wrong codes of a second factor, and old passwords, by name or by buyer
	refusals      *failures // that are noted, by who was refused
	allRefusals   *failures // of buyers, and of people of the shop
	devices       devices
	lanes         lanes
	counting      *sync.Mutex // look, then count
}

func newLimits(c Config, rooms *room.Metrics) limits {
	return limits{
		reading:       reserved{room.NewFair("account_reads", accountReads, readsWaiting, loginWait, rooms), room.NewFair("known_account_reads", knownReads, knownWaiting, loginWait, rooms)},
		hashing:       reserved{room.NewFair("logins", c.Hashes, min(hashWaiting*c.Hashes, accountPlaces/4), hashWait, rooms), room.NewFair("known_logins", knownHashes, knownWaiting, hashWait, rooms)},
		registrations: newFailures(c.AddressTries), pairs: newFailures(c.LoginTries), failedPairs: newFailures(c.LoginTries), names: newFailures(nameFactor * c.LoginTries), addresses: newFailures(c.AddressTries),
		codes:    newFailures(c.LoginTries),
		refusals: newFailures(refusalsOfOne), allRefusals: newFailures(refusalsOfAll),
		devices: newDevices(c.DeviceSecrets), lanes: newLanes(rooms), counting: &sync.Mutex{},
	}
}

// pair is what tries from one place at one name count under: the folded name, and
// the device if it has logged in before, else the address.
func pair(name, address, device string) string {
	if folded, ok := seckill.FoldName(name); ok {
		name = folded
	}
	if device != "" {
		address = "device " + device
	}
	return name + "\n" + address
}

// lane returns the slow lane that a login has to take; nil if it need not.
func (l *limits) lane(name, address, device string) *lane {
	who := pair(name, address, device)
	switch everywhere := pair(name, "", ""); {
	case l.pairs.over(who):
		return l.lanes.of(who, device, pairPace, laneWait, int(laneWait/pairPace))
	case device != "":
		return nil // a browser that has logged in before is not slowed down by other people's tries
	case l.names.over(everywhere):
		return l.lanes.of(everywhere, "", namePace, nameWait, nameQueue)
	case l.addresses.over(address):
		return l.lanes.of(address, "", addressPace, laneWait, int(laneWait/addressPace))
	}
	return nil
}

// try counts a login, and reports whether it was within the limits.
func (l *limits) try(name, address, device string) bool {
	l.counting.Lock()
	defer l.counting.Unlock()
	within := l.lane(name, address, device) == nil
	l.pairs.count(pair(name, address, device))
	if device == "" {
		l.names.count(pair(name, "", ""))
	}
	return within
}

// failed counts a wrong password, and returns what to answer: that it was wrong, or, after too
// many, the same as to a try whose password was not looked at: whoever guesses does not learn
// which guesses were checked.
func (l *limits) failed(name, address, device string, slowed bool) error {
	who := pair(name, address, device)
	tooMany := slowed && (l.failedPairs.over(who) || !l.pairs.over(who))
	l.failedPairs.count(who)
	l.addresses.count(address)
	if tooMany {
		return errTooMany
	}
	return account.ErrLogin
}

// failures counts by key within a sliding minute.
type failures struct {
	*httprate.RateLimiter
	limit float64
}

const failureWindow = time.Minute

func newFailures(limit int) *failures {
	// With a counter that it is given the limiter counts full minutes of the
	// clock, as count does; with its own they would begin when it was made.
	counter := httprate.WithLimitCounter(httprate.NewLocalLimitCounter(failureWindow))
	return &failures{httprate.NewRateLimiter(limit, failureWindow, counter), float64(limit)}
}

// over reports whether one more would be too many.
func (f *failures) over(key string) bool {
	_, rate, err := f.Status(key)
	return err == nil && rate+1 > f.limit
}

func (f *failures) count(key string) {
	f.Counter().Increment(key, time.Now().UTC().Truncate(failureWindow))
}

// take is allow, and back takes what was counted away again.
func (f *failures) take(key string) (back func(), ok bool) {
	if !f.allow(key) {
		return nil, false
	}
	minute := time.Now().UTC().Truncate(failureWindow)
	return func() {
		if minute.Equal(time.Now().UTC().Truncate(failureWindow)) { // a counter of a minute that is over cannot be changed
			_ = f.Counter().IncrementBy(key, minute, -1)
		}
	}, true
}

// allow counts one if it is not too many.
func (f *failures) allow(key string) bool {
	if f.over(key) {
		return false
	}
	f.count(key)
	return true
}
