package access

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// What makes work dearer. A point doubles it.
const (
	pointsYoung   = 3 // of an account made within a day
	pointsNew     = 1 // within thirty days
	pointsFailed  = 1 // for each challenge that was answered wrongly
	pointsDropped = 1 // for each order that was left unpaid
	pointsMost    = 10
	pointLife     = 10 * time.Minute // in which one point is forgotten, and one wrong answer
	countLife     = time.Hour        // of the buyers of a network

	// crowdMost bounds what a full network costs: who shares it did nothing. With the
	// shipped access.work a phone, at 300,000 hashes a second, has found the number
	// after 5 s on average and 11 s at most.
	crowdMost = 8

	// busyMost bounds what a busy node costs, since nobody it asks is to blame. With it a new
	// account on a full network needs 38 million hashes on average, and 77 million at most: the
	// phone has made those within the shipped access.challenge_life.
	busyMost = 3

	// elsewhere bounds how many times as many buyers of a network as this node has seen the
	// count of all nodes makes it: that count is of all networks that share its name.
	elsewhere = 4

	// phoneHashes are what a phone makes in a second.
	phoneHashes = 300_000
)

// Wrong answers that cost no wait, and the wait after the next one, which doubles. So
// many people share a network that its free ones are more.
const (
	wrongFree        = 2  // of a buyer
	wrongFreeNetwork = 20 // of a network that makes accounts
	wrongWait        = 10 * time.Second
	wrongWaitMost    = 10 * time.Minute
)

// scores are what this node has seen of buyers and networks, in tables of fixed size:
// remembered × 32 bytes of buyers, a quarter × 48 bytes of networks, and firstBits.
type scores struct {
	work, most, busy, free float64
	buyers                 *table[suspicion]
	networks               *table[crowd]
	rate                   rate
	firsts                 firsts
}

// suspicion is what speaks against a buyer, or against a network that makes accounts, as
// it was at a time.
type suspicion struct {
	at     int64 // nanoseconds since 1970
	until  int64 // the same: no answer is looked at before
	points float32
	wrong  float32 // answers
}

// crowd counts different buyers of a network: each sets one of 256 bits, and how many
// are set tells how many came, within a tenth up to some hundreds.
type crowd struct {
	since int64 // nanoseconds since 1970
	bits  [4]uint64
}

func newScores(s Settings) scores {
	return scores{
		work: float64(s.Work), most: float64(s.WorkMost), busy: float64(s.WorkBusy), free: float64(s.NetworkBuyers),
		buyers:   newTable(s.Remembered, func(v *suspicion) int64 { return v.at }),
		networks: newTable(s.Remembered/4, func(v *crowd) int64 { return v.worth(s.NetworkBuyers) }),
		firsts:   firsts{bits: make([]uint64, firstBits/64)},
	}
}

// cost is how many hashes the work of a challenge takes on average. came are the buyers of
// the asker's network as all nodes count them.
func (s *scores) cost(who Asker, now time.Time, came int) int {
	c := s.work * math.Exp2(s.points(who, now)) * min(busyMost, 1+s.rate.count(now)/s.busy)
	n := s.crowd(who, now)
	// Networks share names in Redis, so the common count may be of others too: it counts only
	// where this node has itself seen several buyers.
	if n > 1 {
		n = max(n, min(float64(came), elsewhere*n))
	}
	if n > s.free && !who.trusted {
		c *= min(crowdMost, (n/s.free)*(n/s.free))
	}
	return int(min(c, s.most))
}

func (s *scores) points(who Asker, now time.Time) (points float64) {
	s.buyers.use(who.Buyer, func(v *suspicion) { points = max(0, float64(v.points)-v.gone(now)) })
	switch age := now.Sub(who.Since); {
	case who.Since.IsZero(): // the shop has not said
	case age < 24*time.Hour:
		points += pointsYoung
	case age < 30*24*time.Hour:
		points += pointsNew
	}
	return min(points, pointsMost)
}

// gone is how many points, and wrong answers, are forgotten by now.
func (v *suspicion) gone(now time.Time) float64 {
	return float64(max(0, now.UnixNano()-v.at)) / float64(pointLife)
}

// forget makes the suspicion what is left of it now.
func (v *suspicion) forget(now time.Time) {
	gone := float32(v.gone(now))
	v.points, v.wrong, v.at = max(0, v.points-gone), max(0, v.wrong-gone), now.UnixNano()
}

func (s *scores) add(buyer string, points float64, now time.Time) {
	if buyer == "" || points <= 0 {
		return
	}
	s.buyers.use(buyer, func(v *suspicion) {
		v.forget(now)
		v.points = float32(min(pointsMost, float64(v.points)+points))
	})
}

