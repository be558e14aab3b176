// Command receiver hears of orders by webhooks: it checks who sends, and takes each event
// once. See docs/integration.md.
//
//	RECEIVER_SECRET=whsec_… go run ./examples/receiver -listen 127.0.0.1:9100
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// event is what this receiver needs of one.
type event struct {
	V     int    `json:"v"`
	ID    string `json:"id"`
	Type  string `json:"type"`
	Buyer string `json:"buyer"`
	Order struct {
		ID       string `json:"id"`
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
		State    string `json:"state"`
	} `json:"order"`
}

// receiver takes events. A shop keeps the ids in its database, in the transaction of what
// the event changes there.
type receiver struct {
	hook *webhooks.Webhook
	take func(event) error

	mu   sync.Mutex
	seen map[string]bool
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<10))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	// The signature is over the bytes as they came, and no older than five minutes.
	if err := r.hook.Verify(body, req.Header); err != nil {
		http.Error(w, "this is not from Seckill", http.StatusUnauthorized)
		return
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.V != 1 {
		// It is signed and cannot be read: a newer form. Said, it is sent again until
		// this program understands it.
		log.Printf("event %s cannot be read: %v", req.Header.Get("webhook-id"), err)
		http.Error(w, "unknown form", http.StatusNotImplemented)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[e.ID] { // a repeat: what it asks for has been done
		return
	}
	if err := r.take(e); err != nil {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	r.seen[e.ID] = true
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9100", "`address` to listen on")
	flag.Parse()
	hook, err := webhooks.NewWebhook(os.Getenv("RECEIVER_SECRET"))
	if err != nil {
		log.Fatal("RECEIVER_SECRET must be the receiver's secret, whsec_…: ", err)
	}
	r := &receiver{hook: hook, seen: map[string]bool{}, take: func(e event) error {
		_, err := fmt.Printf("%s order %s of %s: %d %s, %s\n", e.Type, e.Order.ID, e.Buyer, e.Order.Amount, e.Order.Currency, e.Order.State)
		return err
	}}
	s := &http.Server{Addr: *listen, Handler: r, ReadTimeout: 10 * time.Second}
	log.Fatal(s.ListenAndServe())
}
