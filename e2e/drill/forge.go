package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/rueidis"

	"seckill"
	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/internal/duty"
	"seckill/internal/stack"
)

// A forger may write to RabbitMQ and to Redis and has not the secret. In one round it
// writes 1,000 things that no gate has made and damages what the gate has, and each of that
// must ring an alarm.
const (
	forgedMessages = 400 // into the queue of tickets
	forgedEntries  = 350 // into the outbox
	forgedHolds    = 250 // of buyers who ask for a ticket then
	forgedStops    = 40  // notes of emergency stops
	forgedStates   = 5   // numbers of the sale, and keys of another type, one after the other
	copied         = 100 // genuine messages, sent once more: a queue may do that itself, and no alarm rings

	ticketQueue = "seckill.tickets"
	parkedQueue = "seckill.tickets.parked"

	// alarmLimit is for everything to be found: an entry whose ticket has its outcome is
	// looked at when it is old.
	alarmLimit = 90 * time.Second
	alarmPause = 100 * time.Millisecond
	copyLimit  = 20 * time.Second // for so many genuine messages to come by
)

const keysAlarm = `seckill_aside_total{where="keys"}`

// alarms are the counters that the forgeries must raise, by what was forged.
var alarms = []struct {
	what    string
	most    bool // each is counted exactly once
	counts  int64
	metrics []string
}{
	{"messages", false, forgedMessages, []string{"seckill_settle_aside_total", "seckill_queue_unreadable_total"}},
	{"entries of the outbox", true, forgedEntries, []string{`seckill_aside_total{where="outbox"}`}},
	{"holds", false, forgedHolds, []string{`seckill_aside_total{where="holds"}`}},
	{"notes of stops", true, forgedStops, []string{`seckill_aside_total{where="stops"}`}},
}

// forge is the fault of a round in which somebody forges. It returns when every forgery
// has been counted by an alarm, or says which one was not.
func (r *round) forge(ctx context.Context, _ *plan, begun, ended func()) error {
	before, err := r.alarmed(ctx)
	if err != nil {
		return err
	}
	parked, err := amqp.Dial(r.engine(stack.KindRabbitMQ).AdminURL())
	if err != nil {
		return err
	}
	defer parked.Close()
	ch, err := parked.Channel()
	if err != nil {
		return err
	}
	begun()
	defer ended()
	genuine, err := overhear(ctx, ch, copied)
	if err != nil {
		return err
	}
	if err := errors.Join(r.forgeMessages(ctx, ch, genuine), r.forgeRedis(ctx, genuine)); err != nil {
		return err
	}
	if err := r.counted(ctx, before); err != nil {
		return err
	}
	// A rebuild takes entries away whose tickets have their outcome: so they are counted first.
	if err := r.damage(ctx); err != nil {
		return err
	}
	// What was put aside waits for a person, who drops it.
	dropped, err := ch.QueuePurge(parkedQueue, false)
	if err == nil && dropped < forgedMessages {
		err = fmt.Errorf("%d messages were put aside, of %d", dropped, forgedMessages)
	}
	return err
}

// alarmed is what the alarms have counted on both nodes.
func (l *lane) alarmed(ctx context.Context) (all []int64, err error) {
	for _, a := range alarms {
		sum, err := l.sum(ctx, a.metrics...)
		if err != nil {
			return nil, err
		}
		all = append(all, sum)
	}
	return all, nil
}

// sum is that of metrics over both nodes.
func (l *lane) sum(ctx context.Context, names ...string) (sum int64, err error) {
	for _, n := range l.nodes {
		for _, name := range names {
			v, err := n.Metric(ctx, name)
			if err != nil {
				return 0, err
			}
			sum += int64(v)
		}
	}
	return sum, nil
}

