package load

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// shop is a server with one unit, for one sale.
type shop struct {
	mu     sync.Mutex
	sale   seckill.Sale
	late   time.Duration // how much later its gate opens than its clock promises
	slow   time.Duration // that the creation of a sale takes
	strict bool          // people get no pass here
	busy   int           // purchases that are too many requests
	waits  int           // answers to challenges after which one has to wait
	taken  bool
	early  int          // requests before the opening
	paid   atomic.Int64 // orders
	right  int          // answers
	wrong  int
	listed []string // who may buy
	hashes int64    // that a challenge takes
	from   []string // where requests came from
	asked  time.Time
	solved time.Duration // that the last pass came after the last challenge
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	say := func(status int, v any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	no := func(status int, code string) { say(status, map[string]any{"status": status, "code": code}) }
	later := func() {
		w.Header().Set("Retry-After", "1")
		no(429, "too_many_requests")
	}
	farm := strings.Contains(r.Header.Get("Authorization"), "farm")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = append(s.from, r.Header.Values("X-Forwarded-For")...)
	switch path := r.URL.Path; {
	case path == "/api/admin/sales":
		json.NewDecoder(r.Body).Decode(&s.sale)
		s.sale.ID, s.sale.ServerNow = 1, time.Now()
		duty.Rest(r.Context(), s.slow) // the answer shows the clock as it was before
		say(201, s.sale)
	case strings.HasSuffix(path, "/eligible"):
		var body struct{ CSV string }
		json.NewDecoder(r.Body).Decode(&body)
		s.listed = append(s.listed, strings.Split(body.CSV, "\n")...)
		say(200, map[string]string{})
	case strings.HasSuffix(path, "/challenge") && s.strict && !farm:
		no(409, "not_eligible")
	case strings.HasSuffix(path, "/challenge"):
		s.asked = time.Now()
		say(200, map[string]string{})
	case strings.HasSuffix(path, "/pass"):
		var body struct{ Answer string }
		json.NewDecoder(r.Body).Decode(&body)
		switch {
		case body.Answer == wrongAnswer:
			s.wrong++
			no(403, "challenge_failed")
		case s.waits > 0:
			s.waits--
			later()
		default:
			s.right++
			s.solved = time.Since(s.asked)
			say(200, map[string]string{"pass": "a pass"})
		}
	case strings.HasSuffix(path, "/pay"):
		s.paid.Add(1)
		say(200, map[string]string{})
	case strings.HasSuffix(path, "/ticket") && r.Method == "GET":
		say(200, map[string]string{"status": "placed", "order": "O"})
	case strings.HasSuffix(path, "/ticket") && time.Now().Before(s.sale.OpensAt.Add(s.late)):
		s.early++
		no(409, "not_open")
	case strings.HasSuffix(path, "/ticket") && s.busy > 0:
		s.busy--
		later()
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

// RoundTrip answers without a network, so that no time passes but what the actors wait.
func (s *shop) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

// meet lets a farm of so many accounts and so many people meet at the shop.
func (s *shop) meet(t *testing.T, d Defence, farm, people int) (row Fair) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		report, err := RunFair(t.Context(), FairConfig{
			Server: "http://shop", People: people, Units: 1, Lead: 20 * time.Second, Seed: 1,
			Farm:     Farm{Accounts: farm, Networks: 1, Solvers: 1, Cores: 1, Hashes: 1e6},
			Defences: []Defence{d},
			Token:    func(buyer string, _ time.Duration) (string, error) { return buyer, nil },
			Solve: func(seckill.SaleID, string, []byte) (map[string]string, int64, error) {
				return map[string]string{}, s.hashes, nil
			},
			AdminToken: "admin", transport: s,
		})
		require.NoError(t, err)
		row = report.Rows[0]
	})
	return row
}

func defence(name string) Defence {
	for _, d := range Defences() {
		if d.Name == name {
			return d
		}
	}
	panic(name)
}

// A farm does not go away because the gate opens half a second late, and it pays.
func TestTheFarmWaitsForTheOpeningAndPays(t *testing.T) {
	t.Parallel()
	s := &shop{late: 700 * time.Millisecond}
	row := s.meet(t, defence("none"), 1, 1)
	require.EqualValues(t, 1, row.Farm)
	require.EqualValues(t, 1, s.paid.Load())
}

