package access

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

var (
	theSecret = []byte("the secret of these tests, 32 bytes")
	newSecret = []byte("the secret that comes after it, 32 b")
	here      = netip.MustParseAddr("203.0.113.7")
)

// shelf is a store of rules that a test fills.
type shelf struct {
	mu       sync.Mutex
	versions map[string]int64
	rules    map[seckill.SaleID]seckill.Access
	entries  []seckill.AccessEntry
	eligible map[seckill.SaleID][]string
	tries    []seckill.Tries
	newest   seckill.SaleID
	now      func() time.Time
	down     error
	slow     chan struct{} // a list is read when it is closed
}

func (s *shelf) AccessState(context.Context) (map[string]int64, seckill.SaleID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := map[string]int64{}
	for k, n := range s.versions {
		v[k] = n
	}
	return v, s.newest, s.down
}

func (s *shelf) Now() time.Time { return s.now() }

func (s *shelf) AccessRules(context.Context, time.Duration) (map[seckill.SaleID]seckill.Access, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := map[seckill.SaleID]seckill.Access{}
	for k, a := range s.rules {
		v[k] = a
	}
	return v, s.down
}

func (s *shelf) AccessEntries(_ context.Context, after seckill.AccessEntry, _ int) ([]seckill.AccessEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after != (seckill.AccessEntry{}) {
		return nil, s.down
	}
	return s.entries, s.down
}

func (s *shelf) Eligible(_ context.Context, sale seckill.SaleID, f func(string)) error {
	if s.slow != nil {
		<-s.slow
	}
	for _, b := range s.eligible[sale] {
		f(b)
	}
	return s.down
}

func (s *shelf) TriesSince(_ context.Context, from seckill.Tries, _ int) (all []seckill.Tries, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tries {
		if from.Buyer == "" && !t.Changed.Before(from.Changed) {
			all = append(all, t)
		}
	}
	return all, s.down
}

func (s *shelf) TriesOf(_ context.Context, sale seckill.SaleID, buyer string) (v seckill.Tries, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tries {
		if t.Sale == sale && t.Buyer == buyer {
			v = t
		}
	}
	return v, s.down
}

// put changes the rules of a sale.
func (s *shelf) put(id seckill.SaleID, a seckill.Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules[id] = a.Complete()
	s.versions["rules"]++
}

// send says that somebody has sent another list of who may buy.
func (s *shelf) send(id seckill.SaleID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions["eligible:"+id.String()]++
}

// set changes them, and the node knows.
func (s *shelf) set(g *Guard, id seckill.SaleID, a seckill.Access) {
	s.put(id, a)
	if err := g.Look(context.Background()); err != nil {
		panic(err)
	}
}

// clock is a node's clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type node struct {
	*Guard
	clock *clock
	shelf *shelf
}

// small are settings under which work is done at once.
func small() Settings {
	s := Defaults()
	s.Remembered, s.Work, s.WorkMost = 1024, 100, 1_000_000
	return s
}

func newNode(t testing.TB, change ...func(*Config)) node {
	t.Helper()
	n := node{clock: &clock{now: time.Now()}, shelf: &shelf{versions: map[string]int64{}, rules: map[seckill.SaleID]seckill.Access{}, eligible: map[seckill.SaleID][]string{}, newest: 9}}
	n.shelf.now = n.clock.Now
	c := Config{Settings: small(), Store: n.shelf, Secrets: [][]byte{theSecret, nil}, Now: n.clock.Now, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&c)
	}
	var err error
	n.Guard, err = New(c)
	require.NoError(t, err)
	return n
}

func nowhere() netip.Addr { panic("no list names a network") }

// sale is one that opens in a minute and asks for what is given.
func (n node) sale(a seckill.Access) seckill.Sale {
	n.shelf.set(n.Guard, 7, a)
	return seckill.Sale{ID: 7, OpensAt: n.Now().Add(time.Minute), ClosesAt: n.Now().Add(time.Hour), Access: a.Complete()}
}

func TestASaleWithoutRulesAsksForNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	require.NoError(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere))
}

func TestAPassIsOfOneBuyerOneSaleAndATime(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	sale := n.sale(seckill.Access{Pass: true})
	who := Asker{Buyer: "li.wei", Address: here}
	require.ErrorIs(t, n.Admit(sale.ID, who, "", nowhere), ErrPass)

	pass, until, v, err := n.Pass(t.Context(), sale, who, Solution{})
	require.NoError(t, err)
	require.Equal(t, seckill.Queued, v)
	require.WithinDuration(t, sale.OpensAt.Add(n.PassLife), until, time.Second, "before the opening its life begins with it")
	require.NoError(t, n.Admit(sale.ID, who, pass, nowhere))
	require.NoError(t, n.Admit(sale.ID, who, pass, nowhere), "a repeat of the request is not another purchase")

	require.ErrorIs(t, n.Admit(sale.ID, Asker{Buyer: "li.wei2"}, pass, nowhere), ErrPass, "somebody else's")
	n.shelf.set(n.Guard, 8, seckill.Access{Pass: true})
	require.ErrorIs(t, n.Admit(8, who, pass, nowhere), ErrPass, "another sale's")
	for name, forged := range map[string]string{
		"empty": "", "short": pass[:len(pass)-4], "long": pass + "AAAA", "garbage": strings.Repeat("A", len(pass)), "not base64": strings.Repeat("~", len(pass)),
		"another end": pass[:12] + "zzzz" + pass[16:], "another MAC": pass[:len(pass)-2] + "AA", "huge": strings.Repeat("A", 8000),
	} {
		require.ErrorIs(t, n.Admit(sale.ID, who, forged, nowhere), ErrPass, name)
	}
	n.clock.pass(until.Sub(n.Now()) + leeway)
	require.ErrorIs(t, n.Admit(sale.ID, who, pass, nowhere), ErrPass, "old")
}

func TestAPassIsOneOfThisShop(t *testing.T) {
	t.Parallel()
	n, other := newNode(t), newNode(t, func(c *Config) { c.Secrets = [][]byte{newSecret} })
	sale, who := n.sale(seckill.Access{Pass: true}), Asker{Buyer: "li.wei", Address: here}
	other.sale(sale.Access)
	pass, _, _, err := n.Pass(t.Context(), sale, who, Solution{})
	require.NoError(t, err)
	require.ErrorIs(t, other.Admit(sale.ID, who, pass, nowhere), ErrPass)

	rotated := newNode(t, func(c *Config) { c.Secrets = [][]byte{newSecret, theSecret} })
	rotated.sale(sale.Access)
	require.NoError(t, rotated.Admit(sale.ID, who, pass, nowhere), "while the secret is changed both are good")
}

// The operator may ask for more when passes are out that cost less.
func TestAPassSaysWhatItCost(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	who := Asker{Buyer: "li.wei", Address: here}
	passes := map[seckill.Challenge]string{}
	kinds := []seckill.Challenge{seckill.ChallengeNone, seckill.ChallengeFormula, seckill.ChallengeWork, seckill.ChallengeBoth}
	for _, kind := range kinds {
		sale := n.sale(seckill.Access{Pass: true, Challenge: kind})
		p, err := n.Puzzle(t.Context(), kind, ForSale(sale.ID, who.Buyer), who, "")
		require.NoError(t, err)
		passes[kind], _, _, err = n.Pass(t.Context(), sale, who, solve(t, ForSale(sale.ID, who.Buyer), p))
		require.NoError(t, err)
	}
	for _, asked := range kinds {
		sale := n.sale(seckill.Access{Pass: true, Challenge: asked})
		for _, had := range kinds {
			enough := asked == seckill.ChallengeNone || asked == had || had == seckill.ChallengeBoth
			err := n.Admit(sale.ID, who, passes[had], nowhere)
			require.Equal(t, enough, err == nil, "asked for %s, paid %s: %v", asked, had, err)
		}
	}
	// One byte of a pass is what was paid; another one there is another pass.
	b, err := strict.DecodeString(passes[seckill.ChallengeNone])
	require.NoError(t, err)
	b[1] = byte(paidFormula | paidWork)
	require.ErrorIs(t, n.Admit(7, who, strict.EncodeToString(b), nowhere), ErrPass)

	// Who is on the allow list needs no challenge, whatever the sale asks of others.
	n.sale(seckill.Access{Challenge: seckill.ChallengeBoth})
	n.shelf.entries = []seckill.AccessEntry{{List: "allow", Buyer: "li.wei"}}
	n.shelf.versions["entries"]++
	require.NoError(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(7, who, passes[seckill.ChallengeNone], nowhere))
}

