package api

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"seckill/internal/room"
)

// audits are the audits of this node. One of a long outbox takes its time, so a sale has
// one at a time: who asks while it runs waits for the next one, which looks at the sale
// after they asked, and shares it with all who ask meanwhile.
type audits struct {
	asking singleflight.Group
	// lanes by the sale's id. Sales in one stream of Redis' outbox have the same lane: none of
	// their audits is delayed by reading for another one.
	lanes [16]*room.Fair
}

func newAudits() *audits {
	a := &audits{}
	for i := range a.lanes {
		a.lanes[i] = room.NewLane(1, auditWaiting, heavyBound)
	}
	return a
}

func (a *API) audit(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(heavyBound + writeMargin))
	leave, err := a.rooms.askers.Enter(r.Context(), r.who.Buyer)
	if err != nil {
		return err
	}
	defer leave(0)
	key := id.String()
	audited, err, _ := a.audits.asking.Do(key, func() (any, error) {
		// Others wait for this audit, so it goes on when its first caller goes.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), heavyBound)
		defer cancel()
		defer context.AfterFunc(a.Stopping, cancel)()
		next, err := a.audits.lanes[uint64(id)%uint64(len(a.audits.lanes))].Enter(ctx, key)
		if err != nil {
			return nil, err
		}
		defer next(0)
		leave, err := a.rooms.audits.Enter(ctx, key)
		if err != nil {
			return nil, err
		}
		defer leave(0)
		a.audits.asking.Forget(key) // from here on it looks: who asks now waits for the next one
		return a.Sales.Audit(ctx, id)
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, audited)
}
