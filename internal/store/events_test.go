package store

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// unsent are the rows of events that wait, and their events as a subscriber reads
// them. What is sent must be what a seckill.Event is in JSON.
func unsent(t testing.TB, s *Store, max int) (rows []string, events []seckill.Event) {
	t.Helper()
	all, err := s.Events(t.Context(), max)
	require.NoError(t, err)
	for _, row := range all {
		rows = append(rows, row.ID)
		for _, m := range row.Events {
			var e seckill.Event
			require.NoError(t, json.Unmarshal(m.Body, &e))
			again, err := json.Marshal(e)
			require.NoError(t, err)
			require.Equal(t, string(again), string(m.Body))
			require.Equal(t, seckill.EventMessage{ID: e.ID, Type: e.Type, Order: e.Order.ID, At: e.At, Body: again}, m)
			events = append(events, e)
		}
	}
	return rows, events
}

func told(events []seckill.Event) (told []string) {
	for _, e := range events {
		told = append(told, e.ID+" "+e.Type)
	}
	return told
}

func byID(tickets []seckill.Ticket) []seckill.Ticket {
	slices.SortFunc(tickets, func(a, b seckill.Ticket) int { return strings.Compare(a.ID, b.ID) })
	return tickets
}

func testEvents(t *testing.T, s *Store) {
	sale := aSale(t, s, 3)
	none := someTickets(sale.ID, 1)
	mustSettle(t, s, none...)
	_, events := unsent(t, s, 100)
	require.Empty(t, events, "off by default")
	oldest, err := s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Zero(t, oldest)

	s.settings.KeepEvents = true
	s.now = func() time.Time { return time.Now().Add(time.Second) }
	tickets := byID(someTickets(sale.ID, 3)) // the last is refused
	mustSettle(t, s, tickets...)
	mustSettle(t, s, tickets...) // a repeat is no news
	paid, err := s.Transition(t.Context(), tickets[0].ID, "", seckill.Paid)
	require.NoError(t, err)
	for range 2 {
		_, err = s.Transition(t.Context(), tickets[0].ID, "", seckill.Refunded)
		require.NoError(t, err)
	}
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	n, err := s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)

	rows, events := unsent(t, s, 100)
	for _, e := range events {
		require.Equal(t, 1, e.V)
		require.Equal(t, "order."+string(e.Order.State), strings.Replace(e.Type, "placed", "unpaid", 1))
		require.Equal(t, sale.ID, e.Order.Sale)
		require.Equal(t, "CNY", e.Order.Currency)
		require.EqualValues(t, 9900, e.Order.Amount)
		require.False(t, e.At.IsZero())
	}
	a, b := tickets[0].ID, tickets[1].ID
	require.Equal(t, []string{none[0].ID + "-2 order.expired", a + "-1 order.placed", b + "-1 order.placed", a + "-2 order.paid", a + "-3 order.refunded", b + "-2 order.expired"}, told(events))
	require.Equal(t, []string{none[0].ID + "-2", a + "-1", a + "-2", a + "-3", b + "-2"}, rows)
	oldest, err = s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Equal(t, events[1].At, oldest, "not the first by its id, whose order was expired an hour later")
	for i, e := range events {
		require.NotEmpty(t, e.Buyer)
		require.Equal(t, i == 3 || i == 4, e.Payment != nil, e.Type)
	}
	require.Equal(t, &seckill.EventPayment{Provider: "test", Reference: "test-" + a}, events[3].Payment)
	require.Equal(t, seckill.EventChange{From: seckill.Unpaid, To: seckill.Paid}, events[3].Changed)
	require.Equal(t, paid.Buyer, events[3].Buyer)
	paid.Buyer = "" // the event has it, not its order
	require.Equal(t, paid, events[3].Order)

	require.NoError(t, s.Sent(t.Context(), []string{rows[0], rows[1], rows[3]}))
	oldest, err = s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Equal(t, events[3].At, oldest)
	rows, _ = unsent(t, s, 1)
	require.Equal(t, []string{a + "-2"}, rows)
}

// Whatever rows events share, an order's come in the order of its states: also of
// what few rows hold.
func testEventsOfAnOrderKeepTheirOrder(t *testing.T, s *Store) {
	s.settings.KeepEvents = true
	sale := aSale(t, s, seckill.MaxTotal)
	tickets := byID(someTickets(sale.ID, 3*eventsTogether))
	batches := [3][]seckill.Ticket{}
	for i, ticket := range tickets { // of orders that lie between each other
		if i%10 == 9 {
			ticket.Quantity = 2
		}
		batches[i%3] = append(batches[i%3], ticket)
	}
	now := time.Now()
	s.now = func() time.Time { return now } // so that all of them are alike
	for _, batch := range batches {
		mustSettle(t, s, batch...)
	}
	for i := 0; i < len(tickets); i += 7 {
		_, err := s.Transition(t.Context(), tickets[i].ID, "", seckill.Paid)
		require.NoError(t, err)
		if i%2 == 0 {
			_, err := s.Transition(t.Context(), tickets[i].ID, "", seckill.Refunded)
			require.NoError(t, err)
		}
	}
	now = now.Add(time.Hour)
	n, err := s.Expire(t.Context(), len(tickets))
	require.NoError(t, err)
	rows, events := unsent(t, s, 1000)
	require.Len(t, events, len(tickets)+n+(len(tickets)+6)/7+(len(tickets)+13)/14)
	require.Less(t, len(rows), 60, "events share rows")
	last := map[string]string{}
	for _, e := range events {
		if last[e.Order.ID] == "" {
			require.Equal(t, e.Order.ID+"-1", e.ID)
		}
		require.Less(t, last[e.Order.ID], e.ID)
		last[e.Order.ID] = e.ID
	}
	for i := range rows {
		first, err := s.Events(t.Context(), i+1)
		require.NoError(t, err)
		require.Len(t, first, i+1)
		for j, row := range first {
			if row.ID != rows[j] {
				t.Fatalf("of the first %d rows number %d is %s, not %s: none is left out before another", i+1, j+1, row.ID, rows[j])
			}
		}
	}
}