// failed counts a challenge that was answered wrongly.
func (s *scores) failed(who Asker, now time.Time) { s.add(who.Buyer, pointsFailed, now) }

// dropped counts orders that their buyer left unpaid, the last one so long ago.
func (s *scores) dropped(buyer string, orders int, ago time.Duration, now time.Time) {
	s.add(buyer, float64(orders)*pointsDropped-max(0, float64(ago)/float64(pointLife)), now)
}

// guesser is whose wrong answers are counted: a buyer's, or those of the network where
// somebody makes an account.
func guesser(who Asker) (name string, free float32) {
	if who.Buyer == "" {
		return "\x00" + Network(who.Address).String(), wrongFreeNetwork // no buyer's id begins so
	}
	return who.Buyer, wrongFree
}

// exempt reports whether the asker never waits: who makes an account on a network that the
// lists trust.
func (who Asker) exempt() bool { return who.Buyer == "" && who.trusted }

// wait is how long no answer of the asker's is looked at on this node.
func (s *scores) wait(who Asker, now time.Time) (wait time.Duration) {
	if who.exempt() {
		return 0
	}
	name, _ := guesser(who)
	s.buyers.use(name, func(v *suspicion) { wait = time.Duration(v.until - now.UnixNano()) })
	return max(0, wait)
}

// guess counts an answer as a wrong one until unguess says that it was none, or returns
// how long to wait.
func (s *scores) guess(who Asker, now time.Time) (wait time.Duration) {
	if who.exempt() {
		return 0
	}
	name, free := guesser(who)
	s.buyers.use(name, func(v *suspicion) {
		if wait = time.Duration(v.until - now.UnixNano()); wait > 0 {
			return
		}
		v.forget(now)
		v.wrong++
		v.delay(free, now)
	})
	return max(0, wait)
}

// waitAfter is how long whoever gave so many wrong answers waits.
func waitAfter(wrong, free float32) time.Duration {
	over := math.Ceil(float64(wrong - free))
	if over <= 0 {
		return 0
	}
	return time.Duration(min(float64(wrongWaitMost), float64(wrongWait)*math.Exp2(over-1)))
}

// delay makes whoever gave more wrong answers than are free wait from now on.
func (v *suspicion) delay(free float32, now time.Time) {
	if wait := waitAfter(v.wrong, free); wait > 0 {
		v.until = now.UnixNano() + int64(wait)
	}
}

// wrongs notes how many wrong answers of the asker's all nodes have counted, so that the
// wait grows as on one.
func (s *scores) wrongs(who Asker, n int, now time.Time) {
	name, free := guesser(who)
	s.buyers.use(name, func(v *suspicion) {
		if float32(n) > v.wrong {
			v.wrong = float32(n)
			v.delay(free, now)
		}
	})
}

func (s *scores) unguess(who Asker) {
	name, _ := guesser(who)
	s.buyers.use(name, func(v *suspicion) {
		if v.wrong, v.until = max(0, v.wrong-1), 0; v.wrong == 0 && v.points == 0 {
			v.at = 0 // nothing is known: the first to make room
		}
	})
}

// worth is until when the crowd matters: its whole hour where more came than are free, and
// less of it where fewer came. So ever new networks of one buyer each make a crowd
// forgotten no sooner than it is over.
func (c *crowd) worth(free int) int64 {
	return c.since + int64(float64(countLife)*min(1, float64(c.count())/float64(free)))
}

// count is how many bits are set.
func (c *crowd) count() (set int) {
	for _, b := range c.bits {
		set += bits.OnesCount64(b)
	}
	return set
}

// came counts a buyer of a network, once within the hour: whoever asks again and again
// makes the network no crowd.
func (s *scores) came(who Asker, now time.Time) {
	if who.Buyer == "" {
		return
	}
	hash := maphash.String(s.buyers.seed, who.Buyer)
	place, bit := hash/64%4, uint64(1)<<(hash%64)
	s.networks.use(Network(who.Address).String(), func(c *crowd) {
		if now.UnixNano()-c.since > int64(countLife) {
			*c = crowd{since: now.UnixNano()}
		}
		c.bits[place] |= bit
	})
}

// asked counts a buyer who fetches a challenge, once an hour: whoever asks again and again,
// from one network or from many, makes the node no busy one.
func (s *scores) asked(who Asker, now time.Time) {
	if who.Buyer != "" && s.firsts.add(maphash.String(s.buyers.seed, who.Buyer), now) {
		s.rate.add(now)
	}
}

