// Package seckill is the vocabulary of a flash sale (秒杀): one word per thing,
// the same in Go, SQL, JSON, URLs and on the screen.
//
//	Sale     an item offered at a price: total units, opening and closing time
//	Buyer    an authenticated person, an opaque string id
//	Pass     a signed, short-lived permission to ask for a ticket
//	Ticket   one buyer's admitted right to its units in one sale
//	Verdict  every answer the gate can give to "may I buy?"
//	Outcome  what became of a ticket, final: placed or refused
//	Order    what a placed ticket is: unpaid, paid, cancelled, expired, refunded
//	Payment  money that a provider took for an order
//	Refund   money that goes back, with its reason
//	Ledger   the list of every change of an order, of stock and of money (Entry)
//	Role     what a person of the shop may do: viewer, support, operator, admin
//
// The path of one purchase runs through five packages, its stages. Its steps are numbered
// 1 to 17 in docs/ORDER-CYCLE.md, and everywhere else by the same numbers:
//
//	internal/api     HTTP in, JSON out                            steps 1, 3, 8
//	internal/gate    over flag, reserve, outbox, relay, finish    steps 1, 2, 4, 6, 9 to 12
//	internal/queue   tickets in transit, at least once            steps 4, 5, 7
//	internal/settle  tickets become outcomes, in batches          steps 5 to 7
//	internal/store   one transaction: outcomes, orders, sold      steps 5, 8 to 17
//
// Who may ask at all is decided before step 2, in internal/access. What follows a purchase is
// in internal/payment (steps 13 to 16, money) and internal/event (step 17, those who want to
// hear of it). The other packages stand around the path:
//
//	internal/app                        builds a node of all of them, and runs it
//	internal/sale, order, account, web  what administrators and buyers do around a purchase
//	internal/rabbit, duty, client, ca   shared below the others: the connection to RabbitMQ,
//	                                    what residents need, our API as Go, engines' certificates
//	internal/live, room, packed         what nodes tell one another and people who watch, the
//	                                    bounds of what is scarce, compressed answers
//	internal/load, stack, crash         for trying out and for tests: buyers, real engines,
//	                                    the moments at which a test kills the process
//
// The rules are here too, as functions without storage: who is admitted (Sale.Admit),
// what becomes of a ticket (Ticket.Settle), what an order may become (Order.Become), where
// captured money goes (Order.Take), when a gate's state must be rebuilt
// (GateState.Outdated) and what belongs at it then (Snapshot.Left), and whether everything
// adds up: once and exactly (Examine), or all the time and cheaply (Weights.Weigh).
// This package imports nothing of the stages, and every stage imports it.
package seckill
