package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"seckill/internal/duty"
)

// Habit is a way of not behaving well that the rules hold for all the same.
type Habit int

// The habits. A well-behaved buyer buys once and asks until its outcome is final.
const (
	WellBehaved Habit = iota
	Duplicates        // buys again three times, one after the other, after its verdict
	Parallel          // sends its buy five times at once
	NeverAsks         // never asks for its outcome; the check at the end asks for it
	HangsUp           // sends its buy and closes the connection, and asks later
	habits
)

const (
	duplicateBuys = 3
	parallelBuys  = 5
)

func (h Habit) String() string {
	return [habits]string{"well-behaved", "duplicates", "parallel", "never-asks", "hangs-up"}[h]
}

// Shares are the parts of the buyers, 0 to 1, with each habit. WellBehaved has
// what the others leave.
type Shares [habits]float64

// ParseShares reads "0.1", which is a tenth of the buyers, evenly over all
// habits, or the share of each as in "duplicates=0.05,hangs-up=0.01".
func ParseShares(text string) (s Shares, err error) {
	bad := func(what string) (Shares, error) {
		return Shares{}, fmt.Errorf("%q: %s: give a share such as 0.1, or shares by habit such as duplicates=0.05,parallel=0.02,never-asks=0.02,hangs-up=0.01", text, what)
	}
	if text == "" {
		return s, nil
	}
	share := func(v string) (float64, bool) {
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil && f >= 0 && f <= 1
	}
	if all, ok := share(text); ok {
		for h := Duplicates; h < habits; h++ {
			s[h] = all / float64(habits-1)
		}
		return s, nil
	}
	sum := 0.0
	for part := range strings.SplitSeq(text, ",") {
		name, v, _ := strings.Cut(part, "=")
		f, ok := share(v)
		h := Duplicates
		for h < habits && h.String() != strings.TrimSpace(name) {
			h++
		}
		switch {
		case h == habits:
			return bad("no habit " + strconv.Quote(name))
		case !ok:
			return bad(name + " needs a share of 0 to 1")
		}
		s[h] = f
	}
	for _, f := range s {
		sum += f
	}
	if sum > 1 {
		return bad("more than all buyers")
	}
	return s, nil
}

// of is the habit of buyer n. The habits are spread evenly over the buyers: the
// multiples of the golden ratio, modulo 1, fill the space between 0 and 1 so.
func (s Shares) of(n int) Habit {
	_, u := math.Modf(float64(n) * (math.Phi - 1))
	for h := Duplicates; h < habits; h++ {
		if u < s[h] {
			return h
		}
		u -= s[h]
	}
	return WellBehaved
}

// hangUp sends the buy of a buyer on a connection of its own and closes it
// without waiting for the answer. It holds a ticket then, or not.
func (r *run) hangUp(ctx context.Context, cl *caller, server int, b *buyer) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.Timeout)
	defer cancel()
	h := r.client.hosts[server].http
	conn, err := h.DialTimeout(h.Addr, r.c.Timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if h.IsTLS {
		name, _, _ := net.SplitHostPort(h.Addr)
		conn = tls.Client(conn, &tls.Config{ServerName: name})
	}
	w := bufio.NewWriter(conn)
	if err := cl.buyRequest(server, b).Write(w); err != nil {
		return err
	}
	return w.Flush()
}

// annoy lets a buyer send its buy again, after the verdict.
func (r *run) annoy(ctx context.Context, cl *caller, b *buyer) {
	for range duplicateBuys {
		a, err := r.buy(cl, r.nextServer(b), b, 0)
		if _, wait := r.judge(ctx, b, []reply{a}, []error{err}); wait > 0 && duty.Rest(ctx, min(wait, 100*time.Millisecond)) != nil {
			return
		}
	}
}
