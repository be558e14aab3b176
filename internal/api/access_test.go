package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/altcha-org/altcha-lib-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/store"
)

func passPath(id seckill.SaleID) string      { return "/api/sales/" + id.String() + "/pass" }
func challengePath(id seckill.SaleID) string { return "/api/sales/" + id.String() + "/challenge" }

// solved fetches a challenge, solves it as a page does, with the secret in the place
// of eyes, and returns the body to send.
func (s *system) solved(buyer string, id seckill.SaleID) string {
	s.t.Helper()
	var p access.Puzzle
	s.as(buyer, "POST", challengePath(id), "").is(200).into(&p)
	return solve(s.t, p, access.ForSale(id, buyer))
}

func solve(t testing.TB, p access.Puzzle, about string) string {
	t.Helper()
	body := map[string]string{}
	if p.Work != nil {
		found, err := altcha.SolveChallenge(p.Work.Challenge, p.Work.Salt, altcha.SHA256, int(p.Work.MaxNumber), 0, nil)
		require.NoError(t, err)
		payload, err := json.Marshal(altcha.Payload{Algorithm: p.Work.Algorithm, Challenge: p.Work.Challenge, Number: int64(found.Number), Salt: p.Work.Salt, Signature: p.Work.Signature})
		require.NoError(t, err)
		body["work"] = base64.StdEncoding.EncodeToString(payload)
	}
	if p.Formula != "" {
		answer, err := access.Answer([]byte(theSecret), about, p.Formula)
		require.NoError(t, err)
		body["formula"], body["answer"] = p.Formula, answer
	}
	b, err := json.Marshal(body)
	require.NoError(t, err)
	return string(b)
}

func (s *system) passOf(buyer string, id seckill.SaleID, body string) string {
	s.t.Helper()
	var v struct{ Pass string }
	s.as(buyer, "POST", passPath(id), body).is(200).into(&v)
	return v.Pass
}

func TestASaleThatAsksForAPass(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, kind := range []string{"none", "formula", "work", "both"} {
		body := saleBody{"pass": true, "challenge": kind}
		if kind == "work" {
			delete(body, "pass") // a challenge is the price of a pass
		}
		sale := s.create(body)
		require.True(t, sale.Pass)
		require.Equal(t, seckill.Challenge(kind), sale.Challenge)

		buy := ticketPath(sale.ID)
		s.as("li.wei", "POST", buy, "").problem(403, "pass_required")
		if kind != "none" {
			s.as("li.wei", "POST", passPath(sale.ID), "").problem(403, "challenge_required")
		}
		solution := s.solved("li.wei", sale.ID)
		pass := s.passOf("li.wei", sale.ID, solution)
		if kind != "none" {
			s.as("li.wei", "POST", passPath(sale.ID), solution).problem(403, "challenge_failed")
			s.as("han.mei", "POST", passPath(sale.ID), s.solved("li.wei", sale.ID)).problem(403, "challenge_failed")
		}
		s.as("han.mei", "POST", buy, fmt.Sprintf(`{"pass":%q}`, pass)).problem(403, "pass_required")
		s.as("li.wei", "POST", buy, fmt.Sprintf(`{"pass":%q}`, pass[1:]+"A")).problem(403, "pass_required")
		s.as("li.wei", "POST", buy, fmt.Sprintf(`{"quantity":2,"pass":%q}`, pass)).is(202)
		s.do(call{method: "POST", path: buy, token: token(t, "li.wei", ""), header: []string{"X-Seckill-Pass", pass}, body: `{"quantity":2}`}).is(202)

		other := s.create(saleBody{"pass": true})
		s.as("li.wei", "POST", ticketPath(other.ID), fmt.Sprintf(`{"pass":%q}`, pass)).problem(403, "pass_required")
	}
	var p access.Puzzle
	s.as("li.wei", "POST", challengePath(s.open.ID), "").is(200).into(&p)
	require.Equal(t, seckill.ChallengeNone, p.Kind, "a sale that asks for nothing says so")
	s.as("li.wei", "POST", challengePath(s.ended.ID), "").problem(409, "ended")
	s.as("li.wei", "POST", passPath(s.ended.ID), "").problem(409, "ended")
	s.as("li.wei", "POST", challengePath(s.scheduled.ID), "").problem(409, "not_open")
	s.as("li.wei", "POST", passPath(s.scheduled.ID), "").problem(409, "not_open")
	s.as("li.wei", "POST", challengePath(s.open.ID), `{"sound":"fr"}`).problem(422, "invalid_field")
}

