package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// healthTime is how long a part may take to answer a health check.
const healthTime = 2 * time.Second

// glanceTime is the same for a part on which it does not depend whether the node is ready:
// a balancer that gives up after a second must not take out every node because one engine
// hangs that nobody needs to be admitted.
const glanceTime = 700 * time.Millisecond

// oldRules is the age of the rules of access from which on it is said: they are read
// four times a second.
const oldRules = 10 * time.Second

// operations serves the operations listener, which is not for the public.
func (n *Node) operations() http.Handler {
	mux := http.NewServeMux()
	// This says only that the process lives. It does not look at the engines, because
	// restarting the process does not bring a database back.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", n.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return n.known(mux)
}

// known serves requests that name this machine: by an address of it, as localhost,
// or by a host name that is listed. Else any web page could read the metrics
// through the browser of an operator, by giving its own name our address.
func (n *Node) known(h http.Handler) http.Handler {
	listening, _, _ := net.SplitHostPort(n.config.OpsListen)
	names := append([]string{"localhost", listening}, n.config.OpsHosts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		host = strings.Trim(host, "[]")
		ok := slices.ContainsFunc(names, func(name string) bool { return name != "" && strings.EqualFold(name, host) })
		if addr, err := netip.ParseAddr(host); err == nil && !ok {
			// The address that the connection came in on: a probe asks by it.
			local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
			ok = addr.Unmap().IsLoopback() || local != nil && local.IP.Equal(addr.AsSlice())
		}
		if !ok {
			http.Error(w, fmt.Sprintf("This is the operations listener, and %q is no name of it: list the host name in ops_hosts (%s).", host, EnvName("ops_hosts")), http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// warnOps says once at the start that the operations listener is not on loopback.
func (n *Node) warnOps() {
	if t, ok := n.ops.Addr().(*net.TCPAddr); ok && !t.IP.IsLoopback() {
		n.log.Warn("the operations listener can be reached from other machines: metrics, profiles and health are for everybody who reaches it. Bind it to 127.0.0.1 or to a private network (ops_listen)", "ops_listen", n.ops.Addr())
	}
}

// readyz says whether this node should get requests: whether it does what its roles are
// there for. A node with the role api does as long as its gate or its store answers: with
// the one it admits buyers whatever else is away, with the other it shows sales and results
// and takes payments, for which time runs on. A balancer that took every node out would turn
// those people away for nothing. A node without that role is ready while all that its roles
// need is there.
// What is away or limited, and keeps nobody from being served, is named in degraded.
func (n *Node) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTime)
	defer cancel()
	parts := n.health(ctx)
	ready := parts["gate"] == "ok" || parts["store"] == "ok"
	if !n.config.has(RoleAPI) {
		ready = parts["gate"] == "ok" && parts["store"] == "ok" && parts["queue"] == "ok"
	}
	ready = ready && parts["node"] == "ok"
	said, degraded := map[string]any{}, n.degraded()
	for _, part := range []string{"gate", "queue", "store", "node"} {
		if said[part] = parts[part]; parts[part] != "ok" {
			degraded = append(degraded, part+": "+parts[part])
		}
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if len(degraded) > 0 {
		said["degraded"] = degraded
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(said)
}

// health asks every part, at the same time.
func (n *Node) health(ctx context.Context) map[string]string {
	var gate, queue, store error
	var asking sync.WaitGroup
	asking.Go(func() { gate = n.gate.Ping(ctx) })
	asking.Go(func() { queue = n.ask(ctx, n.queue.Ping) })
	asking.Go(func() { store = n.ask(ctx, n.store.Ping) })
	asking.Wait()
	parts := map[string]string{"gate": state(gate), "queue": state(queue), "store": state(store), "node": "ok"}
	switch {
	case n.stopping.Load():
		parts["node"] = "stopping"
	case !isClosed(n.sales.Loaded()):
		parts["node"] = "the gate's state is being loaded"
	case n.config.has(RoleAPI) && !isClosed(n.access.Loaded()):
		parts["node"] = "what the sales ask of their buyers is being read"
	}
	return parts
}

// degraded names what is limited although every part answers.
func (n *Node) degraded() (said []string) {
	if n.redis != nil {
		if why := n.redis.Degraded(); why != "" {
			said = append(said, "gate: "+why)
		}
	}
	if why := n.secretDiffers.Load(); why != nil {
		said = append(said, "node: "+*why)
	}
	return append(said, saysOfRules(n.access.Age())...)
}

// saysOfRules is what is degraded when the rules of access were read so long ago.
func saysOfRules(age time.Duration) []string {
	if age <= oldRules {
		return nil
	}
	return []string{fmt.Sprintf("access: the rules and lists of the sales were read last %v ago: changes since then are not in force here, and sales since then are not sold", age.Round(time.Second))}
}

// ask asks the queue or the store. A node that admits buyers is ready without them, so its
// answer does not wait for them longer than for a glance.
func (n *Node) ask(ctx context.Context, ping func(context.Context) error) error {
	if !n.config.has(RoleAPI) {
		return ping(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, glanceTime, fmt.Errorf("it does not answer within %v", glanceTime))
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- ping(ctx) }()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done(): // do not wait for a driver that notices the end of its context late
		return context.Cause(ctx)
	}
}

func state(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
