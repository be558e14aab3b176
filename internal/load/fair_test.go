package load

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// lateShop is a server with one unit. Its gate opens later than its clock promises, and
// people get no pass there.
type lateShop struct {
	mu    sync.Mutex
	sale  seckill.Sale
	late  time.Duration
	slow  time.Duration // that the creation of a sale takes
	taken bool
	early int          // requests before the opening
	paid  atomic.Int64 // orders
}

func (s *lateShop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	say := func(status int, v any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	no := func(status int, code string) { say(status, map[string]any{"status": status, "code": code}) }
	farm := strings.Contains(r.Header.Get("Authorization"), "farm")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/api/admin/sales":
		json.NewDecoder(r.Body).Decode(&s.sale)
		s.sale.ID, s.sale.ServerNow = 1, time.Now()
		duty.Rest(r.Context(), s.slow) // the answer shows the clock as it was before
		say(201, s.sale)
	case strings.HasSuffix(path, "/challenge") && farm, strings.HasSuffix(path, "/pass"):
		say(200, map[string]string{"pass": "a pass"})
	case strings.HasSuffix(path, "/challenge"):
		no(409, "not_eligible")
	case strings.HasSuffix(path, "/pay"):
		s.paid.Add(1)
		say(200, map[string]string{})
	case strings.HasSuffix(path, "/ticket") && r.Method == "GET":
		say(200, map[string]string{"status": "placed", "order": "O"})
	case strings.HasSuffix(path, "/ticket") && time.Now().Before(s.sale.OpensAt.Add(s.late)):
		s.early++
		no(409, "not_open")
	case strings.HasSuffix(path, "/ticket") && s.taken:
		no(409, "sold_out")
	case strings.HasSuffix(path, "/ticket"):
		s.taken = true
		say(202, map[string]string{"status": "queued"})
	default:
		v := s.sale
		v.ServerNow = time.Now()
		say(200, v)
	}
}

func (s *lateShop) meet(t *testing.T) Fair {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	report, err := RunFair(t.Context(), FairConfig{
		Server: server.URL, People: 1, Units: 1, Lead: 500 * time.Millisecond, Seed: 1,
		Farm:       Farm{Accounts: 1, Networks: 1, Solvers: 1, Cores: 1, Hashes: 1e6},
		Defences:   []Defence{{Name: "pass", Access: seckill.Access{Pass: true}}},
		Token:      func(buyer string, _ time.Duration) (string, error) { return buyer, nil },
		Solve:      func(seckill.SaleID, string, []byte) (any, int64, error) { return map[string]string{}, 0, nil },
		AdminToken: "admin",
	})
	require.NoError(t, err)
	return report.Rows[0]
}

// A farm does not go away because the gate opens half a second late, and it pays.
func TestTheFarmWaitsForTheOpeningAndPays(t *testing.T) {
	t.Parallel()
	s := &lateShop{late: 700 * time.Millisecond}
	row := s.meet(t)
	require.EqualValues(t, 1, row.Farm)
	require.EqualValues(t, 1, s.paid.Load())
}

// Who has no pass when they press was kept out by the defence, also when the farm has
// everything already.
func TestWhoHasNoPassIsAFalseAlarm(t *testing.T) {
	t.Parallel()
	s := &lateShop{}
	row := s.meet(t)
	require.EqualValues(t, 1, row.Farm)
	require.EqualValues(t, 1, row.Alarms)
}

// How far the clocks are apart is taken from a short request, not from the creation.
func TestTheOpeningIsKnownWithinARoundTrip(t *testing.T) {
	t.Parallel()
	s := &lateShop{slow: 300 * time.Millisecond}
	s.meet(t)
	require.Less(t, s.early, 10, "half the creation before the opening it would have asked too early, again and again")
}
