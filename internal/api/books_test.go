package api

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/payment"
)

func TestTheBooksMeetTheAudit(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	order := s.bought("b", s.open.ID, 2)
	s.as("b", "POST", "/api/orders/"+order+"/pay", "").is(200)
	s.as(ownerName, "POST", "/api/orders/"+s.order+"/pay", "").is(200)
	s.admin("POST", "/api/admin/orders/"+order+"/refund", `{"amount":500,"reason":"late"}`).is(200)
	require.Eventually(t, func() bool { return s.money(s.open.ID).Refunded == 500 }, 20*time.Second, 10*time.Millisecond)
	m := s.money(s.open.ID)
	today := time.Now().UTC()
	period := "?from=" + today.AddDate(0, 0, -1).Format(time.DateOnly) + "&to=" + today.AddDate(0, 0, 1).Format(time.DateOnly)
	var b payment.Books
	s.admin("GET", "/api/admin/books"+period+"&zone=Asia/Shanghai", "").is(200).into(&b)
	require.Equal(t, []payment.BookSums{{Currency: "CNY", Captured: m.Captured, Refunded: m.Refunded, Closing: m.Captured - m.Refunded}}, b.Sums)
	require.Len(t, b.Items, 3)
	require.Equal(t, []seckill.Money{m}, b.Money, "the audit of everything stands beside them")
	require.Equal(t, 8*3600, func() int { _, offset := b.From.Zone(); return offset }())
	csv := s.admin("GET", "/api/admin/books"+period+"&format=csv", "").is(200)
	require.Equal(t, "text/csv; charset=utf-8", csv.header.Get("Content-Type"))
	require.Contains(t, string(csv.body), ",-5.00,-500,CNY,done")
	require.Contains(t, string(csv.body), "sum: closing")
	s.admin("GET", "/api/admin/books/differences"+period, "").problem(409, "state")
	for _, bad := range []string{"", "?from=x&to=2026-11-11", "?from=2026-11-11", "?from=2026-11-12&to=2026-11-10", "?from=2020-01-01&to=2026-11-11", "?from=2026-11-11&to=2026-11-11&zone=Nowhere", "?from=2026-11-11&to=2026-11-11&format=xml"} {
		s.admin("GET", "/api/admin/books"+bad, "").problem(422, "invalid_field")
	}
}

// In these zones a day may begin at one.
func TestDaysBeginWhereThereIsNoMidnight(t *testing.T) {
	t.Parallel()
	for day, want := range map[string]string{
		"2024-09-08 America/Santiago": "2024-09-08T01:00:00-03:00", "2024-09-09 America/Santiago": "2024-09-09T00:00:00-03:00", "2024-04-07 America/Santiago": "2024-04-07T00:00:00-04:00",
		"2024-03-10 America/Havana": "2024-03-10T01:00:00-04:00", "2024-03-31 Atlantic/Azores": "2024-03-31T01:00:00Z",
		"2024-04-26 Africa/Cairo": "2024-04-26T01:00:00+03:00", "2024-11-11 Asia/Shanghai": "2024-11-11T00:00:00+08:00",
	} {
		date, name, _ := strings.Cut(day, " ")
		ask := httptest.NewRequest("GET", "/api/admin/books?from="+date+"&to="+date+"&zone="+name, nil)
		from, to, zone, err := (&request{Request: ask}).period()
		require.NoError(t, err, day)
		require.Equal(t, want, from.Format(time.RFC3339), day)
		next, err := time.ParseInLocation(time.DateOnly, date, time.UTC)
		require.NoError(t, err)
		require.Equal(t, beginning(next.AddDate(0, 0, 1), zone), to, "%s ends where the next day begins", day)
	}
}
