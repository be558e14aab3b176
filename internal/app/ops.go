package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// healthTime is how long a part may take to answer a health check.
const healthTime = 2 * time.Second

// operations serves the operations listener, which is not for the public.
func (n *Node) operations() http.Handler {
	mux := http.NewServeMux()
	// The process lives. Nothing else is asked: a restart mends no database.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", n.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// readyz says whether this node should get requests, and which part keeps it
// from them.
func (n *Node) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTime)
	defer cancel()
	parts := map[string]string{"gate": state(n.gate.Ping(ctx)), "queue": state(n.queue.Ping(ctx)), "store": state(n.store.Ping(ctx)), "node": "ok"}
	switch {
	case n.stopping.Load():
		parts["node"] = "stopping"
	case !n.loaded.Load():
		parts["node"] = "the gate's state is being loaded"
	}
	status := http.StatusOK
	for _, s := range parts {
		if s != "ok" {
			status = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(parts)
}

func state(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}
