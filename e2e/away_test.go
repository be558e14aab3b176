package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"seckill"
	"seckill/internal/client"
	"seckill/internal/live"
	"seckill/internal/stack"
)

// picture is the next one of the stream; nothing while the node does not answer.
func picture(t *testing.T, c caller) (p live.Picture) {
	t.Helper()
	a, err := (&client.Client{Server: c.url, Token: c.token}).Do(t.Context(), http.MethodGet, "/api/admin/live?events=1", nil)
	if err != nil || a.Status != http.StatusOK {
		return p
	}
	_, data, found := bytes.Cut(a.Body, []byte("data: "))
	if !found {
		return p
	}
	must(t, json.Unmarshal(bytes.TrimSpace(data), &p))
	return p
}

// While Redis, RabbitMQ or MariaDB is away the console stays: it says which is away, shows
// how old every figure is, and shows nothing as zero that is not known.
func TestTheConsoleStaysWhileAPartIsAway(t *testing.T) {
	t.Parallel()
	e := startEnginesWired(t, stack.KindRedis, stack.KindMariaDB)
	root := admin(t, e.nodes[0])
	sale := root.creates(10, 1)
	buyer(t, e.nodes[1], "ann").buys(sale, 1)
	buyer(t, e.nodes[1], "ann").outcome(sale)
	id, err := seckill.ParseSaleID(sale)
	must(t, err)
	var p live.Picture
	var s live.Sale
	look := func() bool {
		p, s = picture(t, root), live.Sale{}
		for _, v := range p.Sales {
			if v.ID == id {
				s = v
			}
		}
		return s.ID == id
	}
	shown := func() (v seckill.Sale) { // as the board has it
		must(t, (&client.Client{Server: root.url, Token: root.token}).Call(t.Context(), http.MethodGet, "/api/admin/sales/"+sale, nil, &v))
		return v
	}
	well := func() bool {
		return look() && len(p.Nodes) == 2 && p.Parts["gate"].OK && p.Parts["queue"].OK && p.Parts["store"].OK && p.NodesSay == "" && p.SalesSay == "" &&
			s.Left != nil && *s.Left == 9 && s.Balance != nil && s.Balance.OK != nil && s.AgeMS < 5000
	}
	// A count may be from before the purchase.
	eventually(t, "both nodes are shown, and a count with the order", func() bool {
		return well() && s.Balance.Sums != nil && s.Balance.Unpaid == 1 && s.Balance.Gate == 9
	})
	if !*s.Balance.OK {
		t.Errorf("the balance is %+v", s.Balance)
	}
	if v := shown(); v.AsOf != nil || v.LeftFromStore {
		t.Errorf("nothing is away, and the sale is shown as %+v", v)
	}
	if s.Verdicts["queued"] != 1 {
		t.Errorf("the other node's verdicts are %v", s.Verdicts)
	}
	var changed struct{ Receipt live.Receipt }
	a, err := (&client.Client{Server: root.url, Token: root.token}).Do(t.Context(), http.MethodPost, client.AdminPath(sale, "pause"), nil)
	must(t, err)
	must(t, json.Unmarshal(a.Body, &changed))
	if r := changed.Receipt; r.Nodes == nil || *r.Nodes != 2 || *r.Of != 2 {
		t.Errorf("the receipt is %s", a.Body)
	}

	for _, c := range []struct {
		part   string
		engine part
		shows  func() bool // besides that the part is away
	}{
		{"queue", e.wire, func() bool { return s.Left != nil && p.NodesSay == "" && s.AgeMS < 5000 }},
		{"store", e.maria, func() bool {
			return s.Left != nil && *s.Left == 9 && p.SalesSay != "" && s.Total == 10 && s.AgeMS > 2000 &&
				s.Balance != nil && s.Balance.Says != "" && s.Balance.AgeMS > 2000 && shown().AsOf != nil
		}},
		{"gate", e.redis, func() bool {
			other := p.Nodes[0]
			if other.ID == p.Node {
				other = p.Nodes[1]
			}
			return s.Left == nil && s.Queued == nil && s.Says != "" && s.Total == 10 && p.NodesSay != "" && other.AgeMS > 2000 && shown().LeftFromStore
		}},
	} {
		must(t, c.engine.Kill())
		eventually(t, "the console says that the "+c.part+" is away", func() bool {
			if !look() || len(p.Nodes) != 2 {
				return false
			}
			part := p.Parts[c.part]
			return !part.OK && part.Says != "" && time.Since(part.Since) > time.Second && c.shows()
		})
		root.does(http.MethodGet, "/api/admin/nodes", nil, http.StatusOK)
		root.does(http.MethodGet, "/api/admin/balance", nil, http.StatusOK)
		must(t, c.engine.Start(t.Context()))
		eventually(t, "the "+c.part+" is back", well)
	}
}
