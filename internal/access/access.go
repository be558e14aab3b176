// Package access stands before the gate: who may ask for a ticket, and what asking
// costs. The gate knows nothing of it.
//
// What the buy route checks is checked in this node's memory, without a call to
// another machine (limits.go, pass.go, rules.go). What costs a call happens when a
// buyer fetches a pass, shortly before the opening (challenge.go, score.go).
//
//	limits.go     so many requests a second for each buyer and each network
//	pass.go       a signed permission to ask, bound to buyer, sale and time
//	challenge.go  what a pass costs: a formula, a proof of work, or both
//	picture.go    the formula as a picture, its alternative as sound
//	score.go      what makes a challenge dearer
//	rules.go      the sales' rules and the lists, as this node knows them
//	tries.go      the orders that buyers left unpaid, the same
package access

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/room"
)

// Settings are the limits that an operator sets. Rates are requests a second.
type Settings struct {
	BuyerRate    int `koanf:"buyer_rate" help:"requests a second of one buyer to buy, result, wait, challenge, pass, pay and cancel, on one node; beyond it 429"`
	BuyerBurst   int `koanf:"buyer_burst" help:"requests that one buyer may send at once before buyer_rate counts"`
	NetworkRate  int `koanf:"network_rate" help:"challenges and passes a second for one network (an IPv4 address, a /64 of IPv6), on one node; beyond it 429"`
	NetworkBurst int `koanf:"network_burst" help:"challenges and passes that one network may ask for at once before network_rate counts"`
	Remembered   int `koanf:"remembered" help:"buyers, and as many networks, whose requests a node remembers, at 76 bytes for a buyer and a network together; beyond it those that asked least are forgotten"`

	PassLife  time.Duration `koanf:"pass_life" help:"how long a pass holds, from the opening of the sale when it is fetched before it"`
	PassEarly time.Duration `koanf:"pass_early" help:"how long before the opening passes and challenges are given"`

	ChallengeLife time.Duration `koanf:"challenge_life" help:"how long a challenge can be solved"`
	Work          int           `koanf:"work" help:"hashes that the cheapest proof of work takes on average"`
	WorkMost      int           `koanf:"work_most" help:"hashes that the dearest one takes on average"`
	WorkBusy      int           `koanf:"work_busy" help:"buyers a second who fetch their first challenge on one node at which work costs twice as much; three times at most"`
	NetworkBuyers int           `koanf:"network_buyers" help:"buyers of one network who fetch challenges or make accounts within an hour before work costs more there, eight times at most"`

	RegistrationChallenge string `koanf:"registration_challenge" help:"what a new account costs: none, formula, work or both"`
}

// Defaults are wide: they stop a flood, and no person. One buyer cannot take more than
// about a hundredth of what a node answers.
func Defaults() Settings {
	return Settings{
		BuyerRate: 500, BuyerBurst: 5_000, NetworkRate: 100, NetworkBurst: 2_000, Remembered: 1 << 18,
		PassLife: 10 * time.Minute, PassEarly: 15 * time.Minute,
		ChallengeLife: 5 * time.Minute, Work: 200_000, WorkMost: 50_000_000, WorkBusy: 500, NetworkBuyers: 8,
		RegistrationChallenge: string(seckill.ChallengeNone),
	}
}

// Check says which setting is out of its range.
func (s Settings) Check() error {
	var errs []error
	number := func(key string, v, least, most int) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("access.%s: must be %d to %d", key, least, most))
		}
	}
	span := func(key string, v, least, most time.Duration) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("access.%s: must be %v to %v", key, least, most))
		}
	}
	number("buyer_rate", s.BuyerRate, 1, 1_000_000)
	number("buyer_burst", s.BuyerBurst, 1, 1_000_000)
	number("network_rate", s.NetworkRate, 1, 1_000_000)
	number("network_burst", s.NetworkBurst, 1, 1_000_000)
	number("remembered", s.Remembered, 64, 1<<26)
	span("pass_life", s.PassLife, 10*time.Second, 24*time.Hour)
	span("pass_early", s.PassEarly, 0, 24*time.Hour)
	span("challenge_life", s.ChallengeLife, 30*time.Second, time.Hour)
	number("work", s.Work, 1, 1<<30)
	number("work_most", s.WorkMost, s.Work, 1<<30)
	number("work_busy", s.WorkBusy, 1, 1_000_000)
	number("network_buyers", s.NetworkBuyers, 1, 1_000_000)
	switch seckill.Challenge(s.RegistrationChallenge) {
	case seckill.ChallengeNone, seckill.ChallengeFormula, seckill.ChallengeWork, seckill.ChallengeBoth:
	default:
		errs = append(errs, errors.New("access.registration_challenge: must be none, formula, work or both"))
	}
	return errors.Join(errs...)
}

