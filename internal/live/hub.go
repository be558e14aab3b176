package live

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the picture.
const (
	pictureEvery = time.Second
	heardFresh   = 200 * time.Millisecond  // the board is not asked more often
	late         = 3 * time.Second         // figures that are older do not count into the rates
	window       = 6                       // pictures over which latencies are counted
	copyLife     = 1500 * time.Millisecond // a node's copy of a sale is read again by then, if it is asked for
)

// Picture is what all nodes have told, merged.
type Picture struct {
	At       time.Time `json:"at"`   // by the gate's clock, as far as this node knows it
	Node     string    `json:"node"` // that answers
	Parts    Parts     `json:"parts"`
	Nodes    []Node    `json:"nodes"`
	NodesSay string    `json:"nodes_say,omitempty"` // why other nodes are not heard: they are as they were
	Sales    []Sale    `json:"sales"`               // null: SalesSay
	SalesSay string    `json:"sales_say,omitempty"`
	Marks    []Mark    `json:"marks"`
}

// Sale is one sale over all nodes. What is null is not known.
type Sale struct {
	ID           seckill.SaleID    `json:"id"`
	Title        string            `json:"title"`
	State        seckill.SaleState `json:"state"`
	OpensAt      time.Time         `json:"opens_at"`
	ClosesAt     time.Time         `json:"closes_at"`
	Total        int64             `json:"total"`
	Left         *int64            `json:"left"`
	Queued       *int64            `json:"queued"`  // admitted without an outcome, at most
	Waiting      *int64            `json:"waiting"` // for the opening; null once it has opened
	AdmittedPerS *float64          `json:"admitted_per_s"`
	Verdicts     map[string]int64  `json:"verdicts"` // since the nodes started
	AdmissionMS  *Quantiles        `json:"admission_ms"`
	OutcomeMS    *Quantiles        `json:"outcome_ms"`
	Nodes        []NodeFigures     `json:"nodes"`
	Balance      *Balance          `json:"balance"` // null: not counted yet
	AgeMS        int64             `json:"age_ms"`  // of title, total and times
	Says         string            `json:"says,omitempty"`
}

// NodeFigures are what one node does for a sale.
type NodeFigures struct {
	ID           string     `json:"id"`
	AdmittedPerS *float64   `json:"admitted_per_s"`
	AdmissionMS  *Quantiles `json:"admission_ms"`
	OutcomeMS    *Quantiles `json:"outcome_ms"`
}

// Quantiles are of the last seconds, in milliseconds, at most a quarter too high.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Hub merges what all nodes tell, once a second while somebody watches.
type Hub struct {
	Teller *Teller
	Board  Board

	mu       sync.Mutex
	heard    map[string]Message // by node
	heardAt  time.Time
	says     string
	samples  []map[string]Message // of the last pictures, the newest last
	watchers map[*Watcher]bool
	past     past
}

// Watcher receives pictures of one sale, or of all.
type Watcher struct {
	Sale seckill.SaleID // 0: all
	C    chan []byte    // the newest picture in JSON; one that was not taken in time is replaced
}

// Watch makes the hub send pictures, until Leave.
func (h *Hub) Watch(sale seckill.SaleID) *Watcher {
	w := &Watcher{Sale: sale, C: make(chan []byte, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[*Watcher]bool{}
	}
	h.watchers[w] = true
	return w
}

// Leave ends Watch.
func (h *Hub) Leave(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// Run makes the pictures until ctx is done, and remembers them. A picture is made once, and
// encoded once for all who watch the same.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(pictureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		h.mu.Lock()
		watched := len(h.watchers) > 0
		h.mu.Unlock()
		// While nothing is open or about to, nobody asks for its past.
		own, now := h.Teller.Last(), h.Teller.Source.Now()
		if !watched && !slices.ContainsFunc(own.Sales, func(f Figures) bool { return near(f, now) }) {
			h.mu.Lock()
			h.samples = nil
			h.mu.Unlock()
			continue
		}
		p, told := h.picture(ctx)
		h.past.count(told, own.Node.ID)
		if h.past.keep(&p); watched {
			h.send(p)
		}
	}
}

