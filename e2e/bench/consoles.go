package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// besideConsoles measures what the live screen and the balance cost a running sale:
// admitted per second and processor time while 1, 10 and 100 consoles watch, beside the
// seconds of the same run in which nobody does.
func (b *bench) besideConsoles(ctx context.Context, out string) error {
	counts := []int{1, 10, 100}
	all := make([][]pair, len(counts))
	var balance []float64
	for round := range b.rounds {
		for i, consoles := range counts {
			fmt.Fprintf(os.Stderr, "%d consoles: round %d of %d\n", consoles, round+1, b.rounds)
			var counted float64
			var began time.Time
			pairs, err := b.selling(ctx, round, 0, func(n *node) (disturbance, error) {
				counted, began = n.metric(ctx, balanceSeconds), time.Now()
				return disturbance{
					begin: func() (func() error, error) { return n.watch(ctx, consoles) },
					end: func() error {
						balance = append(balance, (n.metric(ctx, balanceSeconds)-counted)/time.Since(began).Seconds())
						return nil
					},
				}, nil
			})
			if err != nil {
				return fmt.Errorf("%d consoles: %w", consoles, err)
			}
			all[i] = append(all[i], pairs...)
		}
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "%s, %d runs; the middle half of the pairs in brackets. The balance was at work for %.1f %% of the time.\n\n",
		b.headOfPairs(), b.rounds*len(counts), 100*middle(balance, func(s float64) float64 { return s }))
	fmt.Fprintf(&table, "| consoles | admitted a second | of nobody watching | processor of the node for each admitted, of nobody watching |\n|---|---|---|---|\n")
	for i, n := range counts {
		fmt.Fprintf(&table, "| %d | %.0f | **%s | **%s |\n", n, middle(all[i], func(p pair) float64 { return p.with.rate }), spread(all[i], pair.rates), spread(all[i], pair.costs))
	}
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench consoles", table.String())
}

const balanceSeconds = "seckill_balance_seconds_total"

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
