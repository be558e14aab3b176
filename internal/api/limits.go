package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/httprate"
	dto "github.com/prometheus/client_model/go"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/room"
)

// Limits of logins. A password takes a core for some 30 ms, so who waits longer
// than hashWait had better come again.
const (
	hashWait    = 700 * time.Millisecond
	hashWaiting = 64 // at most, for each place

	// A crowd that logs in must not be a crowd at the store.
	accountReads = 16
	readsWaiting = 128

	pairPace    = 500 * time.Millisecond // of slowed tries, by name and address together
	namePace    = time.Second            // by name, from all addresses
	addressPace = 200 * time.Millisecond // by address, for all names
	nameFactor  = 10                     // as many tries by name from all addresses as this many addresses have

	loginWait = 900 * time.Millisecond // for all that one login waits for, the lane of a name aside
	laneWait  = 600 * time.Millisecond // longest wait in a slow lane
	nameWait  = 4 * time.Second        // in that of a name, in which each larger network has its turn
	nameQueue = 64
	lanesMax  = 10_000 // lanes that are remembered

	deviceLife = 180 * 24 * time.Hour
)

// limits of logins and registrations.
type limits struct {
	reading       *room.Fair // whose account is read before, in front of hashing
	hashing       *room.Fair // who has a password hashed
	registrations *failures  // by address
	pairs         *failures  // tries by name and address, right ones too
	failedPairs   *failures  // wrong ones by name and address
	names         *failures  // tries by name, from all addresses
	addresses     *failures  // wrong ones by address
	codes         *failures  // wrong codes of a second factor, and old passwords, by name or by buyer
	refusals      *failures  // that are noted, by who was refused
	allRefusals   *failures  // of buyers, and of people of the shop
	devices       devices
	lanes         lanes
	counting      *sync.Mutex // look, then count
}

func newLimits(c Config, rooms *room.Metrics) limits {
	return limits{
		reading:       room.NewFair("account_reads", accountReads, readsWaiting, loginWait, rooms),
		hashing:       room.NewFair("logins", c.Hashes, hashWaiting*c.Hashes, hashWait, rooms),
		registrations: newFailures(c.AddressTries), pairs: newFailures(c.LoginTries), failedPairs: newFailures(c.LoginTries), names: newFailures(nameFactor * c.LoginTries), addresses: newFailures(c.AddressTries),
		codes:    newFailures(c.LoginTries),
		refusals: newFailures(refusalsOfOne), allRefusals: newFailures(refusalsOfAll),
		devices: newDevices(c.DeviceSecrets), lanes: lanes{mu: &sync.Mutex{}, all: map[string]*lane{}}, counting: &sync.Mutex{},
	}
}

// hashesByCores is how many passwords are hashed at once where nobody says: half
// of the cores, for purchases have the others.
func hashesByCores() int { return max(1, runtime.GOMAXPROCS(0)/2) }

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
		return l.lanes.of(who, pairPace, laneWait, int(laneWait/pairPace))
	case device != "":
		return nil // a browser that has logged in before is not slowed down by other people's tries
	case l.names.over(everywhere):
		return l.lanes.of(everywhere, namePace, nameWait, nameQueue)
	case l.addresses.over(address):
		return l.lanes.of(address, addressPace, laneWait, int(laneWait/addressPace))
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

// lanes are the slow lanes of those who have tried too often.
type lanes struct {
	mu  *sync.Mutex
	all map[string]*lane
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
		one = &lane{room.NewLane(1, waiting, wait), pace, wait}
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

// allow counts one if it is not too many.
func (f *failures) allow(key string) bool {
	if f.over(key) {
		return false
	}
	f.count(key)
	return true
}

// deviceCookie says that a browser has logged in with a name before.
const deviceCookie = "seckill_device"

// devices makes and checks these cookies. A stolen one lets its thief try
// passwords at a pace of its own, and nothing else.
type devices struct{ keys [][]byte }

func newDevices(secrets [][]byte) devices {
	var d devices
	for _, s := range secrets {
		if len(s) > 0 {
			mac := hmac.New(sha256.New, s)
			mac.Write([]byte("seckill device cookie"))
			d.keys = append(d.keys, mac.Sum(nil))
		}
	}
	return d
}

// sign is the MAC of a device's claim: that it logged in with the name, until when
// that counts, and a number of its own.
func sign(key []byte, name, until, id string) string {
	folded, _ := seckill.FoldName(name)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\n%s", until, id, folded)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// knows returns the number of the device that sends the request, if it has logged
// in with this name before.
func (d devices) knows(r *http.Request, name string) (id string) {
	c, err := r.Cookie(deviceCookie)
	if err != nil {
		return ""
	}
	parts := strings.Split(c.Value, ".")
	if len(parts) != 3 {
		return ""
	}
	if until, err := strconv.ParseInt(parts[0], 10, 64); err != nil || time.Now().Unix() > until {
		return ""
	}
	for _, key := range d.keys {
		if hmac.Equal([]byte(parts[2]), []byte(sign(key, name, parts[0], parts[1]))) {
			return parts[1]
		}
	}
	return ""
}

// remember gives the browser that has logged in its device cookie.
func (a *API) remember(w http.ResponseWriter, r *http.Request, name string) {
	if len(a.limits.devices.keys) == 0 {
		return
	}
	until, id := strconv.FormatInt(time.Now().Add(deviceLife).Unix(), 10), strconv.FormatUint(rand.Uint64(), 36)
	http.SetCookie(w, &http.Cookie{Name: deviceCookie, Value: until + "." + id + "." + sign(a.limits.devices.keys[0], name, until, id), Path: "/api/login",
		MaxAge: int(deviceLife / time.Second), HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.secure(r)})
}

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

// read has an account read at the store in a place of its own, in turn by network, which is
// given back by done, at the latest when the password is hashed.
func (a *API) read(ctx context.Context, address string, until time.Time) (done func(), err error) {
	leave, err := enterUntil(ctx, a.limits.reading, address, until)
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
		leave, err := a.limits.hashing.Enter(r.Context(), network(a.client(r.Request)))
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