// counted waits until the alarms have counted every forgery.
func (l *lane) counted(ctx context.Context, before []int64) error {
	ctx, cancel := context.WithTimeout(ctx, alarmLimit)
	defer cancel()
	for {
		now, err := l.alarmed(ctx)
		if err != nil {
			return err
		}
		var missing []string
		for i, a := range alarms {
			switch n := now[i] - before[i]; {
			case n > a.counts && a.most:
				return fmt.Errorf("the alarms counted %d %s, and %d were forged", n, a.what, a.counts)
			case n < a.counts:
				missing = append(missing, fmt.Sprintf("%d of %d %s", n, a.counts, a.what))
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if duty.Rest(ctx, alarmPause) != nil {
			return fmt.Errorf("after %v the alarms have counted %s", alarmLimit, strings.Join(missing, ", "))
		}
	}
}

// overhear copies messages on their way to the queue.
func overhear(ctx context.Context, ch *amqp.Channel, most int) (genuine []seckill.Ticket, err error) {
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return nil, err
	}
	if err := ch.QueueBind(q.Name, ticketQueue, ticketQueue, false, nil); err != nil {
		return nil, err
	}
	messages, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	for len(genuine) < most {
		select {
		case m := <-messages:
			var t seckill.Ticket
			if err := json.Unmarshal(m.Body, &t); err != nil {
				return nil, err
			}
			genuine = append(genuine, t)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d genuine messages came by", len(genuine), most)
		}
	}
	_, err = ch.QueueDelete(q.Name, false, false, false)
	return genuine, err
}

// forgeMessages sends forged and damaged messages, and copies of the genuine ones.
func (r *round) forgeMessages(ctx context.Context, ch *amqp.Channel, genuine []seckill.Ticket) error {
	if err := ch.Confirm(false); err != nil {
		return err
	}
	seals, err := seckill.NewSeals(node.Secret)
	if err != nil {
		return err
	}
	var bodies []string
	for i := range forgedMessages {
		bodies = append(bodies, forgedMessage(i, genuine[i%len(genuine)], seals))
	}
	for _, t := range genuine {
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		bodies = append(bodies, string(b))
	}
	sent := make([]*amqp.DeferredConfirmation, len(bodies))
	for i, body := range bodies {
		var err error
		sent[i], err = ch.PublishWithDeferredConfirm(ticketQueue, ticketQueue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
		if err != nil {
			return err
		}
	}
	for i, s := range sent {
		if stored, err := s.WaitContext(ctx); err != nil || !stored {
			return fmt.Errorf("the queue does not take the message %s: %w", bodies[i], err)
		}
	}
	return nil
}

// forgedMessage is the i-th message that no gate has made, from one that it has.
func forgedMessage(i int, t seckill.Ticket, seals *seckill.Seals) string {
	switch i % 10 {
	case 0: // a new ticket, without a seal
		t.ID, t.Buyer, t.Seal = seckill.NewTicketID(time.Now()), "forger", seckill.Seal{}
	case 1: // a new ticket, with the seal of another
		t.ID = seckill.NewTicketID(time.Now())
	case 2: // somebody else's
		t.Buyer = "forger"
	case 3: // more units
		t.Quantity += 5
	case 4: // from before the opening
		t.At = t.At.Add(-24 * time.Hour)
	case 5: // far out of range
		t.Seq = seckill.MaxSeq + 1000
	case 8: // a new ticket, sealed with the key that is derived from an empty secret
		t.ID, t.Version = seckill.NewTicketID(time.Now()), 0
		t.Seal = node.EverybodysSeal(t)
	case 9: // the seal of what was asked for, which stands in every hold, without a number
		t.Seq, t.At, t.Version = 0, time.UnixMilli(0).UTC(), 0
		t.Seal = seals.Make(&t)
	}
	b, _ := json.Marshal(t) // never fails
	switch i % 10 {
	case 6: // cut
		b = b[:len(b)/2]
	case 7: // not JSON
		b = []byte("\x00\xff" + string(b))
	}
	return string(b)
}

// forgeRedis writes forged and damaged entries and holds, and lets the buyers of those
// holds buy: a hold that cannot be read keeps nobody from a ticket.
func (r *round) forgeRedis(ctx context.Context, genuine []seckill.Ticket) error {
	c, err := r.redis()
	if err != nil {
		return err
	}
	defer c.Close()
	seals, err := seckill.NewSeals(node.Secret)
	if err != nil {
		return err
	}
	var commands rueidis.Commands
	for i := range forgedEntries {
		t := genuine[i%len(genuine)]
		key := fmt.Sprintf("seckill:{%d}:outbox", t.Sale%buckets)
		commands = append(commands, c.B().Arbitrary("XADD").Keys(key).Args("*").Args(forgedEntry(i, t, seals)...).Build())
	}
	sale := r.people.Visited()
	holds := fmt.Sprintf("seckill:{%d}:holds:%s", sale%buckets, sale)
	var buyers []*crowd.Visitor
	for i := range forgedHolds {
		v := r.people.Visitor()
		buyers = append(buyers, v)
		commands = append(commands, c.B().Arbitrary("HSET").Keys(holds).Args(v.ID(), forgedHold(i)).Build())
	}
	stops := fmt.Sprintf("seckill:{%d}:stops", sale%buckets)
	for i := range forgedStops { // not of the sale: a note that nobody has read yet holds a sale that is rebuilt
		id := fmt.Sprint(int64(sale) + buckets*int64(1000+i))
		commands = append(commands, c.B().Arbitrary("HSET").Keys(stops).Args(id, forgedStop(i, id)).Build())
	}
	for _, answer := range c.DoMulti(ctx, commands...) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	for i, v := range buyers {
		if got := v.Buy(ctx, r.url(i%nodes)); got.Status != 202 {
			return fmt.Errorf("%v, whose hold was forged, is answered %v", v, got)
		}
	}
	return nil
}

// damage puts text in the place of numbers, and another kind of key in the place of one, one
// after the other: each time the sale is closed and rebuilt while people buy.
func (r *round) damage(ctx context.Context) error {
	c, err := r.redis()
	if err != nil {
		return err
	}
	defer c.Close()
	r.damaged.from = time.Now()
	// The last of them is open again within two looks of the keeper.
	defer func() { r.damaged.to = time.Now().Add(2 * time.Second) }()
	sale := r.people.Visited()
	tag := fmt.Sprintf("seckill:{%d}:", sale%buckets)
	state, holds, stops := tag+"sale:"+sale.String(), tag+"holds:"+sale.String(), tag+"stops"
	for _, command := range [forgedStates][]string{
		{"HSET", state, "left", "x"}, {"HDEL", state, "finished"}, {"HSET", state, "seq", fmt.Sprint(int64(seckill.MaxSeq))}, {"SET", holds, "x"}, {"SET", stops, "x"},
	} {
		if err := r.rings(ctx, c, command); err != nil {
			return err
		}
	}
	return nil
}

// rings does a command until the alarm has counted it: while the sale is rebuilt for another
// reason, the rebuild mends it without a word.
func (r *round) rings(ctx context.Context, c rueidis.Client, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, alarmLimit)
	defer cancel()
	before, err := r.sum(ctx, keysAlarm)
	for now, looks := before, 0; err == nil && now == before; looks++ {
		if looks%20 == 0 {
			if err := c.Do(ctx, c.B().Arbitrary(command...).Build()).Error(); err != nil {
				return err
			}
		}
		if err = duty.Rest(ctx, alarmPause); err == nil {
			now, err = r.sum(ctx, keysAlarm)
		}
	}
	if err != nil {
		return fmt.Errorf("%v rings no alarm: %w", command, err)
	}
	return nil
}

// forgedStop is the i-th note of a stop that no gate has made.
func forgedStop(i int, sale string) string {
	note := fmt.Sprintf(`{"sale":%q,"end":true,"at":"2026-11-28T00:00:00Z","by":{"who":"forger","role":"admin"}`, sale)
	switch i % 4 {
	case 0:
		return note + "}"
	case 1:
		return note + `,"seal":"AAECAwQFBgcICQoLDA0ODw"}`
	case 2:
		return note // cut
	}
	return "\x00\xff"
}

// forgedEntry is the i-th entry that no gate has made, as fields of XADD, from a ticket
// that it has made.
func forgedEntry(i int, t seckill.Ticket, seals *seckill.Seals) []string {
	fields := func(seq string) string {
		return fmt.Sprintf("%s,%s,%d,%s,%d,%s", t.ID, t.Sale, t.Quantity, seq, t.At.UnixMilli(), t.Buyer)
	}
	seq := fmt.Sprint(t.Seq)
	asked := t
	asked.Seq, asked.At, asked.Version = 0, time.Time{}, 0
	text, _ := seals.Make(&asked).MarshalText() // never fails; somebody who reads the outbox has it
	seal := fmt.Sprintf("3%s,%d", text, t.Version)
	switch i % 7 {
	case 0: // doubled
	case 1: // a new ticket, without a seal
		t.ID, t.Buyer = seckill.NewTicketID(time.Now()), "forger"
		return []string{"t", fields(seq)}
	case 2: // a new ticket, with the seal of another
		t.ID = seckill.NewTicketID(time.Now())
	case 3: // more units
		t.Quantity += 5
	case 4: // far out of range
		seq = "9007199254740993000"
	case 5: // no number
		seq = "9.007199254741e+18"
	case 6: // no ticket
		return []string{"x", "y"}
	}
	return []string{"t", fields(seq), "s", seal}
}

// forgedHold is the i-th hold that no gate has written.
func forgedHold(i int) string {
	id := seckill.NewTicketID(time.Now())
	switch i % 10 {
	case 5: // these can be read
		return "o" + id + ",1,1,-"
	case 6:
		return "p" + id + ",1,1,1-0"
	case 7:
		return "2o" + id + ",1,1,-,AAECAwQFBgcICQoLDA0ODw"
	case 8:
		return "2p" + id + ",1,1,1-0,AAECAwQFBgcICQoLDA0ODw"
	case 0:
		return "p" + id + ",1,9007199254740993000,1-0" // far out of range
	case 1:
		return "p" + id + ",100000,1,1-0"
	case 2:
		return "p" + id + ",one,1,1-0"
	case 3:
		return "o" + id + ",1,1" // cut
	case 4:
		return ""
	}
	return strings.Repeat("\xff", 40)
}
