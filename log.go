package seckill

import (
	"context"
	"encoding/json"
	"time"
)

// Actor is a person of the shop who changes something. It travels in the context of the
// change, and whatever the store changes for it writes an entry of the log in the same
// transaction (see LogEntry).
type Actor struct {
	Who       string `json:"who"`                  // buyer id of the account, or of the token
	Role      string `json:"role"`                 // with which they asked
	From      string `json:"from"`                 // address of the client, or the machine of the command line
	RequestID string `json:"request_id,omitempty"` // as X-Request-Id
	What      string `json:"what,omitempty"`       // what is done, such as sales.pause; empty: the store says it
	Intent    string `json:"intent,omitempty"`     // what was asked for, as it was asked
}

type actorKey struct{}

// WithActor returns a context in which a is who changes things.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns who changes things in this context. ok is false where it is nobody of
// the shop: a buyer, or a resident of a node.
func ActorOf(ctx context.Context) (a Actor, ok bool) {
	a, ok = ctx.Value(actorKey{}).(Actor)
	return a, ok && a.Who != ""
}

// LogEntry is one line of the log of what people of the shop did. Entries of changes are
// written in the transaction of the change: one that is in force has its entry, whatever
// its answer was. Others (logins, refusals, new tokens) follow within a second.
type LogEntry struct {
	ID int64     `json:"id,string"`
	At time.Time `json:"at"`
	Actor
	Sale    SaleID          `json:"sale,omitempty"`
	Subject string          `json:"subject,omitempty"` // beyond the sale: an order, an account, a move
	Result  string          `json:"result"`            // LogDone, LogBegun, or the code of the refusal
	Before  json.RawMessage `json:"before,omitempty"`  // what was, as far as it changed
	After   json.RawMessage `json:"after,omitempty"`   // and what is
}

// Results of a LogEntry. Any other is a code of the HTTP contract.
const (
	LogDone  = "done"
	LogBegun = "begun" // under way, or its end is unknown
)

// What entries are about that are no change.
const (
	LogLogin = "login"
	LogToken = "token" // the first use of a token with a role that no login has made
)

// LogFilter selects entries of the log, newest first.
type LogFilter struct {
	Before int64 // ids below it; 0: from the newest
	Who    string
	What   string // this, or what begins with it and a dot
	Sale   SaleID
	Max    int
}