func TestTheRulesOfASaleChange(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	patch := func(body string) (v seckill.Sale) {
		s.admin("PATCH", "/api/admin/sales/"+s.open.ID.String(), body).is(200).into(&v)
		return v
	}
	require.True(t, patch(`{"challenge":"both"}`).Pass)
	s.as("li.wei", "POST", ticketPath(s.open.ID), "").problem(403, "pass_required")
	require.Equal(t, seckill.Access{}, patch(`{"pass":false}`).Access)
	s.as("li.wei", "POST", ticketPath(s.open.ID), "").is(202)
	for _, bad := range []string{`{"challenge":"riddle"}`, `{"tries_per_buyer":-1}`, `{"tries_per_buyer":1001}`, `{"cooldown_seconds":86401}`, `{"eligible":"friends"}`, `{"eligible":"account_age"}`, `{"account_age_seconds":-1}`} {
		s.admin("PATCH", "/api/admin/sales/"+s.open.ID.String(), bad).problem(422, "invalid_field")
		body := strings.TrimSuffix(s.newSale(nil), "}") + "," + strings.TrimPrefix(bad, "{")
		s.admin("POST", "/api/admin/sales", body).problem(422, "invalid_field")
	}
}

func TestBuyersBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // or a busy machine would give them time
		s := newSystem(t, withGuard(func(c *access.Settings) { c.BuyerRate, c.BuyerBurst = 1, 3 }))
		order := s.bought("li.wei", s.open.ID, 1)
		s.as("li.wei", "POST", "/api/orders/"+order+"/pay", "").is(200)
		for s.as("li.wei", "GET", ticketPath(s.open.ID), "").status == 200 { // what the clock has given meanwhile
		}
		for _, c := range []call{
			{method: "POST", path: ticketPath(s.open.ID)}, {method: "GET", path: ticketPath(s.open.ID)}, {method: "GET", path: ticketPath(s.open.ID) + "?wait=1s"},
			{method: "POST", path: "/api/orders/" + order + "/pay"}, {method: "POST", path: "/api/orders/" + order + "/cancel"}, {method: "POST", path: ticketPath(s.scheduled.ID)},
			{method: "POST", path: challengePath(s.open.ID)}, {method: "POST", path: passPath(s.open.ID)},
		} {
			c.token = token(t, "li.wei", "")
			before := s.world()
			require.Equal(t, "1", s.do(c).problem(429, "too_many_requests").header.Get("Retry-After"))
			s.still(before)
		}
		s.as("han.mei", "POST", ticketPath(s.open.ID), "").is(202)
		s.as("li.wei", "POST", ticketPath(s.soldOut.ID), "").problem(429, "too_many_requests")
		s.as("han.mei", "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out")
		s.as("li.wei", "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out") // the flag comes before everything
	})
}

// What a network may ask for is counted for all of its buyers together, a /64 of IPv6
// being one network; another network is served.
func TestTheBuyersOfANetworkShareItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, withGuard(func(c *access.Settings) { c.NetworkRate, c.NetworkBurst = 1, 2 }))
		for i, route := range []string{challengePath(s.open.ID), passPath(s.open.ID), "/api/challenge", "/api/register"} {
			ask := func(buyer, host string) *answer {
				c := call{method: "POST", path: route, token: token(t, buyer, ""), from: fmt.Sprintf("[2001:db8:%d:%s]:4000", i, host)}
				if route == "/api/register" {
					c.token, c.body = "", fmt.Sprintf(`{"name":%q,"password":%q}`, buyer, goodPassword)
				}
				return s.do(c)
			}
			require.Less(t, ask("li.wei", "1::1").status, 300, route)
			require.Less(t, ask("han.mei", "1::2").status, 300, route)
			require.Equal(t, "1", ask("wang.wu", "1::3").problem(429, "too_many_requests").header.Get("Retry-After"), route)
			require.Less(t, ask("wang.wu", "2::1").status, 300, route)
		}
	})
}

