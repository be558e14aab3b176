package access

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/room"
)

func TestWorkCostsMoreByScoreAndLoad(t *testing.T) {
	t.Parallel()
	s := small()
	now := time.Now()
	cost := func(prepare func(*scores), who Asker) int {
		v := newScores(s)
		if prepare != nil {
			prepare(&v)
		}
		return v.cost(who, now, 0)
	}
	old := Asker{Buyer: "li.wei", Address: here, Since: now.Add(-365 * 24 * time.Hour)}
	base := cost(nil, old)
	require.InDelta(t, s.Work, base, 1)
	require.InDelta(t, base, cost(nil, Asker{Buyer: "li.wei", Address: here}), 1, "a shop that does not say is no reason")
	require.InDelta(t, base<<pointsYoung, cost(nil, Asker{Buyer: "li.wei", Address: here, Since: now.Add(-time.Hour)}), 8)
	require.InDelta(t, 4*base, cost(func(v *scores) { v.failed(old, now); v.failed(old, now) }, old), 4)
	require.InDelta(t, 2*base, cost(func(v *scores) { v.dropped("li.wei", 1, 0, now) }, old), 4)
	require.InDelta(t, base, cost(func(v *scores) { v.dropped("li.wei", 1, pointLife, now) }, old), 2, "it was long ago")
	require.InDelta(t, base, cost(func(v *scores) { v.failed(old, now.Add(-pointLife)) }, old), 2, "it is forgotten")
	crowd := func(n int) func(*scores) {
		return func(v *scores) {
			for i := range n {
				v.came(Asker{Buyer: fmt.Sprint("b", i), Address: here}, now.Add(-time.Minute))
			}
		}
	}
	require.InDelta(t, base, cost(crowd(s.NetworkBuyers), old), 1)
	require.InDelta(t, 4*base, cost(crowd(2*s.NetworkBuyers), old), 2*float64(base), "a few of them share a bit")
	require.InDelta(t, crowdMost*base, cost(crowd(20*s.NetworkBuyers), old), crowdMost, "who shares a network with very many waits seconds, not minutes")
	require.InDelta(t, base, cost(crowd(4*s.NetworkBuyers), Asker{Buyer: "li.wei", Address: netip.MustParseAddr("198.51.100.1")}), 1, "of its own network only")
	require.InDelta(t, 3*base, cost(func(v *scores) {
		for range 2 * s.WorkBusy {
			v.rate.add(now)
		}
	}, old), float64(base)/10)
	require.InDelta(t, busyMost*base, cost(func(v *scores) {
		for range 20 * s.WorkBusy {
			v.rate.add(now)
		}
	}, old), busyMost, "nobody here is to blame")
	require.LessOrEqual(t, cost(func(v *scores) { v.add("li.wei", 99, now); crowd(200)(v) }, old), s.WorkMost)
}

// No answer is worth a guess.
func TestNoAnswerOfAFormulaIsFrequent(t *testing.T) {
	t.Parallel()
	const drawn = 200_000
	counts := map[int]int{}
	for range drawn {
		left, sign, right, answer := formula()
		if sign == '-' {
			right = -right
		}
		if left+right != answer {
			t.Fatal(left, right, answer)
		}
		counts[answer]++
	}
	most := slices.Max(slices.Collect(maps.Values(counts)))
	require.Less(t, float64(most)/drawn, 0.003, "24 was right for 3.5 % of the formulas once")
}

// Two wrong answers are free. After each further one a buyer waits, longer each time, and
// everything that is sent meanwhile is not looked at.
func TestWhoGuessesWaits(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about, who := ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: here}
	guess := func() error {
		p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, about, who, "")
		if err != nil {
			return err
		}
		return n.Solved(t.Context(), seckill.ChallengeFormula, about, who, Solution{Formula: p.Formula, Answer: "7"})
	}
	spare, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, about, who, "")
	require.NoError(t, err)
	for range 3 {
		require.ErrorIs(t, guess(), ErrWrong)
	}
	var later *Later
	for _, wait := range []int{10, 20, 40} {
		require.ErrorAs(t, guess(), &later)
		require.InDelta(t, wait, later.Seconds(), 1)
		require.ErrorAs(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, who, solve(t, about, spare)), &later, "a challenge that was fetched before")
		n.clock.pass(later.After)
		require.ErrorIs(t, guess(), ErrWrong)
	}
	_, err = n.Puzzle(t.Context(), seckill.ChallengeFormula, about, Asker{Buyer: "han.mei", Address: here}, "")
	require.NoError(t, err, "nobody else waits")
	n.clock.pass(time.Hour)
	require.ErrorIs(t, guess(), ErrWrong, "it is forgotten")
}

