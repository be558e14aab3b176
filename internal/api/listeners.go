package api

import (
	"fmt"
	"net/http"

	"seckill"
)

// listeners starts or stops what takes tickets from the queue on this node.
func (a *API) listeners(start bool) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		if err := decode(w, r.Request, &struct{}{}, true); err != nil {
			return err
		}
		if a.Listeners == nil {
			return fmt.Errorf("this node has no listeners: its queue is embedded, or it does not have the role settle: %w", seckill.ErrState)
		}
		if start {
			a.Listeners.StartListeners()
		} else {
			a.Listeners.StopListeners()
		}
		running := a.Listeners.ListenersRunning()
		a.Log.Info("admin: listeners", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "running", running)
		a.did(r, "")
		return writeJSON(w, http.StatusOK, map[string]bool{"running": running})
	}
}
