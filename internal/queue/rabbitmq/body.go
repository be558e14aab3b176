package rabbitmq

import (
	"bytes"
	"encoding/json"
	"strconv"

	"seckill"
	"seckill/internal/rabbit"
)

// The body of a ticket's message is the ticket's JSON. Every order is written and
// read once here, so what is plain, which nearly every ticket is, does without
// reflection. The rest, and whatever another program wrote, is encoding/json's:
// both ways lead to the same bytes and to the same tickets.

// encode is the JSON of a ticket.
func encode(t seckill.Ticket) ([]byte, error) {
	if !plain(t.ID) || !plain(t.Buyer) {
		return json.Marshal(t)
	}
	b := make([]byte, 0, 192)
	b = append(append(b, `{"id":"`...), t.ID...)
	b = strconv.AppendInt(append(b, `","sale":"`...), int64(t.Sale), 10)
	b = append(append(b, `","buyer":"`...), t.Buyer...)
	b = strconv.AppendInt(append(b, `","quantity":`...), int64(t.Quantity), 10)
	b = strconv.AppendInt(append(b, `,"seq":`...), t.Seq, 10)
	b, err := t.At.AppendText(append(b, `,"at":"`...))
	b = append(b, '"')
	if t.Version != 0 {
		b = strconv.AppendInt(append(b, `,"version":`...), t.Version, 10)
	}
	if t.Seal != (seckill.Seal{}) {
		text, _ := t.Seal.MarshalText() // never fails
		b = append(append(append(b, `,"seal":"`...), text...), '"')
	}
	return append(b, '}'), err
}

// plain reports whether a text stands in JSON as it is.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// decode reads a ticket from the body of a message. Fields that it does not know
// come from a newer version and are ignored.
func decode(body []byte) (seckill.Ticket, error) {
	t, ok := decodePlain(body)
	if !ok {
		t = seckill.Ticket{}
		if err := json.Unmarshal(body, &t); err != nil {
			return t, err
		}
	}
	return t, t.Check()
}

// decodePlain reads what encode wrote of a plain ticket, and nothing else.
func decodePlain(b []byte) (t seckill.Ticket, ok bool) {
	ok = true
	skip := func(mark string) {
		if ok {
			b, ok = bytes.CutPrefix(b, []byte(mark))
		}
	}
	text := func() (s string) {
		if i := bytes.IndexByte(b, '"'); ok && i >= 0 {
			s, b = string(b[:i]), b[i:]
		}
		ok = ok && plain(s)
		return s
	}
	number := func() (n int64) {
		i := 0
		for i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9' {
			n = 10*n + int64(b[i]-'0')
			i++
		}
		ok = ok && i > 0 && (i == 1 || b[0] != '0')
		b = b[i:]
		return n
	}
	skip(`{"id":"`)
	t.ID = text()
	skip(`","sale":"`)
	sale := text()
	skip(`","buyer":"`)
	t.Buyer = text()
	skip(`","quantity":`)
	t.Quantity = int(number())
	skip(`,"seq":`)
	t.Seq = number()
	skip(`,"at":"`)
	at := text()
	skip(`"`)
	if mark := []byte(`,"version":`); ok && bytes.HasPrefix(b, mark) {
		b = b[len(mark):]
		t.Version = number()
		ok = ok && t.Version > 0
	}
	if mark := []byte(`,"seal":"`); ok && bytes.HasPrefix(b, mark) {
		b = b[len(mark):]
		ok = t.Seal.UnmarshalText([]byte(text())) == nil && t.Seal != seckill.Seal{}
		skip(`"`)
	}
	skip(`}`)
	ok = ok && len(b) == 0 && t.Sale.UnmarshalText([]byte(sale)) == nil && t.At.UnmarshalText([]byte(at)) == nil
	return t, ok
}

// ticketType is the type of a ticket's message with its form: from the second one on
// tickets are sealed, from the third one on they name the version of their sale. The first
// form was called "ticket".
const ticketType = "ticket/3"

// packTicket is what a ticket looks like at the broker.
func packTicket(t seckill.Ticket) (rabbit.Message, error) {
	body, err := encode(t)
	return rabbit.Message{Exchange: rabbit.TicketExchange, Key: rabbit.TicketQueue, Mandatory: true, ID: t.ID, At: t.At, Type: ticketType, Body: body}, err
}