// withGuard gives a system a guard with other settings.
func withGuard(change func(*access.Settings)) func(*Config) {
	return func(c *Config) {
		g := c.Access.Config
		change(&g.Settings)
		var err error
		if c.Access, err = access.New(g); err != nil {
			panic(err)
		}
	}
}

func TestAThousandParallelRequestsOfABuyerAreOneTicket(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var mu sync.Mutex
	tickets := map[string]int{}
	var all sync.WaitGroup
	bearer := token(t, "li.wei", "")
	for range 1000 {
		all.Go(func() {
			w := s.raw(call{method: "POST", path: ticketPath(s.open.ID), token: bearer})
			var v ticketAnswer
			if w.Code == http.StatusAccepted && json.Unmarshal(w.Body.Bytes(), &v) == nil {
				mu.Lock()
				tickets[v.Ticket]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.Len(t, tickets, 1)
	for _, n := range tickets {
		require.Equal(t, 1000, n, "the limits as shipped are wide enough for all of them")
	}
}

func TestTheListsAreInForceAtOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	at := func(buyer, from string) *answer {
		return s.do(call{method: "POST", path: ticketPath(s.open.ID), token: token(t, buyer, ""), from: from + ":4000"})
	}
	s.admin("POST", "/api/admin/access", `{"list":"block","network":"203.0.113.9/24","note":"a farm"}`).is(200)
	s.admin("POST", "/api/admin/access", fmt.Sprintf(`{"list":"allow","buyer":"li.wei","sale":%q}`, s.open.ID)).is(200)
	at("farmer", "203.0.113.200").problem(409, "not_eligible")
	at("li.wei", "203.0.113.200").is(202)
	at("farmer", "198.51.100.1").is(202)
	var page struct {
		Items []seckill.AccessEntry
		Next  string
	}
	s.admin("GET", "/api/admin/access?limit=1", "").is(200).into(&page)
	require.Equal(t, "203.0.113.0/24", page.Items[0].Network)
	require.Equal(t, adminName, page.Items[0].By)
	s.admin("GET", "/api/admin/access?cursor="+page.Next, "").is(200).into(&page)
	require.Equal(t, "li.wei", page.Items[0].Buyer)
	s.admin("POST", "/api/admin/access/remove", `{"network":"203.0.113.0/24"}`).is(204)
	s.admin("POST", "/api/admin/access/remove", `{"network":"203.0.113.0/24"}`).problem(404, "not_found")
	at("another farmer", "203.0.113.200").is(202)

	for _, bad := range []string{
		`{"list":"grey","buyer":"x"}`, `{"list":"block"}`, `{"list":"block","buyer":"x","network":"203.0.113.0/24"}`, `{"list":"block","buyer":"a\nb"}`, `{"list":"block","network":"here"}`,
		`{"list":"block","network":"0.0.0.0/0"}`, `{"list":"block","buyer":"x","sale":"999"}`, `{"list":"block","buyer":"x","note":"a\u0000b"}`,
	} {
		s.admin("POST", "/api/admin/access", bad).problem(422, "invalid_field")
	}
	s.admin("GET", "/api/admin/access?cursor=x", "").problem(422, "invalid_field")
}

func TestWhoMayBuyInASale(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	listed := s.create(saleBody{"eligible": "list"})
	buy := ticketPath(listed.ID)
	s.as("li.wei", "POST", buy, "").problem(409, "not_eligible")
	path := "/api/admin/sales/" + listed.ID.String() + "/eligible"
	s.admin("POST", path, `{"csv":"Buyer,name\nli.wei,李伟\n\"han, mei\",韩梅\n","mode":"replace"}`).is(200)
	s.as("li.wei", "POST", buy, "").is(202)
	s.as("han, mei", "POST", buy, "").is(202)
	s.as("farmer", "POST", buy, "").problem(409, "not_eligible")
	for _, bad := range []string{`{"csv":"","mode":"add"}`, `{"csv":"buyer\n","mode":"add"}`, `{"csv":"a\n,b\n","mode":"add"}`, `{"csv":"\"a","mode":"add"}`, `{"csv":"a","mode":"all"}`, `{"csv":"a","mode":"continue"}`, `{"csv":"a","mode":"add","upload":"a\nb"}`, `{"csv":"a","mode":"add","upload":"` + strings.Repeat("a", 65) + `"}`} {
		s.admin("POST", path, bad).problem(422, "invalid_field")
	}

	s.admin("POST", path, `{"csv":"a","mode":"add","upload":"`+strings.Repeat("名", 64)+`"}`).is(200)

	s.admin("POST", path, `{"csv":"","mode":"replace"}`).is(200)
	s.as("wang.wu", "POST", buy, "").problem(409, "not_eligible")

	aged := s.create(saleBody{"eligible": "account_age", "account_age_seconds": 3600})
	s.as("li.wei", "POST", ticketPath(aged.ID), "").problem(409, "not_eligible")
	for age, status := range map[time.Duration]int{time.Minute: 409, 2 * time.Hour: 202} {
		bearer, err := account.MintSince([]byte(theSecret), "li.wei", s.gate.Now().Add(-age), tokenLife)
		require.NoError(t, err)
		s.do(call{method: "POST", path: ticketPath(aged.ID), token: bearer}).is(status)
	}
}

func TestOrdersLeftUnpaidUseUpTheTries(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	sale := s.create(saleBody{"tries_per_buyer": 2})
	for range 2 {
		order := s.bought("li.wei", sale.ID, 1)
		s.as("li.wei", "POST", "/api/orders/"+order+"/cancel", "").is(200)
		s.atTheGate(sale.ID, 10)
		require.NoError(t, s.guard.Look(t.Context()))
	}
	require.Contains(t, string(s.as("li.wei", "POST", ticketPath(sale.ID), "").problem(409, "not_eligible").body), `"reason":"tries"`)
	s.as("han.mei", "POST", ticketPath(sale.ID), "").is(202)

	cool := s.create(saleBody{"cooldown_seconds": 600})
	order := s.bought("li.wei", cool.ID, 1)
	s.as("li.wei", "POST", "/api/orders/"+order+"/cancel", "").is(200)
	require.NoError(t, s.guard.Look(t.Context()))
	a := s.as("li.wei", "POST", ticketPath(cool.ID), "").problem(429, "too_many_requests")
	require.Regexp(t, "^(600|59[0-9])$", a.header.Get("Retry-After"))
	require.Contains(t, string(a.body), `"reason":"cooldown"`)
}

func TestWhoMayMakeAnAccount(t *testing.T) {
	t.Parallel()
	join := func(s *system, name, more string) *answer {
		return s.anybody("POST", "/api/register", fmt.Sprintf(`{"name":%q,"password":%q%s}`, name, goodPassword, more))
	}
	closed := newSystem(t, func(c *Config) { c.Registration = RegistrationClosed })
	require.Contains(t, string(join(closed, "li.wei", "").problem(403, "forbidden").body), `"reason":"closed"`)

	invited := newSystem(t, func(c *Config) { c.Registration = RegistrationInvited })
	require.Contains(t, string(join(invited, "li.wei", "").problem(403, "forbidden").body), `"reason":"not_invited"`)
	join(invited, "li.wei", `,"invite":"mine"`).problem(403, "forbidden")
	var v struct{ Invite string }
	invited.admin("POST", "/api/admin/invites", `{"uses":1}`).is(201).into(&v)
	join(invited, "li.wei", fmt.Sprintf(`,"invite":%q`, v.Invite)).is(201)
	join(invited, "han.mei", fmt.Sprintf(`,"invite":%q`, v.Invite)).problem(403, "forbidden")
	for _, bad := range []string{`{"uses":0}`, `{"uses":100001}`, `{"hours":0}`, `{"hours":9000}`} {
		invited.admin("POST", "/api/admin/invites", bad).problem(422, "invalid_field")
	}

	puzzled := newSystem(t, withGuard(func(c *access.Settings) { c.RegistrationChallenge = "both" }))
	join(puzzled, "li.wei", "").problem(403, "challenge_required")
	var p access.Puzzle
	puzzled.anybody("POST", "/api/challenge", "").is(200).into(&p)
	body := solve(t, p, access.ForAccount(access.Network(puzzled.api.client(call{method: "GET", path: "/"}.request()))))
	more := "," + strings.TrimSuffix(strings.TrimPrefix(body, "{"), "}")
	join(puzzled, "li.wei", more).is(201)
	join(puzzled, "han.mei", more).problem(403, "challenge_failed")
}

// A new account is known by its token: the sale that asks for an old one refuses it.
func TestATokenSaysHowOldTheAccountIs(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	aged := s.create(saleBody{"eligible": "account_age", "account_age_seconds": 3600})
	var v account.Session
	s.anybody("POST", "/api/register", fmt.Sprintf(`{"name":"li.wei","password":%q}`, goodPassword)).is(201).into(&v)
	who, err := s.api.Tokens.Verify(v.Token, false)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), who.Since, time.Minute)
	s.do(call{method: "POST", path: ticketPath(aged.ID), token: v.Token}).problem(409, "not_eligible")
}

// What the shop ends is no try of the buyer's; what the buyer ends is one, once, however
// often they send it.
func TestATryIsWhatItsBuyerEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		sale := s.create(saleBody{"tries_per_buyer": 2})
		for range 3 {
			order := s.bought("li.wei", sale.ID, 1)
			s.admin("POST", "/api/admin/orders/"+order+"/cancel", "").is(200)
			s.atTheGate(sale.ID, 10)
		}
		for range 2 {
			order := s.bought("li.wei", sale.ID, 1)
			synctest.Wait()
			began := time.Now()
			for range 3 {
				s.as("li.wei", "POST", "/api/orders/"+order+"/cancel", "").is(200)
			}
			synctest.Wait()
			require.Equal(t, began, time.Now(), "no look was waited for")
			s.atTheGate(sale.ID, 10)
		}
		s.as("li.wei", "POST", ticketPath(sale.ID), "").problem(409, "not_eligible")
	})
}

