package store

import (
	"context"
	"errors"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// The store's clock decides how long an order may be paid, and nothing else does:
// nodes whose clocks differ end an order at the same moment. A store in this process
// has the process's clock.

// clock is the time by the store's clock.
func (t *tx) clock(ctx context.Context) (now time.Time, err error) {
	if t.s.now != nil {
		return t.s.now(), nil
	}
	err = t.one(ctx, "SELECT "+t.s.dialect.clock, nil, func(r scanner) error {
		var n int64
		err := r.Scan(&n)
		now = fromMS(n)
		return err
	})
	return now, err
}

// here is the time for what no order depends on.
func (s *Store) here() time.Time {
	switch {
	case s.now != nil:
		return s.now()
	case s.process != nil:
		return s.process()
	}
	return time.Now()
}

// Clock returns the store's clock, to the millisecond.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	return s.readClock(ctx, "clock", (*tx).clock)
}

// readClock reads the store's clock by the function, and measures how far this process's is
// from it unless the answer took too long to tell.
func (s *Store) readClock(ctx context.Context, what string, read func(*tx, context.Context) (time.Time, error)) (now time.Time, err error) {
	asked, here := time.Now(), s.here()
	err = s.ask(ctx, what, func(t *tx) error {
		now, err = read(t, ctx)
		return err
	})
	if took := time.Since(asked); s.now == nil && !now.IsZero() && took < time.Second {
		s.skew.Store(int64(now.Sub(here.Add(took / 2))))
	}
	return now, err
}

// Now is the store's clock as this process knows it since the last look, without
// asking it: for what is shown, not for what is decided.
func (s *Store) Now() time.Time { return s.here().Add(s.Skew()) }

// Skew is how far the store's clock was ahead of this process's at the last look.
func (s *Store) Skew() time.Duration { return time.Duration(s.skew.Load()) }

const (
	// pulse is the name of the lease that says when the store was last reached by a
	// node that takes payments: its until is that moment.
	pulse = "pulse"
	// pulseEvery is how old the pulse becomes before it is renewed.
	pulseEvery = 800 * time.Millisecond
	// outageFrom is the age of the pulse from which on buyers could not pay.
	outageFrom = 5 * time.Second
)

// errOutage says that time to pay was lost and has not been given back yet.
var errOutage = errors.New("the store or all nodes were away")

// Pulse notes that the store can be reached, and returns its clock. The first
// pulse after an outage gives the time back that was lost (see reckon).
func (s *Store) Pulse(ctx context.Context) (now time.Time, err error) {
	now, err = s.readClock(ctx, "pulse", (*tx).awake)
	if errors.Is(err, errOutage) {
		return now, s.reckon(ctx)
	}
	if err != nil {
		return now, err
	}
	var last time.Time
	if last, err = s.lastPulse(ctx); err != nil || now.Sub(last) < pulseEvery {
		return now, err
	}
	return now, s.write(ctx, "pulse", func(t *tx) error { return t.beat(ctx, last, now) })
}

func (s *Store) lastPulse(ctx context.Context) (last time.Time, err error) {
	err = s.ask(ctx, "pulse", func(t *tx) error {
		last, err = t.pulse(ctx)
		return err
	})
	return last, err
}

// pulse is the moment of the last pulse, zero if there never was one.
func (t *tx) pulse(ctx context.Context) (last time.Time, err error) {
	err = t.rows(ctx, "SELECT until FROM leases WHERE name = ?", []any{pulse}, func(r scanner) error {
		var n int64
		err := r.Scan(&n)
		last = fromMS(n)
		return err
	})
	return last, err
}

// beat moves the pulse from last to now, unless somebody else has moved it.
func (t *tx) beat(ctx context.Context, last, now time.Time) error {
	if last.IsZero() {
		_, err := t.exec(ctx, "INSERT INTO leases (name, owner, until) VALUES (?, '', ?)", pulse, ms(now))
		if errors.Is(err, errDuplicate) {
			return nil
		}
		return err
	}
	_, err := t.exec(ctx, "UPDATE leases SET until = ? WHERE name = ? AND until = ?", ms(now), pulse, ms(last))
	return err
}

// awake returns the store's clock for a decision by expires_at, in the decision's own
// transaction, or errOutage if the last pulse is so old that lost time must be added first.
// Without any pulse nothing is given back.
func (t *tx) awake(ctx context.Context) (now time.Time, err error) {
	last, err := t.pulse(ctx)
	if err != nil {
		return now, err
	}
	if now, err = t.clock(ctx); err != nil {
		return now, err
	}
	if t.s.settings.Credit > 0 && !last.IsZero() && now.Sub(last) >= outageFrom {
		return now, errOutage
	}
	return now, nil
}

// reckon gives the time back during which nobody could pay: every order that was
// unpaid when the outage began has as long to pay after it as it had before, and one
// that was placed since the last pulse as long as it had from its placing on. All
// outages of a day together give back at most Credit. It is one transaction with
// the pulse, so one outage is given back once, whoever sees it first.
func (s *Store) reckon(ctx context.Context) error {
	return s.write(ctx, "outage", func(t *tx) error {
		last, err := t.pulse(ctx)
		if err != nil {
			return err
		}
		now, err := t.clock(ctx)
		if err != nil || now.Sub(last) < outageFrom {
			return err
		}
		n, err := t.exec(ctx, "UPDATE leases SET until = ? WHERE name = ? AND until = ?", ms(now), pulse, ms(last))
		if err != nil || n == 0 {
			return err // somebody else has just done it
		}
		var given int64
		err = t.one(ctx, "SELECT COALESCE(SUM(units), 0) FROM ledger WHERE order_id = ? AND at > ?", []any{entryOutage, ms(now.Add(-24 * time.Hour))},
			func(r scanner) error { return r.Scan(&given) })
		if err != nil {
			return err
		}
		credit := min(now.Sub(last), s.settings.Credit-time.Duration(given)*time.Millisecond)
		if credit <= 0 {
			return nil
		}
		more := t.s.dialect.min + "(?, ? - created_at)"
		if _, err := t.exec(ctx, "UPDATE tickets SET expires_at = expires_at + "+more+" WHERE "+t.s.dialect.unpaid, credit.Milliseconds(), ms(now), ms(last)); err != nil {
			return err
		}
		e := seckill.Entry{What: entryOutage, Who: "store", Why: "nobody could pay since " + last.Format(time.RFC3339) + "; milliseconds were added to the time to pay"}
		if err := t.enterEach(ctx, now, e, more, []any{credit.Milliseconds(), ms(now)}, t.s.dialect.unpaid, ms(last)); err != nil {
			return err
		}
		e.Order, e.Units = entryOutage, credit.Milliseconds()
		err = t.enter(ctx, now, e)
		crash.Here("13-outage-before-commit", err == nil)
		return err
	})
}

// reckoned runs f, a write, after the time of an outage has been given back.
func (s *Store) reckoned(ctx context.Context, what string, f func(*tx) error) error {
	err := s.write(ctx, what, f)
	for range maxTries {
		if !errors.Is(err, errOutage) {
			return err
		}
		if err = s.reckon(ctx); err == nil {
			err = s.write(ctx, what, f)
		}
	}
	return err
}
