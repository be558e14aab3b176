package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"seckill/e2e/node"
)

// ofStripe reports whether a moment is one that only a provider comes to whose payments can be
// ended.
func ofStripe(moment string) bool { return moment == "13-before-closed" }

// stripe is Stripe for a node, which comes to it through a proxy: the name is Stripe's own,
// and the certificate of an authority that the node is told of. It starts one payment and
// ends it, again and again.
type stripe struct {
	ended atomic.Int64
	env   []string
}

func newStripe(t *testing.T) *stripe {
	s := &stripe{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	from := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"api.stripe.com"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	must(t, err)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/v1/checkout/sessions":
		case s.ended.Add(1) > 1: // it has ended
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"type":"invalid_request_error","message":"Only open sessions can be expired."}}`)
			return
		}
		fmt.Fprint(w, `{"id":"cs_1","object":"checkout.session","url":"https://checkout.example/cs_1"}`)
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	api.StartTLS()
	t.Cleanup(api.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := net.Dial("tcp", api.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(to, conn); to.Close() }()
		io.Copy(conn, to)
	}))
	t.Cleanup(proxy.Close)
	s.env = []string{"HTTPS_PROXY=" + proxy.URL, "SSL_CERT_FILE=" + authority, "SECKILL_PAYMENT_PROVIDER=stripe", "SECKILL_PAYMENT_KEY=sk_test_x",
		"SECKILL_PAYMENT_SECRET=whsec_x", "SECKILL_PAYMENT_URL=https://shop.example/{order}"}
	return s
}

// dieAtEnding kills a node when the payment of an order that was cancelled has ended at
// Stripe. The next node ends it again, and notes it.
func dieAtEnding(t *testing.T, moment, when string) {
	file, err := crashBinary()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	at := newStripe(t)
	alive := node.Config{Binary: file, Dir: folder(t), Listen: address(t), Env: at.env}
	mortal := alive
	mortal.Env = append(at.env[:len(at.env):len(at.env)], "SECKILL_CRASH="+moment+":"+when)
	n := start(t, mortal)
	now := time.Now()
	sale := admin(t, n).does("POST", "/api/admin/sales", map[string]any{"title": "lamp", "price": 100, "currency": "CNY", "total": 1, "limit_per_buyer": 1,
		"opens_at": now, "closes_at": now.Add(time.Hour), "hold_seconds": 600}, 201).ID
	ann := buyer(t, n, "ann")
	ann.does("POST", "/api/sales/"+sale+"/ticket", nil, 202)
	order := ann.outcome(sale).Order
	ann.does("POST", "/api/orders/"+order+"/pay", nil, 200)
	ann.does("POST", "/api/orders/"+order+"/cancel", nil, 200)
	select {
	case <-n.Done():
	case <-ctx.Done():
		t.Fatalf("the node did not come to %s:%s", moment, when)
	}
	if !n.Killed() || !strings.Contains(n.Log(), "dies at "+moment) {
		t.Fatalf("the node did not die at %s:\n%s", moment, n.Log())
	}
	n = start(t, alive)
	db, err := sql.Open("sqlite", filepath.Join(alive.Dir, "seckill.db"))
	must(t, err)
	defer db.Close()
	eventually(t, "the payment is known to have ended", func() bool {
		closed := false
		return db.QueryRowContext(ctx, "SELECT closed FROM checkouts").Scan(&closed) == nil && closed
	})
	if at.ended.Load() != 2 {
		t.Errorf("it was ended %d times", at.ended.Load())
	}
	must(t, n.Stop())
}
