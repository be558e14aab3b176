package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// consoles measures what the live screen and the balance cost a running sale: admitted per
// second while nobody, 1, 10 and 100 consoles watch, in alternation, and the share of the
// time that the balance was at work.
func (b *bench) consoles(ctx context.Context, out string) error {
	paths := b.paths()
	p := paths[slices.IndexFunc(paths, func(p path) bool { return strings.Contains(p.name, "settled meanwhile") })]
	counts := []int{0, 1, 10, 100}
	all := make([][]result, len(counts))
	for round := range b.rounds {
		for i, n := range counts {
			b.watching = n
			fmt.Fprintf(os.Stderr, "%d consoles: round %d of %d\n", n, round+1, b.rounds)
			r, err := b.measureNode(ctx, p, round)
			if err != nil {
				return fmt.Errorf("%d consoles: %w", n, err)
			}
			all[i] = append(all[i], r)
			fmt.Fprintf(os.Stderr, "  %+v\n", r)
		}
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "| consoles | admitted a second | of nobody watching | p50 / p99 ms | µs of processor each | balance at work |\n|---|---|---|---|---|---|\n")
	nobody := median(all[0])
	for i, n := range counts {
		r := median(all[i])
		fmt.Fprintf(&table, "| %d | %.0f | **%.3f** | %.0f / %.0f | %.1f | %.1f %% |\n", n, r.rate, r.rate/nobody.rate, r.p50, r.p99, r.cpu, 100*middle(all[i], func(r result) float64 { return r.balance }))
	}
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench consoles", b.head()+table.String())
}

// watch opens as many consoles as are wanted, until stop, which says how many events they
// have seen.
func (n *node) watch(ctx context.Context, consoles int) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: consoles, MaxConnsPerHost: 0}}
	var mu sync.Mutex
	silent := 0
	for range consoles {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/api/admin/live", nil)
		if err != nil {
			cancel()
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+n.admin)
		answer, err := client.Do(r)
		if err != nil {
			cancel()
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			cancel()
			return nil, fmt.Errorf("a console got %s", answer.Status)
		}
		watching.Go(func() {
			defer answer.Body.Close()
			if read, _ := io.Copy(io.Discard, answer.Body); read < 100 {
				mu.Lock()
				defer mu.Unlock()
				silent++
			}
		})
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
