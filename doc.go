// Package seckill is the vocabulary of a flash sale (秒杀): one word per thing,
// the same in Go, SQL, JSON, URLs and on the screen.
//
//	Sale     an item offered at a price: total units, opening and closing time
//	Buyer    an authenticated person, an opaque string id
//	Ticket   one buyer's admitted right to its units in one sale
//	Verdict  every answer the gate can give to "may I buy?"
//	Outcome  what became of a ticket, final: placed or refused
//	Order    what a placed ticket is: unpaid, paid, cancelled, expired, refunded
//
// The path of one purchase runs through five packages, in this order:
//
//	internal/api     HTTP in, JSON out
//	internal/gate    over flag, reserve, outbox, relay, finish
//	internal/queue   tickets in transit, at least once
//	internal/settle  tickets become outcomes, in batches
//	internal/store   one transaction: outcomes, orders, sold count
//
// The rules in this package are pure functions of (sale, now, remaining). They
// import nothing of the stages, and every stage imports them.
package seckill
