// Command shop is an example of a program beside Seckill that learns of orders by
// RabbitMQ and keeps its own books. docs/integration.md explains it.
//
//	go run ./examples/shop -queue amqp://seckill-shop:password@127.0.0.1:5672/%2Fseckill -books books.db
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	_ "modernc.org/sqlite"
)

const (
	exchange = "seckill.events"
	inbox    = "shop.orders" // the shop's own, durable: events wait in it while the shop is away
	keys     = "order.*"
	aside    = "shop.orders.dead" // exchange and queue: what was put aside waits in it for a person
	prefetch = 50
	limit    = 20              // times that an event is handed back, each by a lost connection, before it is put aside
	pause    = 2 * time.Second // before it connects again, or asks its own database again
)

// event is what the shop reads of a message. Fields that it does not know are
// none of its business.
type event struct {
	V     int    `json:"v"`
	ID    string `json:"id"`
	Type  string `json:"type"`
	Order struct {
		ID       string `json:"id"`
		State    string `json:"state"`
		Amount   int64  `json:"amount"` // minor units
		Currency string `json:"currency"`
	} `json:"order"`
}

// errForeign is a message that no node has sent: somebody else who may write to the
// exchange has, and it is put aside.
var errForeign = errors.New("not from a node: its user_id is none of -from")

// errUnreadable is a message that will never be an event: it is put aside.
var errUnreadable = errors.New("not an event of version 1")

func main() {
	url := flag.String("queue", "amqp://seckill-shop@127.0.0.1:5672/%2Fseckill", "the broker, with the shop's user")
	file := flag.String("books", "books.db", "the shop's own database")
	from := flag.String("from", "seckill,seckill-publisher", "the broker's users that nodes log in as: events of anybody else are put aside")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := openBooks(*file)
	if err != nil {
		slog.Error("books", "error", err)
		os.Exit(1)
	}
	defer b.db.Close()
	b.said, b.from = os.Stdout, strings.Split(*from, ",")
	for ctx.Err() == nil {
		if err := b.follow(ctx, *url); ctx.Err() == nil {
			slog.Warn("not connected; trying again", "pause", pause, "error", err)
			rest(ctx)
		}
	}
}

// rest waits, but not longer than ctx lasts.
func rest(ctx context.Context) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// books are what the shop knows of orders.
type books struct {
	db   *sql.DB
	said io.Writer
	from []string              // users of nodes
	rest func(context.Context) // between tries to enter an event
}

func openBooks(file string) (*books, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`
		CREATE TABLE IF NOT EXISTS seen (event TEXT PRIMARY KEY) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, state TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL, event TEXT NOT NULL) WITHOUT ROWID`)
	return &books{db: db, said: io.Discard, rest: rest}, err
}

// follow takes events until the connection is lost or ctx is done.
func (b *books) follow(ctx context.Context, url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := declare(ch); err != nil {
		return err
	}
	if err := ch.QueueBind(inbox, keys, exchange, false, nil); err != nil {
		return err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	events, err := ch.ConsumeWithContext(ctx, inbox, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for m := range events {
		err := errForeign
		// The broker lets nobody set another user than who they are, and nobody must set one.
		if slices.Contains(b.from, m.UserId) {
			err = b.insist(ctx, m.Body)
		}
		switch {
		case errors.Is(err, errUnreadable), errors.Is(err, errForeign):
			slog.Error("put aside in "+aside, "message", m.MessageId, "user", m.UserId, "error", err)
			err = m.Reject(false)
		case err == nil:
			err = m.Ack(false)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the broker closed the connection")
}

// declare makes the shop's queue, and the one of what it puts aside. A queue
// without x-max-length is never full, so it never holds back the events of other
// shops; reject-publish is what at-least-once asks for: an event that is put
// aside leaves the one queue when the other has it.
func declare(ch *amqp.Channel) error {
	if err := ch.ExchangeDeclare(aside, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(aside, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return err
	}
	if err := ch.QueueBind(aside, aside, aside, false, nil); err != nil {
		return err
	}
	_, err := ch.QueueDeclare(inbox, true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-delivery-limit": int64(limit), "x-overflow": "reject-publish",
		"x-dead-letter-exchange": aside, "x-dead-letter-routing-key": aside, "x-dead-letter-strategy": "at-least-once",
	})
	return err
}

// insist enters an event into the books, however long that takes. The shop's own
// trouble is no reason to hand an event back: each return counts against it.
func (b *books) insist(ctx context.Context, body []byte) error {
	for said := ""; ; {
		err := b.take(ctx, body)
		if err == nil || errors.Is(err, errUnreadable) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := err.Error(); text != said {
			slog.Warn("the books take nothing; trying again until they do", "pause", pause, "error", err)
			said = text
		}
		b.rest(ctx)
	}
}

// take enters an event into the books: that it was seen, and what it changes, in
// one transaction. However often it is delivered it counts once.
func (b *books) take(ctx context.Context, body []byte) error {
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.V != 1 || e.ID == "" || e.Order.ID == "" {
		return errors.Join(errUnreadable, err)
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	r, err := tx.ExecContext(ctx, "INSERT INTO seen (event) VALUES (?) ON CONFLICT DO NOTHING", e.ID)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return err // seen before
	}
	// Event ids of one order rise with its states: a late one changes nothing.
	_, err = tx.ExecContext(ctx, `INSERT INTO orders (id, state, amount, currency, event) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, event = excluded.event WHERE excluded.event > orders.event`,
		e.Order.ID, e.Order.State, e.Order.Amount, e.Order.Currency, e.ID)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(b.said, "%s %s %d %s\n", e.Order.ID, e.Type, e.Order.Amount, e.Order.Currency)
	return nil
}
