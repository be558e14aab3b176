package account

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"seckill/internal/duty"
)

// Limits of the trimmer.
const (
	trimBatch = 500                    // entries in one transaction
	trimPause = 200 * time.Millisecond // between two of them: changes of sales and orders have the store meanwhile
	trimCheck = time.Hour              // between two looks
	trimRetry = time.Minute            // after a failure
	trimLife  = 15 * time.Second       // of the lease
	trimLease = "old entries of the log"
)

// TrimStore is what the trimmer needs of the store.
type TrimStore interface {
	// TrimLog MUST remove entries older than keep, the oldest first and max at most, and say
	// how many those were.
	TrimLog(ctx context.Context, keep time.Duration, max int) (removed int, err error)
	duty.Leases
}

// Trimmer is the resident that removes entries of the log of administrators that are older
// than Keep. One node does at a time.
type Trimmer struct {
	Store TrimStore
	Keep  time.Duration
	Log   *slog.Logger
}

// Run removes until ctx is done.
func (t *Trimmer) Run(ctx context.Context) error {
	lease := &duty.Lease{Leases: t.Store, Name: trimLease, Owner: rand.Text(), Life: trimLife}
	var complaint duty.Complaint
	for ctx.Err() == nil {
		removed, err := t.trim(ctx, lease)
		lease.Release(ctx)
		if removed > 0 {
			t.Log.Info("account: old entries of the log of administrators were removed", "entries", removed, "older_than", t.Keep)
		}
		pause := trimCheck
		if complaint.New(err) && ctx.Err() == nil {
			t.Log.Warn("account: old entries of the log of administrators stay for now; trying again until it works", "error", err)
		}
		if err != nil {
			pause = trimRetry
		}
		duty.Rest(ctx, pause)
	}
	return nil
}

// trim removes what is old now, batch by batch, while this node holds the lease.
func (t *Trimmer) trim(ctx context.Context, lease *duty.Lease) (removed int, err error) {
	for {
		held, err := lease.Held(ctx)
		if err != nil || !held {
			return removed, err
		}
		n, err := t.Store.TrimLog(ctx, t.Keep, trimBatch)
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
		if err := duty.Rest(ctx, trimPause); err != nil {
			return removed, nil
		}
	}
}
