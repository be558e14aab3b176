package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill/internal/duty"
	"seckill/internal/store"
)

const (
	prepareTry   = 20 * time.Second // for one try to connect to the store and to migrate it
	preparePause = time.Second
)

// checkEvery is how often the settings of the engines are looked at again.
const checkEvery = time.Minute

// preparer connects to a store that was not there at the start and migrates it, however
// long that takes. Then it says which settings of the engines are weaker than what is
// promised, at once and whenever that changes.
type preparer struct {
	store  *store.Store
	log    *slog.Logger
	checks []func(context.Context) ([]string, error) // what is weaker than promised
	weak   *prometheus.GaugeVec                      // without labels: how many settings are; there once it is known. nil: nobody counts
}

// Run prepares until it has worked, or ctx is done.
func (p *preparer) Run(ctx context.Context) error {
	var complaint duty.Complaint
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, prepareTry)
		err := p.store.Prepare(try)
		cancel()
		if err == nil {
			p.watch(ctx)
			return nil
		}
		if complaint.New(err) && ctx.Err() == nil {
			p.log.Warn("the store is not ready; trying again", "pause", preparePause, "error", err)
		}
		duty.Rest(ctx, preparePause)
	}
	return nil
}

// watch looks at the settings until ctx is done. A check whose part is away is made again
// soon, and the others do not wait for it.
func (p *preparer) watch(ctx context.Context) {
	said, known := make([][]string, len(p.checks)), make([]bool, len(p.checks))
	for ctx.Err() == nil {
		pause := checkEvery
		for i, check := range p.checks {
			weak, err := check(ctx)
			if err != nil {
				pause = preparePause
				continue
			}
			p.say(said[i], weak)
			said[i], known[i] = weak, true
		}
		// None is a number that nobody knows before every part has been asked.
		if found := len(slices.Concat(said...)); p.weak != nil && (found > 0 || !slices.Contains(known, false)) {
			p.weak.WithLabelValues().Set(float64(found))
		}
		duty.Rest(ctx, pause)
	}
}

// say names what is new among the weak settings, and what is not weak any more.
func (p *preparer) say(before, now []string) {
	for _, w := range now {
		if !slices.Contains(before, w) {
			p.log.Warn("weaker than promised: " + w)
		}
	}
	for _, w := range before {
		if !slices.Contains(now, w) {
			p.log.Info("as promised again, it was: " + w)
		}
	}
}
