package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"seckill/internal/gate"
)

func count(t testing.TB, c prometheus.Counter) int {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return int(m.GetCounter().GetValue())
}

// flagged is how many buyers the over flag has turned away.
func (s *system) flagged() int { return count(s.t, s.api.metrics.over) }

// raiseFlag lets the gate say that nothing is left.
func (s *system) raiseFlag() {
	s.t.Helper()
	s.as(otherName, "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out")
}

func TestWhileTheFlagIsUpSoldOutComesBeforeEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.raiseFlag()
		buy := call{method: "POST", path: ticketPath(s.soldOut.ID)}
		for i, c := range []call{
			buy,
			buy.withToken("not a token at all"),
			buy.withToken(token(t, otherName, "")),
			buy.withToken(token(t, earlyName, "")), // who holds a ticket there asks GET …/ticket
			buy.withHeader("Sec-Fetch-Site", "cross-site"),
			buy.withBody("not JSON"),
			buy.withBody(`{"quantity":0}`),
			buy.withBody(`{"quantity":1,"price":1}`),
			buy.withBody(strings.Repeat("x", 9<<10)),
			buy.withBody("{}", "Content-Type", "text/plain"),
			buy.withBody("{}", "Content-Encoding", "gzip"),
			buy.withPath(buy.path + "?x=1"),
		} {
			a := s.do(c).problem(409, "sold_out")
			require.NotContains(t, string(a.body), "request_id", "a verdict carries its request id in the header only")
			require.Equal(t, i+1, s.flagged(), "the flag answers %s", a)
		}

		t.Log("but the flag is about buying there, and about nothing else")
		s.do(buy.withToken(token(t, earlyName, "")).withPath(buy.path+"/")).problem(404, "not_found")
		s.as(earlyName, "GET", buy.path, "").is(200)
		s.as(otherName, "POST", ticketPath(s.open.ID), "").is(202)
		require.Equal(t, 12, s.flagged())
	})
}

func TestWhenTheFlagEndsOneRequestLooksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.raiseFlag()
		path := ticketPath(s.soldOut.ID)
		pass(gate.FlagLife - time.Millisecond)
		s.anybody("POST", path, "").problem(409, "sold_out")
		pass(2 * time.Millisecond)

		t.Log("a request that does not come to the gate leaves the look to the next one")
		s.anybody("POST", path, "").problem(401, "unauthorized")
		s.as(otherName, "POST", path, "{").problem(400, "bad_json")
		s.do(call{method: "POST", path: path, header: []string{"Sec-Fetch-Site", "cross-site"}}).problem(403, "forbidden")
		s.as(otherName, "POST", path, `{"quantity":1000}`).problem(422, "invalid_field")

		t.Log("the one that does renews the flag")
		s.as(otherName, "POST", path, "").problem(409, "sold_out")
		before := s.flagged()
		s.anybody("POST", path, "").problem(409, "sold_out")
		require.Equal(t, before+1, s.flagged())
	})
}

func TestUnitsThatComeBackAreSoldAgainAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.raiseFlag()
		order := s.outcome(earlyName, s.soldOut.ID).Order
		require.EqualValues(t, "sold_out", s.sale(s.soldOut.ID).State)
		s.as(earlyName, "POST", "/api/orders/"+order+"/cancel", "").is(200)
		s.atTheGate(s.soldOut.ID, 1)
		require.EqualValues(t, "open", s.sale(s.soldOut.ID).State)
		s.bought(otherName, s.soldOut.ID, 1)
		s.as(earlyName, "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out")
	})
}

func TestFewerLeftThanWantedDoesNotRaiseTheFlag(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	few := s.create(saleBody{"total": 1}).ID
	s.as(otherName, "POST", ticketPath(few), `{"quantity":2}`).problem(409, "sold_out")
	s.as(earlyName, "POST", ticketPath(few), `{"quantity":1}`).is(202)
	require.Zero(t, s.flagged())
}

// The sold-out path is what almost every request of a sale takes.
const soldOutAllocs = 2 // the request's id, and the value of the header

func TestAllocationsOfTheSoldOutPath(t *testing.T) {
	s := newSystem(t)
	sale := s.soldOut.ID
	r := httptest.NewRequest("POST", ticketPath(sale), nil)
	w := &discard{header: http.Header{}}
	for _, more := range []int{0, 50} {
		for range more {
			s.create(nil)
		}
		allocs := testing.AllocsPerRun(1000, func() {
			clear(w.header)
			if w.status = 0; !s.api.Gate.Over(sale) {
				s.raiseFlag() // its life has ended; counted, and averaged away
			}
			s.api.ServeHTTP(w, r)
		})
		require.Equal(t, http.StatusConflict, w.status)
		require.LessOrEqual(t, int(allocs), soldOutAllocs, "with %d more sales", more)
	}
}

// discard is a ResponseWriter that allocates nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func TestRequestIDsAreUnique(t *testing.T) {
	t.Parallel()
	s, other := newSystem(t), New(Config{Metrics: noMetrics()})
	s.raiseFlag()
	var mu sync.Mutex
	seen := map[string]string{}
	var g sync.WaitGroup
	for worker := range 8 {
		g.Go(func() {
			for i := range 50 {
				for path, api := range map[string]*API{ticketPath(s.soldOut.ID): s.api, "/api/sales": s.api, "/nowhere": s.api, "/api/nowhere": other} {
					w := httptest.NewRecorder()
					api.ServeHTTP(w, httptest.NewRequest("POST", path, nil))
					id := w.Header().Get("X-Request-Id")
					mu.Lock()
					before, twice := seen[id]
					seen[id] = fmt.Sprintf("%s of worker %d, turn %d", path, worker, i)
					mu.Unlock()
					if twice || id == "" {
						t.Errorf("the id %q is that of %s and of %s", id, before, path)
					}
				}
			}
		})
	}
	g.Wait()
}
