package access

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// What makes work dearer. A point doubles it.
const (
	pointsYoung   = 3 // of an account made within a day
	pointsNew     = 1 // within thirty days
	pointsFailed  = 1 // for each challenge that was answered wrongly
	pointsDropped = 1 // for each order that was cancelled
	pointsMost    = 10
	pointLife     = 10 * time.Minute // in which one point is forgotten
	countLife     = time.Hour        // of the buyers of a network
)

// scores are what this node has seen of buyers and networks, in tables of fixed size:
// remembered × 24 bytes of buyers and a quarter × 56 bytes of networks.
type scores struct {
	work, most, busy, free float64
	buyers                 *table[suspicion]
	networks               *table[crowd]
	rate                   rate
}

// suspicion is points of a buyer, as they were at a time.
type suspicion struct {
	at     int64 // nanoseconds since 1970
	points float32
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
		networks: newTable(s.Remembered/4, func(v *crowd) int64 { return v.since }),
	}
}

// cost is how many hashes the work of a challenge takes on average.
func (s *scores) cost(who Asker, now time.Time) int {
	c := s.work * math.Exp2(s.points(who, now)) * (1 + s.rate.count(now)/s.busy)
	if n := s.crowd(who, now); n > s.free && !who.trusted {
		c *= (n / s.free) * (n / s.free)
	}
	return int(min(c, s.most))
}

func (s *scores) points(who Asker, now time.Time) (points float64) {
	s.buyers.use(who.Buyer, func(v *suspicion) { points = v.left(now) })
	switch age := now.Sub(who.Since); {
	case who.Since.IsZero(): // the shop has not said
	case age < 24*time.Hour:
		points += pointsYoung
	case age < 30*24*time.Hour:
		points += pointsNew
	}
	return min(points, pointsMost)
}

func (v *suspicion) left(now time.Time) float64 {
	return max(0, float64(v.points)-float64(now.UnixNano()-v.at)/float64(pointLife))
}

func (s *scores) add(buyer string, points float64, now time.Time) {
	if buyer == "" {
		return
	}
	s.buyers.use(buyer, func(v *suspicion) {
		v.points = float32(min(pointsMost, v.left(now)+points))
		v.at = now.UnixNano()
	})
}

// failed counts a challenge that was answered wrongly.
func (s *scores) failed(who Asker, now time.Time) { s.add(who.Buyer, pointsFailed, now) }

// fetched counts a buyer of a network.
func (s *scores) fetched(who Asker, now time.Time) {
	bit := maphash.String(s.buyers.seed, who.Buyer) % 256
	s.networks.use(Network(who.Address).String(), func(c *crowd) {
		if now.UnixNano()-c.since > int64(countLife) {
			*c = crowd{since: now.UnixNano()}
		}
		c.bits[bit/64] |= 1 << (bit % 64)
	})
}

// crowd estimates how many buyers of the asker's network came within the hour.
func (s *scores) crowd(who Asker, now time.Time) (n float64) {
	s.networks.use(Network(who.Address).String(), func(c *crowd) {
		if now.UnixNano()-c.since > int64(countLife) {
			return
		}
		set := 0
		for _, b := range c.bits {
			set += bits.OnesCount64(b)
		}
		n = -256 * math.Log(max(0.5, float64(256-set))/256)
	})
	return n
}

// Cancelled counts an order that its buyer gave back.
func (g *Guard) Cancelled(buyer string) { g.scores.add(buyer, pointsDropped, g.Now()) }

// rate counts challenges by second.
type rate struct{ second, now, last atomic.Int64 }

// count counts one more, and returns how many there were in the second before.
func (r *rate) count(now time.Time) float64 {
	second := now.Unix()
	if was := r.second.Load(); was != second && r.second.CompareAndSwap(was, second) {
		last := r.now.Swap(0)
		if second-was > 1 {
			last = 0
		}
		r.last.Store(last)
	}
	r.now.Add(1)
	return float64(max(r.last.Load(), r.now.Load()))
}