func (h *Hub) send(p Picture) {
	h.mu.Lock()
	defer h.mu.Unlock()
	texts := map[seckill.SaleID][]byte{}
	for w := range h.watchers {
		text, made := texts[w.Sale]
		if !made {
			of := p
			if w.Sale != 0 && p.Sales != nil {
				of.Sales = slices.DeleteFunc(slices.Clone(p.Sales), func(s Sale) bool { return s.ID != w.Sale })
				of.Marks = slices.DeleteFunc(slices.Clone(p.Marks), func(m Mark) bool { return m.Sale != 0 && m.Sale != w.Sale })
			}
			text, _ = json.Marshal(of) // it cannot fail: a picture has no type that JSON cannot write
			texts[w.Sale] = text
		}
		select {
		case <-w.C: // the one before was not taken
		default:
		}
		w.C <- text
	}
}

// Hear returns what every node has told last, this one's told just now, and why others
// are not heard. Nodes that are gone for Life are left out.
func (h *Hub) Hear(ctx context.Context) (told []Message, says string) {
	own := h.Teller.Last()
	h.mu.Lock()
	fresh := time.Since(h.heardAt) < heardFresh
	h.mu.Unlock()
	if !fresh {
		h.ask(ctx)
	}
	now := h.Teller.Source.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, m := range h.heard {
		if now.Sub(m.At) > Life {
			delete(h.heard, id)
			continue
		}
		if id != own.Node.ID {
			told = append(told, m)
		}
	}
	if own.Node.ID != "" {
		told = append(told, own)
	}
	slices.SortFunc(told, func(a, b Message) int { return strings.Compare(a.Node.ID, b.Node.ID) })
	return told, h.says
}

func (h *Hub) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, boardTime)
	defer cancel()
	texts, err := h.Board.Hear(ctx)
	now := h.Teller.Source.Now()
	var gone []string
	h.mu.Lock()
	h.heardAt, h.says = time.Now(), ""
	if h.heard == nil {
		h.heard = map[string]Message{}
	}
	if err != nil {
		h.says = err.Error()
	} else {
		for id := range h.heard {
			if _, there := texts[id]; !there {
				delete(h.heard, id) // it has stopped
			}
		}
	}
	for id, text := range texts {
		var m Message
		// Whatever else is written there is left out: it is of no node.
		if json.Unmarshal(text, &m) != nil || m.Node.ID != id || now.Sub(m.At) > Life {
			gone = append(gone, id)
			continue
		}
		h.heard[id] = m
	}
	h.mu.Unlock()
	for _, id := range gone {
		_ = h.Board.Tell(ctx, id, nil)
	}
}

// Nodes is the table of nodes, with the age of each row.
func (h *Hub) Nodes(ctx context.Context) (nodes []Node, says string) {
	told, says := h.Hear(ctx)
	return h.nodes(told), says
}

func (h *Hub) nodes(told []Message) []Node {
	now, all := h.Teller.Source.Now(), make([]Node, 0, len(told))
	for _, m := range told {
		m.Node.AgeMS = max(0, now.Sub(m.At).Milliseconds())
		all = append(all, m.Node)
	}
	return all
}

// Waiting is how many wait for the opening of a sale, over all nodes; nil: nobody can say.
func (h *Hub) Waiting(ctx context.Context, id seckill.SaleID) (n *int64) {
	told, says := h.Hear(ctx)
	if says != "" {
		return nil // some of them are not heard
	}
	for _, m := range told {
		if f, ok := m.of(id); ok {
			n = add(n, f.Waiting)
		}
	}
	return n
}

// add adds up what is known.
func add(sum, n *int64) *int64 {
	if n == nil {
		return sum
	}
	if sum == nil {
		sum = new(int64)
	}
	*sum += *n
	return sum
}