// The rules of a sale can be read when its node has come up, and not before: until then
// nobody buys in it.
func TestASaleOfUnknownRulesIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.as("li.wei", "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out") // and the flag is set
	store := &lostRules{Store: s.store}
	config := s.guard.Config
	config.Store = store
	late, err := access.New(config)
	require.NoError(t, err)
	before := s.world()
	s.api.Access = late
	store.lost.Store(true)
	require.NotEmpty(t, s.as("li.wei", "POST", ticketPath(s.open.ID), "").problem(503, "unavailable").header.Get("Retry-After"))
	s.as("li.wei", "POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out")
	s.as("li.wei", "POST", ticketPath(99999), "").problem(404, "not_found")
	s.still(before)
	store.lost.Store(false)
	require.NoError(t, late.Look(t.Context()))
	s.as("li.wei", "POST", ticketPath(s.open.ID), "").is(202)
	s.as("li.wei", "POST", ticketPath(99999), "").problem(404, "not_found")
	store.lost.Store(true)
	s.as("han.mei", "POST", ticketPath(s.open.ID), "").is(202) // what was read last stays in force
}

// A node that has not heard of a sale asks once what it asks for, and not for each buyer.
func TestASaleOfAnotherNodeIsKnownWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	store := &lostRules{Store: s.store}
	config := s.guard.Config
	config.Store = store
	other, err := access.New(config)
	require.NoError(t, err)
	require.NoError(t, other.Look(t.Context()))
	free, ruled := s.create(nil), s.create(saleBody{"pass": true})
	s.api.Access = other
	s.as("li.wei", "POST", ticketPath(ruled.ID), "").problem(403, "pass_required")
	s.as("li.wei", "POST", ticketPath(free.ID), "").is(202)
	looks := store.looks.Load()
	for range 20 {
		s.as("li.wei", "POST", ticketPath(99999), "").problem(404, "not_found")
	}
	require.Less(t, store.looks.Load()-looks, int64(20))
}