// A thousand guesses at once, each at a challenge of its own, are no better than one
// after another.
func TestGuessesAtOnceAreCounted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about, who := ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: here}
	var looked atomic.Int64
	n.Foreign = func(context.Context, Asker, string) error { looked.Add(1); return ErrWrong }
	var g errgroup.Group
	for range 1000 {
		g.Go(func() error {
			n.Solved(t.Context(), seckill.ChallengeFormula, about, who, Solution{Foreign: "a guess"})
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 3, looked.Load())
}

// Accounts are made by nobody that is known, so the guesses of a network count.
func TestGuessesOfANetworkAtRegistrationWait(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	require.NoError(t, n.Look(t.Context()))
	guess := func() error {
		who := n.Newcomer(here)
		p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, ForAccount(Network(here)), who, "")
		if err != nil {
			return err
		}
		return n.Solved(t.Context(), seckill.ChallengeFormula, ForAccount(Network(here)), who, Solution{Formula: p.Formula, Answer: "7"})
	}
	for range wrongFreeNetwork + 1 {
		require.ErrorIs(t, guess(), ErrWrong)
	}
	var later *Later
	require.ErrorAs(t, guess(), &later)
	n.shelf.entries = []seckill.AccessEntry{{List: "allow", Network: Network(here).String()}}
	n.shelf.versions["entries"]++
	require.NoError(t, n.Look(t.Context()))
	require.ErrorIs(t, guess(), ErrWrong, "a campus that the operator trusts")
}

// What is over, or sent again after a lost answer, says nothing about whoever sends it.
func TestOnlyWrongAnswersCount(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about, who := ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: here}
	for range 10 {
		for _, kind := range []seckill.Challenge{seckill.ChallengeFormula, seckill.ChallengeWork} {
			p, err := n.Puzzle(t.Context(), kind, about, who, "")
			require.NoError(t, err)
			s := solve(t, about, p)
			require.NoError(t, n.Solved(t.Context(), kind, about, who, s))
			require.ErrorIs(t, n.Solved(t.Context(), kind, about, who, s), ErrWrong, "sent again")
			p, err = n.Puzzle(t.Context(), kind, about, who, "")
			require.NoError(t, err)
			s = solve(t, about, p)
			n.clock.pass(n.ChallengeLife + leeway)
			require.ErrorIs(t, n.Solved(t.Context(), kind, about, who, s), ErrWrong, "over")
		}
	}
	require.Zero(t, n.scores.points(who, n.Now()))
	require.Zero(t, n.scores.wait(who, n.Now()))
}

// The price is set when a challenge is fetched, so the crowd is counted there.
func TestWhoFetchesAllChallengesFirstPaysAsMuch(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var costs []int64
	for i := range 3 * n.NetworkBuyers {
		who := Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}
		p, err := n.Puzzle(t.Context(), seckill.ChallengeWork, ForSale(7, who.Buyer), who, "")
		require.NoError(t, err)
		costs = append(costs, p.Work.MaxNumber)
	}
	require.InDelta(t, 2*n.Work, costs[n.NetworkBuyers-1], float64(n.Work)/5, "the eighth pays what the first does")
	require.Greater(t, costs[len(costs)-1], 6*costs[0])
}

// Whoever keeps asking, also from ever new networks, or is turned away by the drawing room, raises
// nobody's price.
func TestWhoKeepsAskingRaisesNobodysPrice(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.WorkBusy = 5 })
	flooder := Asker{Buyer: "flooder", Address: here}
	for range 100 {
		_, err := n.Puzzle(t.Context(), seckill.ChallengeWork, ForSale(7, flooder.Buyer), flooder, "")
		require.NoError(t, err)
	}
	for i := range 100 {
		flooder.Address = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, byte(i)})
		_, err := n.Puzzle(t.Context(), seckill.ChallengeWork, ForSale(7, flooder.Buyer), flooder, "")
		require.NoError(t, err)
		n.Registered(t.Context(), fmt.Sprint("new-", i), flooder.Address) // nor does who makes accounts
	}
	flooder.Address = here
	n.drawing = room.NewLane(0, 0, 0)
	for i := range 100 {
		who := Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}
		_, err := n.Puzzle(t.Context(), seckill.ChallengeBoth, ForSale(7, who.Buyer), who, "")
		require.ErrorIs(t, err, seckill.ErrBusy)
	}
	require.LessOrEqual(t, n.scores.crowd(flooder, n.Now()), 1.0)
	p, err := n.Puzzle(t.Context(), seckill.ChallengeWork, ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: netip.MustParseAddr("198.51.100.1")}, "")
	require.NoError(t, err)
	require.LessOrEqual(t, p.Work.MaxNumber, int64(2*n.Work*3/2), "two buyers came")
}