// Warning says what about the settings is allowed and probably not meant; empty: nothing.
func (s Settings) Warning() string {
	if most := int(s.ChallengeLife.Seconds() * phoneHashes); s.WorkMost > most {
		return fmt.Sprintf("access.work_most: the dearest work takes %d hashes on average, and a phone makes some %d within access.challenge_life (%v): whoever has to do it there gets no pass", s.WorkMost, most, s.ChallengeLife)
	}
	return ""
}

// Answers of this package that are no breakage.
var (
	ErrPass        = errors.New("fetch a pass for this sale: POST /api/sales/{sale}/pass, and send it as \"pass\" or as X-Seckill-Pass")
	ErrNotEligible = errors.New("not everybody may buy in this sale")
	ErrTries       = fmt.Errorf("%w: as many orders of yours were left unpaid as it allows", ErrNotEligible)
	ErrUnsolved    = errors.New("fetch a challenge, solve it and send the solution")
	ErrPaused      = errors.New("the rules of this sale cannot be read: it is paused until somebody sets others")
	ErrWrong       = errors.New("the solution is wrong, old, somebody else's or used: fetch another challenge")
)

// Later asks the caller to wait.
type Later struct {
	After time.Duration
	Why   string // WhyCooldown, WhyWrong, or empty: it sent too many requests
}

// Why somebody has to wait. They are part of the HTTP contract.
const (
	WhyCooldown = "cooldown"      // after an order that was left unpaid
	WhyWrong    = "wrong_answers" // to challenges
)

func (l *Later) Error() string { return fmt.Sprintf("wait %v", l.After) }

// Asker is who asks for something.
type Asker struct {
	Buyer   string
	Since   time.Time // when the account was made; zero: not known
	Address netip.Addr
	trusted bool // the lists say so of the network
}

