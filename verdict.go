package seckill

// Verdict is every answer the gate can give to a buyer. It is a value, not an
// error: an error means that the gate could not tell.
//
// Adding one means changing, in this order: the constants and names below; the rule in
// Sale.Admit, its twin in internal/gate/redisgate/lua/reserve.lua, and lines for both in
// internal/gate/gatetest/admission.txt; api/answer.go (status and body); api/openapi.json;
// docs/http-api.md; the words of the storefront and of the console
// (internal/web/console/words/*/pages.json).
type Verdict uint8

// The verdicts.
const (
	Queued  Verdict = iota // admitted: a ticket was written, or is held already
	SoldOut                // fewer units left than wanted
	NotOpen                // before opens_at by the gate's clock
	Ended                  // at or after closes_at, or ended by an administrator
	Paused                 // paused by an administrator
	Limit                  // the buyer holds an active ticket with another quantity
	Busy                   // the outbox is full
	verdicts
)

var verdictNames = [verdicts]string{"queued", "sold_out", "not_open", "ended", "paused", "limit", "busy"}

// String returns the word used in JSON and metrics.
func (v Verdict) String() string { return verdictNames[v] }

// Verdicts lists all of them, for tables and metrics.
func Verdicts() []Verdict {
	all := make([]Verdict, verdicts)
	for i := range all {
		all[i] = Verdict(i)
	}
	return all
}

// Answer is what the gate says to a buyer.
type Answer struct {
	Verdict Verdict
	Ticket  string // for Queued: the buyer's ticket, durable
	Left    int64  // units at the gate when it was decided
}