// A farm that is told to wait waits, and goes on. Only people count as false alarms.
func TestTheFarmGoesOnAfterTooManyRequests(t *testing.T) {
	t.Parallel()
	s := &shop{busy: 3}
	row := s.meet(t, defence("limits"), 1, 0)
	require.EqualValues(t, 1, row.Farm)
	require.Zero(t, row.Alarms)
	s = &shop{busy: 1}
	row = s.meet(t, defence("limits"), 0, 1)
	require.EqualValues(t, 1, row.People)
	require.EqualValues(t, 1, row.Limited)
}

// Who has no pass when they press was kept out by the defence, also when the farm has
// everything already.
func TestWhoHasNoPassIsAFalseAlarm(t *testing.T) {
	t.Parallel()
	s := &shop{strict: true}
	row := s.meet(t, defence("pass"), 1, 1)
	require.EqualValues(t, 1, row.Farm)
	require.EqualValues(t, 1, row.Passless)
}

// Whom the rules keep out is counted though the shop says sold_out to everybody.
func TestWhomTheRulesKeepOutIsAFalseAlarmBehindTheFlagToo(t *testing.T) {
	t.Parallel()
	const people = 200 // some of whom have a new account
	row := (&shop{}).meet(t, defence("account_age"), 0, people)
	require.Positive(t, row.Ineligible)
	require.Equal(t, row.Ineligible, row.Alarms)
	s := &shop{}
	listed := s.meet(t, defence("list"), 2, people)
	require.Equal(t, row.Ineligible, listed.Ineligible)
	require.Len(t, s.listed, people-int(row.Ineligible), "the list names the others, and none of the farm")
}

// People who have read a picture wrongly send what they have read, and then fetch another.
func TestPeopleSendTheirWrongAnswers(t *testing.T) {
	t.Parallel()
	const people = 200
	s := &shop{waits: 5}
	row := s.meet(t, defence("formula"), 0, people)
	require.InDelta(t, people*readWrong, s.wrong, people*readWrong)
	require.Positive(t, s.wrong)
	require.Zero(t, s.waits)
	require.GreaterOrEqual(t, s.right, people-int(row.Passless), "who has to wait asks again")
}

// How far the clocks are apart is taken from a short request, not from the creation.
func TestTheOpeningIsKnownWithinARoundTrip(t *testing.T) {
	t.Parallel()
	s := &shop{slow: 300 * time.Millisecond}
	s.meet(t, defence("none"), 1, 1)
	require.Less(t, s.early, 10, "half the creation before the opening it would have asked too early, again and again")
}

// The page works while its reader reads, so people need the longer of the two times.
func TestAPhoneWorksWhileItsOwnerReads(t *testing.T) {
	t.Parallel()
	s := &shop{hashes: 8 * peoplePhone}
	s.meet(t, defence("both"), 0, 1)
	require.Equal(t, 1, s.right)
	require.Equal(t, 8*time.Second, s.solved, "its owner reads for less than that")
}

// Who reads pictures for money reads some of them wrongly, as people do.
func TestTheFarmSendsWrongAnswersToo(t *testing.T) {
	t.Parallel()
	const accounts = 200
	s := &shop{}
	row := s.meet(t, defence("formula"), accounts, 0)
	require.InDelta(t, accounts*readWrong, s.wrong, accounts*readWrong)
	require.Positive(t, s.wrong)
	require.EqualValues(t, accounts+s.wrong, row.Pictures, "each is read and paid for")
	require.EqualValues(t, accounts, row.Passes)
}

// A server remembers for an hour how many came from a network, so another run comes
// from others.
func TestTwoMeetingsShareNoNetwork(t *testing.T) {
	t.Parallel()
	one, other := &shop{}, &shop{}
	one.meet(t, defence("none"), 5, 5)
	other.meet(t, defence("none"), 5, 5)
	require.NotEmpty(t, one.from)
	for _, address := range one.from {
		require.NotContains(t, other.from, address)
	}
}
