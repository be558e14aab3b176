package app

import (
	"context"
	"log/slog"
	"time"

	"seckill/internal/duty"
	"seckill/internal/store"
)

const (
	prepareTry   = 20 * time.Second // for one try to connect to the store and to migrate it
	preparePause = time.Second
)

// preparer connects to a store that was not there at the start and migrates it, however
// long that takes. Then it says once which settings of the engines are weaker than what is
// promised, and is done.
type preparer struct {
	store  *store.Store
	log    *slog.Logger
	checks []func(context.Context) ([]string, error) // what is weaker than promised
}

// Run prepares until it has worked, or ctx is done.
func (p *preparer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, prepareTry)
		err := p.store.Prepare(try)
		cancel()
		if err == nil {
			p.check(ctx)
			return nil
		}
		if ctx.Err() == nil {
			p.log.Warn("the store is not ready; trying again", "pause", preparePause, "error", err)
		}
		duty.Rest(ctx, preparePause)
	}
	return nil
}

// check names what is weaker than the promise needs. It asks again while a part is away.
func (p *preparer) check(ctx context.Context) {
	for _, check := range p.checks {
		for {
			weak, err := check(ctx)
			if err == nil {
				for _, w := range weak {
					p.log.Warn("weaker than promised: " + w)
				}
				break
			}
			if duty.Rest(ctx, preparePause); ctx.Err() != nil {
				return
			}
		}
	}
}
