package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill/internal/duty"
)

// A run of consoles: so many pairs of windows of one running sale, watched and not, after
// each change of the two a moment in which connections come and go.
const (
	consolePairs  = 6
	consoleWindow = 2 * time.Second
	consoleChange = 300 * time.Millisecond
)

// consoles measures what the live screen and the balance cost a running sale: admitted per
// second and processor time while 1, 10 and 100 consoles watch, beside the seconds of the
// same run in which nobody does. The machine's speed changes from minute to minute by more
// than a console costs, so that runs are not compared with each other.
func (b *bench) consoles(ctx context.Context, out string) error {
	b.seconds = int((2*consolePairs*(consoleWindow+consoleChange) + 9*time.Second) / time.Second)
	counts := []int{1, 10, 100}
	all := make([][]pair, len(counts))
	var balance []float64
	for round := range b.rounds {
		for i, n := range counts {
			fmt.Fprintf(os.Stderr, "%d consoles: round %d of %d\n", n, round+1, b.rounds)
			pairs, share, err := b.watched(ctx, n, round)
			if err != nil {
				return fmt.Errorf("%d consoles: %w", n, err)
			}
			all[i], balance = append(all[i], pairs...), append(balance, share)
		}
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "%d connections, wrk with %d thread(s) on the same machine: %d cores, %s, %s. %d pairs of windows of %v for each number, %d runs; the middle half of the pairs in brackets. The balance was at work for %.1f %% of the time.\n\n",
		b.connections, b.threads, runtime.NumCPU(), cpu(), runtime.Version(), consolePairs*b.rounds, consoleWindow, b.rounds*len(counts), 100*middle(balance, func(s float64) float64 { return s }))
	fmt.Fprintf(&table, "| consoles | admitted a second | of nobody watching | processor of the node for each admitted, of nobody watching |\n|---|---|---|---|\n")
	for i, n := range counts {
		rate := func(p pair) float64 { return p.with.rate / p.without.rate }
		cpu := func(p pair) float64 { return p.with.cpu / p.without.cpu }
		fmt.Fprintf(&table, "| %d | %.0f | **%s | **%s |\n", n, middle(all[i], func(p pair) float64 { return p.with.rate }), spread(all[i], rate), spread(all[i], cpu))
	}
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench consoles", table.String())
}

// pair is two windows, one after the other: in one of them consoles watched.
type pair struct{ with, without window }

// window is what was admitted in a second, and the node's processor time for each, in
// seconds.
type window struct{ rate, cpu float64 }

// spread is the median with the quarter above and below it.
func spread(all []pair, f func(pair) float64) string {
	values := make([]float64, len(all))
	for i, p := range all {
		values[i] = f(p)
	}
	slices.Sort(values)
	n := len(values)
	return fmt.Sprintf("%.3f** [%.2f, %.2f]", values[n/2], values[n/4], values[n*3/4])
}

// watched sells, and lets so many consoles watch every other window. Which of a pair comes
// first changes from pair to pair.
func (b *bench) watched(ctx context.Context, consoles, round int) (pairs []pair, balance float64, err error) {
	n, err := b.start(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer n.stop()
	paths := b.paths()
	p := paths[slices.IndexFunc(paths, func(p path) bool { return strings.Contains(p.name, "settled meanwhile") })]
	method, target, tokens, err := p.prepare(ctx, n, round)
	if err != nil {
		return nil, 0, err
	}
	counted, began := n.metric(ctx, "seckill_balance_seconds_total"), time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := b.wrk(ctx, n.url, method, target, tokens, false, p.status)
		ended <- err
	}()
	admitted := func() float64 { return n.metric(ctx, `seckill_verdicts_total{by="gate",verdict="queued"}`) }
	for admitted() == 0 { // wrk reads its tokens first
		select {
		case err := <-ended:
			return nil, 0, err
		default:
			duty.Rest(ctx, 50*time.Millisecond)
		}
	}
	look := func(consoles int) (w window, err error) {
		stop, err := n.watch(ctx, consoles)
		if err != nil {
			return w, err
		}
		duty.Rest(ctx, consoleChange)
		was, used, at := admitted(), cpuTime(n.cmd.Process.Pid), time.Now()
		duty.Rest(ctx, consoleWindow)
		is, more := admitted(), cpuTime(n.cmd.Process.Pid)
		if is == was {
			return w, fmt.Errorf("nothing was admitted while %d consoles watched", consoles)
		}
		return window{(is - was) / time.Since(at).Seconds(), (more - used) / (is - was)}, stop()
	}
	for i := range consolePairs {
		var p pair
		if i%2 == 0 {
			p.with, err = look(consoles)
		}
		if err == nil {
			p.without, err = look(0)
		}
		if err == nil && i%2 == 1 {
			p.with, err = look(consoles)
		}
		if err != nil {
			return nil, 0, errors.Join(err, <-ended)
		}
		pairs = append(pairs, p)
		fmt.Fprintf(os.Stderr, "  %+v\n", p)
	}
	balance = (n.metric(ctx, "seckill_balance_seconds_total") - counted) / time.Since(began).Seconds()
	if err := <-ended; err != nil {
		return nil, 0, err
	}
	if err := n.settled(ctx); err != nil {
		return nil, 0, err
	}
	return pairs, balance, n.audit(ctx, target)
}

// watch opens as many consoles as are wanted, until stop, which says how many events they
// have seen.
func (n *node) watch(ctx context.Context, consoles int) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: consoles, MaxConnsPerHost: 0}}
	var mu sync.Mutex
	silent := 0
	var opening errgroup.Group // all at once: beside thousands of buyers each waits its turn
	for range consoles {
		opening.Go(func() error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/api/admin/live", nil)
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", "Bearer "+n.admin)
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			if answer.StatusCode != http.StatusOK {
				answer.Body.Close()
				return fmt.Errorf("a console got %s", answer.Status)
			}
			watching.Go(func() {
				defer answer.Body.Close()
				if read, _ := io.Copy(io.Discard, answer.Body); read < 100 {
					mu.Lock()
					defer mu.Unlock()
					silent++
				}
			})
			return nil
		})
	}
	if err := opening.Wait(); err != nil {
		cancel()
		return nil, err
	}
	return func() error {
		cancel()
		watching.Wait()
		if silent > 0 {
			return fmt.Errorf("%d of %d consoles saw nothing", silent, consoles)
		}
		return nil
	}, nil
}

// metric reads one number of the node; 0 if it has none of that name.
func (n *node) metric(ctx context.Context, name string) (v float64) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ops+"/metrics", nil)
	if err != nil {
		return 0
	}
	r.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, _ = strconv.ParseFloat(value, 64)
		}
	}
	return v
}