// Ever new networks, of which one customer has as many as they like, do not make a node
// forget a crowd. One that is over makes room for them.
func TestACrowdIsNotForgottenForNetworksOfOneBuyer(t *testing.T) {
	t.Parallel()
	s := small()
	v, now := newScores(s), time.Now()
	for i := range 2 * s.NetworkBuyers {
		v.came(Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}, now)
	}
	others := func(now time.Time) {
		for i := range 8_000 {
			v.came(Asker{Buyer: fmt.Sprint("b", i), Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, now)
		}
	}
	others(now.Add(countLife / 2))
	require.InDelta(t, 2*s.NetworkBuyers, v.crowd(Asker{Buyer: "farmer-0", Address: here}, now.Add(countLife/2)), 5)
	others(now.Add(2 * countLife))
	require.Zero(t, v.crowd(Asker{Buyer: "farmer-0", Address: here}, now), "it is over, and gone")
}

// An account that is made on a network is a buyer of it.
func TestAccountsOfANetworkAreItsBuyers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i := range 3 * n.NetworkBuyers {
		n.Registered(t.Context(), fmt.Sprint("farmer-", i), here)
	}
	p, err := n.Puzzle(t.Context(), seckill.ChallengeWork, "x", Asker{Buyer: "farmer-0", Address: here}, "")
	require.NoError(t, err)
	require.Greater(t, p.Work.MaxNumber, int64(6*2*n.Work))
}

// What a buyer leaves unpaid makes their work dearer, once, whoever counts it.
func TestOrdersLeftUnpaidMakeWorkDearer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.sale(seckill.Access{Challenge: seckill.ChallengeWork})
	n.shelf.tries = []seckill.Tries{{Sale: 7, Buyer: "li.wei", Count: 2, Last: n.Now(), Changed: n.Now()}}
	for range 3 {
		require.NoError(t, n.Look(t.Context()))
	}
	require.InDelta(t, 2*pointsDropped, n.scores.points(Asker{Buyer: "li.wei"}, n.Now()), 0.01)
}

// together is what two nodes of a test remember.
type together struct {
	memory
	mu      sync.Mutex
	members map[string]map[string]bool
	held    map[string]time.Time
	now     func() time.Time
}

func newTogether() *together {
	return &together{memory: *newMemory(), members: map[string]map[string]bool{}, held: map[string]time.Time{}}
}

func (m *together) Delay(_ context.Context, name string, wait time.Duration) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if wait > 0 {
		m.held[name] = m.now().Add(wait)
	}
	return max(0, m.held[name].Sub(m.now())), nil
}

func (m *together) Distinct(_ context.Context, name, member string, _ time.Duration) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.members[name] == nil {
		m.members[name] = map[string]bool{}
	}
	if member != "" {
		m.members[name][member] = true
	}
	return len(m.members[name]), nil
}

