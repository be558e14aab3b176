package live

import (
	"encoding/json"
	"math"
	"sync"
	"time"

	"seckill"
)

// Limits of what a hub remembers of a sale: enough to draw the ten minutes before now for
// somebody who comes late.
const (
	pastSteps = 600 // of a second each
	pastSales = 64  // the one whose last step is the oldest goes
	pastAway  = 10 * time.Minute
)

// pastColumns are the figures of a step.
var pastColumns = [...]string{"at", "left", "waiting", "admitted_per_s", "admission_ms", "outcome_ms"}

// step is a second of a sale over all nodes: at in milliseconds since 1970, the latencies
// below which 99 % were. What is not known is NaN.
type step [len(pastColumns)]float64

// past is what the nodes have told, second by second.
type past struct {
	mu    sync.Mutex
	of    map[seckill.SaleID][]step
	began time.Time                                // the first message that was added
	bases map[string]map[seckill.SaleID]tallyAsHas // by node
	paces paces
}

// tallyAsHas is what a node had counted when it was added last.
type tallyAsHas struct {
	started, at        time.Time
	admission, outcome Histogram
}

// near reports whether a sale is worth remembering: from ten minutes before its opening
// until ten minutes after its end.
func near(f Figures, now time.Time) bool {
	return now.After(f.OpensAt.Add(-pastAway)) && now.Before(f.ClosesAt.Add(pastAway))
}

// keep adds a picture's second.
func (v *past) keep(p *Picture) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[seckill.SaleID][]step{}
	}
	for i := range p.Sales {
		s := &p.Sales[i]
		if !near(Figures{OpensAt: s.OpensAt, ClosesAt: s.ClosesAt}, p.At) {
			continue
		}
		row := step{float64(p.At.UnixMilli()), number(s.Left), number(s.Waiting), number(s.AdmittedPerS), math.NaN(), math.NaN()}
		if s.AdmissionMS != nil {
			row[4] = s.AdmissionMS.P99
		}
		if s.OutcomeMS != nil {
			row[5] = s.OutcomeMS.P99
		}
		steps := append(v.of[s.ID], row)
		if len(steps) > pastSteps {
			steps = append(steps[:0], steps[1:]...)
		}
		v.of[s.ID] = steps
	}
	for len(v.of) > pastSales {
		var oldest seckill.SaleID
		since := math.Inf(1)
		for id, steps := range v.of {
			if at := steps[len(steps)-1][0]; at < since {
				oldest, since = id, at
			}
		}
		delete(v.of, oldest)
	}
}

func number[T int64 | float64](n *T) float64 {
	if n == nil {
		return math.NaN()
	}
	return float64(*n)
}

// Past is what a sale was like in the last minutes, for the first event of a stream.
type Past struct {
	Sale    seckill.SaleID `json:"sale"`
	Columns []string       `json:"columns"` // at is in milliseconds since 1970, latencies are those of 99 %
	Rows    [][]*float64   `json:"rows"`    // a second each, the oldest first; null: not known
}

// Past returns what the hub remembers of a sale, encoded.
func (h *Hub) Past(id seckill.SaleID) []byte {
	h.past.mu.Lock()
	p := Past{Sale: id, Columns: pastColumns[:], Rows: make([][]*float64, 0, len(h.past.of[id]))}
	for _, s := range h.past.of[id] {
		row := make([]*float64, len(s))
		for i, v := range s {
			if !math.IsNaN(v) {
				row[i] = &v
			}
		}
		p.Rows = append(p.Rows, row)
	}
	h.past.mu.Unlock()
	text, _ := json.Marshal(p) // it cannot fail: it has no type that JSON cannot write
	return text
}

// count adds how long admissions and outcomes took since the last messages of the nodes.
// What another node had counted before this one heard it for the first time has no moment,
// and is left out.
func (v *past) count(told []Message, own string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bases == nil {
		v.bases = map[string]map[seckill.SaleID]tallyAsHas{}
	}
	here := make(map[string]bool, len(told))
	for _, m := range told {
		here[m.Node.ID] = true
		if v.began.IsZero() {
			v.began = m.At
		}
		of, met := v.bases[m.Node.ID]
		if !met {
			of = map[seckill.SaleID]tallyAsHas{}
			v.bases[m.Node.ID] = of
		}
		for _, f := range m.Sales {
			if len(f.Admission)+len(f.Outcome) == 0 {
				continue
			}
			was, known := of[f.Sale]
			if known && !m.At.After(was.at) {
				continue
			}
			now := tallyAsHas{m.Node.StartedAt, m.At, f.Admission, f.Outcome}
			of[f.Sale] = now
			switch {
			case known && was.started.Equal(now.started):
			case m.Node.ID == own, now.started.After(v.began), met && !known:
				was = tallyAsHas{} // everything that it has counted is new
			default:
				continue
			}
			v.paces.add(f.Sale, m.At, f.Admission.less(was.admission), f.Outcome.less(was.outcome))
		}
	}
	for node := range v.bases {
		if !here[node] {
			delete(v.bases, node)
		}
	}
}

// Paces are how long admissions and outcomes of a sale took over all nodes that this one
// has heard since it started, the oldest first.
func (h *Hub) Paces(id seckill.SaleID) []seckill.Pace {
	h.past.mu.Lock()
	defer h.past.mu.Unlock()
	return h.past.paces.all(id)
}

// Whole is how long the admissions and outcomes of a sale took, at all nodes since they
// started; nil: there were none.
func (h *Hub) Whole(told []Message, id seckill.SaleID) (admission, outcome *seckill.Spread) {
	a, o := Histogram{}, Histogram{}
	for _, m := range told {
		f, _ := m.of(id)
		for c, n := range f.Admission {
			a[c] += n
		}
		for c, n := range f.Outcome {
			o[c] += n
		}
	}
	return a.spread(), o.spread()
}