// A pass of the form before, which did not say what it had cost.
func TestAnOldPassCostNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	sale, who := n.sale(seckill.Access{Pass: true}), Asker{Buyer: "li.wei", Address: here}
	b := binary.BigEndian.AppendUint64([]byte{1}, uint64(n.Now().UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(n.Now().Add(time.Minute).UnixMilli()))
	b = n.passes[0].sum(b, b, binary.BigEndian.AppendUint64(nil, uint64(sale.ID)), []byte(who.Buyer))
	pass := strict.EncodeToString(b)
	require.NoError(t, n.Admit(sale.ID, who, pass, nowhere))
	n.sale(seckill.Access{Challenge: seckill.ChallengeFormula})
	require.ErrorIs(t, n.Admit(sale.ID, who, pass, nowhere), ErrPass)
}

func TestPassesHoldOnANodeWhoseClockIsASecondApart(t *testing.T) {
	t.Parallel()
	for _, apart := range []time.Duration{-time.Second, time.Second} {
		n := newNode(t)
		other := newNode(t)
		other.clock.now = n.Now().Add(apart)
		sale, who := n.sale(seckill.Access{Pass: true}), Asker{Buyer: "li.wei", Address: here}
		other.shelf.set(other.Guard, sale.ID, sale.Access)
		pass, until, _, err := n.Pass(t.Context(), sale, who, Solution{})
		require.NoError(t, err)
		require.NoError(t, other.Admit(sale.ID, who, pass, nowhere), "made just now")
		other.clock.pass(until.Add(-time.Millisecond).Sub(n.Now()))
		require.NoError(t, other.Admit(sale.ID, who, pass, nowhere), "good to the end of its life")
	}
}