// lostRules is a store whose rules can be lost.
type lostRules struct {
	*store.Store
	lost  atomic.Bool
	looks atomic.Int64
}

func (l *lostRules) AccessState(ctx context.Context) (map[string]int64, seckill.SaleID, error) {
	l.looks.Add(1)
	if l.lost.Load() {
		return nil, 0, seckill.ErrUnavailable
	}
	return l.Store.AccessState(ctx)
}

// A long list comes in pieces, and into force as a whole.
func TestAListComesIntoForceWithItsLastPiece(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	sale := s.create(saleBody{"eligible": "list"})
	upload := func(body string) { s.admin("POST", "/api/admin/sales/"+sale.ID.String()+"/eligible", body).is(200) }
	upload(`{"csv":"li.wei\n","mode":"replace"}`)
	upload(`{"csv":"han.mei\n","mode":"replace","more":true}`)
	s.as("han.mei", "POST", ticketPath(sale.ID), "").problem(409, "not_eligible")
	s.as("li.wei", "POST", ticketPath(sale.ID), "").is(202)
	upload(`{"csv":"wang.wu\n","mode":"add"}`)
	s.as("han.mei", "POST", ticketPath(sale.ID), "").is(202)
	s.as("wang.wu", "POST", ticketPath(sale.ID), "").is(202)
	s.as("zhao.liu", "POST", ticketPath(sale.ID), "").problem(409, "not_eligible")

	// A list with a name that broke off is not in force, whatever is added later.
	upload(`{"csv":"li.wei\n","mode":"replace","upload":"one","more":true}`)
	upload(`{"csv":"zhao.liu\n","mode":"add"}`)
	s.as("zhao.liu", "POST", ticketPath(sale.ID), "").is(202)
	s.as("wang.wu", "POST", ticketPath(sale.ID), "").is(202)
	s.admin("POST", "/api/admin/sales/"+sale.ID.String()+"/eligible", `{"csv":"sun.qi\n","mode":"continue","upload":"one"}`).problem(409, "state")
}