// Config is what a Guard is made of.
type Config struct {
	Settings
	Store   Store
	Secrets [][]byte // auth.secret first, then the previous one, which may be empty
	// Nodes is what all nodes remember together; nil: this node is alone.
	Nodes Nodes
	// Foreign, if set, checks the answer that a captcha of somebody else has given, in
	// place of the formula, which is then neither drawn nor accepted. It is called when a
	// pass is fetched, never by the buy route. A wrong answer MUST be ErrWrong, or wrap it.
	Foreign func(ctx context.Context, who Asker, response string) error
	Now     func() time.Time // the gate's clock, which is that of all nodes
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Nodes is what all nodes remember together.
type Nodes interface {
	// Once MUST return true for the first caller with that name within ttl, and for no
	// other one on any node.
	Once(ctx context.Context, name string, ttl time.Duration) (first bool, err error)
	// Delay MUST make whoever has that name wait on all other nodes for so long, if wait is not
	// 0, and return for how long another node makes them wait.
	Delay(ctx context.Context, name string, wait time.Duration) (left time.Duration, err error)
	// Distinct MUST add the member, unless it is empty, to those of that name, and return
	// about how many different ones there are. They may be forgotten when ttl has passed
	// since the last one.
	Distinct(ctx context.Context, name, member string, ttl time.Duration) (n int, err error)
}

// Guard decides who may ask. It is safe for concurrent use.
type Guard struct {
	Config
	passes, answers, work keys
	buyers, networks      *limiter
	drawing               *room.Fair // pictures at once: half of the cores, each network in its turn
	rules                 rules
	scores                scores
	metrics               metrics
}

// New returns the guard of a node. It knows no rules before Run has read them.
func New(c Config) (*Guard, error) {
	g := &Guard{Config: c, buyers: newLimiter(c.Remembered, c.BuyerRate, c.BuyerBurst), networks: newLimiter(c.Remembered, c.NetworkRate, c.NetworkBurst),
		scores: newScores(c.Settings)}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	g.metrics = newMetrics(c.Metrics, g.Age)
	g.drawing = room.NewFair("pictures", max(1, runtime.GOMAXPROCS(0)/2), drawWaiting, drawWait, room.NewMetrics(c.Metrics))
	if g.Nodes == nil {
		g.Nodes = newMemory()
	}
	g.rules.wake, g.rules.loaded, g.rules.seed = duty.NewSignal(), make(chan struct{}), maphash.MakeSeed()
	g.rules.looking, g.rules.learning, g.rules.listing, g.rules.longer = semaphore.NewWeighted(1), semaphore.NewWeighted(1), semaphore.NewWeighted(1), duty.NewSignal()
	g.rules.tries = map[triesKey]tries{}
	g.rules.lists.Store(&map[seckill.SaleID]list{})
	for i, k := range []*keys{&g.passes, &g.answers, &g.work} {
		var err error
		if *k, err = deriveKeys(c.Secrets, [...]string{"seckill pass v1", "seckill formula v1", "seckill work v1"}[i]); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// key signs for one purpose. The room of its MAC is for the message.
type key struct {
	raw []byte
	mac *seckill.MAC[[]byte]
}

// keys are those of the current and of the previous secret.
type keys []key

// deriveKeys makes keys for one purpose out of the secrets: what is signed for one
// purpose means nothing for another, and none of them gives the secret away.
func deriveKeys(secrets [][]byte, purpose string) (all keys, err error) {
	for _, s := range secrets {
		if len(s) == 0 {
			continue
		}
		raw, err := hkdf.Key(sha256.New, s, nil, purpose, sha256.Size)
		if err != nil {
			return nil, err
		}
		all = append(all, key{raw, seckill.NewMAC[[]byte](raw)})
	}
	if len(all) == 0 {
		return nil, errors.New("auth.secret is not set")
	}
	return all, nil
}

// sum appends the MAC of the parts to b.
func (k key) sum(b []byte, parts ...[]byte) []byte {
	d := k.mac.Take()
	b = append(b, sum(d, parts)...)
	k.mac.Put(d)
	return b
}

// sum returns the MAC of the parts, until the scratch is used again.
func sum(d *seckill.Scratch[[]byte], parts [][]byte) []byte {
	d.Buf = d.Buf[:0]
	for _, p := range parts {
		d.Buf = append(d.Buf, p...)
	}
	return d.Sum(d.Buf)
}

// signed reports whether any of the keys has made the MAC.
func (ks keys) signed(mac []byte, parts ...[]byte) bool {
	for _, k := range ks {
		d := k.mac.Take()
		same := hmac.Equal(mac, sum(d, parts))
		k.mac.Put(d)
		if same {
			return true
		}
	}
	return false
}

// Request counts a request of a buyer, and returns a *Later when there are too many.
func (g *Guard) Request(buyer string) error {
	if wait := g.buyers.take(buyer, time.Now()); wait > 0 {
		g.metrics.limited.Inc()
		return &Later{After: wait}
	}
	return nil
}

// Reach counts a request for a challenge, a pass or an account of a network.
func (g *Guard) Reach(address netip.Addr) error {
	if wait := g.networks.take(Network(address).String(), time.Now()); wait > 0 {
		g.metrics.limited.Inc()
		return &Later{After: wait}
	}
	return nil
}

// Admit decides whether a buyer may ask the gate for a ticket of the sale. It calls
// nobody. address is asked for only where a list names networks. The errors are ErrPass,
// ErrNotEligible, ErrPaused, *Later, and ErrUnread while this node does not know what the
// sale asks for.
func (g *Guard) Admit(sale seckill.SaleID, who Asker, pass string, address func() netip.Addr) error {
	known := g.rules.now.Load()
	if sale > known.newest {
		return ErrUnread
	}
	rule, asks := known.sales[sale]
	if !asks && known.entries == nil {
		return nil // most sales
	}
	standing := known.entries.standing(sale, who.Buyer, address)
	if standing == blocked {
		return ErrNotEligible
	}
	if !asks {
		return nil
	}
	if rule.Unreadable {
		return ErrPaused
	}
	now := g.Now()
	if err := g.eligible(sale, rule, who, standing, now); err != nil {
		return err
	}
	price := priceOf(rule.Challenge)
	if standing == allowed {
		price = 0
	}
	if rule.Pass && !g.valid(pass, sale, who.Buyer, price, now) {
		return ErrPass
	}
	return nil
}

// eligible decides who may buy, passes aside.
func (g *Guard) eligible(sale seckill.SaleID, rule seckill.Access, who Asker, listed standing, now time.Time) error {
	switch {
	case listed == allowed:
	case rule.Eligible == seckill.EligibleAge:
		if who.Since.IsZero() || now.Sub(who.Since) < rule.AccountAge() {
			return ErrNotEligible
		}
	case rule.Eligible == seckill.EligibleList:
		if listed, err := g.rules.listed(sale, who.Buyer); err != nil {
			return err
		} else if !listed {
			return ErrNotEligible
		}
	}
	if rule.TriesPerBuyer == 0 && rule.CooldownSeconds == 0 {
		return nil
	}
	tries, last := g.rules.triesOf(sale, who.Buyer)
	if rule.TriesPerBuyer > 0 && tries >= rule.TriesPerBuyer {
		return ErrTries
	}
	// The store's clock says when the order ended, so it says how long ago that is.
	if wait := last.Add(time.Duration(rule.CooldownSeconds) * time.Second).Sub(g.Store.Now()); tries > 0 && wait > 0 {
		return &Later{wait, WhyCooldown}
	}
	return nil
}

// RegistrationKind is what a new account costs.
func (g *Guard) RegistrationKind() seckill.Challenge {
	return seckill.Challenge(g.RegistrationChallenge)
}

// Network is the network that an address counts as: an IPv4 address by itself, and of
// an IPv6 address its /64, since one customer has all the 2^64 addresses in it.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// Seconds is the wait in whole seconds, at least one, as Retry-After has it.
func (l *Later) Seconds() int { return max(1, int(math.Ceil(l.After.Seconds()))) }
