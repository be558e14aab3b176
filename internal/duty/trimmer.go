package duty

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"
)

// Limits of a trimmer.
const (
	trimBatch = 500                    // rows in one transaction
	trimPause = 200 * time.Millisecond // between two of them: changes of sales and orders have the store meanwhile
	trimCheck = time.Hour              // between two looks
	trimRetry = time.Minute            // after a failure
	trimLife  = 15 * time.Second       // of the lease
)

// Trimmer is a resident that removes what is older than Keep. One node does at a time.
type Trimmer struct {
	Leases Leases
	What   string // is removed, in the plural: "old entries of the log"; also the lease's name
	Keep   time.Duration
	// Trim MUST remove what is older than keep, max rows at most of each table, and say how
	// many those were.
	Trim func(ctx context.Context, keep time.Duration, max int) (removed int, err error)
	Log  *slog.Logger
}

// Run removes until ctx is done.
func (t *Trimmer) Run(ctx context.Context) error {
	lease := &Lease{Leases: t.Leases, Name: t.What, Owner: rand.Text(), Life: trimLife}
	var complaint Complaint
	for ctx.Err() == nil {
		removed, err := t.trim(ctx, lease)
		lease.Release(ctx)
		if removed > 0 {
			t.Log.Info("trimmer: "+t.What+" were removed", "rows", removed, "older_than", t.Keep)
		}
		pause := trimCheck
		if complaint.New(err) && ctx.Err() == nil {
			t.Log.Warn("trimmer: "+t.What+" stay for now; trying again until it works", "error", err)
		}
		if err != nil {
			pause = trimRetry
		}
		Rest(ctx, pause)
	}
	return nil
}

// trim removes what is old now, batch by batch, while this node holds the lease.
func (t *Trimmer) trim(ctx context.Context, lease *Lease) (removed int, err error) {
	for {
		held, err := lease.Held(ctx)
		if err != nil || !held {
			return removed, err
		}
		n, err := t.Trim(ctx, t.Keep, trimBatch)
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
		if err := Rest(ctx, trimPause); err != nil {
			return removed, nil
		}
	}
}
