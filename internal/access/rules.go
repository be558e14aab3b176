package access

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"seckill"
	"seckill/internal/duty"
)

// Limits of what a node knows by heart.
const (
	lookPause  = 250 * time.Millisecond // between looks at the versions: a change is in force on every node within a second
	lookTime   = 5 * time.Second        // for one look
	learnPause = 25 * time.Millisecond  // between looks because of unknown sales
	listTime   = time.Minute            // for the lists of who may buy
	keepRules  = time.Hour              // the least that a sale's rules are kept after it has closed: the gate may sell by a clock that is behind
	pageSize   = 10_000                 // entries and tries read at once
)

// Store is what the package needs of the store.
type Store interface {
	// AccessState MUST read the versions and the newest sale at one moment.
	AccessState(ctx context.Context) (versions map[string]int64, newest seckill.SaleID, err error)
	// AccessRules MUST return the rules of every sale that is not retired, or has not been
	// closed for so long, by the store's clock: a sale that is missing is sold without any.
	AccessRules(ctx context.Context, closed time.Duration) (map[seckill.SaleID]seckill.Access, error)
	AccessEntries(ctx context.Context, after seckill.AccessEntry, max int) ([]seckill.AccessEntry, error)
	Eligible(ctx context.Context, sale seckill.SaleID, f func(buyer string)) error
	TriesSince(ctx context.Context, from seckill.Tries, max int) ([]seckill.Tries, error)
	// TriesOf MUST return what TriesSince would of one buyer, or none.
	TriesOf(ctx context.Context, sale seckill.SaleID, buyer string) (seckill.Tries, error)
	// Now MUST be the clock of Tries. It is asked on the path of a purchase.
	Now() time.Time
}

// ErrUnread is a sale of which this node does not know whether it asks for anything. It
// is not sold here: who brings a node up without its store must not open every sale.
var ErrUnread = fmt.Errorf("access: this node has not read what the sale asks of its buyers: %w", seckill.ErrUnavailable)

// rules are the sales' rules, the lists and the tries, as this node knows them. They
// are copies: the store has the truth, and its versions say when to read it again.
type rules struct {
	now    atomicKnown
	wake   duty.Signal // something may have changed
	seed   maphash.Seed
	loaded chan struct{} // closed once they have been read
	once   sync.Once

	looking *semaphore.Weighted // one look at a time; a lock that obeys a context
	seen    map[string]int64
	read    time.Time    // up to which the tries are read
	looked  atomic.Int64 // when that was done last, in nanoseconds since 1970; 0: Run has not begun

	learning *semaphore.Weighted // one look because of an unknown sale at a time
	learnt   time.Time           // when the last of them ended

	listing *semaphore.Weighted // one reading of lists at a time
	longer  duty.Signal         // the lists may have changed
	lists   atomic.Pointer[map[seckill.SaleID]list]

	mu    sync.Mutex
	tries map[triesKey]tries
}

// list is who may buy in a sale.
type list struct {
	version int64
	buyers  []uint64 // hashes, in order
}

// atomicKnown never loads nil.
type atomicKnown struct{ p atomic.Pointer[known] }

var nothing = &known{}

func (a *atomicKnown) Load() *known {
	if k := a.p.Load(); k != nil {
		return k
	}
	return nothing
}

// known is one version of the rules. It is never changed.
type known struct {
	newest  seckill.SaleID // sales that are newer are not known
	sales   map[seckill.SaleID]seckill.Access
	entries *entries                 // nil: there are none
	lists   map[seckill.SaleID]int64 // the versions of the lists that the sales ask for
}