// Balances are the newest counts, by sale.
func (h *Hub) Balances(ctx context.Context) map[seckill.SaleID]Balance {
	told, _ := h.Hear(ctx)
	return h.balances(told)
}

func (h *Hub) balances(told []Message) map[seckill.SaleID]Balance {
	now, all := h.Teller.Source.Now(), map[seckill.SaleID]Balance{}
	for _, m := range told {
		for id, b := range m.Balances {
			if was, ok := all[id]; ok && was.At.After(b.At) {
				continue
			}
			b.AgeMS = max(0, now.Sub(b.At).Milliseconds())
			all[id] = b
		}
	}
	return all
}

// Picture merges what the nodes have told.
func (h *Hub) Picture(ctx context.Context) Picture {
	p, _ := h.picture(ctx)
	return p
}

func (h *Hub) picture(ctx context.Context) (Picture, []Message) {
	told, says := h.Hear(ctx)
	own := h.Teller.Last()
	p := Picture{At: h.Teller.Source.Now().UTC(), Node: h.Teller.Node.ID, Parts: own.Node.Parts, Nodes: h.nodes(told), NodesSay: says, SalesSay: own.SalesSay, Marks: []Mark{}}
	sample := make(map[string]Message, len(told))
	for _, m := range told {
		sample[m.Node.ID] = m
		p.Marks = append(p.Marks, m.Marks...)
	}
	h.mu.Lock()
	before := slices.Clone(h.samples)
	h.samples = append(h.samples, sample)
	if len(h.samples) > window {
		h.samples = h.samples[1:]
	}
	h.mu.Unlock()
	balances := h.balances(told)
	if own.Sales != nil {
		p.Sales = []Sale{}
	}
	for _, f := range own.Sales {
		p.Sales = append(p.Sales, merge(f.Sale, p.At, told, before, balances))
		if age := p.At.Sub(f.OpensAt); age >= 0 && age < markLife {
			p.Marks = append(p.Marks, Mark{At: f.OpensAt, What: "opens", Sale: f.Sale})
		}
	}
	slices.SortFunc(p.Marks, func(a, b Mark) int { return a.At.Compare(b.At) })
	return p, told
}

// merge adds up what the nodes have told of one sale.
func merge(id seckill.SaleID, now time.Time, told []Message, before []map[string]Message, balances map[seckill.SaleID]Balance) Sale {
	s := Sale{ID: id, Verdicts: map[string]int64{}, Nodes: []NodeFigures{}, AgeMS: -1}
	admission, outcome := Histogram{}, Histogram{}
	var newest time.Time
	var shown seckill.Sale
	for _, m := range told {
		f, ok := m.of(id)
		if !ok {
			continue
		}
		if age := f.AgeMS + now.Sub(m.At).Milliseconds(); s.AgeMS < 0 || age < s.AgeMS {
			s.AgeMS, s.Title, s.OpensAt, s.ClosesAt, s.Total = max(0, age), f.Title, f.OpensAt, f.ClosesAt, f.Total
			shown = seckill.Sale{OpensAt: f.OpensAt, ClosesAt: f.ClosesAt, Paused: f.Paused, Ended: f.Ended}
		}
		if f.Gate != nil && m.At.After(newest) {
			left, queued := max(0, f.Gate.Left), max(0, f.Gate.Seq-f.Gate.Finished)
			newest, s.Left, s.Queued = m.At, &left, &queued
		}
		s.Waiting = add(s.Waiting, f.Waiting)
		for v, n := range f.Verdicts {
			s.Verdicts[v] += n
		}
		node := NodeFigures{ID: m.Node.ID}
		if rate, ok := m.rate(f, before); ok && now.Sub(m.At) < late {
			node.AdmittedPerS = &rate
			if s.AdmittedPerS == nil {
				s.AdmittedPerS = new(float64)
			}
			*s.AdmittedPerS += rate
		}
		for _, sample := range before { // the oldest that is of this run of the node
			was, ok := sample[m.Node.ID].of(id)
			if ok && sample[m.Node.ID].Node.StartedAt.Equal(m.Node.StartedAt) {
				a, o := f.Admission.less(was.Admission), f.Outcome.less(was.Outcome)
				node.AdmissionMS, node.OutcomeMS = a.quantiles(), o.quantiles()
				for c, n := range a {
					admission[c] += n
				}
				for c, n := range o {
					outcome[c] += n
				}
				break
			}
		}
		s.Nodes = append(s.Nodes, node)
	}
	if now.Sub(newest) > late {
		s.Left, s.Queued, s.Says = nil, nil, "the gate does not say what is left"
	}
	left := int64(1)
	if s.Left != nil {
		left = *s.Left
	}
	s.State = shown.Show(now, left).State
	s.AdmissionMS, s.OutcomeMS = admission.quantiles(), outcome.quantiles()
	if b, ok := balances[id]; ok {
		s.Balance = &b
	}
	return s
}

