package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"seckill/internal/duty"
)

// So many pairs of windows of one running sale, disturbed and not, after each change of the
// two a moment in which connections come and go. The machine's speed changes from minute to
// minute by more than most of what is measured so, and runs are not compared with each other.
const (
	windowPairs  = 6
	windowLength = 2 * time.Second
	windowChange = 300 * time.Millisecond
)

// disturbance is what happens in every other window of a sale.
type disturbance struct {
	begin func() (stop func() error, err error)
	end   func() error // after the last window, while the sale goes on; nil: nothing
}

// pair is two windows, one after the other: one of them was disturbed.
type pair struct{ with, without window }

// window is what was admitted in a second, and the node's processor time for each, in
// seconds.
type window struct{ rate, cpu float64 }

func (p pair) rates() float64 { return p.with.rate / p.without.rate }
func (p pair) costs() float64 { return p.with.cpu / p.without.cpu }

// spread is the median with the quarter above and below it.
func spread[T any](all []T, f func(T) float64) string {
	values := make([]float64, len(all))
	for i, p := range all {
		values[i] = f(p)
	}
	slices.Sort(values)
	n := len(values)
	return fmt.Sprintf("%.3f** [%.2f, %.2f]", values[n/2], values[n/4], values[n*3/4])
}

// headOfPairs says how pairs were measured.
func (b *bench) headOfPairs() string {
	return fmt.Sprintf("%d connections, wrk with %d thread(s) on the same machine: %d cores, %s, %s. %d pairs of windows of %v for each line",
		b.connections, b.threads, runtime.NumCPU(), cpu(), runtime.Version(), windowPairs*b.rounds, windowLength)
}

// inTurn takes pairs of windows. Which of a pair comes first changes from pair to pair.
func inTurn[W any](count int, look func(disturbed bool) (W, error)) (pairs [][2]W, err error) {
	for i := range count {
		var p [2]W
		for _, at := range [2]int{i % 2, 1 - i%2} {
			if p[at], err = look(at == 0); err != nil {
				return nil, err
			}
		}
		pairs = append(pairs, p)
		fmt.Fprintf(os.Stderr, "  %+v\n", p)
	}
	return pairs, nil
}

// selling sells as fast as the node can, and disturbs it in every other window. To stop a
// disturbance takes as long as stops: the sale must go on for all windows.
func (b *bench) selling(ctx context.Context, round int, stops time.Duration, prepare func(*node) (disturbance, error)) (pairs []pair, err error) {
	b.seconds = int((2*windowPairs*(windowLength+windowChange) + windowPairs*stops + 9*time.Second) / time.Second)
	n, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer n.stop()
	d, err := prepare(n)
	if err != nil {
		return nil, err
	}
	paths := b.paths()
	p := paths[slices.IndexFunc(paths, func(p path) bool { return strings.Contains(p.name, "settled meanwhile") })]
	method, target, tokens, err := p.prepare(ctx, n, round)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := b.wrk(ctx, n.url, method, target, tokens, false, p.status)
		ended <- err
	}()
	admitted := func() float64 { return n.metric(ctx, `seckill_verdicts_total{by="gate",verdict="queued"}`) }
	for admitted() == 0 { // wrk reads its tokens first
		select {
		case err := <-ended:
			return nil, err
		default:
			duty.Rest(ctx, 50*time.Millisecond)
		}
	}
	taken, err := inTurn(windowPairs, func(disturbed bool) (w window, err error) {
		stop := func() error { return nil }
		if disturbed {
			if stop, err = d.begin(); err != nil {
				return w, err
			}
		}
		duty.Rest(ctx, windowChange)
		was, used, at := admitted(), cpuTime(n.cmd.Process.Pid), time.Now()
		duty.Rest(ctx, windowLength)
		is, more := admitted(), cpuTime(n.cmd.Process.Pid)
		w = window{(is - was) / time.Since(at).Seconds(), (more - used) / (is - was)}
		if is == was {
			err = fmt.Errorf("nothing was admitted in a window (disturbed: %v)", disturbed)
		}
		return w, errors.Join(err, stop())
	})
	if err == nil && d.end != nil {
		err = d.end()
	}
	if err = errors.Join(err, <-ended); err != nil {
		return nil, err
	}
	for _, p := range taken {
		pairs = append(pairs, pair{with: p[0], without: p[1]})
	}
	if err := n.settled(ctx); err != nil {
		return nil, err
	}
	return pairs, n.audit(ctx, target)
}