// Run reads the rules whenever they change, until ctx is done.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	g.rules.looked.CompareAndSwap(0, time.Now().UnixNano())
	// Lists of buyers are long. They are read beside the rest, which is in force within a
	// second whatever a list takes.
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { g.readLists(ctx) })
	var complaint duty.Complaint
	for {
		try, cancel := context.WithTimeout(ctx, lookTime)
		err := g.lookAtRules(try)
		cancel()
		if ctx.Err() == nil && complaint.New(err) {
			g.Log.Warn("access: the rules of the sales and the lists cannot be read; those read last stay in force", "error", err)
		}
		g.rules.longer.Send()
		select {
		case <-tick.C:
		case <-g.rules.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// readLists reads the lists of who may buy whenever they may have changed, until ctx is done.
func (g *Guard) readLists(ctx context.Context) {
	var complaint duty.Complaint
	for {
		select {
		case <-g.rules.longer:
		case <-ctx.Done():
			return
		}
		try, cancel := context.WithTimeout(ctx, listTime)
		err := g.lookAtLists(try)
		cancel()
		if ctx.Err() == nil && complaint.New(err) {
			g.Log.Warn("access: the lists of who may buy cannot be read; those read last stay in force", "error", err)
		}
	}
}

// Wake makes Run look at once: something may have changed.
func (g *Guard) Wake() { g.rules.wake.Send() }

// Loaded is closed once the rules have been read for the first time. Until then no sale
// is sold here.
func (g *Guard) Loaded() <-chan struct{} { return g.rules.loaded }

// Age is how long ago this node last heard whether the rules have changed; 0 before Run.
func (g *Guard) Age() time.Duration {
	if at := g.rules.looked.Load(); at != 0 {
		return time.Since(time.Unix(0, at))
	}
	return 0
}

// Ruled puts what the store has about a sale in force: on this node at once, and where
// others share the store, a fresh sale waits until they must have looked. It returns no
// error: when the store is away this node keeps the rules that it has, and Run asks again
// until it gets the new ones. Lists of buyers may be long, so Run reads them: a sale must
// be paused while it does.
func (g *Guard) Ruled(ctx context.Context, fresh, only bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := g.LookAtRules(ctx); err != nil {
		g.Wake()
	}
	if fresh && !only {
		wait := time.NewTimer(3 * lookPause)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
}

// LookAtRules reads what has changed since the last look, and lets Run read the lists of who
// may buy.
func (g *Guard) LookAtRules(ctx context.Context) error {
	err := g.lookAtRules(ctx)
	g.rules.longer.Send()
	return err
}

// Look reads what has changed since the last look, and waits for the lists of who may buy.
func (g *Guard) Look(ctx context.Context) error {
	if err := g.lookAtRules(ctx); err != nil {
		return err
	}
	return g.lookAtLists(ctx)
}

// Learn looks at once, because somebody asks for a sale that this node has not heard of:
// one that was made a moment ago. Whatever is asked for, that is one look in learnPause,
// and nobody waits longer than lookPause, also while a look of Run hangs.
func (g *Guard) Learn(ctx context.Context) {
	r := &g.rules
	ctx, cancel := context.WithTimeout(ctx, lookPause)
	defer cancel()
	if r.learning.Acquire(ctx, 1) != nil {
		return
	}
	defer r.learning.Release(1)
	if time.Since(r.learnt) < learnPause {
		return
	}
	if err := g.lookAtRules(ctx); err != nil {
		g.Wake() // Run tells of it
	}
	r.learnt = time.Now() // who has waited meanwhile does not look again
}

// lookAtRules reads all but the lists of who may buy.
func (g *Guard) lookAtRules(ctx context.Context) error {
	r := &g.rules
	if err := r.looking.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.looking.Release(1)
	versions, newest, err := g.Store.AccessState(ctx)
	if err != nil {
		return err
	}
	next := *r.now.Load()
	changed := func(name string) bool { return r.seen == nil || versions[name] != r.seen[name] }
	if changed("rules") {
		if next.sales, err = g.Store.AccessRules(ctx, keepRules); err != nil {
			return err
		}
	}
	if changed("entries") {
		if next.entries, err = g.readEntries(ctx); err != nil {
			return err
		}
	}
	if r.seen == nil || newest != next.newest || !maps.Equal(versions, r.seen) {
		next.newest, next.lists = newest, map[seckill.SaleID]int64{}
		for id, rule := range next.sales {
			if rule.Eligible == seckill.EligibleList {
				next.lists[id] = versions["eligible:"+id.String()]
			}
			// What was left unpaid in a sale that did not count it has been passed over.
			if before := r.now.Load(); id <= before.newest && rule.CountsTries() && !before.sales[id].CountsTries() {
				r.read = time.Time{}
			}
		}
		r.now.p.Store(&next)
	}
	r.seen = versions
	if err := g.readTries(ctx, next.sales); err != nil {
		return err
	}
	r.looked.Store(time.Now().UnixNano())
	r.once.Do(func() { close(r.loaded) })
	return nil
}

// lookAtLists reads the lists of who may buy that this node has not, or of another
// version. One that is being read again stays in force.
func (g *Guard) lookAtLists(ctx context.Context) error {
	r := &g.rules
	wanted := r.now.Load().lists
	if same(wanted, *r.lists.Load()) {
		return nil
	}
	if err := r.listing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.listing.Release(1)
	have := *r.lists.Load()
	next := map[seckill.SaleID]list{}
	for id, version := range wanted {
		l, ok := have[id]
		if !ok || l.version != version {
			l = list{version: version}
			if err := g.Store.Eligible(ctx, id, func(b string) { l.buyers = append(l.buyers, maphash.String(r.seed, b)) }); err != nil {
				return err
			}
			slices.Sort(l.buyers)
		}
		next[id] = l
	}
	r.lists.Store(&next)
	return nil
}

// same reports whether the lists are those that are wanted.
func same(wanted map[seckill.SaleID]int64, have map[seckill.SaleID]list) bool {
	return maps.EqualFunc(wanted, have, func(version int64, l list) bool { return version == l.version })
}

// listed reports whether a buyer is on the list of who may buy in the sale. The error is
// ErrUnread.
func (r *rules) listed(sale seckill.SaleID, buyer string) (bool, error) {
	l, known := (*r.lists.Load())[sale]
	if !known {
		if version, asked := r.now.Load().lists[sale]; asked && version == 0 {
			return false, nil // nobody has ever sent one: there is nothing to read
		}
		return false, ErrUnread
	}
	_, found := slices.BinarySearch(l.buyers, maphash.String(r.seed, buyer))
	return found, nil
}

// standing is what the lists say about somebody.
type standing uint8

const (
	unlisted standing = iota
	blocked
	trusted // the network is allowed: how many come from it says nothing
	allowed // the buyer is
)

// entries are the block list and the allow list.
type entries struct {
	buyers   map[buyerKey]standing
	networks map[networkKey]standing
	lengths  []int // of the prefixes in networks, the longest first
}

type buyerKey struct {
	sale  seckill.SaleID
	buyer string
}

type networkKey struct {
	sale    seckill.SaleID
	network netip.Prefix
}

func (g *Guard) readEntries(ctx context.Context) (*entries, error) {
	var e *entries
	for after := (seckill.AccessEntry{}); ; {
		page, err := g.Store.AccessEntries(ctx, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, v := range page {
			if e == nil {
				e = &entries{buyers: map[buyerKey]standing{}, networks: map[networkKey]standing{}}
			}
			s := blocked
			switch {
			case v.List == seckill.ListAllow && v.Network != "":
				s = trusted
			case v.List == seckill.ListAllow:
				s = allowed
			}
			if v.Network == "" {
				e.buyers[buyerKey{v.Sale, v.Buyer}] = s
			} else if p, err := netip.ParsePrefix(v.Network); err == nil {
				e.networks[networkKey{v.Sale, p}] = s
				if !slices.Contains(e.lengths, p.Bits()) {
					e.lengths = append(e.lengths, p.Bits())
				}
			}
		}
		if len(page) < pageSize {
			if e != nil {
				slices.Sort(e.lengths)
				slices.Reverse(e.lengths)
			}
			return e, nil
		}
		after = page[len(page)-1]
	}
}

// standing says what the lists hold about a buyer. What names the buyer counts before
// what names a network, the sale before all sales, and the smaller network before the
// larger one.
func (e *entries) standing(sale seckill.SaleID, buyer string, address func() netip.Addr) standing {
	if e == nil {
		return unlisted
	}
	for _, id := range [...]seckill.SaleID{sale, 0} {
		if s := e.buyers[buyerKey{id, buyer}]; s != unlisted {
			return s
		}
	}
	if len(e.lengths) == 0 {
		return unlisted
	}
	a := address().Unmap().WithZone("")
	for _, id := range [...]seckill.SaleID{sale, 0} {
		for _, bits := range e.lengths {
			if p, err := a.Prefix(bits); err == nil {
				if s := e.networks[networkKey{id, p}]; s != unlisted {
					return s
				}
			}
		}
	}
	return unlisted
}

// ParseNetwork reads a network in CIDR form, or an address, and returns it as it is
// kept: without host bits.
func ParseNetwork(s string) (string, error) {
	bad := &seckill.FieldError{Field: "network", Must: "must be a network such as 203.0.113.0/24 or 2001:db8:1::/64, or an address"}
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return "", bad
		}
		return Network(a).String(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() || p.Bits() < 8 {
		return "", bad
	}
	return p.Masked().String(), nil
}
