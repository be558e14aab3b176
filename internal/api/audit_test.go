package api

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate"
	"seckill/internal/sale"
	"seckill/internal/store"
)

// longOutbox is a gate whose outbox takes until next to be read.
type longOutbox struct {
	*gate.Memory
	read atomic.Int64
	next chan struct{}
}

func (l *longOutbox) Cut(ctx context.Context, id seckill.SaleID) (seckill.Cut, error) {
	cut, err := l.Memory.Cut(ctx, id)
	l.read.Add(1)
	select {
	case <-l.next:
	case <-ctx.Done():
	}
	return cut, err
}

// Who asks while a sale is audited shares the next audit, which sees what was so when they
// asked. However many ask, one looks at a time.
func TestWhoAsksWhileASaleIsAuditedSharesTheNextAudit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outbox := &longOutbox{next: make(chan struct{})}
		s := newSystem(t, func(c *Config) {
			outbox.Memory = c.Gate.(*gate.Memory)
			c.Sales = sale.New(c.Store.(*store.Store), outbox, c.Log, sale.Options{})
		})
		var all sync.WaitGroup
		ask := func(least int64) {
			all.Go(func() {
				var r seckill.Report
				s.admin("GET", s.adminPath(s.open.ID, "audit"), "").is(200).into(&r)
				require.True(t, r.OK, "%v", r.Violations)
				require.GreaterOrEqual(t, r.Gate+r.Active, least, "%+v", r)
			})
			synctest.Wait()
		}
		ask(openUnits)
		s.admin("POST", s.adminPath(s.open.ID, "stock"), `{"id":"more","delta":7}`).is(200)
		for range askerPlaces - 1 {
			ask(openUnits + 7)
		}
		require.EqualValues(t, 1, outbox.read.Load(), "the others wait for the first audit")
		outbox.next <- struct{}{} // of the first audit; nothing is in the outbox, so it is read again
		outbox.next <- struct{}{}
		synctest.Wait()
		require.EqualValues(t, 3, outbox.read.Load())
		ask(openUnits + 7) // the second audit has begun: this one waits for a third

		t.Log("who waits for audits takes no more places than these from those who do something else")
		s.admin("GET", s.adminPath(s.open.ID, "audit"), "").problem(503, "busy")
		close(outbox.next)
		all.Wait()
		require.EqualValues(t, 6, outbox.read.Load(), "three audits for 17 who asked")

		t.Log("nobody waits for an audit of a node that stops")
		outbox.next = make(chan struct{})
		all.Go(func() { s.admin("GET", s.adminPath(s.open.ID, "audit"), "").problem(503, "unavailable") })
		synctest.Wait()
		s.stop()
		all.Wait()
	})
}