func (h Histogram) quantiles() *Quantiles {
	p50, p99 := h.quantile(0.5), h.quantile(0.99)
	if p50 == nil {
		return nil
	}
	return &Quantiles{*p50, *p99}
}

// of returns what a node has told of one sale.
func (m Message) of(id seckill.SaleID) (Figures, bool) {
	i := slices.IndexFunc(m.Sales, func(f Figures) bool { return f.Sale == id })
	if i < 0 {
		return Figures{}, false
	}
	return m.Sales[i], true
}

// rate is how many buyers the node has admitted to the sale in a second, since the last
// picture that is old enough.
func (m Message) rate(f Figures, before []map[string]Message) (float64, bool) {
	queued := seckill.Queued.String()
	for _, sample := range slices.Backward(before) {
		old := sample[m.Node.ID]
		was, ok := old.of(f.Sale)
		if took := m.At.Sub(old.At); ok && took >= pictureEvery*9/10 && old.Node.StartedAt.Equal(m.Node.StartedAt) {
			return float64(f.Verdicts[queued]-was.Verdicts[queued]) / took.Seconds(), true
		}
	}
	return 0, false
}

// InForce asks how many nodes have a change of a sale in force, again and again, until all
// have or the time is over. Others are asked by what they tell, this node is asked now. A
// node that does not tell of the sale may have a copy of it, which it reads again within
// copyLife while its store answers: it counts when it tells that after so long.
func (h *Hub) InForce(ctx context.Context, most time.Duration, id seckill.SaleID, has func(Figures) bool) Receipt {
	began, changed := time.Now(), h.Teller.Source.Now()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		_ = h.Teller.Tell(ctx)
		told, says := h.Hear(ctx)
		r := Receipt{AfterMS: time.Since(began).Milliseconds(), Says: says}
		n, of := 0, len(told)
		var silent []string
		for _, m := range told {
			f, shows := m.of(id)
			switch {
			case shows && has(f), !shows && m.Sales != nil && m.Node.ID == h.Teller.Node.ID:
				n++
			case !shows && m.Sales != nil && m.Node.Parts["store"].OK && m.At.Sub(changed) > copyLife:
				n++
			case !shows:
				silent = append(silent, m.Node.label())
			}
		}
		if says == "" {
			r.Nodes, r.Of = &n, &of
			if len(silent) > 0 {
				r.Says = "not known at " + strings.Join(silent, ", ")
			}
		}
		if n == of && says == "" || duty.Rest(ctx, heardFresh) != nil {
			return r
		}
	}
}

// label is what people call the node.
func (n *Node) label() string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID
}

// Receipt says on how many nodes a change is in force; null: nobody can say.
type Receipt struct {
	Nodes   *int   `json:"nodes"`
	Of      *int   `json:"of"`
	AfterMS int64  `json:"after_ms"`
	Says    string `json:"says,omitempty"`
}
