package live

import (
	"time"

	"seckill"
)

// Limits of what a node remembers for reports.
const (
	paceSteps = 240         // of a sale; when there are more, two become one
	paceSales = 32          // the one that had nothing new for the longest time goes
	paceWidth = time.Second // of a step, to begin with
)

// paces remember, step by step, how long admissions and outcomes took. A tally has only the
// sum since its node started. The caller locks.
type paces struct {
	of map[seckill.SaleID]*pace
}

type pace struct {
	width time.Duration
	steps []paceStep
}

// paceStep is what was counted in one interval. Intervals without anything are left out.
type paceStep struct {
	at                 time.Time
	admission, outcome Histogram
}

// add remembers what was counted since the last time.
func (p *paces) add(id seckill.SaleID, now time.Time, admission, outcome Histogram) {
	if len(admission)+len(outcome) == 0 {
		return
	}
	v := p.of[id]
	if v == nil {
		if p.of == nil {
			p.of = map[seckill.SaleID]*pace{}
		}
		v = &pace{width: paceWidth}
		p.of[id] = v
		p.limit()
	}
	v.add(paceStep{now, admission, outcome})
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

// all are the steps of a sale, the oldest first.
func (p *paces) all(id seckill.SaleID) (all []seckill.Pace) {
	v := p.of[id]
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