// The most that a row can hold fits in, and comes out as it was.
func testEventsFitTheirRow(t *testing.T, s *Store) {
	s.settings.KeepEvents = true
	now := fromMS(ms(time.Now()))
	var orders []seckill.Order
	for range 2 * eventsTogether {
		id := seckill.NewTicketID(now)
		orders = append(orders, seckill.Order{ID: id, Sale: math.MaxInt64, Ticket: id, Quantity: seckill.MaxQuantity, Price: math.MaxInt64 / seckill.MaxQuantity, Amount: math.MaxInt64, Currency: "CNY",
			State: seckill.Cancelled, CreatedAt: now.Add(time.Millisecond), ExpiresAt: now.Add(time.Millisecond)})
	}
	tell := func(orders ...seckill.Order) {
		require.NoError(t, s.write(t.Context(), "tell", func(x *tx) error { return x.writeEvents(t.Context(), orders, now) }))
	}
	tell(slices.Clone(orders)...)
	rows, events := unsent(t, s, 3)
	require.Len(t, rows, 2)
	var got []seckill.Order
	for _, e := range events {
		require.Equal(t, now, e.At)
		got = append(got, e.Order)
	}
	require.ElementsMatch(t, orders, got)

	require.NoError(t, s.Sent(t.Context(), rows))
	for i := range orders {
		orders[i].State = seckill.Paid
	}
	tell(orders[:2]...)
	rows, _ = unsent(t, s, 3)
	require.Len(t, rows, 2, "a refund may follow, and must come after")
}

func testEventsOfAnOlderVersion(t *testing.T, s *Store) {
	const order = `{"id":"1K81EIGDDAUESOFSOAL4NGCZEX","sale":"1","ticket":"1K81EIGDDAUESOFSOAL4NGCZEX","quantity":1,"amount":9900,"currency":"CNY",` +
		`"state":"paid","created_at":"2026-11-22T13:53:10.044Z","expires_at":"2026-11-22T14:08:10.04Z"}`
	_, err := s.w.Exec("INSERT INTO events (id, type, at, body) VALUES ('1K81EIGDDAUESOFSOAL4NGCZEX-2', 'order.paid', 1795355596200, ?)", order)
	require.NoError(t, err)
	all, err := s.Events(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Len(t, all[0].Events, 1)
	require.Equal(t, `{"v":1,"id":"1K81EIGDDAUESOFSOAL4NGCZEX-2","type":"order.paid","at":"2026-11-22T13:53:16.2Z","order":`+strings.Replace(order, `"quantity":1,`, `"title":"","price":9900,"quantity":1,`, 1)+`,"buyer":"","changed":{"from":"unpaid","to":"paid"}}`, string(all[0].Events[0].Body))
	unsent(t, s, 10)
}

// Rows that an older version wrote, one for each event, are sent too.
func testEventsThatCannotBeRead(t *testing.T, s *Store) {
	ctx := t.Context()
	s.settings.KeepEvents = true
	var aside []string
	s.settings.Aside = func(table, id string, why error) {
		require.Error(t, why)
		aside = append(aside, table+" "+id)
	}
	ticket := seckill.NewTicketID(time.Now())
	bad := map[string]string{
		"000 no json": "no json", "000 no order": "{}", "000 another's": `{"id":"` + ticket + `"}`,
		ticket + "-1": `{"id":"` + ticket + `","amount":"much"}`,
	}
	for id, body := range bad {
		_, err := s.w.ExecContext(ctx, "INSERT INTO events (id, type, at, body) VALUES (?, 'order.placed', 1, ?)", id, body)
		require.NoError(t, err)
	}
	sale := aSale(t, s, 10)
	outcomes, err := s.Settle(ctx, []seckill.Ticket{{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1, At: time.Now()}})
	require.NoError(t, err)
	require.True(t, outcomes[0].Placed())
	for range 2 {
		rows, err := s.Events(ctx, 2) // fewer than there are of the others
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.Equal(t, outcomes[0].Ticket.ID, rows[0].Events[0].Order)
		require.Len(t, aside, len(bad), "each is counted once: %q", aside)
	}
	oldest, err := s.OldestEvent(ctx)
	require.NoError(t, err)
	require.Greater(t, oldest.UnixMilli(), int64(1), "nobody waits for them")
}
