package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"seckill/internal/api"
	"seckill/internal/load"
)

// Limits of a connection. They bound what a slow or greedy client can hold.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	idleTimeout       = 2 * time.Minute
	// net/http allows 4096 bytes beyond this: 8 KB of headers in all.
	maxHeaderBytes = 4096
)

// server is an HTTP server with those limits.
func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// apiServers are what buyers and people of the shop ask: one for both, or two, of which the
// public one knows nothing of the console and its routes. stopping ends the waits for outcomes.
func (n *Node) apiServers(stopping context.Context) (public, admin *http.Server) {
	c := api.Config{
		Gate: n.gate, Store: n.store, Sales: n.sales, Orders: n.orders, Payments: n.payments, Money: n.store, Webhooks: n.webhooks, Accounts: n.accounts, Tokens: n.tokens, People: n.store, Notes: n.notes,
		Access: n.access, Lists: n.store, Shop: n.store, Ready: n.ready(), Report: load.WriteCourse, Live: n.hub, Tally: n.tally, Watchers: n.watchers, Registration: n.config.Auth.Registration,
		Pages: n.pages(), Log: n.log, Metrics: n.metrics, Stopping: stopping,
		PollAfter: n.config.HTTP.PollAfter, MaxInFlight: n.config.HTTP.MaxInFlight, MaxWaits: n.config.HTTP.MaxWaits,
		LoginTries: n.config.HTTP.LoginTries, AddressTries: n.config.HTTP.AddressTries, TrustedProxies: n.proxies(),
		TrustedOrigins: n.config.HTTP.TrustedOrigins, Hashes: n.config.HTTP.Hashes, DeviceSecrets: n.secrets,
	}
	if n.rabbit != nil {
		c.Listeners, c.Letters = n.rabbit.queue, letters{n}
		c.QueueConsole = n.config.RabbitMQ.ConsoleURL
	}
	whole := api.New(c)
	made := func(h http.Handler) *http.Server {
		s := server(h, n.log)
		s.WriteTimeout = 40 * time.Second // a wait for an outcome is the longest answer
		return s
	}
	if n.admin == nil {
		return made(whole), nil
	}
	return made(whole.WithoutAdmin()), made(whole)
}

// opsServer is what operators and their monitoring ask.
func (n *Node) opsServer() *http.Server {
	s := server(n.operations(), n.log)
	s.WriteTimeout = 5 * time.Minute // a profile takes its time
	return s
}

func (n *Node) proxies() (all []netip.Prefix) {
	for _, p := range n.config.HTTP.TrustedProxies {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}