// Rules of access that nobody can read let nobody in, in their sale alone: buyers hear
// that it is paused, until all of the rules are set anew.
func TestRulesThatCannotBeReadPauseTheirSaleAlone(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	buy := func(sale seckill.SaleID, buyer string) *answer {
		return s.do(call{method: "POST", path: ticketPath(sale), token: token(t, buyer, "")})
	}
	other := s.create(saleBody{}).ID
	_, err := s.commits.Exec("UPDATE sales SET access = '{\"pass\":tru' WHERE id = ?", s.open.ID)
	require.NoError(t, err)
	patch := "/api/admin/sales/" + s.open.ID.String()
	s.admin("PATCH", patch, `{"title":"Another"}`).is(200)
	buy(s.open.ID, "li.wei").problem(409, "paused")
	s.admin("POST", patch+"/copy", "").problem(409, "state")
	s.do(call{method: "POST", path: "/api/sales/" + s.open.ID.String() + "/pass", token: token(t, "li.wei", "")}).problem(409, "paused")
	buy(other, "li.wei").is(202)
	var page struct{ Items []seckill.Sale }
	s.do(call{method: "GET", path: "/api/sales"}).is(200).into(&page)
	states := map[seckill.SaleID]seckill.SaleState{}
	for _, sale := range page.Items {
		states[sale.ID] = sale.State
	}
	require.Equal(t, seckill.StatePaused, states[s.open.ID])
	require.Equal(t, seckill.StateOpen, states[other])
	s.admin("PATCH", patch, `{"tries_per_buyer":3}`).problem(422, "invalid_field")
	buy(s.open.ID, "li.wei").problem(409, "paused")
	s.admin("PATCH", patch, `{"tries_per_buyer":3,"pass":false,"eligible":"everybody"}`).is(200)
	buy(s.open.ID, "li.wei").is(202)
}