// BenchmarkAdmit is what the check of a pass takes on the path of a purchase.
//
//	go test -run '^$' -bench Admit -cpu 1 ./internal/access
func BenchmarkAdmit(b *testing.B) {
	for name, asks := range map[string]seckill.Access{"open": {}, "pass": {Pass: true}} {
		n, who, pass := newNode(b), Asker{Buyer: "li.wei", Address: here}, ""
		if sale := n.sale(asks); sale.Access.Pass {
			var err error
			pass, _, _, err = n.Pass(b.Context(), sale, who, Solution{})
			require.NoError(b, err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := n.Admit(7, who, pass, nowhere); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPassesAreGivenShortlyBeforeTheOpening(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	sale := n.sale(seckill.Access{Pass: true})
	sale.OpensAt, sale.ClosesAt = n.Now().Add(n.PassEarly+time.Second), n.Now().Add(2*time.Hour)
	_, _, v, err := n.Pass(t.Context(), sale, Asker{Buyer: "li.wei"}, Solution{})
	require.NoError(t, err)
	require.Equal(t, seckill.NotOpen, v)
	n.clock.pass(time.Second)
	_, _, v, _ = n.Pass(t.Context(), sale, Asker{Buyer: "li.wei"}, Solution{})
	require.Equal(t, seckill.Queued, v)
	n.clock.pass(2 * time.Hour)
	_, _, v, _ = n.Pass(t.Context(), sale, Asker{Buyer: "li.wei"}, Solution{})
	require.Equal(t, seckill.Ended, v)
}

func TestABucketFillsAgain(t *testing.T) {
	t.Parallel()
	l := newLimiter(1024, 10, 3)
	now := time.Now()
	for range 3 {
		require.Zero(t, l.take("li.wei", now))
	}
	require.Equal(t, 100*time.Millisecond, l.take("li.wei", now), "the wait is until the next one is earned")
	require.Zero(t, l.take("somebody else", now))
	require.Zero(t, l.take("li.wei", now.Add(100*time.Millisecond)))
	require.Positive(t, l.take("li.wei", now.Add(100*time.Millisecond)))
	for range 3 {
		require.Zero(t, l.take("li.wei", now.Add(time.Hour)), "never more than the burst")
	}
	require.Positive(t, l.take("li.wei", now.Add(time.Hour)))
}

func TestTooManyRequestsOfABuyerWait(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.BuyerRate, c.BuyerBurst = 1, 2 })
	require.NoError(t, errors.Join(n.Request("li.wei"), n.Request("li.wei")))
	var later *Later
	require.ErrorAs(t, n.Request("li.wei"), &later)
	require.Equal(t, 1, later.Seconds())
	require.NoError(t, n.Request("han.mei"))
}

// A hundred thousand buyers and as many networks leave the heap as large as it was before
// they came; only challenges that were solved take more, so much for each. It is not
// parallel: it looks at the heap of the whole process.
func TestTheMemoryOfTheLimitsIsBounded(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	bare := heap()
	n := newNode(t, func(c *Config) { c.Settings = Defaults() })
	made := heap()
	require.InDelta(t, 20<<20, made-bare, 1<<20, "docs/fairness.md says so")
	for i := range 100_000 {
		who := Asker{Buyer: "buyer-" + strconv.Itoa(i), Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		n.Request(who.Buyer)
		n.Reach(who.Address)
		n.scores.came(who, n.Now())
		n.scores.asked(who, n.Now())
		n.scores.failed(who, n.Now())
		n.scores.guess(who, n.Now())
	}
	came := heap()
	require.Less(t, came-made, int64(1<<20))
	const solved = 20_000
	for range solved {
		n.Nodes.Once(t.Context(), "formula "+base64.RawURLEncoding.EncodeToString(nonce(nonceSize)), time.Hour)
	}
	require.Less(t, (heap()-came)/solved, int64(200), "bytes for each challenge that was solved")
	runtime.KeepAlive(n)
}

// Whoever floods is not forgotten among very many others.
func TestWhoFloodsIsNotForgotten(t *testing.T) {
	t.Parallel()
	l, now := newLimiter(1024, 1, 3), time.Now()
	for range 3 {
		l.take("flood", now)
	}
	for i := range 100_000 {
		l.take(strconv.Itoa(i), now)
		if l.take("flood", now) == 0 {
			t.Fatalf("after %d others the flood was forgotten", i)
		}
	}
}

func TestAnIPv6NetworkIsASlash64(t *testing.T) {
	t.Parallel()
	for address, network := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "::ffff:203.0.113.7": "203.0.113.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		require.Equal(t, network, Network(netip.MustParseAddr(address)).String())
	}
}

// What cannot be done in time is allowed, since it was, and somebody is told.
func TestWorkThatNoPhoneDoesInTimeIsToldOf(t *testing.T) {
	t.Parallel()
	s := Defaults()
	require.Empty(t, s.Warning())
	s.ChallengeLife = time.Minute
	require.NoError(t, s.Check())
	require.Contains(t, s.Warning(), "access.work_most")
}

func TestSettingsOutOfRangeAreNamed(t *testing.T) {
	t.Parallel()
	require.NoError(t, Defaults().Check())
	s := Defaults()
	s.BuyerRate, s.PassLife, s.RegistrationChallenge = 0, 0, "riddle"
	err := s.Check()
	for _, key := range []string{"access.buyer_rate", "access.pass_life", "access.registration_challenge"} {
		require.ErrorContains(t, err, key)
	}
}