// crowd estimates how many buyers of the asker's network came within the hour.
func (s *scores) crowd(who Asker, now time.Time) (n float64) {
	s.networks.use(Network(who.Address).String(), func(c *crowd) {
		if now.UnixNano()-c.since > int64(countLife) {
			return
		}
		n = math.Round(-256 * math.Log(max(0.5, float64(256-c.count()))/256))
	})
	return n
}

// Registered counts an account that was made on a network as a buyer of it.
func (g *Guard) Registered(ctx context.Context, buyer string, address netip.Addr) {
	g.scores.came(Asker{Buyer: buyer, Address: address}, g.Now())
	g.everywhere(ctx, g.crowdOf(address), buyer, countLife)
}

// wait is how long no answer of the asker's is looked at on any node.
func (g *Guard) wait(ctx context.Context, who Asker, now time.Time) time.Duration {
	if wait := g.scores.wait(who, now); wait > 0 || who.exempt() {
		return wait
	}
	name, _ := guesser(who)
	wait, err := g.Nodes.Delay(ctx, name, 0)
	if err != nil {
		return 0 // this node's own wait must do
	}
	return wait
}

// wrong counts a wrong answer on all nodes, and makes whoever gave too many wait on all of
// them.
func (g *Guard) wrong(ctx context.Context, who Asker, now time.Time) {
	name, free := guesser(who)
	n := g.everywhere(ctx, "wrong "+name, hex.EncodeToString(nonce(8)), pointLife)
	g.scores.wrongs(who, n, now)
	// What this node waits for may be an answer that is still looked at, and may be right.
	if wait := waitAfter(float32(n), free); wait > 0 {
		g.Nodes.Delay(ctx, name, wait) // where nobody can tell the others, this node's wait must do
	}
}

// sharedNames bounds what all nodes remember of networks, of which one customer has as many
// as they like: some 200 MB for an hour. With a million buyers in it each name counts about
// one who is of another network.
const sharedNames = 1 << 20

// crowdOf is the name under which all nodes count the buyers of a network. Nobody outside
// can tell which networks have the same one.
func (g *Guard) crowdOf(address netip.Addr) string {
	sum := g.work[0].sum(nil, []byte("network"), zero, []byte(Network(address).String()))
	return "crowd network " + strconv.FormatUint(binary.BigEndian.Uint64(sum)%sharedNames, 10)
}

// everywhere adds the member to those of that name in this span of time, and returns about
// how many all nodes have. 0: nobody can tell, and what this node has seen must do.
func (g *Guard) everywhere(ctx context.Context, name, member string, span time.Duration) int {
	n, err := g.Nodes.Distinct(ctx, name+" "+strconv.FormatInt(g.Now().UnixNano()/int64(span), 10), member, span)
	if err != nil {
		return 0
	}
	return n
}

// Newcomer is somebody who has no account yet.
func (g *Guard) Newcomer(address netip.Addr) Asker {
	standing := g.rules.now.Load().entries.standing(0, "", func() netip.Addr { return address })
	return Asker{Address: address, trusted: standing == trusted}
}

// firstBits are how many buyers firsts tells apart. With a million in an hour six in a hundred
// are taken for somebody who came before.
const firstBits = 1 << 23

// firsts knows who came in this hour, by one bit of each.
type firsts struct {
	mu   sync.Mutex
	hour int64
	bits []uint64
}

// add reports whether nobody of that hash came before in this hour.
func (f *firsts) add(hash uint64, now time.Time) bool {
	place, bit := hash%firstBits/64, uint64(1)<<(hash%64)
	f.mu.Lock()
	defer f.mu.Unlock()
	if hour := now.UnixNano() / int64(countLife); hour != f.hour {
		f.hour = hour
		clear(f.bits)
	}
	if f.bits[place]&bit != 0 {
		return false
	}
	f.bits[place] |= bit
	return true
}

// rate counts by second the buyers who fetch their first challenge within the hour.
type rate struct{ second, now, last atomic.Int64 }

func (r *rate) add(now time.Time) {
	r.turn(now)
	r.now.Add(1)
}

// count returns how many there were in the second before, or in this one, if those are more.
func (r *rate) count(now time.Time) float64 {
	r.turn(now)
	return float64(max(r.last.Load(), r.now.Load()))
}

// turn begins a new second.
func (r *rate) turn(now time.Time) {
	second := now.Unix()
	if was := r.second.Load(); was != second && r.second.CompareAndSwap(was, second) {
		last := r.now.Swap(0)
		if second-was > 1 {
			last = 0
		}
		r.last.Store(last)
	}
}
