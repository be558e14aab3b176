package live

import (
	"sync"
	"time"

	"seckill"
)

// Limits of what a node remembers for reports.
const (
	paceSteps = 240         // of a sale; when there are more, two become one
	paceSales = 32          // the one that had nothing new for the longest time goes
	paceWidth = time.Second // of a step, to begin with
)

// paces remember, step by step, how long admissions and outcomes took at this node. A tally
// has only the sum since the node started.
type paces struct {
	mu sync.Mutex
	of map[seckill.SaleID]*pace
}

type pace struct {
	width              time.Duration
	steps              []paceStep
	admission, outcome Histogram // when they were last read
}

// paceStep is what was counted in one interval. Intervals without anything are left out.
type paceStep struct {
	at                 time.Time
	admission, outcome Histogram
}

// read fills in what the tally has counted of a sale, and remembers what of that is new.
// Two who read at once must not both count it, so the tally is read under the lock.
func (p *paces) read(t *Tally, id seckill.SaleID, now time.Time, f *Figures) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.read(id, f)
	was := p.of[id]
	if was == nil {
		if len(f.Admission)+len(f.Outcome) == 0 {
			return
		}
		if p.of == nil {
			p.of = map[seckill.SaleID]*pace{}
		}
		was = &pace{width: paceWidth}
		p.of[id] = was
		p.limit()
	}
	admission, outcome := f.Admission.less(was.admission), f.Outcome.less(was.outcome)
	was.admission, was.outcome = f.Admission, f.Outcome
	if len(admission)+len(outcome) == 0 {
		return
	}
	was.add(paceStep{now, admission, outcome})
}

// limit forgets the sale that had nothing new for the longest time, where there are too many.
func (p *paces) limit() {
	for len(p.of) > paceSales {
		var oldest seckill.SaleID
		var since time.Time
		for id, v := range p.of {
			if n := len(v.steps); n > 0 && (oldest == 0 || v.steps[n-1].at.Before(since)) {
				oldest, since = id, v.steps[n-1].at
			}
		}
		delete(p.of, oldest)
	}
}

func (v *pace) add(s paceStep) {
	s.at = s.at.Truncate(v.width)
	if n := len(v.steps); n > 0 && !v.steps[n-1].at.Before(s.at) {
		v.steps[n-1].merge(s)
		return
	}
	if v.steps = append(v.steps, s); len(v.steps) <= paceSteps {
		return
	}
	all := v.steps
	v.width, v.steps = 2*v.width, nil
	for _, s := range all {
		v.add(s)
	}
}

// merge adds what was counted in another interval.
func (s *paceStep) merge(o paceStep) {
	for c, n := range o.admission {
		s.admission[c] += n
	}
	for c, n := range o.outcome {
		s.outcome[c] += n
	}
}

// Paces are how long admissions and outcomes of a sale took at this node since it started,
// the oldest first.
func (t *Teller) Paces(id seckill.SaleID) (all []seckill.Pace) {
	t.paces.mu.Lock()
	defer t.paces.mu.Unlock()
	v := t.paces.of[id]
	if v == nil {
		return nil
	}
	for _, s := range v.steps {
		all = append(all, seckill.Pace{At: s.at, Width: v.width, Admission: s.admission.spread(), Outcome: s.outcome.spread()})
	}
	return all
}

// spread is nil where nothing was counted.
func (h Histogram) spread() *seckill.Spread {
	if len(h) == 0 {
		return nil
	}
	return &seckill.Spread{P50: *h.quantile(0.5), P90: *h.quantile(0.9), P99: *h.quantile(0.99), Max: *h.quantile(1)}
}