// Who goes from node to node is counted as on one: the buyers of a network, and wrong
// answers.
func TestWhatCountsCountsOnAllNodes(t *testing.T) {
	t.Parallel()
	shared := newTogether()
	var nodes []node
	for range 4 {
		n := newNode(t, func(c *Config) { c.Nodes = shared })
		n.clock.now = time.Now().Truncate(countLife) // or the span could end meanwhile
		nodes = append(nodes, n)
	}
	shared.now = nodes[0].clock.Now
	about := ForSale(7, "li.wei")
	var first, last int64
	for i := range 4 * nodes[0].NetworkBuyers {
		who := Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}
		p, err := nodes[i%4].Puzzle(t.Context(), seckill.ChallengeWork, ForSale(7, who.Buyer), who, "")
		require.NoError(t, err)
		if last = p.Work.MaxNumber; i == 0 {
			first = last
		}
	}
	require.Greater(t, last, 6*first)

	who := Asker{Buyer: "li.wei", Address: netip.MustParseAddr("198.51.100.1")}
	guess := func(n node) error {
		p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, about, who, "")
		if err != nil {
			return err
		}
		return n.Solved(t.Context(), seckill.ChallengeFormula, about, who, Solution{Formula: p.Formula, Answer: "7"})
	}
	spare, err := nodes[3].Puzzle(t.Context(), seckill.ChallengeFormula, about, who, "")
	require.NoError(t, err)
	for _, n := range nodes[:3] {
		require.ErrorIs(t, guess(n), ErrWrong)
	}
	var later *Later
	waits := func(seconds int) {
		t.Helper()
		for _, n := range nodes {
			require.ErrorAs(t, guess(n), &later)
			require.Equal(t, seconds, later.Seconds())
		}
	}
	waits(10)
	require.ErrorAs(t, nodes[3].Solved(t.Context(), seckill.ChallengeFormula, about, who, solve(t, about, spare)), &later, "a challenge that was fetched before")
	for _, n := range nodes {
		n.clock.pass(10 * time.Second)
	}
	require.ErrorIs(t, guess(nodes[3]), ErrWrong)
	waits(20)
}

// Whoever walks through ever new networks makes no more keys in Redis than there are names.
func TestNetworksShareABoundedNumberOfNames(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	names := map[string]bool{}
	for i := range 5_000 {
		name := n.crowdOf(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, byte(i >> 8), byte(i)}))
		number, err := strconv.Atoi(strings.TrimPrefix(name, "crowd network "))
		require.NoError(t, err)
		require.Less(t, number, sharedNames)
		names[name] = true
	}
	require.Greater(t, len(names), 4_500, "and few have the same one")

	// With a million buyers in an hour, or with one customer who walks through very many networks, every
	// name counts some: whom this node has seen two of pay no more for it.
	home := Asker{Buyer: "li.wei", Address: here}
	n.scores.came(home, n.Now())
	require.InDelta(t, n.Work, n.scores.cost(home, n.Now(), 100), 2)
	n.scores.came(Asker{Buyer: "han.mei", Address: here}, n.Now())
	require.InDelta(t, n.Work, n.scores.cost(home, n.Now(), 100), 2)
	for i := range n.NetworkBuyers {
		n.scores.came(Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}, n.Now())
	}
	require.InDelta(t, crowdMost*n.Work, n.scores.cost(home, n.Now(), 100), 8, "a farm that goes from node to node")
}

// Wrong answers of one network make nobody on another wait.
func TestWrongAnswersCountForTheirOwnNetwork(t *testing.T) {
	t.Parallel()
	shared := newTogether()
	n := newNode(t, func(c *Config) { c.Nodes = shared })
	n.clock.now = time.Now().Truncate(pointLife) // or the span could end meanwhile
	shared.now = n.clock.Now
	theirs := Asker{Address: here}
	n.wrong(t.Context(), theirs, n.Now())
	require.Len(t, shared.members, 1)
	for name := range shared.members {
		require.Contains(t, name, Network(here).String(), "no name that others share")
	}
}

// An answer that is still looked at counts on its node alone, and only until it is known: the
// other nodes hear of the wrong ones.
func TestAnAnswerThatIsLookedAtMakesNobodyWaitElsewhere(t *testing.T) {
	t.Parallel()
	shared := newTogether()
	n := newNode(t, func(c *Config) { c.Nodes = shared })
	n.clock.now = time.Now().Truncate(pointLife)
	shared.now = n.clock.Now
	who := Asker{Buyer: "li.wei", Address: here}
	n.Foreign = func(_ context.Context, _ Asker, answer string) error {
		if answer == "wrong" {
			return ErrWrong
		}
		// While this one is looked at, a wrong one comes in.
		require.Zero(t, n.scores.guess(who, n.Now()))
		n.wrong(t.Context(), who, n.Now())
		return nil
	}
	send := func(answer string) error {
		return n.Solved(t.Context(), seckill.ChallengeFormula, ForSale(7, who.Buyer), who, Solution{Foreign: answer})
	}
	require.ErrorIs(t, send("wrong"), ErrWrong)
	require.NoError(t, send("right"))
	require.Empty(t, shared.held, "two wrong answers are free")
	n.wrong(t.Context(), who, n.Now())
	require.Len(t, shared.held, 1, "the third one is not")
}
